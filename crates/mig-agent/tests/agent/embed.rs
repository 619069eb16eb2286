//! An agent that carries its configuration, keys and access list itself.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use mig_types::CommandStatus;
use serde_json::json;
use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage, by_name, errors, program, run};

/// Moves what an agent reads from files into `[embed]`; the copy that carries it.
async fn packed(stage: &Stage) -> PathBuf {
    let text = std::fs::read_to_string(stage.path("agent.cfg")).unwrap();
    let text = text.replace(
        &format!("confdir = \"{}\"", stage.path("conf").display()),
        &format!("confdir = \"{}\"", stage.path("nothing").display()),
    );
    let text = format!("{text}[embed]\nacl = conf/acl.cfg\nkeys = conf/agentkeys\n");
    std::fs::write(stage.path("build.cfg"), text).unwrap();
    let copy = stage.path("mig-agent-example");
    let (code, _, stderr) = execute(
        Path::new(env!("CARGO_BIN_EXE_mig-agent")),
        &["-embed", stage.path("build.cfg").to_str().unwrap(), "-out", copy.to_str().unwrap()],
    )
    .await;
    assert_eq!(code, Some(0), "{stderr}");
    copy
}

/// Runs a program to its end: exit code, standard output, standard error.
async fn execute(program: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let ended = timeout(PATIENCE, async {
        loop {
            match command.output().await {
                // A fresh copy may still be open for writing in a process that
                // another test is starting.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    tokio::task::yield_now().await;
                }
                output => return output.unwrap(),
            }
        }
    });
    let output = ended.await.expect("the program ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_needs_no_file_on_the_endpoint() {
    let mut stage = Stage::set("extraprivacymode = on\n").await;
    let copy = packed(&stage).await;
    std::fs::remove_file(stage.path("agent.cfg")).unwrap();
    std::fs::remove_file(stage.path("build.cfg")).unwrap();
    std::fs::rename(stage.path("conf"), stage.path("tree")).unwrap();
    // `/etc/mig/mig-agent.cfg` of the machine must not get in the way.
    std::fs::write(stage.path("empty.cfg"), "").unwrap();
    let empty = stage.path("empty.cfg");
    stage.agent = Some(run(&copy, &["-f", "-c", empty.to_str().unwrap()]));
    let agent = stage.heartbeat().await;
    assert_eq!(agent.tags.get("operator"), Some(&json!("it")));

    let tree = stage.path("tree");
    let answer = stage.ask(stage.action(vec![by_name(&tree, "acl")])).await;
    assert_eq!(answer.status, CommandStatus::Success);
    let result = &answer.results.as_ref().unwrap()[0];
    assert!(result.foundanything);
    assert!(!serde_json::to_string(result).unwrap().contains("acl.cfg"), "names are masked");
    // The access list is the one it carries: one signature is not enough.
    let mut operation = by_name(&tree, "acl");
    operation.module = "netstat".into();
    let answer = stage.ask(stage.action(vec![operation])).await;
    assert_eq!(answer.status, CommandStatus::Failed);
    assert!(errors(&answer.results.unwrap()[0]).contains("weight"));
    assert_eq!(stage.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_tampered_with_does_not_start() {
    let stage = Stage::set("").await;
    let copy = packed(&stage).await;
    let good = std::fs::read(&copy).unwrap();
    let bare = std::fs::metadata(env!("CARGO_BIN_EXE_mig-agent")).unwrap().len();
    let bare = usize::try_from(bare).unwrap();
    let bad = stage.path("mig-agent-bad");
    std::fs::copy(&copy, &bad).unwrap();
    let mut flipped = good.clone();
    // Somewhere in the access list, the keys, or the relay's address.
    let middle = bare + (good.len() - bare) / 2;
    flipped[middle] ^= 0x20;
    for (bytes, reason) in [
        (flipped.as_slice(), "its checksum does not match"),
        (&good[..good.len() - 1], "the program is cut short"),
        (&good[..bare], "the program is cut short"),
    ] {
        std::fs::write(&bad, bytes).unwrap();
        let config = stage.path("agent.cfg");
        for args in [&["-f"][..], &["-S"], &["-f", "-c", config.to_str().unwrap()]] {
            let (code, stdout, stderr) = execute(&bad, args).await;
            assert_eq!((code, stdout.as_str()), (Some(1), ""), "{args:?}");
            let wanted = "mig-agent: the configuration this program carries is damaged: ";
            assert!(stderr.contains(wanted) && stderr.contains(reason), "{stderr}");
        }
        let (code, _, stderr) = execute(&copy, &["-show", bad.to_str().unwrap()]).await;
        assert_eq!(code, Some(1));
        assert!(stderr.contains(reason), "{stderr}");
        // Whoever is to replace it can still ask which version it is.
        let (code, version, _) = execute(&bad, &["-V"]).await;
        assert_eq!((code, version), (Some(0), format!("{}\n", mig_agent::VERSION)));
    }
    assert!(!stage.path("run").exists(), "nothing was started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_carries_is_shown_without_secrets() {
    let stage = Stage::set("").await;
    let copy = packed(&stage).await;
    let path = copy.to_str().unwrap();
    let (code, shown, _) = execute(&copy, &["-show", "self"]).await;
    assert_eq!(code, Some(0));
    let other = Path::new(env!("CARGO_BIN_EXE_mig-agent"));
    assert_eq!(execute(other, &["-show", path]).await.1, shown, "another agent sees the same");
    let fingerprint = stage.key.fingerprint().as_str();
    for part in [
        "This agent carries build.cfg\n",
        "checksum sha256:",
        "AMQPBROKER : ws://agent:***@127.0.0.1:",
        "permission 'netstat': minimum weight 2\n",
        &format!("    {fingerprint} weight 1 alice\n"),
        &format!("public key {fingerprint} Ed25519 alice <a@example.net>\n"),
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("secret"), "{shown}");
    let bare = execute(other, &["-show", "self"]).await;
    assert_eq!(bare.1, "This agent carries no configuration.\n");
    let config = stage.path("empty.cfg");
    std::fs::write(&config, "[agent]\nheartbeatfreq = \"7s\"\n").unwrap();
    let (code, settings, _) = execute(&copy, &["-c", config.to_str().unwrap(), "-S"]).await;
    assert_eq!(code, Some(0));
    assert!(settings.contains("HEARTBEATFREQ : 7s\n"), "the file overrides: {settings}");
    assert!(settings.contains("AMQPBROKER : ws://agent:***@"), "{settings}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_found_when_the_agent_is_made() {
    let stage = Stage::set("").await;
    std::fs::write(stage.path("conf/agentkeys/bad.asc"), "no key").unwrap();
    let text = "[agent]\nrelay = \"x\"\n[certs]\nca = none.crt\n[embed]\nkeys = conf/agentkeys\n";
    std::fs::write(stage.path("build.cfg"), text).unwrap();
    let (config, out) = (stage.path("build.cfg"), stage.path("out"));
    let arguments = ["-embed", config.to_str().unwrap(), "-out", out.to_str().unwrap()];
    let agent = Path::new(env!("CARGO_BIN_EXE_mig-agent"));
    let (code, _, stderr) = execute(agent, &arguments).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("certs.ca: ") && stderr.contains("bad.asc"), "{stderr}");
    assert!(!out.exists());
    let mut no_agent = arguments.to_vec();
    std::fs::write(&config, "").unwrap();
    no_agent.extend(["-from", config.to_str().unwrap()]);
    let (code, _, stderr) = execute(agent, &no_agent).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("is not an agent that can carry a configuration"), "{stderr}");
    let mut without = program();
    without.args(["-embed", config.to_str().unwrap()]);
    assert!(!without.output().await.unwrap().status.success());
}

//! Every module as the agent starts it: a process of its own, with limits, in
//! the whole sandbox. What a module declares too little of fails here.
#![cfg(test)]
#![cfg(target_os = "linux")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use mig_agent::execute::child::{ORDERS, Orders, Sandboxing};
use mig_module::process::parameters_message;
use mig_types::{ModuleResult, wire};
use serde_json::{Value, json};

/// What a module answers in its sandbox; `None` where this kernel has no whole
/// one.
#[expect(clippy::disallowed_methods, reason = "the agent's own program")]
fn ask(module: &str, params: &Value) -> Option<ModuleResult> {
    let orders = Orders {
        parent: std::process::id(),
        memory_bytes: 256 << 20,
        deadline: Duration::from_mins(2),
        threads: 1,
        compressed: false,
        privacy: false,
        sandbox: Sandboxing::Require,
        cgroup: None,
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_mig-agent"))
        .args(["-m", module])
        .env(ORDERS, serde_json::to_string(&orders).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&parameters_message(params)).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{module}: {}", output.status);
    let result: ModuleResult = wire::from_slice(&output.stdout).unwrap();
    let unconfined = "module cannot be confined: agent.modulesandbox";
    if result.errors.iter().flatten().any(|error| error.starts_with(unconfined)) {
        println!("skipped: {:?}", result.errors);
        return None;
    }
    Some(result)
}

#[test]
fn pkg_reads_this_machine() {
    let params = json!({ "pkgmatch": { "matches": ["."] }, "containers": true });
    let Some(result) = ask("pkg", &params) else { return };
    assert!(result.success && result.errors.is_none(), "{result:?}");
    if std::path::Path::new("/var/lib/dpkg/status").exists() {
        assert!(result.foundanything);
    }
}

#[test]
fn scribe_reads_packages_and_files_of_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("version"), "Version = 1.5\n").unwrap();
    let object = json!({ "object": "v", "filecontent": { "path": dir.path(), "file": "^version$",
        "expression": r"^Version = (\S+)" } });
    let packages = json!({ "object": "p", "package": { "name": "any", "collectmatch": "." } });
    let tests = json!([
        { "test": "file", "object": "v", "evr": { "operation": "=", "value": "1.5" } },
        { "test": "packages", "object": "p" },
    ]);
    let document = json!({ "objects": [object, packages], "tests": tests });
    let Some(result) = ask("scribe", &json!({ "scribedoc": document })) else { return };
    assert!(result.success && result.errors.is_none(), "{result:?}");
    let results = &result.elements["results"];
    assert_eq!(results[0]["masterresult"], true, "{result:?}");
    if std::path::Path::new("/var/lib/dpkg/status").exists() {
        assert_eq!(results[1]["masterresult"], true, "{result:?}");
    }
}

#[test]
fn sshkey_finds_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let blob = "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    std::fs::write(dir.path().join("id.pub"), format!("ssh-ed25519 {blob} me\n")).unwrap();
    let Some(result) = ask("sshkey", &json!({ "paths": [dir.path()] })) else { return };
    assert!(result.success && result.foundanything && result.errors.is_none(), "{result:?}");
}

#[test]
fn ping_reaches_this_machine_in_every_way() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = listener.local_addr().unwrap().port();
    let udp = silent.local_addr().unwrap().port();
    for (protocol, destination, port) in
        [("icmp", "127.0.0.1", 0), ("tcp", "localhost", tcp), ("udp", "127.0.0.1", udp)]
    {
        let params = json!({ "destination": destination, "destinationport": port,
            "protocol": protocol, "count": 1, "timeout": 1 });
        let Some(result) = ask("ping", &params) else { return };
        assert!(result.success && result.errors.is_none(), "{protocol}: {result:?}");
        // `localhost` may be ::1 first, and echo needs a right.
        if protocol == "udp" {
            assert!(result.foundanything, "{result:?}");
        }
    }
}

#[test]
fn memory_looks_into_other_processes() {
    // The agent is left out; this test holds the text and is no agent.
    let secret = format!("held-by-{}", std::process::id());
    let search = json!({ "names": ["/modules-[0-9a-f]+$|/mig-agent$"], "contents": [secret],
        "options": { "matchall": true } });
    let Some(result) = ask("memory", &json!({ "searches": { "s1": search } })) else { return };
    assert!(result.success && result.errors.is_none(), "{result:?}");
    let found = result.elements["s1"].as_array().unwrap();
    let has = |pid: u32| found.iter().any(|element| element["process"]["pid"] == json!(pid));
    assert!(has(std::process::id()), "{result:?}");
    assert_eq!(result.statistics["leftout"].as_array().unwrap().len(), 1);
}

/// What a person gets who runs a module of another executable.
#[expect(clippy::disallowed_methods, reason = "the agent's own program")]
fn by_hand(config: &std::path::Path, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mig-agent"))
        .arg("-c")
        .arg(config)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_module_of_another_executable_is_handed_on_with_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("mig-agent.cfg");
    let text = format!(
        "[agent]\nmoduledir = \"{}\"\nextraprivacymode = on\nmoduletimeout = \"90s\"\n\
         modulethreads = 3\n",
        dir.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let (code, out) = by_hand(&config, &["-m", "yara"]);
    let result: ModuleResult = wire::from_slice(out.as_bytes()).unwrap();
    let missing = "module yara is unavailable: mig-yara is not installed";
    assert!(code == Some(0) && result.errors.unwrap()[0].starts_with(missing), "{out}");
    let (code, out) = by_hand(&config, &["-m", "yara", "-p"]);
    assert!(code == Some(0) && out.starts_with(&format!("[error] {missing}")), "{out}");

    // A program that says how it was started.
    std::os::unix::fs::symlink("/bin/echo", dir.path().join("mig-yara")).unwrap();
    let (code, out) = by_hand(&config, &["-m", "yara"]);
    let handed_on = "-m yara -p=false -privacy=true -timeout 1m30s -threads 3\n";
    assert_eq!((code, out.as_str()), (Some(0), handed_on));
}

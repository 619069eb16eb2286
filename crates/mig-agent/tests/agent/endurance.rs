//! Crashes, outages and modules that take too much.

use crate::stage::{
    self, Face, Stage, by_hash, by_name, children, endless_file, errors, eventually, is_alive,
    signal,
};
use mig_types::{CommandStatus, Operation};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_working_it_answers_once_after_the_restart() {
    let mut stage = Stage::play("").await;
    let path = stage.path("endless");
    endless_file(&path);
    let command = stage.command(stage.action(vec![by_hash(&path)]));
    stage.send(&command).await;
    let pid = stage.pid();
    let module = eventually("a module process", || children(pid).first().copied()).await;
    stage.kill9().await;
    eventually("the end of the module", || (!is_alive(module)).then_some(())).await;

    std::fs::write(&path, "short").unwrap();
    stage.start();
    let answer = stage.result().await;
    assert_eq!(answer.id, command.id);
    assert_eq!(answer.status, CommandStatus::Success, "{:?}", answer.results);
    // Once: what comes next is the answer to the next command.
    let empty = stage.path("conf");
    let next = stage.ask(stage.action(vec![by_name(&empty, "acl")])).await;
    assert_eq!(next.status, CommandStatus::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_while_working_it_goes_on_at_the_next_start() {
    let mut stage = Stage::play("").await;
    let path = stage.path("endless");
    endless_file(&path);
    let command = stage.command(stage.action(vec![by_hash(&path)]));
    stage.send(&command).await;
    let pid = stage.pid();
    let module = eventually("a module process", || children(pid).first().copied()).await;
    assert_eq!(stage.terminate().await, Some(0));
    // Killed before the agent ends; whoever inherits it takes its status later.
    eventually("the end of the module", || (!is_alive(module)).then_some(())).await;
    std::fs::write(&path, "short").unwrap();
    stage.start();
    let answer = stage.result().await;
    assert_eq!((answer.id, answer.status), (command.id, CommandStatus::Success));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_works_inside_its_sandbox() {
    let mut stage = Stage::play("modulesandbox = require\n").await;
    let path = stage.path("endless");
    endless_file(&path);
    let command = stage.command(stage.action(vec![by_hash(&path)]));
    stage.send(&command).await;
    let pid = stage.pid();
    let module = eventually("a module process", || children(pid).first().copied()).await;
    let probed = mig_sandbox::probe();
    let wanted = if probed.is_complete() { ("2", "2", "1") } else { ("", "", "") };
    if wanted.0.is_empty() {
        println!("skipped: this kernel has no whole sandbox: {probed}");
        return;
    }
    eventually("a confined module", || {
        let status = std::fs::read_to_string(format!("/proc/{module}/status")).ok()?;
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let found = (field("Seccomp:")?, field("Seccomp_filters:")?, field("NoNewPrivs:")?);
        (found == wanted).then_some(())
    })
    .await;
    std::fs::write(&path, "short").unwrap();
    let answer = stage.result().await;
    assert_eq!(answer.status, CommandStatus::Success, "{:?}", answer.results);
    let log = std::fs::read_to_string(stage.path("agent.log")).unwrap();
    assert!(log.contains("modules run in a sandbox: Landlock enforced, seccomp enforced"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_waits_for_the_relay() {
    let mut stage = Stage::play("").await;
    let path = stage.path("endless");
    endless_file(&path);
    let command = stage.command(stage.action(vec![by_hash(&path)]));
    stage.send(&command).await;
    let pid = stage.pid();
    let module = eventually("a module process", || children(pid).first().copied()).await;
    let address = stage.face.take().unwrap().shut().await;
    // The module ends while the relay is away.
    signal(module, rustix::process::Signal::KILL);
    let log = stage.path("agent.log");
    eventually("the end of the command", || {
        std::fs::read_to_string(&log).ok()?.contains("command done").then_some(())
    })
    .await;
    stage.face = Some(Face::open(&stage.relay, address).await);
    let answer = stage.result().await;
    assert_eq!((answer.id, answer.status), (command.id, CommandStatus::Failed));
    let text = errors(&answer.results.unwrap()[0]);
    assert!(text.contains("module ended with signal: 9"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_away_at_the_start_is_waited_for() {
    let mut stage = Stage::set("").await;
    let address = stage.face.take().unwrap().shut().await;
    stage.start();
    let log = stage.path("agent.log");
    eventually("a failed attempt", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("Collection from relay is failing").then_some(())
    })
    .await;
    stage.face = Some(Face::open(&stage.relay, address).await);
    stage.heartbeat().await;
    let action = stage.action(vec![by_name(&stage.path("conf"), "acl")]);
    assert_eq!(stage.ask(action).await.status, CommandStatus::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_does_not_stop_is_killed() {
    let mut stage = Stage::play("moduletimeout = \"4s\"").await;
    let path = stage.path("endless");
    endless_file(&path);
    let command = stage.command(stage.action(vec![by_hash(&path)]));
    stage.send(&command).await;
    let pid = stage.pid();
    // Asleep, it cannot stop itself in time as it otherwise does.
    let module = eventually("a module process", || children(pid).first().copied()).await;
    signal(module, rustix::process::Signal::STOP);
    let answer = stage.result().await;
    assert_eq!(answer.status, CommandStatus::Timeout);
    assert_eq!(errors(&answer.results.unwrap()[0]), "killed: ran longer than 4s");
    eventually("the end of the module", || (!is_alive(module)).then_some(())).await;
    // Awake, it reports what it has.
    let answer = stage.ask(stage.action(vec![by_hash(&path)])).await;
    assert_eq!(answer.status, CommandStatus::Success, "{:?}", answer.results);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_says_or_takes_too_much_is_killed() {
    let mut stage = Stage::play("moduleoutput = 1\nmodulememory = 48").await;
    let tree = stage.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let name = "n".repeat(240);
    for n in 0..5000 {
        std::fs::write(tree.join(format!("{name}{n}")), "").unwrap();
    }
    let answer = stage.ask(stage.action(vec![by_name(&tree, "^n")])).await;
    assert_eq!(answer.status, CommandStatus::Failed);
    assert_eq!(errors(&answer.results.unwrap()[0]), "killed: output above 1 MB");

    // Little that unfolds into much.
    let mut operation = Operation {
        module: "file".into(),
        parameters: json!({ "searches": vec![0; 4_000_000] }),
        ..Operation::default()
    };
    mig_module::compress::compress_parameters(&mut operation).unwrap();
    let answer = stage.ask(stage.action(vec![operation])).await;
    assert_eq!(answer.status, CommandStatus::Failed);
    let text = errors(&answer.results.unwrap()[0]);
    assert!(text.starts_with("killed: memory ") && text.ends_with("/48 MB"), "{text}");
    // The agent itself is unharmed.
    let action = stage.action(vec![by_name(&stage.path("conf"), "acl")]);
    assert_eq!(stage.ask(action).await.status, CommandStatus::Success);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_ends_the_other_agent_and_no_other() {
    let mut stage = Stage::play("").await;
    let copy = stage.path("mig-agent-old");
    std::fs::copy(env!("CARGO_BIN_EXE_mig-agent"), &copy).unwrap();
    let mut victim = stage::run(&copy, &["-m", "file"]);
    let pid = victim.id().unwrap();
    let order = |pid: u32, version: &str| Operation {
        module: "agentdestroy".to_owned(),
        parameters: json!({ "pid": pid, "version": version }),
        ..Operation::default()
    };

    let own = stage.pid();
    let wrong =
        stage.ask(stage.action(vec![order(pid, "0"), order(own, mig_agent::VERSION)])).await;
    let results = wrong.results.unwrap();
    assert!(results.iter().all(|result| !result.success), "{results:?}");
    assert!(errors(&results[0]).contains("Version mismatch. Expected '0'"), "{results:?}");
    assert!(errors(&results[1]).contains("is mine. Refusing to suicide."), "{results:?}");
    assert!(is_alive(pid) && copy.exists());

    let done = stage.ask(stage.action(vec![order(pid, mig_agent::VERSION)])).await;
    assert_eq!(done.status, CommandStatus::Success, "{:?}", done.results);
    let text = done.results.unwrap()[0].elements.as_str().unwrap().to_owned();
    let removed = format!("has been killed and its executable removed from {}", copy.display());
    assert!(text.ends_with(&removed), "{text}");
    victim.wait().await.unwrap();
    assert!(!copy.exists() && is_alive(own));
}

//! Modules that live as long as the agent, in the real program over a real relay.

#[cfg(test)]
#[path = "../../crates/mig-agent/tests/agent/stage.rs"]
#[expect(dead_code, reason = "made for the agent's own suite")]
mod stage;

#[cfg(test)]
const AGENT: &str = env!("CARGO_BIN_EXE_mig-persist-agent");

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

    use mig_host::audit::Status;
    use mig_testkit::Auditing;
    use mig_types::{Command, CommandStatus, ModuleResult, Operation};
    use rustix::process::Signal;
    use serde_json::{Value, json};

    use crate::stage::{Stage, errors, eventually, is_alive, signal};

    /// An agent whose example module logs every second.
    async fn play(settings: &str) -> Stage {
        let mut stage = Stage::set(settings).await;
        std::fs::write(stage.path("conf/examplepersist.cfg"), "[examplepersist]\ninterval = 1\n")
            .unwrap();
        stage.start();
        stage.heartbeat().await;
        stage
    }

    fn log(stage: &Stage) -> String {
        std::fs::read_to_string(stage.path("agent.log")).unwrap_or_default()
    }

    async fn logged(stage: &Stage, text: &str) {
        eventually(text, || log(stage).contains(text).then_some(())).await;
    }

    /// Processes of the example module so far, the last one at the end.
    fn pids(stage: &Stage) -> Vec<u32> {
        pids_of(stage, "examplepersist")
    }

    fn pids_of(stage: &Stage, module: &str) -> Vec<u32> {
        let log = log(stage);
        let before = format!("[{module}] module started, pid ");
        let parts = log.split(&before).skip(1);
        let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
        parts.map(|part| digits(part).parse().unwrap()).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "somebody else who writes a file")]
    fn rewrite(path: &std::path::Path) {
        let script = "echo two > \"$0\"";
        let ended = std::process::Command::new("sh").args(["-c", script]).arg(path).status();
        assert!(ended.unwrap().success());
    }

    fn question(parameters: Value) -> Operation {
        Operation { module: "examplepersist".into(), parameters, ..Operation::default() }
    }

    async fn ask(stage: &mut Stage, parameters: Value) -> Command {
        let action = stage.action(vec![question(parameters)]);
        stage.ask(action).await
    }

    fn only(answer: Command) -> ModuleResult {
        answer.results.unwrap().remove(0)
    }

    /// Asks until the module answers.
    async fn echo(stage: &mut Stage, text: &str) -> ModuleResult {
        loop {
            let answer = ask(stage, json!({ "string": text })).await;
            if answer.status == CommandStatus::Success {
                return only(answer);
            }
            let result = only(answer);
            assert_eq!(errors(&result), "module examplepersist is not registered");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_investigator_asks_a_module_that_lives() {
        let mut stage = play("").await;
        logged(&stage, "[examplepersist] (module log) running, current time is ").await;
        let result = echo(&mut stage, "zażółć \"gęślą\"\njaźń").await;
        assert!(result.success && result.foundanything);
        assert_eq!(result.elements, json!({ "string": "zażółć \"gęślą\"\njaźń" }));

        let answer = ask(&mut stage, json!({})).await;
        assert_eq!(errors(&only(answer)), "must set a string to echo");
        let mut compressed = question(json!({ "string": "folded" }));
        mig_module::compress::compress_parameters(&mut compressed).unwrap();
        let action = stage.action(vec![compressed]);
        let answer = stage.ask(action).await;
        assert_eq!(only(answer).elements, json!({ "string": "folded" }));

        // Only root asks without the agent between, and the process is confined.
        let socket = stage.path("run/persist-examplepersist.sock");
        let found = std::fs::metadata(&socket).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        let pid = pids(&stage)[0];
        if log(&stage).contains("seccomp enforced") {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            let confined = tasks.filter(|task| {
                let status = task.as_ref().unwrap().path().join("status");
                let status = std::fs::read_to_string(status).unwrap_or_default();
                status.contains("Seccomp:\t2")
            });
            assert!(confined.count() >= 3, "all threads but the one that lets questions in");
        }
        assert_eq!(pids(&stage).len(), 1, "one process for all of it");

        assert_eq!(stage.terminate().await, Some(0));
        eventually("the module's end", || (!is_alive(pid)).then_some(())).await;
        assert!(!socket.exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_module_that_was_killed_comes_back() {
        let mut stage = play("").await;
        echo(&mut stage, "before").await;
        signal(pids(&stage)[0], Signal::KILL);
        logged(&stage, "[examplepersist] module ended, started again in 10 s: it has ended").await;
        let result = only(ask(&mut stage, json!({ "string": "meanwhile" })).await);
        assert_eq!(errors(&result), "module examplepersist is not registered");
        eventually("a second process", || (pids(&stage).len() == 2).then_some(())).await;
        let result = echo(&mut stage, "after").await;
        assert_eq!(result.elements, json!({ "string": "after" }));
        // The agent's own end is the module's, too, however it comes.
        let pid = pids(&stage)[1];
        stage.kill9().await;
        eventually("the module's end", || (!is_alive(pid)).then_some(())).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_module_that_hangs_is_replaced() {
        let mut stage = play("").await;
        echo(&mut stage, "before").await;
        let pid = pids(&stage)[0];
        signal(pid, Signal::STOP);
        logged(&stage, "no answer to pings for 30 s").await;
        eventually("the end of the one that hangs", || (!is_alive(pid)).then_some(())).await;
        eventually("a second process", || (pids(&stage).len() == 2).then_some(())).await;
        echo(&mut stage, "after").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn modules_that_behave_badly_reach_the_log_and_nothing_else() {
        let mut stage = Stage::set("").await;
        let config = "[examplepersist]\ninterval = many\nother = 1\n";
        std::fs::write(stage.path("conf/examplepersist.cfg"), config).unwrap();
        stage.start();
        stage.heartbeat().await;
        for text in [
            "[crier] alert: {\"fire\":\"100% %s\"}",
            "[crier] (module log) one line that looks like two",
            "[crier] (module log) no voice left",
            "[crier] module ended, started again in 10 s: it has ended",
            "[gossip] module ended, started again in 10 s: it sent a message of class \"news\"",
            "the value of [ExamplePersist] interval makes no sense",
            "[examplepersist] other is not known",
            "[examplepersist] (module log) interval not set, defaulting to 30",
            // The longer it does not last, the longer it has to wait.
            "[crier] module ended, started again in 20 s",
        ] {
            let wanted = text.replace('"', "");
            eventually(text, || {
                let log = log(&stage).replace(['"', '\\'], "");
                log.contains(&wanted).then_some(())
            })
            .await;
        }
        let result = echo(&mut stage, "still there").await;
        assert!(result.success);
    }

    /// Nobody's audit daemon, no rule, and auditing as it was.
    async fn given_back(auditing: &mut Auditing) {
        let before = auditing.found();
        eventually("auditing as it was", || {
            let now = auditing.link.status().unwrap();
            (Status { lost: before.lost, ..now } == before).then_some(())
        })
        .await;
        assert!(auditing.link.remove_rules().unwrap().is_empty());
    }

    /// The host is left as it was found by every way in which the module can end
    /// but one: when it is killed itself.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_the_kernel_audits_reaches_the_log_and_the_host_is_left_as_it_was() {
        let mut auditing = match Auditing::claim() {
            Ok(auditing) => auditing,
            Err(error) => {
                println!("skipped: auditing cannot be controlled: {error}");
                return;
            }
        };
        let mut stage = Stage::set("").await;
        let (rules, watched) = (stage.path("rules.json"), stage.path("watched"));
        std::fs::write(&watched, "one").unwrap();
        let watch = json!({ "path": watched, "permission": "w", "key": "mig-e2e" });
        std::fs::write(&rules, json!({ "audit_rules": [watch] }).to_string()).unwrap();
        let config = format!("[audit]\nrulespath = \"{}\"\n", rules.display());
        std::fs::write(stage.path("conf/audit.cfg"), config).unwrap();
        let listening = "[audit] (module log) listening for audit events";
        let listens =
            |stage: &Stage, times| (log(stage).matches(listening).count() == times).then_some(());

        stage.start();
        stage.heartbeat().await;
        eventually(listening, || listens(&stage, 1)).await;
        assert_eq!(auditing.link.status().unwrap().pid, pids_of(&stage, "audit")[0]);
        let mut looked = 0;
        let line = eventually("the alert", || {
            // Again now and then: for a second after a storm, such as another test
            // makes, the kernel drops what it should report.
            if looked % 50 == 0 {
                // By a process that is younger than auditing: this one is not audited
                // where nobody had switched it on since the boot.
                rewrite(&watched);
            }
            looked += 1;
            let log = log(&stage).replace('\\', "");
            let is_it = |line: &&str| {
                line.contains("\"key\":\"mig-e2e\"") && line.contains("\"syscall\":\"openat\"")
            };
            log.lines().find(is_it).map(str::to_owned)
        })
        .await;
        assert!(line.contains("[audit] alert: {\"Serial\":\""), "{line}");
        assert!(line.contains("\"Type\":\"EOE\""), "{line}");
        let question =
            Operation { module: "audit".into(), parameters: json!({}), ..Operation::default() };
        let action = stage.action(vec![question]);
        let answer = stage.ask(action).await;
        assert_eq!(only(answer).elements, json!({ "ok": true }));

        // As a service manager ends all processes of a service at once.
        signal(pids_of(&stage, "audit")[0], Signal::TERM);
        logged(&stage, "[audit] module ended, started again in 10 s: it has ended").await;
        given_back(&mut auditing).await;
        eventually(listening, || listens(&stage, 2)).await;
        stage.kill9().await;
        given_back(&mut auditing).await;
        stage.start();
        eventually(listening, || listens(&stage, 3)).await;
        assert_eq!(stage.terminate().await, Some(0));
        assert!(log(&stage).contains("[audit] (module log) auditing given back"));
        given_back(&mut auditing).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_agent_keeps_no_module_when_told_not_to() {
        let mut stage = play("nopersistmods = on\n").await;
        let result = only(ask(&mut stage, json!({ "string": "x" })).await);
        assert_eq!(errors(&result), "module examplepersist is not registered");
        assert!(pids(&stage).is_empty());
        assert_eq!(stage.terminate().await, Some(0));
    }
}

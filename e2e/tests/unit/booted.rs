//! systemd itself, as the first process of a small system of its own: it installs,
//! starts, restarts and stops the agent.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mig_e2e::attacker::{Attacker, AttackersRelay, executed, reasons, sign};
use mig_e2e::operator::{repository, scratch, succeed, tool};
use mig_testkit::{Managed, binary, until};
use mig_types::Operation;
use serde_json::{Value, json};

use crate::{Group, make_executable};

/// systemd does what it is told within this time, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(40);

/// A system that was booted.
struct Machine {
    // Ends before its group is removed: fields drop in this order.
    process: Managed,
    _group: Group,
    /// The id of its first process, as it is seen from outside.
    init: String,
}

impl Machine {
    /// Why there is none is an answer, too.
    fn boot(directory: &Path) -> anyhow::Result<Result<Self, String>> {
        if !Path::new("/usr/lib/systemd/systemd").exists() {
            return Ok(Err("systemd is not installed".to_owned()));
        }
        let Some(group) = Group::make("boot") else {
            return Ok(Err("no control groups, version 2, that can be written".to_owned()));
        };
        let root = directory.join("root");
        fs::create_dir(&root)?;
        let text = format!(
            "#!/bin/sh\nset -e\necho $$ >{group}/cgroup.procs\nexec unshare --cgroup --mount --pid \
             --uts --ipc --fork --kill-child sh {boot} {root} {agent} {directory}\n",
            group = group.path.display(),
            boot = repository().join("e2e/tests/unit/boot.sh").display(),
            root = root.display(),
            agent = binary("mig-agent")?.display(),
            directory = directory.display(),
        );
        let program = directory.join("boot");
        fs::write(&program, text)?;
        make_executable(&program)?;
        let mut process = Managed::start("machine", &program, &[], &[], directory)?;
        let children = format!("/proc/{0}/task/{0}/children", process.pid());
        let running = until("a system that is up", PATIENCE, || {
            if !process.is_running() {
                return Some(None);
            }
            let init = fs::read_to_string(&children).ok()?.trim().to_owned();
            let state = within(&init).args(["systemctl", "is-system-running"]).output().ok()?;
            (!init.is_empty() && state.stdout == b"running\n").then_some(Some(init))
        });
        match running.with_context(|| process.log())? {
            Some(init) => Ok(Ok(Self { process, _group: group, init })),
            None => Ok(Err(process.log().trim().replace('\n', "; "))),
        }
    }

    /// A program inside.
    fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        succeed(within(&self.init).args(words)).with_context(|| self.process.log())
    }

    /// A property of the agent's service.
    fn property(&self, name: &str) -> anyhow::Result<String> {
        let words = ["systemctl", "show", "--value", "--property", name, "mig-agent"];
        Ok(self.run(&words)?.trim().to_owned())
    }

    fn waits_for(&self, name: &str, value: &str) -> anyhow::Result<()> {
        until(&format!("{name}={value}"), PATIENCE, || {
            self.property(name).is_ok_and(|found| found == value).then_some(())
        })
        .with_context(|| self.journal().unwrap_or_default())
    }

    /// What the agent logged.
    fn journal(&self) -> anyhow::Result<String> {
        self.run(&["journalctl", "--unit", "mig-agent", "--output", "cat", "--no-pager"])
    }

    /// A program that enters the system and installs the agent there.
    fn installer(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        let program = directory.join("install");
        let init = &self.init;
        let text =
            format!("#!/bin/sh\nexec nsenter --target {init} --all /sbin/mig-agent \"$@\" -u\n");
        fs::write(&program, text)?;
        make_executable(&program)?;
        Ok(program)
    }
}

fn within(init: &str) -> Command {
    let mut command = tool("nsenter");
    command.args(["--target", init, "--all"]);
    command
}

/// A question for every module that a whole machine has something for.
fn questions(platform: &Attacker, port: u16) -> Vec<Operation> {
    let operation = |module: &str, parameters: Value| Operation {
        module: module.to_owned(),
        parameters,
        ..Operation::default()
    };
    vec![
        platform.search(),
        operation("netstat", json!({ "listeningport": [port.to_string()] })),
        // Another process, in whose memory something is read.
        operation(
            "memory",
            json!({ "searches": { "s": {
                "names": ["^/usr/lib/systemd/systemd$"], "contents": ["systemd"]
            } } }),
        ),
        operation(
            "ping",
            json!({ "destination": "127.0.0.1", "protocol": "icmp", "count": 1, "timeout": 5 }),
        ),
        operation("timedrift", json!({})),
    ]
}

/// Waits until the installer has done its part.
fn installed(platform: &mut Attacker) -> anyhow::Result<()> {
    let process = &mut platform.agent.process;
    until("the end of the installer", PATIENCE, || (!process.is_running()).then_some(()))?;
    let status = process.terminate(PATIENCE)?;
    ensure!(status.success(), "{status}: {}", process.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_installs_starts_restarts_and_stops_an_agent() -> anyhow::Result<()> {
    let directory = scratch("mig-booted-")?;
    let machine = match Machine::boot(directory.path())? {
        Ok(machine) => machine,
        Err(reason) => {
            println!("skipped: systemd cannot be booted here: {reason}");
            return Ok(());
        }
    };
    let installer = machine.installer(directory.path())?;
    let relay = AttackersRelay::built_in().await?;
    let mut platform =
        Attacker::start_program(&installer, "booted", relay, directory.path(), &[]).await?;
    installed(&mut platform)?;
    machine.waits_for("ActiveState", "active")?;
    assert_eq!(machine.property("UnitFileState")?, "enabled");
    assert_eq!(machine.property("FragmentPath")?, "/etc/systemd/system/mig-agent.service");

    // With all that the unit takes from it, it does all its work.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut action = platform.question();
    action.operations = Some(questions(&platform, listener.local_addr()?.port()));
    for investigator in [&platform.alice, &platform.bob] {
        sign(&mut action, &investigator.key, platform.now())?;
    }
    let answer = platform.ask(&platform.command(action)).await?;
    for result in answer.results.iter().flatten() {
        ensure!(result.success, "{}: {result:?}", reasons(&answer));
    }
    let found: Vec<bool> = answer.results.iter().flatten().map(|one| one.foundanything).collect();
    assert_eq!(found.get(..4), Some(&[true; 4][..]), "{:?}", answer.results);
    ensure!(executed(&answer));

    let first = machine.property("MainPID")?;
    machine.run(&["sh", "-c", &format!("kill -KILL {first}")])?;
    machine.waits_for("NRestarts", "1")?;
    platform.control().await?;
    assert_ne!(machine.property("MainPID")?, first);

    // Over itself, as an upgrade does it.
    let second = machine.property("MainPID")?;
    platform.agent.restart()?;
    installed(&mut platform)?;
    platform.control().await?;
    assert_ne!(machine.property("MainPID")?, second);

    machine.run(&["systemctl", "stop", "mig-agent"])?;
    assert_eq!(machine.property("ActiveState")?, "inactive");
    assert_eq!(machine.property("Result")?, "success");
    assert_eq!(machine.property("ExecMainStatus")?, "0");
    let journal = machine.journal()?;
    for line in [
        "Running as a service.",
        "modules run in control groups, controllers: ",
        "Shutting down agent: 'interrupt'",
    ] {
        ensure!(journal.contains(line), "{line} is not in {journal}");
    }
    Ok(())
}

//! A guest that takes too much is shown out, and its host is told why.
//!
//! Real agent processes with modules that went bad, over the built-in relay.

#![cfg(test)]
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mig_e2e::attacker::{Attacker, AttackersRelay, reasons, sign};
use mig_testkit::{cpu_time, until};
use mig_types::{Command, CommandStatus, Operation};
use serde_json::json;

/// Time from a limit to the end of whoever passed it.
const PROMISE: Duration = Duration::from_secs(2);
const TIME: Duration = Duration::from_secs(3);
const SETTINGS: [&str; 4] =
    ["moduletimeout = 3s", "modulememory = 48", "moduleoutput = 1", "moduleprocesses = 32"];

/// A module, what it does, the status, what is said, and what is waited for.
struct Case {
    module: &'static str,
    deed: &'static str,
    status: CommandStatus,
    reason: &'static str,
    /// It ends at the limit on time; others as soon as they pass theirs.
    is_late: bool,
}

const fn case(module: &'static str, deed: &'static str, reason: &'static str) -> Case {
    Case { module, deed, status: CommandStatus::Failed, reason, is_late: false }
}

const fn late(module: &'static str, deed: &'static str) -> Case {
    let status = CommandStatus::Timeout;
    Case { module, deed, status, reason: "killed: ran longer than 3s", is_late: true }
}

/// `agentdestroy` runs outside of the sandbox, `file` inside.
const CASES: &[Case] = &[
    late("file", "spin"),
    late("file", "sleep"),
    late("agentdestroy", "ignore every signal"),
    case("file", "take memory", "killed: memory "),
    case("agentdestroy", "take memory in children", "killed: memory "),
    case("file", "start threads", "killed: more than 32 processes and threads"),
    case("agentdestroy", "fork", "killed: more than 32 processes and threads"),
    case("agentdestroy", "fork and leave", "killed: more than 32 processes and threads"),
    case("file", "flood the output", "killed: output above 1 MB"),
    case("file", "flood the log", "killed: output above 1 MB"),
    case("file", "crash", "module ended with signal: 6"),
    Case {
        status: CommandStatus::Success,
        ..case("file", "fork in the sandbox", "PermissionDenied")
    },
    Case {
        status: CommandStatus::Success,
        ..case("agentdestroy", "leave a daemon", "killed: 1 process left behind")
    },
    Case {
        status: CommandStatus::Success,
        ..case(
            "agentdestroy",
            "leave a daemon that holds the output",
            "killed: 1 process left behind",
        )
    },
];

/// Nothing but a control group finds it.
const HIDDEN: Case = Case {
    status: CommandStatus::Success,
    ..case("agentdestroy", "leave a daemon without a trace", "killed: 1 process left behind")
};

fn command(attacker: &Attacker, case: &Case, token: &str) -> anyhow::Result<Command> {
    let mut action = attacker.question();
    action.operations = Some(vec![Operation {
        module: case.module.to_owned(),
        parameters: json!({ "deed": case.deed, "token": token }),
        ..Operation::default()
    }]);
    sign(&mut action, &attacker.alice.key, attacker.now())?;
    Ok(attacker.command(action))
}

/// Processes with that number on their command line.
fn left(token: &str) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(token)
        })
        .count()
}

/// Runs a case; how long after its limit the answer came.
async fn run(attacker: &mut Attacker, case: &Case, token: &str) -> anyhow::Result<Duration> {
    let agent = attacker.agent.process.pid();
    let before = cpu_time(agent);
    let begun = Instant::now();
    let answer = attacker.ask(&command(attacker, case, token)?).await?;
    let elapsed = begun.elapsed();
    let said = reasons(&answer);
    ensure!(answer.status == case.status, "status {:?}: {said}", answer.status);
    ensure!(said.contains(case.reason), "it says {said:?}, not {:?}", case.reason);
    if case.deed == "spin" {
        // What eight threads took, of which half the machine is theirs.
        let spent = cpu_time(agent).saturating_sub(before);
        let cores = std::thread::available_parallelism()?.get();
        let most = elapsed * u32::try_from((cores / 2).max(1))? * 11 / 10;
        ensure!(spent <= most, "took {spent:?} of CPU time in {elapsed:?} on {cores} cores");
    }
    let limit = if case.is_late { TIME } else { Duration::ZERO };
    let after = elapsed.saturating_sub(limit);
    ensure!(after < PROMISE, "answered {after:?} after the limit");
    until("the end of all it started", PROMISE.saturating_sub(after), || {
        (left(token) == 0).then_some(())
    })?;
    Ok(after)
}

async fn suite(name: &str, extra: &[&str], more: &[Case]) -> anyhow::Result<String> {
    let scratch = tempfile::tempdir()?;
    let relay = AttackersRelay::built_in().await?;
    let settings = [&SETTINGS[..], extra].concat();
    let program = env!("CARGO_BIN_EXE_mig-hostile-agent");
    let mut attacker =
        Attacker::start_program(program.as_ref(), name, relay, scratch.path(), &settings).await?;
    // The agent is up and has answered before the first watch is started.
    attacker.ask(&command(&attacker, &case("file", "warm up", ""), "")?).await?;
    let pid = attacker.agent.process.pid();
    let mut latest = Duration::ZERO;
    let mut tried = 0;
    for case in CASES.iter().chain(more) {
        tried += 1;
        // A number of seconds that nobody else sleeps for.
        let token = format!("7{pid:07}{tried:03}");
        let after = run(&mut attacker, case, &token).await;
        latest = latest.max(after.with_context(|| format!("{name}: {}", case.deed))?);
    }
    ensure!(attacker.agent.process.pid() == pid && attacker.agent.process.is_running());
    let answer = attacker.ask(&command(&attacker, &case("file", "warm up", ""), "")?).await?;
    ensure!(reasons(&answer).contains("no such deed: warm up"), "{}", reasons(&answer));
    let log = attacker.agent.process.log();
    println!(
        "limits {name}: {tried} hostile modules, each ended and reported at most {} ms after its \
         limit, the agent unharmed",
        latest.as_millis()
    );
    Ok(log)
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_modules_in_control_groups_are_ended_and_reported() {
    if !has_groups() {
        println!("skipped: no control groups of version 2 that this test may write");
        return;
    }
    let log = Box::pin(suite("with control groups", &[], &[HIDDEN])).await.unwrap();
    assert!(log.contains("modules run in control groups"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_modules_without_control_groups_are_ended_and_reported() {
    let off = ["modulecgroups = off"];
    let log = Box::pin(suite("without control groups", &off, &[])).await.unwrap();
    assert!(log.contains("agent.modulecgroups is off"), "{log}");
}

/// Whether groups can be made where this process is.
fn has_groups() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4)).flatten()
    });
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let (Some(point), Some(own)) = (point, own) else { return false };
    let probe = format!("{point}{own}/mig-probe-{}", std::process::id());
    let made = std::fs::create_dir(&probe).is_ok();
    made && std::fs::remove_dir(&probe).is_ok()
}

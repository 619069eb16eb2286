//! Agents that are killed at any moment, and agents whose clock is wrong.

#![cfg(test)]
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mig_e2e::attacker::{Attacker, AttackersRelay, executed, reasons, sign};
use mig_runtime::random;
use mig_types::{Command, CommandId, CommandStatus, Operation};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Commands under way at any time.
const STREAM: usize = 12;
/// The longest life of an agent, in milliseconds.
const LONGEST_LIFE: u64 = 400;

async fn hostile(name: &str, scratch: &Path, settings: &[&str]) -> anyhow::Result<Attacker> {
    let relay = AttackersRelay::built_in().await?;
    let program = env!("CARGO_BIN_EXE_mig-hostile-agent");
    Attacker::start_program(program.as_ref(), name, relay, scratch, settings).await
}

fn counted(attacker: &Attacker, module: &str, log: &Path) -> anyhow::Result<Command> {
    let mut action = attacker.question();
    let token = action.id.to_string();
    action.operations = Some(vec![Operation {
        module: module.to_owned(),
        parameters: json!({ "deed": "count", "log": log, "token": token }),
        ..Operation::default()
    }]);
    sign(&mut action, &attacker.alice.key, attacker.now())?;
    Ok(attacker.command(action))
}

/// What the test knows of one command.
struct Sent {
    token: String,
    /// Its module changes the host.
    is_once: bool,
    /// What it was answered, and how often that was delivered.
    answer: Option<(CommandStatus, String, usize)>,
}

/// What was written down while commands were run and agents killed.
struct Tally {
    log: File,
    sent: BTreeMap<CommandId, Sent>,
}

impl Tally {
    fn note(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self.log.write_all(format!("{line}\n").as_bytes())?)
    }

    fn take(&mut self, answers: Vec<Command>) -> anyhow::Result<()> {
        for answer in answers {
            let sent = self.sent.get_mut(&answer.id).context("an answer to no command")?;
            let run = answer.results.iter().flatten().next().map(|result| &result.elements);
            let text = match run {
                Some(Value::String(run)) => run.clone(),
                _ => reasons(&answer),
            };
            if let Some((status, first, times)) = &mut sent.answer {
                ensure!(*status == answer.status && *first == text, "two answers: {text}");
                *times += 1;
            } else {
                sent.answer = Some((answer.status, text, 1));
                let line = format!("answered {}", sent.token);
                self.note(&line)?;
            }
        }
        Ok(())
    }

    fn waiting(&self) -> usize {
        self.sent.values().filter(|sent| sent.answer.is_none()).count()
    }
}

async fn kills(count: usize) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut attacker = hostile("mortal", scratch.path(), &["modulesandbox = off"]).await?;
    let path = scratch.path().join("tally");
    let log = File::options().create(true).append(true).open(&path)?;
    let mut tally = Tally { log, sent: BTreeMap::new() };
    for number in 0..count {
        while tally.waiting() < STREAM {
            let is_once = tally.sent.len().is_multiple_of(5);
            let module = if is_once { "agentdestroy" } else { "file" };
            let command = counted(&attacker, module, &path)?;
            let token = command.action.id.to_string();
            tally.sent.insert(command.id, Sent { token, is_once, answer: None });
            attacker.inject(mig_types::wire::to_vec(&command)?).await?;
        }
        let life = Duration::from_millis(random::u64() % LONGEST_LIFE);
        let answers = attacker.answers(Instant::now() + life).await?;
        tally.take(answers)?;
        attacker.agent.process.kill9();
        tally.note(&format!("killed {number}"))?;
        attacker.agent.restart()?;
    }
    let deadline = Instant::now() + Duration::from_mins(2);
    while tally.waiting() > 0 {
        ensure!(Instant::now() < deadline, "{} commands are not answered", tally.waiting());
        let answers = attacker.answers(Instant::now() + Duration::from_millis(100)).await?;
        tally.take(answers)?;
    }
    // Late copies would come now.
    tally.take(attacker.answers(Instant::now() + Duration::from_secs(1)).await?)?;
    attacker.control().await?;
    verdict(count, &tally, &std::fs::read_to_string(&path)?)
}

fn verdict(kills: usize, tally: &Tally, log: &str) -> anyhow::Result<()> {
    let mut begun: BTreeMap<&str, usize> = BTreeMap::new();
    let mut done: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    // Begun since the last kill, answered ever.
    let (mut running, mut answered) = (BTreeSet::new(), BTreeSet::new());
    let mut again = 0;
    for line in log.lines() {
        let mut words = line.split(' ');
        let (what, token) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match what {
            "killed" => running.clear(),
            "answered" => {
                answered.insert(token);
            }
            "begun" => {
                ensure!(running.insert(token), "{token} is run twice in one life");
                ensure!(!answered.contains(token), "{token} is run after it was answered");
                let times = begun.entry(token).or_default();
                *times += 1;
                again += usize::from(*times > 1);
            }
            "done" => {
                done.entry(token).or_default().insert(words.next().unwrap_or_default());
            }
            other => anyhow::bail!("what is {other}?"),
        }
    }
    let (mut given_up, mut copies) = (0, 0);
    for sent in tally.sent.values() {
        let (status, said, times) = sent.answer.as_ref().context("an unanswered command")?;
        copies += times - 1;
        let runs = begun.get(sent.token.as_str()).copied().unwrap_or_default();
        ensure!(!sent.is_once || runs <= 1, "{} changes its host {runs} times", sent.token);
        if *status == CommandStatus::Success {
            let known = done.get(sent.token.as_str()).is_some_and(|runs| runs.contains(&**said));
            ensure!(known, "{} was answered by a run that never was", sent.token);
        } else {
            given_up += 1;
            let reasons = ["is not run twice", "agent was stopped 5 times"];
            ensure!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
        }
    }
    println!(
        "endurance: {kills} agents killed with SIGKILL, {} commands, each with one answer; 0 run \
         again after their result was kept or their module changes the host; {again} runs cut off \
         and begun anew, {given_up} given up with the reason, {copies} answers delivered again",
        tally.sent.len()
    );
    Ok(())
}

/// `MIG_KILLS` (30) says how often.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_an_agent_answers_everything_once() {
    let count = std::env::var("MIG_KILLS").map_or(Ok(30), |text| text.parse()).unwrap();
    Box::pin(kills(count)).await.unwrap();
}

fn set_clock(attacker: &Attacker, seconds: i64) {
    let file = attacker.agent.run_directory().with_file_name("clock");
    std::fs::write(file, seconds.to_string()).unwrap();
}

const HOURS: i64 = 3600;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_by_hours_refuses_with_the_reason_and_loses_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("tally");
    File::create(&log).unwrap();
    let mut attacker = hostile("jumpy", scratch.path(), &["modulesandbox = off"]).await.unwrap();
    let first = counted(&attacker, "file", &log).unwrap();
    let answer = attacker.ask(&first).await.unwrap();
    assert!(executed(&answer), "{}", reasons(&answer));
    for (hours, reason) in [(5, "expireafter is in the past"), (-5, "is not valid before")] {
        set_clock(&attacker, hours * HOURS);
        let command = counted(&attacker, "file", &log).unwrap();
        let refused = attacker.ask(&command).await.unwrap();
        assert!(!executed(&refused), "{hours}");
        assert!(reasons(&refused).contains(reason), "{hours}: {}", reasons(&refused));
        // Restarted, it is no less sure of what it has run.
        attacker.agent.restart().unwrap();
        set_clock(&attacker, 0);
        let again = attacker.command(first.action.clone());
        let repeated = attacker.ask(&again).await.unwrap();
        assert_eq!(repeated.results, answer.results, "{hours}");
    }
    // A jump in the middle of a run ends nothing, and the answer goes out.
    let mut action = attacker.question();
    let slow = json!({ "deed": "count", "log": log, "token": action.id.to_string(), "wait": 1500 });
    action.operations = Some(vec![Operation {
        module: "file".to_owned(),
        parameters: slow,
        ..Operation::default()
    }]);
    sign(&mut action, &attacker.alice.key, attacker.now()).unwrap();
    let command = attacker.command(action);
    attacker.inject(mig_types::wire::to_vec(&command).unwrap()).await.unwrap();
    let token = command.action.id.to_string();
    mig_testkit::until("the begin of the run", Duration::from_secs(30), || {
        std::fs::read_to_string(&log).ok()?.contains(&token).then_some(())
    })
    .unwrap();
    set_clock(&attacker, 30 * HOURS);
    let answer = attacker.answer(command.id).await.unwrap();
    assert!(executed(&answer), "{}", reasons(&answer));
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("begun")).count(), 2, "{text}");
}

//! One agent, very many commands: whether its memory grows.
//!
//! `MIG_SOAK_COMMANDS` (20,000) are run after a tenth as many to warm up, and 600 at
//! least, over the built-in relay. With `MIG_SOAK_EVERY=n` only every nth is run by a
//! module process, and the others name a module that the agent lacks: they take the
//! same way through queue, signatures, journal and outbox, but no process is
//! started, whose time limits the rate otherwise. Prints figures on the way and
//! last, and fails when the agent has grown by 1 MiB or more, resident or anonymous.

#![expect(clippy::print_stdout, reason = "figures are what a bench is run for")]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mig_e2e::attacker::{Attacker, AttackersRelay, executed, reasons, sign};
use mig_testkit::{anonymous, cpu_time, resident};
use mig_types::{Action, CommandId, wire};

const GOAL_GROWTH: u64 = 1 << 20;
/// A module that no agent has.
const ABSENT: &str = "absent";
/// Commands under way at any time.
const STREAM: usize = 16;
/// An agent that answers nothing for so long does not answer.
const SILENCE: Duration = Duration::from_mins(5);
/// When figures are printed, and every so many commands after the last of them.
const MARKS: [usize; 4] = [2_000, 10_000, 20_000, 50_000];
const STRIDE: usize = 50_000;

/// What a process takes, in bytes.
#[derive(Debug, Clone, Copy)]
struct Memory {
    resident: u64,
    anonymous: u64,
}

impl Memory {
    fn of(pid: u32) -> Self {
        Self { resident: resident(pid), anonymous: anonymous(pid) }
    }
}

/// A question that no module process is started for.
fn for_nobody(attacker: &Attacker) -> anyhow::Result<Action> {
    let mut action = attacker.question();
    for operation in action.operations.iter_mut().flatten() {
        ABSENT.clone_into(&mut operation.module);
    }
    sign(&mut action, &attacker.alice.key, attacker.now())?;
    Ok(action)
}

/// Every command that was answered, and how many answers came again: they are
/// delivered at least once, and a relay that was cut off has to be told again.
#[derive(Default)]
struct Answered {
    ids: BTreeSet<CommandId>,
    again: usize,
}

/// Has commands answered; every `every`th by a module.
async fn answer(
    attacker: &mut Attacker,
    count: usize,
    every: usize,
    answered: &mut Answered,
) -> anyhow::Result<()> {
    let mut waiting: BTreeSet<CommandId> = BTreeSet::new();
    let (mut sent, mut heard) = (0, Instant::now());
    while sent < count || !waiting.is_empty() {
        while sent < count && waiting.len() < STREAM {
            let is_run = sent.is_multiple_of(every);
            let action = if is_run { attacker.signed() } else { for_nobody(attacker) };
            let command = attacker.command(action?);
            attacker.inject(wire::to_vec(&command)?).await?;
            waiting.insert(command.id);
            sent += 1;
        }
        let soon = tokio::time::Instant::now() + Duration::from_millis(5);
        for answer in attacker.answers(soon).await? {
            if !waiting.remove(&answer.id) {
                let is_known = answered.ids.contains(&answer.id);
                ensure!(is_known, "an answer to command {}, which was not sent", answer.id);
                answered.again += 1;
                continue;
            }
            answered.ids.insert(answer.id);
            let operations = answer.action.operations();
            let is_for_nobody = operations.iter().any(|operation| operation.module == ABSENT);
            let is_proper = if is_for_nobody {
                reasons(&answer) == format!("module '{ABSENT}' is not available")
            } else {
                executed(&answer)
            };
            ensure!(is_proper, "command {}: {}", answer.id, reasons(&answer));
            heard = Instant::now();
        }
        ensure!(heard.elapsed() < SILENCE, "{} commands are not answered", waiting.len());
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
async fn soak(count: usize, every: usize) -> anyhow::Result<bool> {
    let scratch = tempfile::tempdir()?;
    let relay = AttackersRelay::built_in().await?;
    let settings = ["heartbeatfreq = 60s"];
    let mut attacker = Attacker::start_quiet("soak", relay, scratch.path(), &settings).await?;
    let pid = attacker.agent.process.pid();
    let mut all = Answered::default();
    answer(&mut attacker, (count / 10).max(600), every, &mut all).await?;
    let (warm, begun, before) = (Memory::of(pid), Instant::now(), cpu_time(pid));
    let (mut done, mut most) = (0, warm.resident);
    while done < count {
        let mark = MARKS.into_iter().find(|mark| *mark > done).unwrap_or(done + STRIDE);
        answer(&mut attacker, mark.min(count) - done, every, &mut all).await?;
        done = mark.min(count);
        let now = Memory::of(pid);
        most = most.max(now.resident);
        println!(
            "soak: {done} commands in {} s, {} KiB resident, {} KiB of it anonymous",
            begun.elapsed().as_secs(),
            now.resident >> 10,
            now.anonymous >> 10,
        );
    }
    ensure!(pid == attacker.agent.process.pid() && attacker.agent.process.is_running());
    let (end, taken) = (Memory::of(pid), begun.elapsed());
    let spent = cpu_time(pid).saturating_sub(before);
    let growth = end.resident.saturating_sub(warm.resident);
    let own = end.anonymous.saturating_sub(warm.anonymous);
    let is_met = growth.max(own) < GOAL_GROWTH;
    println!(
        "soak: {done} commands, one of {every} by a module, {} answers delivered again, in {} s \
         ({:.0} a second, {:.1} ms of CPU time each with their modules); {} KiB resident after the warm-up, \
         {} at most, {} at the end: grown by {} KiB, and by {} KiB from {} in what is anonymous, \
         {} the goal of 1024 KiB",
        all.again,
        taken.as_secs(),
        done as f64 / taken.as_secs_f64(),
        spent.as_secs_f64() * 1000.0 / done as f64,
        warm.resident >> 10,
        most >> 10,
        end.resident >> 10,
        growth >> 10,
        own >> 10,
        warm.anonymous >> 10,
        if is_met { "within" } else { "beyond" }
    );
    Ok(is_met)
}

fn run() -> anyhow::Result<bool> {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(true);
    }
    let number = |name: &str, otherwise: usize| {
        let text = std::env::var(name).ok();
        text.map_or(Ok(otherwise), |text| text.parse()).context(name.to_owned())
    };
    let count = number("MIG_SOAK_COMMANDS", 20_000)?;
    let every = number("MIG_SOAK_EVERY", 1)?.max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(Box::pin(soak(count, every)))
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! What an agent costs the machine it guards: its file, its memory and its CPU
//! time, connected and idle, on RabbitMQ over TLS and on the built-in relay.
//!
//! `MIG_FOOTPRINT_SECONDS` (60) is how long each is watched. Prints the figures
//! last and fails when a goal is missed.

#![expect(clippy::print_stdout, reason = "figures are what a bench is run for")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mig_testkit::{AgentOptions, PlatformOptions, TestPlatform, binary, cpu_time, resident};

/// Bytes, stripped, with all modules but the engine of `yara`.
const GOAL_BINARY: u64 = 12_000_000;
const GOAL_RESIDENT: u64 = 8 << 20;
/// Share of one core.
const GOAL_CPU: f64 = 0.001;
/// Time to settle before the watch begins.
const SETTLE: Duration = Duration::from_secs(10);

struct Figures {
    relay: &'static str,
    resident: u64,
    cpu: f64,
}

/// An agent as it is shipped, beside the other programs.
fn agent(name: &str) -> anyhow::Result<std::path::PathBuf> {
    let others = binary("mig-standalone")?;
    let target = others.ancestors().nth(2).context("no target directory")?;
    let agent = target.join("agent").join(name);
    anyhow::ensure!(agent.is_file(), "{} is not built: make footprint", agent.display());
    Ok(agent)
}

fn watch(
    relay: &'static str,
    mut platform: TestPlatform,
    watched: Duration,
) -> anyhow::Result<Figures> {
    let agent = platform.start_agent(&AgentOptions {
        name: "guest".to_owned(),
        settings: vec!["heartbeatfreq = \"60s\"".to_owned()],
        is_quiet: true,
        program: Some(agent("mig-agent")?),
        ..AgentOptions::default()
    })?;
    let pid = agent.process.pid();
    platform.wait_agents(1)?;
    // Not waits for a condition: idling is what is measured.
    std::thread::sleep(SETTLE);
    let (before, begun) = (cpu_time(pid), Instant::now());
    std::thread::sleep(watched);
    let spent = cpu_time(pid).saturating_sub(before);
    let cpu = spent.as_secs_f64() / begun.elapsed().as_secs_f64();
    Ok(Figures { relay, resident: resident(pid), cpu })
}

fn run() -> anyhow::Result<bool> {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(true);
    }
    let seconds = match std::env::var("MIG_FOOTPRINT_SECONDS") {
        Ok(text) => text.parse().context("MIG_FOOTPRINT_SECONDS")?,
        Err(_) => 60,
    };
    let watched = Duration::from_secs(seconds);
    let size = |name| anyhow::Ok(std::fs::metadata(agent(name)?)?.len());
    let (all, default) = (size("mig-agent-every-module")?, size("mig-agent")?);
    let options = PlatformOptions::crowd;
    let figures = [
        watch("RabbitMQ over TLS", TestPlatform::servers_with(options())?, watched)?,
        watch("the built-in relay", TestPlatform::embedded_with(options())?, watched)?,
    ];
    #[expect(clippy::cast_precision_loss, reason = "sizes of programs are small")]
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "footprint: agent binary with every module {all} bytes, {} goal {GOAL_BINARY}; \
         default build {default}",
        said(all <= GOAL_BINARY)
    );
    let mut good = all <= GOAL_BINARY;
    for Figures { relay, resident, cpu } in figures {
        println!(
            "footprint: idle on {relay}: {:.1} MiB resident, {} goal 8 MiB; {:.3} % of a core \
             over {seconds} s, {} goal 0.1 %",
            mib(resident),
            said(resident <= GOAL_RESIDENT),
            cpu * 100.0,
            said(cpu < GOAL_CPU)
        );
        good &= resident <= GOAL_RESIDENT && cpu < GOAL_CPU;
    }
    Ok(good)
}

const fn said(met: bool) -> &'static str {
    if met { "within the" } else { "beyond the" }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("footprint: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! How long one question to one connected agent takes: from the start of the
//! POST until its result is stored and streamed back. Real processes, on the
//! embedded pair and on PostgreSQL with RabbitMQ over TLS.
//!
//! Prints the figures last and fails when a median is not under the goal.

#![expect(clippy::print_stdout, reason = "figures are what a bench is run for")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mig_client::{ApiClient, ClientConfig, FollowEvent, FollowOptions, SoftwareSigner, launch};
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_testkit::{AgentOptions, TestPlatform};
use mig_types::{Acl, AclEntry, Action, CommandStatus, Operation};
use serde_json::json;

/// Questions before counting starts.
const WARM_UP: usize = 5;
const QUESTIONS: usize = 60;
/// The median must stay below.
const GOAL: Duration = Duration::from_millis(100);

async fn measure(mut platform: TestPlatform) -> anyhow::Result<Vec<Duration>> {
    let people = platform.investigators.iter().map(|person| person.weighing(1)).collect();
    let mut acl = Acl::default();
    acl.insert("default", AclEntry { minimumweight: 1, investigators: people });
    platform.start_agent(&AgentOptions { name: "one".into(), acl, ..AgentOptions::default() })?;
    platform.wait_agents(1)?;
    let file = platform.directory().join("small");
    std::fs::write(&file, "one small file\n")?;

    let alice = platform.investigator("alice")?;
    let home = alice.home().display().to_string();
    let environment = move |name: &str| (name == "HOME").then(|| home.clone());
    let (config, _) = ClientConfig::load(&alice.home().join(".migrc"), &environment)?;
    let clock = Arc::new(SystemClock);
    let signer = Arc::new(SoftwareSigner::load(&alice.secret_key_file(), clock.clone())?);
    let api = ApiClient::new(&config, "bench", "1", Some(signer.clone()), clock.clone())?;

    let mut times = Vec::with_capacity(QUESTIONS);
    for number in 0..WARM_UP + QUESTIONS {
        let mut action = Action {
            name: format!("latency {number}"),
            target: "name='one'".to_owned(),
            operations: Some(vec![Operation {
                module: "file".to_owned(),
                parameters: json!({ "searches": { "s1": {
                    "paths": [file.display().to_string()],
                    "contents": ["^one"],
                    "options": { "matchall": true }
                } } }),
                ..Operation::default()
            }]),
            ..Action::default()
        };
        launch::set_times(&mut action, clock.now(), Duration::from_mins(5));
        launch::sign_action(&mut action, signer.as_ref(), clock.now()).await?;

        let start = Instant::now();
        let posted = api.post_action(&action).await?;
        let mut follower = api.follow(posted.id, FollowOptions::default());
        let command = loop {
            let event = follower.next().await?.context("the stream ended without a result")?;
            match event {
                FollowEvent::Command(command) => break command,
                FollowEvent::Done(_) => anyhow::bail!("the action ended without a result"),
                FollowEvent::Action(_) | FollowEvent::Heartbeat | FollowEvent::Refused(_) => {}
            }
        };
        let took = start.elapsed();
        anyhow::ensure!(command.status == CommandStatus::Success, "{:?}", command.results);
        if number >= WARM_UP {
            times.push(took);
        }
    }
    times.sort_unstable();
    Ok(times)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("latency: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<bool> {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(true);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let embedded = runtime.block_on(measure(TestPlatform::embedded()?))?;
    let servers = runtime.block_on(measure(TestPlatform::servers()?))?;
    let mut good = true;
    for (name, times) in
        [("SQLite and the built-in relay", embedded), ("PostgreSQL and RabbitMQ", servers)]
    {
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        let (median, slow) = (at(50), at(90));
        println!(
            "POST to stored result, one agent, {name}: p50 {:.1} ms, p90 {:.1} ms of {} questions",
            median.as_secs_f64() * 1e3,
            slow.as_secs_f64() * 1e3,
            times.len()
        );
        good &= median < GOAL;
    }
    println!("goal: p50 under {} ms: {}", GOAL.as_millis(), if good { "met" } else { "missed" });
    Ok(good)
}

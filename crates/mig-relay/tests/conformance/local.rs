//! The built-in relay across its own ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mig_relay::{LocalRelay, Relay as _, RelayError, Route, Source, open_local};

use crate::fixture::{
    DEADLINE, HOUR, gather, is_silent, message, next, numbers, publish_numbers, tags,
    unique_queueloc,
};

#[tokio::test]
async fn what_was_confirmed_survives_a_restart_and_what_was_acked_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.db");
    let queueloc = unique_queueloc();
    let relay = open_local(&path).await.unwrap();
    relay.declare().await.unwrap();
    let mut consumer = relay.consume(Source::Agent(queueloc.clone()), 0).await.unwrap();
    publish_numbers(&relay, &Route::Agent(queueloc.clone()), 0..10).await;
    let held = gather(&mut consumer, 10).await;
    consumer.ack(&tags(&held[..5])).await.unwrap();
    relay.close().await;
    assert!(matches!(
        consumer.next_batch(1, Duration::ZERO).await,
        Err(RelayError::Unavailable { .. })
    ));
    let late = relay.publish(vec![message(Route::Results, "late", HOUR)]).await;
    assert!(matches!(late.as_slice(), [Err(RelayError::Unavailable { .. })]), "{late:?}");

    let relay = open_local(&path).await.unwrap();
    publish_numbers(&relay, &Route::Agent(queueloc.clone()), 10..12).await;
    let mut consumer = relay.consume(Source::Agent(queueloc), 0).await.unwrap();
    let again = gather(&mut consumer, 7).await;
    assert_eq!(numbers(&again), [5, 6, 7, 8, 9, 10, 11]);
    assert!(again[0].redelivered && !again[6].redelivered);
}

#[tokio::test]
async fn a_file_serves_one_relay_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.db");
    let relay = open_local(&path).await.unwrap();
    assert!(matches!(open_local(&path).await, Err(RelayError::Failed { .. })));
    relay.close().await;
    open_local(&path).await.unwrap();
    let nowhere = dir.path().join("missing").join("relay.db");
    assert!(matches!(open_local(&nowhere).await, Err(RelayError::Failed { .. })));
}

#[tokio::test]
async fn results_are_unroutable_until_a_scheduler_has_declared() {
    let relay = LocalRelay::memory().await.unwrap();
    for route in [Route::Results, Route::Heartbeats] {
        let outcomes = relay.publish(vec![message(route, "x", HOUR)]).await;
        assert!(matches!(outcomes.as_slice(), [Err(RelayError::Unroutable { .. })]));
    }
    relay.declare().await.unwrap();
    relay.declare().await.unwrap();
    publish_numbers(&relay, &Route::Heartbeats, 0..1).await;
}

#[tokio::test]
async fn bodies_beyond_memory_are_read_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let relay = open_local(&dir.path().join("relay.db")).await.unwrap();
    relay.declare().await.unwrap();
    // More than is kept in memory.
    let large = vec![7_u8; 12 * 1024 * 1024];
    for _ in 0..8 {
        let outcomes = relay.publish(vec![message(Route::Results, large.clone(), HOUR)]).await;
        assert!(outcomes[0].is_ok());
    }
    let too_large = vec![0_u8; mig_relay::MAX_BODY + 1];
    let outcomes = relay.publish(vec![message(Route::Results, too_large, HOUR)]).await;
    assert!(matches!(outcomes.as_slice(), [Err(RelayError::TooLarge { .. })]));
    let mut consumer = relay.consume(Source::Results, 0).await.unwrap();
    let mut count = 0;
    while count < 8 {
        let batch = next(&mut consumer, 100, Duration::ZERO).await;
        // A batch is bounded in bytes as well.
        assert!(batch.len() <= 3);
        assert!(batch.iter().all(|delivery| delivery.body == large));
        consumer.ack(&tags(&batch)).await.unwrap();
        count += batch.len();
    }
    assert!(is_silent(&mut consumer).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_out_to_five_thousand_agents_is_quick() {
    const AGENTS: usize = 5000;
    let dir = tempfile::tempdir().unwrap();
    let relay = Arc::new(open_local(&dir.path().join("relay.db")).await.unwrap());
    let mut agents = tokio::task::JoinSet::new();
    let start = Instant::now();
    let mut commands = Vec::new();
    let mut consumers = tokio::task::JoinSet::new();
    for n in 0..AGENTS {
        let queueloc: mig_types::QueueLoc = format!("linux.agent{n}").parse().unwrap();
        commands.push(message(Route::Agent(queueloc.clone()), vec![b'x'; 2000], HOUR));
        let relay = Arc::clone(&relay);
        consumers.spawn(async move { relay.consume(Source::Agent(queueloc), 1).await.unwrap() });
    }
    while let Some(consumer) = consumers.join_next().await {
        let mut consumer = consumer.unwrap();
        agents.spawn(async move {
            let command = next(&mut consumer, 1, Duration::ZERO).await;
            consumer.ack(&tags(&command)).await.unwrap();
        });
    }
    let listening = start.elapsed();
    let start = Instant::now();
    for outcome in relay.publish(commands).await {
        outcome.unwrap();
    }
    let published = start.elapsed();
    while let Some(done) = agents.join_next().await {
        done.unwrap();
    }
    let all = start.elapsed();
    println!(
        "{AGENTS} agents listening in {listening:?}; commands durable in {published:?}, acknowledged in {all:?}"
    );
    assert!(all < DEADLINE / 3, "{all:?}");
}

const CHILD: &str = "MIG_RELAY_TEST_CHILD_FILE";

/// Publishes for ever, saying what was confirmed. Does nothing unless started
/// by the test below.
#[tokio::test]
async fn child_that_is_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let relay = open_local(Path::new(&path)).await.unwrap();
    relay.declare().await.unwrap();
    let mut stdout = std::io::stdout();
    for n in 0.. {
        publish_numbers(&relay, &Route::Results, n * 10..n * 10 + 10).await;
        writeln!(stdout, "confirmed {}", n * 10 + 10).unwrap();
        stdout.flush().unwrap();
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the child is this test program itself")]
async fn what_was_confirmed_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "local::child_that_is_killed", "--nocapture"])
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut confirmed = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The test runner prints the test's name on the same line.
        if let Some((_, count)) = line.split_once("confirmed ") {
            confirmed = count.parse::<u32>().unwrap();
        }
        if confirmed >= 500 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(confirmed >= 500, "the child ended early, at {confirmed}");

    let relay = open_local(&path).await.unwrap();
    let mut consumer = relay.consume(Source::Results, 0).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < confirmed as usize {
        seen.extend(numbers(&next(&mut consumer, 10_000, Duration::ZERO).await));
    }
    // What was published and not yet confirmed may be there, or not.
    assert_eq!(seen, (0..u32::try_from(seen.len()).unwrap()).collect::<Vec<_>>());
}

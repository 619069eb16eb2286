//! An agent that connects, works off what waits, and ends.

use std::time::Duration;

use mig_types::{AgentMode, CommandStatus};

use crate::stage::{Stage, by_name, endless_file};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_in_answers_everything_that_waits_and_ends() {
    let mut stage = Stage::set("checkin = on\ncheckinwait = \"1s\"\n").await;
    stage.start();
    let agent = stage.heartbeat().await;
    assert_eq!(agent.mode, AgentMode::Checkin);
    assert_eq!(stage.ended().await, Some(0), "nothing waited");

    let tree = stage.path("conf");
    let mut sent = Vec::new();
    for _ in 0..5 {
        let command = stage.command(stage.action(vec![by_name(&tree, "acl")]));
        stage.send(&command).await;
        sent.push(command.id);
    }
    stage.start();
    assert_eq!(stage.heartbeat().await.queueloc, agent.queueloc);
    let mut answered = Vec::new();
    for _ in &sent {
        let answer = stage.result().await;
        assert_eq!(answer.status, CommandStatus::Success);
        answered.push(answer.id);
    }
    answered.sort_unstable();
    assert_eq!(answered, sent);
    assert_eq!(stage.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_in_waits_for_the_operation_it_runs() {
    let mut stage =
        Stage::set("checkin = on\ncheckinwait = \"100ms\"\nmoduletimeout = \"3s\"\n").await;
    stage.start();
    stage.heartbeat().await;
    assert_eq!(stage.ended().await, Some(0));
    let path = stage.path("endless");
    endless_file(&path);
    let command = stage.command(stage.action(vec![crate::stage::by_hash(&path)]));
    stage.send(&command).await;
    let begun = std::time::Instant::now();
    stage.start();
    let answer = stage.result().await;
    assert_eq!(answer.id, command.id);
    // Silence was long enough all the time.
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", answer.results);
    assert_eq!(stage.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_in_without_a_relay_gives_up_and_says_so() {
    let mut stage = Stage::set("checkin = on\nmoduletimeout = \"2s\"\n").await;
    let face = stage.face.take().unwrap();
    face.shut().await;
    stage.start();
    let begun = std::time::Instant::now();
    assert_eq!(stage.ended().await, Some(1));
    assert!(begun.elapsed() >= Duration::from_secs(2));
}

//! Heartbeats, the whitelist and what becomes of silent agents.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lines::Lines;
use crate::platform::{Platform, ack, wait_for};
use bytes::Bytes;
use mig_relay::{Route, Source};
use mig_scheduler::{events, heartbeats, liveness};
use mig_store::{Page, Search};
use mig_types::{Agent, AgentStatus};

async fn agents(platform: &Platform) -> Vec<Agent> {
    let page = Page { limit: 100, offset: 0 };
    platform.store.search_agents(&Search::default(), page).await.unwrap()
}

async fn statuses(platform: &Platform) -> Vec<AgentStatus> {
    agents(platform).await.into_iter().filter_map(|agent| agent.status).collect()
}

#[tokio::test]
async fn an_unlisted_agent_is_refused_until_the_file_lists_it() {
    let lines = Lines::default();
    let _guard = lines.listen();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("whitelist.txt");
    std::fs::write(&file, "linux.web2\nre:linux.db[0-9]+\n").unwrap();
    let mut platform = Platform::start().await;
    platform.settings.whitelist = Some(file.clone());
    platform.listen("agent.new").await;
    let scheduler = platform.scheduler();

    let refused = platform.heartbeat("linux.web1").await;
    platform.heartbeat("linux.web2").await;
    platform.heartbeat("linux.db7").await;
    platform.take_heartbeats(&scheduler).await;

    let mut joined: Vec<_> = agents(&platform).await.into_iter().map(|a| a.queueloc).collect();
    joined.sort();
    assert_eq!(joined, ["linux.db7", "linux.web2"]);
    assert_eq!(platform.events("agent.authentication.failure"), [refused]);
    let text = "getHeartbeats(): Agent 'linux.web1' is not authorized".to_owned();
    let expected = BTreeMap::from([("message".to_owned(), text)]);
    assert_eq!(lines.all(), [expected], "one line, no identifiers beside it");

    std::fs::write(&file, "linux.web2\nlinux.web1\n").unwrap();
    wait_for(async || {
        platform.heartbeat("linux.web1").await;
        platform.take_heartbeats(&scheduler).await;
        agents(&platform).await.iter().any(|agent| agent.queueloc == "linux.web1")
    })
    .await;
    let news = platform.events("agent.new");
    assert_eq!(news.len(), 3);
    let last: Agent = mig_types::wire::from_slice(news.last().unwrap()).unwrap();
    assert_eq!(last.queueloc, "linux.web1");
}

#[tokio::test]
async fn of_news_that_nobody_hears_only_the_first_is_sent() {
    let platform = Platform::start().await;
    let scheduler = platform.scheduler();
    platform.listen("heard").await;
    let body = |number: u8| Bytes::from(vec![number; 3]);
    let news = (0..5).flat_map(|n| [("heard", body(n)), ("unheard", body(n))]).collect();
    events::publish(&scheduler, news).await;
    assert_eq!(platform.events("heard"), (0..5).map(body).collect::<Vec<_>>());
    assert_eq!(platform.events("unheard"), [body(0)]);
}

#[tokio::test]
async fn a_whitelist_that_cannot_be_read_lets_nobody_in() {
    let mut platform = Platform::start().await;
    platform.settings.whitelist = Some("/nonexistent/whitelist.txt".into());
    platform.heartbeat("linux.web1").await;
    platform.take_heartbeats(&platform.scheduler()).await;
    assert!(agents(&platform).await.is_empty());
}

#[tokio::test]
async fn garbage_is_dropped_and_the_rest_of_the_batch_stored() {
    let platform = Platform::start().await;
    let scheduler = platform.scheduler();
    for garbage in ["", "{}", "[1]", "\u{0}", r#"{"queueloc":"results","name":"x"}"#] {
        platform.send(Route::Heartbeats, Bytes::from(garbage)).await;
    }
    let body = platform.heartbeat("linux.web1").await;
    platform.take_heartbeats(&scheduler).await;
    assert_eq!(agents(&platform).await.len(), 1);
    assert_eq!(platform.events("agent.new"), [body]);
    assert!(platform.events("agent.authentication.failure").is_empty());
}

#[tokio::test]
async fn heartbeats_taken_twice_change_nothing() {
    let platform = Platform::start().await;
    platform.heartbeat("linux.web1").await;
    platform.heartbeat("linux.web1").await;
    let (mut consumer, batch) = platform.deliveries(Source::Heartbeats).await;
    for _ in 0..2 {
        // A scheduler that dies before it acknowledges, and its successor.
        let scheduler = platform.scheduler();
        let news = heartbeats::take(&scheduler, &batch).await.unwrap();
        events::publish(&scheduler, news).await;
    }
    ack(consumer.as_mut(), &batch).await;
    assert_eq!(agents(&platform).await.len(), 1);
    assert_eq!(platform.events("agent.new").len(), 1);
}

#[tokio::test]
async fn a_silent_agent_goes_idle_then_offline_and_comes_back_as_a_new_row() {
    let mut platform = Platform::start().await;
    platform.settings.heartbeat_frequency = Duration::from_secs(1);
    platform.settings.agent_timeout = Duration::from_secs(10);
    let scheduler = platform.scheduler();
    platform.heartbeat("linux.web1").await;
    platform.take_heartbeats(&scheduler).await;
    let second = Duration::from_secs(1);
    for (seconds, expected) in [
        (5, AgentStatus::Online),
        (6, AgentStatus::Idle),
        (10, AgentStatus::Idle),
        (11, AgentStatus::Offline),
    ] {
        platform
            .clock
            .set(crate::platform::start_time() + Duration::from_mins(1) + second * seconds);
        liveness::run(&scheduler).await.unwrap();
        assert_eq!(statuses(&platform).await, [expected], "after {seconds} s");
    }
    assert_eq!(platform.store.latest_stats().await.unwrap().unwrap().online_agents, 0);

    platform.heartbeat("linux.web1").await;
    platform.take_heartbeats(&scheduler).await;
    platform.clock.advance(second);
    liveness::run(&scheduler).await.unwrap();
    let mut now = statuses(&platform).await;
    now.sort_by_key(|status| status.as_str());
    assert_eq!(now, [AgentStatus::Offline, AgentStatus::Online]);
    assert_eq!(platform.store.latest_stats().await.unwrap().unwrap().online_agents, 1);
}

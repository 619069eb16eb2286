//! Two agents on one endpoint, from their heartbeats to the end of one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mig_relay::Route;
use mig_scheduler::{dispatch, expire, liveness, publish, spool};
use mig_sign::keyring::Keyring;
use mig_sign::verify::verify_action;
use mig_store::{Page, Search, Store};
use mig_types::{Action, ActionStatus, Agent, AgentStatus, Command, CommandStatus, wire};
use serde_json::json;

use crate::lines::Lines;
use crate::platform::{FakeAgent, Platform};
use crate::postgres::Database;

const QUEUELOC: &str = "linux.twice";
const MINUTE: Duration = Duration::from_mins(1);

async fn speak(platform: &Platform, pid: u32) {
    let body = json!({
        "name": "twice", "queueloc": QUEUELOC, "mode": "daemon", "version": format!("1.{pid}"),
        "pid": pid, "heartbeatts": platform.now(), "environment": {"os": "linux"},
    });
    let body = Bytes::from(serde_json::to_vec(&body).unwrap());
    platform.send(Route::Heartbeats, body).await;
    platform.take_heartbeats(&platform.scheduler()).await;
}

/// Both speak every five minutes, a minute apart, for `rounds` rounds.
async fn alternate(platform: &Platform, rounds: u32) {
    for _ in 0..rounds {
        speak(platform, 100).await;
        platform.clock.advance(MINUTE);
        speak(platform, 200).await;
        platform.clock.advance(MINUTE * 4);
    }
}

async fn agent(platform: &Platform, pid: i64) -> Agent {
    let page = Page { limit: 100, offset: 0 };
    let agents = platform.store.search_agents(&Search::default(), page).await.unwrap();
    agents.into_iter().find(|agent| agent.pid == pid).unwrap()
}

async fn orders(platform: &Platform) -> Vec<Action> {
    let page = Page { limit: 100, offset: 0 };
    platform.store.search_actions(&Search::default(), page).await.unwrap()
}

async fn platform_over(store: Arc<dyn Store>) -> (Platform, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut platform = Platform::over(store).await;
    platform.settings.spool = Some(dir.path().to_owned());
    platform.settings.detect_duplicates = true;
    platform.settings.kill_duplicates = true;
    (platform, dir)
}

#[tokio::test]
async fn one_of_two_agents_is_ended_on_sqlite() {
    one_of_two_agents_is_ended(mig_store::open_sqlite_memory().await.unwrap()).await;
}

#[tokio::test]
async fn one_of_two_agents_is_ended_on_postgres() {
    let Some(database) = Database::create().await else { return };
    one_of_two_agents_is_ended(database.open().await).await;
    database.drop().await;
}

async fn one_of_two_agents_is_ended(store: Arc<dyn Store>) {
    let (platform, dir) = platform_over(store).await;
    let (first, second) = (platform.scheduler(), platform.scheduler());
    let mut survivor = FakeAgent::listen(&platform.relay, QUEUELOC).await;
    alternate(&platform, 2).await;

    // Two schedulers and several runs: one order.
    let (one, two) = tokio::join!(liveness::run(&first), liveness::run(&second));
    one.unwrap();
    two.unwrap();
    liveness::run(&first).await.unwrap();
    let [order] = <[Action; 1]>::try_from(orders(&platform).await).unwrap();
    assert_eq!(
        (order.name.as_str(), order.target.as_str()),
        ("Kill agent twice", "queueloc='linux.twice'")
    );
    assert_eq!(order.validfrom, platform.now() - MINUTE);
    assert_eq!(order.expireafter, platform.now() + MINUTE * 30);
    assert_eq!(order.syntaxversion, 2);
    let operations = order.operations.clone().unwrap();
    assert_eq!(operations.len(), 1);
    assert_eq!(operations[0].module, "agentdestroy");
    assert_eq!(operations[0].parameters, json!({"pid": 100, "version": "1.100"}));
    assert_eq!(order.investigators[0].name, "migscheduler");
    let rows = platform.store.active_investigators().await.unwrap();
    let row = rows.iter().find(|row| row.name == "migscheduler").unwrap();
    let mut ring = Keyring::default();
    ring.add_armored(row.public_key.as_ref().unwrap()).unwrap();
    let signers = verify_action(&ring, &order, platform.now()).unwrap();
    assert_eq!(Some(&signers[0].fingerprint), row.fingerprint.as_ref());
    assert_eq!(agent(&platform, 100).await.status, Some(AgentStatus::Destroyed));
    let file = dir.path().join(spool::INFLIGHT).join(format!("{}.json", order.id));
    let copy: Action = wire::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(copy.pgpsignatures, order.pgpsignatures);

    // The victim still speaks, stays destroyed, and gets no command.
    speak(&platform, 100).await;
    assert_eq!(agent(&platform, 100).await.status, Some(AgentStatus::Destroyed));
    dispatch::run(&first).await.unwrap();
    publish::run(&first).await.unwrap();
    let [command] = <[Command; 1]>::try_from(survivor.receive().await).unwrap();
    assert_eq!((command.action.id, command.agent.pid), (order.id, 200));
    survivor.answer(command, CommandStatus::Success).await;
    platform.take_results(&first).await;
    expire::run(&first).await.unwrap();
    assert_eq!(platform.status(order.id).await, ActionStatus::Completed);
    assert!(!file.exists());
    assert!(dir.path().join(spool::DONE).join(format!("{}.json", order.id)).exists());

    // It is gone: nothing more happens, whatever the survivor says.
    for _ in 0..8 {
        platform.clock.advance(MINUTE * 5);
        speak(&platform, 200).await;
        liveness::run(&first).await.unwrap();
    }
    assert_eq!(orders(&platform).await.len(), 1);
    assert_eq!(agent(&platform, 100).await.status, Some(AgentStatus::Destroyed));
    // A new process on the endpoint is an agent like any other.
    speak(&platform, 300).await;
    assert_eq!(agent(&platform, 300).await.status, Some(AgentStatus::Online));
    platform.store.close().await;
}

#[tokio::test]
async fn an_agent_that_survives_its_order_is_ordered_again() {
    let (platform, _dir) = platform_over(mig_store::open_sqlite_memory().await.unwrap()).await;
    let scheduler = platform.scheduler();
    let mut receiver = FakeAgent::listen(&platform.relay, QUEUELOC).await;
    alternate(&platform, 2).await;
    liveness::run(&scheduler).await.unwrap();
    let [order] = <[Action; 1]>::try_from(orders(&platform).await).unwrap();
    // The wrong one of the two got the command and refused.
    dispatch::run(&scheduler).await.unwrap();
    publish::run(&scheduler).await.unwrap();
    let [command] = <[Command; 1]>::try_from(receiver.receive().await).unwrap();
    receiver.answer(command, CommandStatus::Failed).await;
    platform.take_results(&scheduler).await;
    expire::run(&scheduler).await.unwrap();
    assert_eq!(platform.status(order.id).await, ActionStatus::Completed);

    // Not before three heartbeats have passed.
    alternate(&platform, 2).await;
    liveness::run(&scheduler).await.unwrap();
    assert_eq!(orders(&platform).await.len(), 1);
    alternate(&platform, 1).await;
    liveness::run(&scheduler).await.unwrap();
    let all = orders(&platform).await;
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|again| again.operations == order.operations));
}

#[tokio::test]
async fn an_agent_that_started_again_is_left_alone() {
    let (platform, _dir) = platform_over(mig_store::open_sqlite_memory().await.unwrap()).await;
    let scheduler = platform.scheduler();
    for pid in [100, 100, 200, 200, 200] {
        speak(&platform, pid).await;
        platform.clock.advance(MINUTE * 2);
        liveness::run(&scheduler).await.unwrap();
    }
    assert!(orders(&platform).await.is_empty());
    assert_eq!(agent(&platform, 200).await.status, Some(AgentStatus::Online));
}

#[tokio::test]
async fn without_orders_somebody_is_asked_to_look() {
    let lines = Lines::default();
    let _guard = lines.listen();
    let (mut platform, _dir) = platform_over(mig_store::open_sqlite_memory().await.unwrap()).await;
    platform.settings.kill_duplicates = false;
    platform.settings.spool = None;
    alternate(&platform, 2).await;
    liveness::run(&platform.scheduler()).await.unwrap();
    let wanted = "found 2 agents running on linux.twice. Require manual inspection (twice, twice).";
    assert_eq!(lines.texts(), [wanted]);
    assert!(orders(&platform).await.is_empty());

    platform.settings.detect_duplicates = false;
    platform.clock.advance(MINUTE);
    liveness::run(&platform.scheduler()).await.unwrap();
    assert_eq!(lines.texts().len(), 1);
}

//! Endpoints on which several agents run, and the orders that end it.

use std::time::Duration;

use mig_store::{HeartbeatOutcome, KillOrder};
use mig_types::{
    Action, ActionStatus, Agent, AgentId, AgentMode, AgentStatus, InvestigatorId, Permissions,
};

use crate::support::{Platform, action, at, beat, on_both};

on_both!(
    two_agents_that_take_turns_are_found,
    an_agent_that_started_again_is_no_duplicate,
    a_refreshed_environment_hides_no_duplicate,
    silent_and_one_time_agents_are_no_duplicates,
    a_kill_order_is_stored_with_its_victims_mark,
    one_order_for_an_endpoint_is_open_at_a_time,
    two_schedulers_give_one_order,
    a_destroyed_agent_is_ordered_again_later,
);

const WINDOW: Duration = Duration::from_mins(15);
const AGAIN: Duration = Duration::from_mins(15);

async fn hear(platform: &Platform, agent: Agent, seconds: u64) -> AgentId {
    let outcome =
        platform.store.upsert_heartbeats(&[agent], &platform.ids, at(seconds)).await.unwrap();
    match outcome[0] {
        HeartbeatOutcome::New(id)
        | HeartbeatOutcome::Refreshed(id)
        | HeartbeatOutcome::Updated(id) => id,
    }
}

/// Two agents of one endpoint that speak every five minutes.
async fn alternate(platform: &Platform, queueloc: &str) -> [AgentId; 2] {
    let mut ids = [AgentId::default(); 2];
    for round in 0..2 {
        for (slot, pid) in (0..2).zip([100, 200]) {
            ids[slot] = hear(platform, beat(queueloc, pid), round * 300 + slot as u64 * 60).await;
        }
    }
    ids
}

async fn found(platform: &Platform, seconds: u64) -> Vec<Vec<AgentId>> {
    let groups = platform.second.duplicate_agents(WINDOW, at(seconds)).await.unwrap();
    groups.iter().map(|group| group.iter().map(|agent| agent.id).collect()).collect()
}

async fn two_agents_that_take_turns_are_found(platform: &Platform) {
    hear(platform, beat("linux.single", 1), 0).await;
    hear(platform, beat("linux.single", 1), 300).await;
    let a = alternate(platform, "linux.a").await;
    let b = alternate(platform, "linux.b").await;
    assert_eq!(found(platform, 400).await, [a, b]);
    platform.execute("update agents set status = 'idle' where pid = 100").await;
    assert_eq!(found(platform, 400).await, [a, b]);
    // Long silent, both.
    assert!(found(platform, 5000).await.is_empty());
}

async fn an_agent_that_started_again_is_no_duplicate(platform: &Platform) {
    for seconds in [0, 60, 120] {
        hear(platform, beat("linux.a", 100), seconds).await;
    }
    for seconds in [121, 180, 240, 300] {
        hear(platform, beat("linux.a", 200), seconds).await;
        assert!(found(platform, seconds).await.is_empty(), "{seconds}");
    }
    // The first one speaks again after all.
    hear(platform, beat("linux.a", 100), 310).await;
    assert_eq!(found(platform, 310).await.len(), 1);
}

async fn a_refreshed_environment_hides_no_duplicate(platform: &Platform) {
    let refreshed = |pid, seconds| Agent { refreshts: at(seconds), ..beat("linux.a", pid) };
    for seconds in [20, 320, 620] {
        hear(platform, refreshed(100, seconds), seconds).await;
        hear(platform, refreshed(200, seconds), seconds + 60).await;
    }
    assert_eq!(found(platform, 700).await[0].len(), 2);
}

async fn silent_and_one_time_agents_are_no_duplicates(platform: &Platform) {
    let checkin = |pid| Agent { mode: AgentMode::Checkin, ..beat("linux.c", pid) };
    for seconds in [0, 300] {
        hear(platform, checkin(100), seconds).await;
        hear(platform, checkin(200), seconds + 60).await;
    }
    assert!(found(platform, 400).await.is_empty());
    let [first, _] = alternate(platform, "linux.a").await;
    platform.execute(&format!("update agents set status = 'offline' where id = {first}")).await;
    assert!(found(platform, 400).await.is_empty());
}

fn order(id: u64, signer: u64, victim: AgentId) -> KillOrder {
    KillOrder {
        action: Action { target: "queueloc='linux.a'".into(), ..action(id) },
        signer: (InvestigatorId::new(signer).unwrap(), "wsBc".into()),
        victim,
        again_after: AGAIN,
    }
}

async fn a_kill_order_is_stored_with_its_victims_mark(platform: &Platform) {
    let signer = platform.investigator("migscheduler", Permissions::NONE).await;
    let [victim, other] = alternate(platform, "linux.a").await;
    let kill = order(1, signer, victim);
    assert!(platform.store.order_kill(&kill, at(400)).await.unwrap());
    let stored = platform.second.action(kill.action.id).await.unwrap().unwrap();
    assert_eq!(stored.status, Some(ActionStatus::Pending));
    assert_eq!(stored.investigators[0].name, "migscheduler");
    let agent = async |id| platform.second.agent(id).await.unwrap().unwrap();
    let destroyed = agent(victim).await;
    assert_eq!(destroyed.status, Some(AgentStatus::Destroyed));
    assert_eq!(destroyed.destructiontime, at(400));
    assert_eq!(agent(other).await.status, Some(AgentStatus::Online));
    // Still a duplicate while it speaks; an unknown victim is none.
    hear(platform, beat("linux.a", 100), 600).await;
    assert_eq!(found(platform, 600).await, [[victim, other]]);
    let nobody = order(2, signer, AgentId::new(12_345).unwrap());
    assert!(!platform.store.order_kill(&nobody, at(400)).await.unwrap());
}

async fn one_order_for_an_endpoint_is_open_at_a_time(platform: &Platform) {
    let signer = platform.investigator("migscheduler", Permissions::NONE).await;
    let [first, second] = alternate(platform, "linux.a").await;
    assert!(platform.store.order_kill(&order(1, signer, first), at(400)).await.unwrap());
    let next = order(2, signer, second);
    assert!(!platform.store.order_kill(&next, at(401)).await.unwrap());
    assert_eq!(platform.store.action(next.action.id).await.unwrap(), None);
    platform.execute("update actions set status = 'completed'").await;
    assert!(platform.store.order_kill(&next, at(402)).await.unwrap());
}

async fn two_schedulers_give_one_order(platform: &Platform) {
    let signer = platform.investigator("migscheduler", Permissions::NONE).await;
    let [victim, _] = alternate(platform, "linux.a").await;
    let (one, two) = (order(1, signer, victim), order(2, signer, victim));
    let (first, second) = tokio::join!(
        platform.store.order_kill(&one, at(400)),
        platform.second.order_kill(&two, at(400)),
    );
    assert!(first.unwrap() ^ second.unwrap());
    assert_eq!(platform.text("select cast(count(*) as text) from actions").await, "1");
}

async fn a_destroyed_agent_is_ordered_again_later(platform: &Platform) {
    let signer = platform.investigator("migscheduler", Permissions::NONE).await;
    let [victim, _] = alternate(platform, "linux.a").await;
    assert!(platform.store.order_kill(&order(1, signer, victim), at(400)).await.unwrap());
    platform.execute("update actions set status = 'completed'").await;
    let again = order(2, signer, victim);
    assert!(!platform.store.order_kill(&again, at(1299)).await.unwrap());
    assert!(platform.store.order_kill(&again, at(1300)).await.unwrap());
    let agent = platform.store.agent(victim).await.unwrap().unwrap();
    assert_eq!(agent.destructiontime, at(1300));
}

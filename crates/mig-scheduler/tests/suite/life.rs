//! The life of actions, from the store to the agents and back.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::flaky::FlakyStore;
use crate::platform::{Platform, sign, start_time, wait_for};
use bytes::Bytes;
use mig_relay::{Relay as _, Route, Source};
use mig_runtime::Shutdown;
use mig_scheduler::{collect, dispatch, expire, publish};
use mig_sign::sign::SecretKey;
use mig_store::Owner;
use mig_types::CommandStatus::{Expired, Failed, Success};
use mig_types::{ActionId, ActionStatus, CommandStatus, Operation};

const WEB: [&str; 3] = ["linux.web1", "linux.web2", "linux.web3"];
const LINUX: &str = "queueloc LIKE 'linux.%'";

fn outcomes(list: &[(&str, CommandStatus)]) -> Vec<(String, CommandStatus)> {
    list.iter().map(|(queueloc, status)| ((*queueloc).to_owned(), *status)).collect()
}

#[tokio::test]
async fn an_action_lives_from_pending_to_completed() {
    let platform = Platform::start().await;
    platform.listen("command.results").await;
    let mut agents = platform.enroll(&["linux.web1", "linux.web2", "windows.desk1"]).await;
    let scheduler = platform.scheduler();
    let id = platform.launch(&platform.action("where is it", LINUX)).await;
    assert_eq!(platform.status(id).await, ActionStatus::Pending);

    assert_eq!(dispatch::run(&scheduler).await.unwrap(), 1);
    assert_eq!(platform.status(id).await, ActionStatus::Inflight);
    assert_eq!(platform.counters(id).await.sent, 2);
    assert_eq!(publish::run(&scheduler).await.unwrap(), 2);
    assert_eq!(publish::run(&scheduler).await.unwrap(), 0, "nothing is published twice");
    // One minute of the hour has passed.
    assert_eq!(*platform.relay.ttls.lock().unwrap(), [Duration::from_mins(59); 2]);

    let mut bodies = Vec::new();
    for agent in &mut agents[..2] {
        let [command] = <[_; 1]>::try_from(agent.receive().await).unwrap();
        assert_eq!(command.agent.queueloc, agent.queueloc.as_str());
        assert_eq!(command.status, CommandStatus::Sent);
        assert_eq!(command.action.id, id);
        assert_eq!(command.action.operations().len(), 1);
        assert_eq!(command.action.pgpsignatures.len(), 1);
        bodies.push(agent.answer(command, Success).await);
    }
    platform.take_results(&scheduler).await;

    let expected = outcomes(&[("linux.web1", Success), ("linux.web2", Success)]);
    assert_eq!(platform.outcome(id).await, expected);
    assert_eq!(platform.status(id).await, ActionStatus::Completed);
    let mut heard = platform.events("command.results");
    heard.sort();
    bodies.sort();
    assert_eq!(heard, bodies, "events carry the agents' own bytes");
}

#[tokio::test]
async fn a_running_scheduler_needs_no_timer() {
    let mut platform = Platform::start().await;
    // A path that waits for a timer would wait for an hour.
    platform.settings.collector_frequency = Duration::from_hours(1);
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let agents = platform.enroll(&WEB).await;
    let agents: Vec<_> = agents.into_iter().map(|agent| agent.run(Arc::clone(&seen))).collect();
    let (trigger, shutdown) = Shutdown::new();
    let serving = tokio::spawn(platform.scheduler().serve(shutdown));
    wait_for(async || !platform.events("scheduler.heartbeat").is_empty()).await;

    let mut times = Vec::new();
    for round in 0..10 {
        let action = platform.action(&format!("round {round}"), LINUX);
        let begun = Instant::now();
        let id = platform.launch(&action).await;
        platform.until(id, ActionStatus::Completed).await;
        times.push(begun.elapsed());
        assert_eq!(platform.counters(id).await.success, 3);
    }
    times.sort();
    println!("pending to completed, 3 agents: p50 {:?}, max {:?}", times[5], times[9]);
    assert!(seen.lock().unwrap().values().all(|count| *count == 1));

    trigger.request();
    tokio::time::timeout(crate::platform::PATIENCE, serving).await.unwrap().unwrap().unwrap();
    agents.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn results_delivered_twice_count_once() {
    let platform = Platform::start().await;
    let mut agents = platform.enroll(&["linux.web1", "linux.web2"]).await;
    let scheduler = platform.scheduler();
    let id = platform.launch(&platform.action("twice", LINUX)).await;
    dispatch::run(&scheduler).await.unwrap();
    publish::run(&scheduler).await.unwrap();
    let command = agents[0].receive().await.remove(0);
    let body = agents[0].answer(command.clone(), Success).await;
    platform.send(Route::Results, body.clone()).await;
    platform.take_results(&scheduler).await;
    // And once more, as something else, in a batch of its own.
    agents[0].answer(command, Failed).await;
    platform.take_results(&scheduler).await;

    let counters = platform.counters(id).await;
    assert_eq!((counters.sent, counters.done, counters.success, counters.failed), (2, 1, 1, 0));
    assert_eq!(platform.status(id).await, ActionStatus::Inflight);
}

#[tokio::test]
async fn the_silent_agent_expires_and_a_late_result_still_counts() {
    let platform = Platform::start().await;
    let mut agents = platform.enroll(&WEB).await;
    let scheduler = platform.scheduler();
    let id = platform.launch(&platform.action("one is silent", LINUX)).await;
    dispatch::run(&scheduler).await.unwrap();
    publish::run(&scheduler).await.unwrap();
    let mut late = None;
    for (agent, status) in agents.iter_mut().zip([Some(Success), Some(Failed), None]) {
        let command = agent.receive().await.remove(0);
        match status {
            Some(status) => {
                agent.answer(command, status).await;
            }
            None => late = Some(command),
        }
    }
    platform.take_results(&scheduler).await;
    expire::run(&scheduler).await.unwrap();
    assert_eq!(platform.status(id).await, ActionStatus::Inflight);

    // Within the grace nothing expires yet.
    platform.clock.set(start_time() + Duration::from_hours(1) + Duration::from_secs(2));
    expire::run(&scheduler).await.unwrap();
    assert_eq!(platform.counters(id).await.inflight, 1);
    platform.clock.advance(expire::GRACE);
    expire::run(&scheduler).await.unwrap();
    let expected =
        outcomes(&[("linux.web1", Success), ("linux.web2", Failed), ("linux.web3", Expired)]);
    assert_eq!(platform.outcome(id).await, expected);
    let counters = platform.counters(id).await;
    assert_eq!((counters.sent, counters.done), (3, 3));
    assert_eq!(platform.status(id).await, ActionStatus::Completed);

    agents[2].answer(late.unwrap(), Success).await;
    platform.take_results(&scheduler).await;
    let expected =
        outcomes(&[("linux.web1", Success), ("linux.web2", Failed), ("linux.web3", Success)]);
    assert_eq!(platform.outcome(id).await, expected);
}

#[tokio::test]
async fn an_action_that_cannot_run_is_invalid() {
    let platform = Platform::start().await;
    platform.enroll(&["linux.web1"]).await;
    let stranger = SecretKey::generate_ed25519("Eve <eve@example.net>", start_time()).unwrap();
    let mut by_stranger = platform.action("by a stranger", LINUX);
    sign(&mut by_stranger, &stranger);
    let mut retargeted = platform.action("retargeted", "queueloc = 'linux.web9'");
    LINUX.clone_into(&mut retargeted.target);
    let mut swapped = platform.action("swapped", LINUX);
    swapped.operations = Some(vec![Operation { module: "memory".into(), ..Operation::default() }]);
    let nobody = platform.action("nobody", "queueloc = 'linux.web9'");
    let scheduler = platform.scheduler();
    let mut ids = Vec::new();
    for action in [&by_stranger, &retargeted, &swapped, &nobody] {
        ids.push(platform.launch(action).await);
    }
    dispatch::run(&scheduler).await.unwrap();
    for id in ids {
        let action = platform.stored(id).await;
        assert_eq!(action.status, Some(ActionStatus::Invalid), "{}", action.name);
        assert_eq!(action.counters.sent, 0, "{}", action.name);
    }
    assert_eq!(publish::run(&scheduler).await.unwrap(), 0);
}

#[tokio::test]
async fn a_disabled_investigator_is_out_at_once() {
    let platform = Platform::start().await;
    platform.enroll(&["linux.web1"]).await;
    let ben = SecretKey::generate_ed25519("Ben <ben@example.net>", start_time()).unwrap();
    platform.investigator("Ben", &ben).await;
    let scheduler = platform.scheduler();
    let by_ben = |name: &str| {
        let mut action = platform.action(name, LINUX);
        sign(&mut action, &ben);
        action
    };
    let before = platform.launch(&by_ben("before")).await;
    dispatch::run(&scheduler).await.unwrap();
    assert_eq!(platform.status(before).await, ActionStatus::Inflight);

    let row = platform.store.investigator_by_fingerprint(ben.fingerprint()).await.unwrap();
    let change = mig_store::InvestigatorChange {
        status: Some(mig_types::InvestigatorStatus::Disabled),
        ..mig_store::InvestigatorChange::default()
    };
    platform.store.change_investigator(row.unwrap().id, &change, platform.now()).await.unwrap();
    let after = platform.launch(&by_ben("after")).await;
    dispatch::run(&scheduler).await.unwrap();
    assert_eq!(platform.status(after).await, ActionStatus::Invalid);
}

#[tokio::test]
async fn actions_nobody_ran_end_as_invalid() {
    let platform = Platform::start().await;
    let id = platform.launch(&platform.action("too late", LINUX)).await;
    platform.clock.advance(Duration::from_hours(2));
    let scheduler = platform.scheduler();
    dispatch::run(&scheduler).await.unwrap();
    expire::run(&scheduler).await.unwrap();
    assert_eq!(platform.status(id).await, ActionStatus::Invalid);
}

/// An action to one agent more than a chunk holds, whose scheduler dies after
/// the first chunk.
async fn half_dispatched(platform: &Platform) -> ActionId {
    for number in 0..=dispatch::CHUNK {
        platform.heartbeat(&format!("linux.web{number}")).await;
    }
    platform.take_heartbeats(&platform.scheduler()).await;
    let id = platform.launch(&platform.action("to many", LINUX)).await;
    let flaky = Arc::new(FlakyStore::new(Arc::clone(&platform.store)));
    flaky.leaves_in_dispatch.store(true, Ordering::SeqCst);
    dispatch::run(&platform.scheduler_over(flaky)).await.unwrap_err();
    assert_eq!(platform.status(id).await, ActionStatus::Preparing);
    assert_eq!(platform.counters(id).await.sent, dispatch::CHUNK as u64);
    id
}

#[tokio::test]
async fn what_a_scheduler_left_half_dispatched_its_successor_completes() {
    let platform = Platform::start().await;
    let id = half_dispatched(&platform).await;
    let scheduler = platform.scheduler();
    assert_eq!(dispatch::run(&scheduler).await.unwrap(), 0, "it is still leased");
    platform.clock.advance(dispatch::LEASE + Duration::from_secs(1));
    assert_eq!(dispatch::run(&scheduler).await.unwrap(), 1);
    assert_eq!(platform.status(id).await, ActionStatus::Inflight);
    assert_eq!(platform.counters(id).await.sent, dispatch::CHUNK as u64 + 1);
}

#[tokio::test]
async fn commands_say_for_how_many_agents_the_action_is() {
    let platform = Platform::start().await;
    let mut agents = platform.enroll(&["linux.web0"]).await;
    for number in 1..=dispatch::CHUNK {
        platform.heartbeat(&format!("linux.web{number}")).await;
    }
    platform.take_heartbeats(&platform.scheduler()).await;
    platform.launch(&platform.action("to many", LINUX)).await;
    let flaky = Arc::new(FlakyStore::new(Arc::clone(&platform.store)));
    flaky.leaves_in_dispatch.store(true, Ordering::SeqCst);
    let scheduler = platform.scheduler_over(Arc::clone(&flaky) as Arc<_>);
    dispatch::run(&scheduler).await.unwrap_err();
    // Published while the last one is not yet created.
    flaky.away.store(false, Ordering::SeqCst);
    publish::run(&scheduler).await.unwrap();
    let [command] = <[_; 1]>::try_from(agents[0].receive().await).unwrap();
    assert_eq!(command.action.counters.sent, dispatch::CHUNK as u64 + 1);
}

#[tokio::test]
async fn what_nobody_completed_ends_with_the_action() {
    let platform = Platform::start().await;
    let id = half_dispatched(&platform).await;
    platform.clock.advance(Duration::from_hours(2));
    let scheduler = platform.scheduler();
    assert_eq!(dispatch::run(&scheduler).await.unwrap(), 0);
    expire::run(&scheduler).await.unwrap();
    assert_eq!(platform.status(id).await, ActionStatus::Completed);
    assert_eq!(platform.counters(id).await.expired, dispatch::CHUNK as u64);
}

/// The durable step after which a scheduler dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Claim,
    Dispatch,
    CommandsClaim,
    Publish,
    Record,
    Store,
}

#[tokio::test]
async fn a_scheduler_that_dies_anywhere_loses_and_doubles_nothing() {
    use Death::{Claim, CommandsClaim, Dispatch, Publish, Record, Store};
    for death in [Claim, Dispatch, CommandsClaim, Publish, Record, Store] {
        let platform = Platform::start().await;
        let mut agents = platform.enroll(&WEB).await;
        let id = platform.launch(&platform.action("survives", LINUX)).await;
        die(&platform, death).await;
        // The successor waits until the leases of the dead have run out.
        platform.clock.advance(dispatch::LEASE + publish::LEASE + Duration::from_secs(1));

        let scheduler = platform.scheduler();
        dispatch::run(&scheduler).await.unwrap();
        publish::run(&scheduler).await.unwrap();
        for agent in &mut agents {
            let mut commands = agent.receive().await;
            if death == Publish {
                // Published twice, the same command: the agent answers twice.
                if commands.len() < 2 {
                    commands.extend(agent.receive().await);
                }
                assert_eq!(commands.len(), 2);
                assert_eq!(commands[0].id, commands[1].id);
            } else {
                assert_eq!(commands.len(), 1, "{death:?}");
            }
            for command in commands {
                agent.answer(command, Success).await;
            }
        }
        if death == Store {
            let (consumer, batch) = platform.deliveries(Source::Results).await;
            drop(collect::take(&scheduler, &batch).await.unwrap());
            // Never acknowledged: the consumer dies with the process.
            drop(consumer);
        }
        platform.take_results(&platform.scheduler()).await;

        let expected: Vec<_> = WEB.iter().map(|queueloc| (*queueloc, Success)).collect();
        assert_eq!(platform.outcome(id).await, outcomes(&expected), "{death:?}");
        let counters = platform.counters(id).await;
        assert_eq!((counters.sent, counters.done, counters.success), (3, 3, 3), "{death:?}");
        assert_eq!(platform.status(id).await, ActionStatus::Completed, "{death:?}");
    }
}

/// Runs a scheduler up to its death.
async fn die(platform: &Platform, death: Death) {
    let scheduler = platform.scheduler();
    let owner = Owner("the dead".to_owned());
    if death == Death::Claim {
        let claim = platform.store.claim_actions(&owner, dispatch::LEASE, 16, platform.now());
        assert_eq!(claim.await.unwrap().len(), 1);
        return;
    }
    dispatch::run(&scheduler).await.unwrap();
    match death {
        Death::CommandsClaim | Death::Publish => {
            let lease = publish::LEASE;
            let claim = platform.store.claim_unpublished(&owner, lease, 500, platform.now());
            let claimed = claim.await.unwrap();
            assert_eq!(claimed.len(), 3);
            for unpublished in claimed.iter().filter(|_| death == Death::Publish) {
                let body = mig_types::wire::to_vec(&unpublished.command).unwrap();
                let route = Route::Agent(unpublished.queueloc.clone());
                platform.send(route, Bytes::from(body)).await;
            }
        }
        Death::Record | Death::Store => {
            assert_eq!(publish::run(&scheduler).await.unwrap(), 3);
        }
        Death::Claim | Death::Dispatch => {}
    }
}

#[tokio::test]
async fn commands_wait_for_a_relay_that_is_away() {
    let platform = Platform::start().await;
    let mut agents = platform.enroll(&["linux.web1"]).await;
    let scheduler = platform.scheduler();
    platform.launch(&platform.action("patience", LINUX)).await;
    dispatch::run(&scheduler).await.unwrap();
    platform.relay.away.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        publish::run(&scheduler).await.unwrap_err();
    }
    platform.relay.away.store(false, Ordering::SeqCst);
    // Its own lease does not keep the scheduler from trying at once.
    assert_eq!(publish::run(&scheduler).await.unwrap(), 1);
    assert_eq!(agents[0].receive().await.len(), 1);
}

#[tokio::test]
async fn a_command_without_a_queue_is_tried_again_until_there_is_one() {
    let platform = Platform::start().await;
    // An agent over HTTP that has not come to the relay yet.
    platform.heartbeat("linux.web1").await;
    let scheduler = platform.scheduler();
    platform.take_heartbeats(&scheduler).await;
    let id = platform.launch(&platform.action("no queue", LINUX)).await;
    dispatch::run(&scheduler).await.unwrap();
    assert_eq!(publish::run(&scheduler).await.unwrap(), 0);
    assert_eq!(publish::run(&scheduler).await.unwrap(), 0);
    assert_eq!(platform.counters(id).await.inflight, 1);

    let mut agent = crate::platform::FakeAgent::listen(&platform.relay, "linux.web1").await;
    platform.clock.advance(publish::LEASE + Duration::from_secs(1));
    assert_eq!(publish::run(&scheduler).await.unwrap(), 1);
    assert_eq!(agent.receive().await.len(), 1);
}

#[tokio::test]
async fn two_schedulers_share_the_work() {
    const ACTIONS: usize = 12;
    let mut platform = Platform::start().await;
    platform.settings.collector_frequency = Duration::from_millis(20);
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let agents = platform.enroll(&WEB).await;
    let agents: Vec<_> = agents.into_iter().map(|agent| agent.run(Arc::clone(&seen))).collect();
    let (trigger, shutdown) = Shutdown::new();
    let serving: Vec<_> =
        (0..2).map(|_| tokio::spawn(platform.scheduler().serve(shutdown.clone()))).collect();

    let mut ids = Vec::new();
    for number in 0..ACTIONS {
        ids.push(platform.launch(&platform.action(&format!("action {number}"), LINUX)).await);
    }
    for id in &ids {
        platform.until(*id, ActionStatus::Completed).await;
        let expected: Vec<_> = WEB.iter().map(|queueloc| (*queueloc, Success)).collect();
        assert_eq!(platform.outcome(*id).await, outcomes(&expected));
    }
    // The clock stands still: no lease ran out, so nothing went out twice.
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), ACTIONS * WEB.len());
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");

    trigger.request();
    for serving in serving {
        tokio::time::timeout(crate::platform::PATIENCE, serving).await.unwrap().unwrap().unwrap();
    }
    agents.iter().for_each(tokio::task::JoinHandle::abort);
    platform.relay.close().await;
}

#[tokio::test]
async fn results_of_old_peers_are_stored_and_garbage_is_not_in_their_way() {
    let platform = Platform::start().await;
    let mut agents = platform.enroll(&["linux.web1"]).await;
    let scheduler = platform.scheduler();
    let id = platform.launch(&platform.action("old peers", LINUX)).await;
    dispatch::run(&scheduler).await.unwrap();
    publish::run(&scheduler).await.unwrap();
    let command = agents[0].receive().await.remove(0);
    let number = command.id.get();
    let exponent = format!("{number:e}").replace('e', "e+");
    let result = |id: &str, queueloc: &str, results: &str| {
        format!(
            r#"{{"id":{id},"Action":{{"id":1.5e300,"operations":null}},"agent":{{"name":"web1","queueLoc":"{queueloc}","pid":null,"later":[]}},"status":"success","results":{results},"later":1}}"#
        )
    };
    for body in [
        "garbage".to_owned(),
        String::new(),
        "{\"id\":1}".to_owned(),
        result(&exponent, "linux.web2", "null"),
        result("1", "linux.web1", "null"),
        result(&exponent, "linux.web1", "null").replace("success", "cancelled"),
    ] {
        platform.send(Route::Results, Bytes::from(body)).await;
    }
    platform.take_results(&scheduler).await;
    assert_eq!(platform.counters(id).await.inflight, 1);
    assert!(platform.events("command.results").is_empty());

    let good = result(
        &exponent,
        "linux.web1",
        r#"[{"success":true,"errors":null,"elements":{"a":"x\u0000y"}}]"#,
    );
    platform.send(Route::Results, Bytes::from(good.clone())).await;
    platform.take_results(&scheduler).await;
    assert_eq!(platform.counters(id).await.success, 1);
    assert_eq!(platform.events("command.results"), [Bytes::from(good)]);
    let command = platform.store.command(command.id).await.unwrap().unwrap();
    let elements = &command.results.unwrap()[0].elements;
    assert_eq!(elements, &serde_json::json!({"a": "xNULLy"}));
}

#[tokio::test]
async fn results_wait_for_a_store_that_is_away() {
    let platform = Platform::start().await;
    let mut agents = platform.enroll(&["linux.web1"]).await;
    let store = Arc::new(FlakyStore::new(Arc::clone(&platform.store)));
    let scheduler = platform.scheduler_over(store.clone());
    let id = platform.launch(&platform.action("outage", LINUX)).await;
    let (trigger, shutdown) = Shutdown::new();
    let serving = tokio::spawn(scheduler.serve(shutdown));
    let command = agents[0].receive().await.remove(0);

    store.away.store(true, Ordering::SeqCst);
    let refused = store.refused();
    agents[0].answer(command, Success).await;
    let body = platform.heartbeat("linux.web2").await;
    // Both listeners have tried and failed, and go on trying.
    wait_for(async || store.refused() > refused + 6).await;
    assert_eq!(platform.counters(id).await.inflight, 1);
    assert!(platform.events("command.results").is_empty());

    store.away.store(false, Ordering::SeqCst);
    platform.until(id, ActionStatus::Completed).await;
    wait_for(async || platform.events("agent.new").contains(&body)).await;
    wait_for(async || platform.events("command.results").len() == 1).await;
    trigger.request();
    tokio::time::timeout(crate::platform::PATIENCE, serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_during_an_outage_acknowledges_nothing() {
    let platform = Platform::start().await;
    let mut agents = platform.enroll(&["linux.web1"]).await;
    let store = Arc::new(FlakyStore::new(Arc::clone(&platform.store)));
    let id = platform.launch(&platform.action("outage", LINUX)).await;
    let (trigger, shutdown) = Shutdown::new();
    let serving = tokio::spawn(platform.scheduler_over(store.clone()).serve(shutdown));
    let command = agents[0].receive().await.remove(0);
    store.away.store(true, Ordering::SeqCst);
    let refused = store.refused();
    agents[0].answer(command, Success).await;
    wait_for(async || store.refused() > refused + 6).await;
    trigger.request();
    tokio::time::timeout(crate::platform::PATIENCE, serving).await.unwrap().unwrap().unwrap();

    assert_eq!(platform.counters(id).await.inflight, 1);
    platform.take_results(&platform.scheduler()).await;
    assert_eq!(platform.counters(id).await.success, 1);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_relay_that_is_away() {
    let platform = Platform::start().await;
    platform.relay.hangs.store(true, Ordering::SeqCst);
    let (trigger, shutdown) = Shutdown::new();
    let serving = tokio::spawn(platform.scheduler().serve(shutdown));
    wait_for(async || platform.relay.calls() >= 3).await;
    trigger.request();
    // Tasks that hang would be cut off after fifteen seconds.
    let begun = Instant::now();
    serving.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

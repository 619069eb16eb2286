//! Heartbeats: one live row for an agent process, history kept.

use mig_store::HeartbeatOutcome::{self, New, Refreshed, Updated};
use mig_types::{Agent, AgentStatus, CommandStatus, IdGenerator, Timestamp};
use serde_json::json;

use crate::support::{ALL, Platform, at, beat, on_both, result};

on_both!(
    the_first_heartbeat_makes_a_row,
    a_later_one_keeps_it_alive,
    a_new_environment_makes_a_new_row_and_keeps_the_old,
    a_heartbeat_without_refresh_time_refreshes_nothing,
    a_batch_answers_each_in_order,
    an_idle_agent_comes_back_and_an_offline_one_starts_anew,
    a_destroyed_agent_stays_destroyed,
    two_first_heartbeats_at_once_make_one_row,
    a_taken_agent_id_is_drawn_again,
    a_hostile_heartbeat_spoils_no_query,
    what_speaks_with_the_pid_of_a_killed_agent_is_new,
    a_refresh_between_command_and_result_loses_nothing,
);

async fn take(platform: &Platform, beats: &[Agent], now: Timestamp) -> Vec<HeartbeatOutcome> {
    platform.store.upsert_heartbeats(beats, &platform.ids, now).await.unwrap()
}

async fn take_one(platform: &Platform, agent: Agent, now: Timestamp) -> HeartbeatOutcome {
    take(platform, &[agent], now).await[0]
}

fn refreshed(queueloc: &str, pid: i64, refreshts: Timestamp) -> Agent {
    Agent { refreshts, version: "2.0".into(), ..beat(queueloc, pid) }
}

async fn the_first_heartbeat_makes_a_row(platform: &Platform) {
    let New(id) = take_one(platform, beat("linux.a", 7), at(9)).await else { panic!("not new") };
    let agent = platform.second.agent(id).await.unwrap().unwrap();
    let expected = Agent {
        id,
        starttime: at(9),
        heartbeatts: at(9),
        destructiontime: Timestamp::NEVER,
        status: Some(AgentStatus::Online),
        ..beat("linux.a", 7)
    };
    assert_eq!(agent, expected);
    assert!(take(platform, &[], at(9)).await.is_empty());
}

async fn a_later_one_keeps_it_alive(platform: &Platform) {
    let New(id) = take_one(platform, beat("linux.a", 7), at(0)).await else { panic!("not new") };
    // Within the slack of 15 seconds nothing is new.
    let later = refreshed("linux.a", 7, at(15));
    assert_eq!(take_one(platform, later, at(60)).await, Updated(id));
    let agent = platform.store.agent(id).await.unwrap().unwrap();
    assert_eq!((agent.heartbeatts, agent.starttime, agent.refreshts), (at(60), at(0), at(0)));
    assert_eq!(agent.version, "1.0");
    // Another process on the same endpoint is another agent.
    assert!(matches!(take_one(platform, beat("linux.a", 8), at(60)).await, New(_)));
}

async fn a_new_environment_makes_a_new_row_and_keeps_the_old(platform: &Platform) {
    let New(old) = take_one(platform, beat("linux.a", 7), at(0)).await else { panic!("not new") };
    let change = refreshed("linux.a", 7, at(16));
    let Refreshed(new) = take_one(platform, change.clone(), at(60)).await else {
        panic!("not refreshed")
    };
    assert_ne!(old, new);
    let before = platform.store.agent(old).await.unwrap().unwrap();
    assert_eq!((before.status, before.heartbeatts), (Some(AgentStatus::Offline), at(0)));
    let after = platform.store.agent(new).await.unwrap().unwrap();
    assert_eq!((after.status, after.version.as_str()), (Some(AgentStatus::Online), "2.0"));
    assert_eq!((after.starttime, after.refreshts, after.heartbeatts), (at(0), at(16), at(60)));
    assert_eq!(after.destructiontime, Timestamp::NEVER);
    assert_eq!(take_one(platform, change, at(120)).await, Updated(new));
}

async fn a_heartbeat_without_refresh_time_refreshes_nothing(platform: &Platform) {
    let New(id) = take_one(platform, beat("linux.a", 7), at(0)).await else { panic!("not new") };
    let without = refreshed("linux.a", 7, Timestamp::ZERO);
    assert_eq!(take_one(platform, without, at(60)).await, Updated(id));
}

async fn a_batch_answers_each_in_order(platform: &Platform) {
    let New(known) = take_one(platform, beat("linux.b", 1), at(0)).await else { panic!("not new") };
    let batch = [
        beat("linux.a", 1),
        beat("linux.b", 1),
        beat("linux.a", 1),
        refreshed("linux.b", 1, at(30)),
        beat("linux.b", 1),
        refreshed("linux.a", 1, at(40)),
    ];
    let outcomes = take(platform, &batch, at(50)).await;
    let [New(a), Updated(b), Updated(a2), Refreshed(b2), Updated(b3), Updated(a3)] = outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!((b, a2, b3, a3), (known, a, b2, a));
    let agents = platform.store.search_agents(&mig_store::Search::default(), ALL).await.unwrap();
    assert_eq!(agents.len(), 3);
    assert_eq!(platform.store.agent(a).await.unwrap().unwrap().version, "2.0");
}

async fn an_idle_agent_comes_back_and_an_offline_one_starts_anew(platform: &Platform) {
    let New(id) = take_one(platform, beat("linux.a", 1), at(0)).await else { panic!("not new") };
    platform.execute("update agents set status = 'idle'").await;
    assert_eq!(take_one(platform, beat("linux.a", 1), at(10)).await, Updated(id));
    let agent = platform.store.agent(id).await.unwrap().unwrap();
    assert_eq!(agent.status, Some(AgentStatus::Online));
    platform.execute("update agents set status = 'offline'").await;
    assert!(matches!(take_one(platform, beat("linux.a", 1), at(20)).await, New(_)));
}

async fn a_destroyed_agent_stays_destroyed(platform: &Platform) {
    let New(id) = take_one(platform, beat("linux.a", 1), at(0)).await else { panic!("not new") };
    platform.execute("update agents set status = 'destroyed'").await;
    for talk in [beat("linux.a", 1), refreshed("linux.a", 1, at(500))] {
        assert_eq!(take_one(platform, talk, at(510)).await, Updated(id));
        let agent = platform.store.agent(id).await.unwrap().unwrap();
        assert_eq!((agent.status, agent.heartbeatts), (Some(AgentStatus::Destroyed), at(510)));
    }
}

async fn two_first_heartbeats_at_once_make_one_row(platform: &Platform) {
    let mut tasks = Vec::new();
    for task in 0..6_u64 {
        let store = if task % 2 == 0 { platform.store.clone() } else { platform.second.clone() };
        tasks.push(tokio::spawn(async move {
            let ids = IdGenerator::new(1000 * task);
            let mut beats: Vec<_> =
                (0..40).map(|number| beat(&format!("linux.{number}"), 1)).collect();
            if task % 2 == 1 {
                beats.reverse();
            }
            store.upsert_heartbeats(&beats, &ids, at(task)).await.unwrap()
        }));
    }
    let mut new = 0;
    for task in tasks {
        let outcomes = task.await.unwrap();
        new += outcomes.iter().filter(|outcome| matches!(outcome, New(_))).count();
        // Whatever the outcome, the row it names exists.
        let (New(id) | Updated(id) | Refreshed(id)) = outcomes[0];
        assert!(platform.store.agent(id).await.unwrap().is_some());
    }
    assert_eq!(new, 40);
    let agents = platform.store.search_agents(&mig_store::Search::default(), ALL).await.unwrap();
    assert_eq!(agents.len(), 40);
}

async fn a_taken_agent_id_is_drawn_again(platform: &Platform) {
    // Two processes that draw the same numbers, as the original's did.
    let (one, two) = (IdGenerator::new(5), IdGenerator::new(5));
    platform.store.upsert_heartbeats(&[beat("linux.a", 1)], &one, at(0)).await.unwrap();
    let outcomes =
        platform.second.upsert_heartbeats(&[beat("linux.b", 1)], &two, at(0)).await.unwrap();
    assert!(matches!(outcomes[..], [New(_)]), "{outcomes:?}");
}

async fn a_hostile_heartbeat_spoils_no_query(platform: &Platform) {
    let mut hostile = beat("linux.a", i64::MAX);
    hostile.name = "na\0me".into();
    hostile.version = "1\0".into();
    hostile.environment.ident = "Deb\0ian".into();
    hostile.environment.os = "\0".into();
    hostile.tags = [("op\0erator".to_owned(), json!({"deep": "\0"}))].into_iter().collect();
    hostile.refreshts = Timestamp::parse("9999-12-31T23:59:59-23:59").unwrap();
    let New(id) = take_one(platform, hostile.clone(), at(0)).await else { panic!("not new") };
    assert_eq!(take_one(platform, hostile, at(1)).await, Updated(id));
    let agent = platform.store.agent(id).await.unwrap().unwrap();
    assert_eq!((agent.name.as_str(), agent.version.as_str()), ("naNULLme", "1NULL"));
    assert_eq!(agent.environment.ident, "DebNULLian");
    assert_eq!(agent.tags.get("opNULLerator"), Some(&json!({"deep": "NULL"})));
    assert_eq!(platform.text("select environment ->> 'os' from agents").await, "NULL");

    // Targets look into the JSON of every row: one bad row would fail them all.
    platform.enroll(&["linux.b"], at(1)).await;
    for (target, chosen) in [
        ("environment->>'os' = 'NULL'", vec!["linux.a"]),
        ("environment->>'os' = 'linux'", vec!["linux.b"]),
        ("environment->>'ident' ILIKE 'deb%'", vec!["linux.a"]),
        ("tags->>'opNULLerator' LIKE '%NULL%'", vec!["linux.a"]),
        ("tags->>'operator' = 'it'", vec!["linux.b"]),
        ("version = '1NULL' OR name LIKE 'linux%'", vec!["linux.a", "linux.b"]),
    ] {
        let agents = platform.store.agents_by_target(&target.parse().unwrap(), at(2)).await;
        let agents = agents.unwrap_or_else(|error| panic!("{target}: {error:?}"));
        let queuelocs: Vec<_> = agents.into_iter().map(|agent| agent.queueloc).collect();
        assert_eq!(queuelocs, chosen, "{target}");
    }
}

async fn a_refresh_between_command_and_result_loses_nothing(platform: &Platform) {
    let New(old) = take_one(platform, beat("linux.a", 1), at(0)).await else { panic!("not new") };
    let (id, commands) = platform.launch(1, &[old], at(10)).await;
    take_one(platform, refreshed("linux.a", 1, at(100)), at(101)).await;
    let outcome = platform.finish(result(commands[0], "linux.a", CommandStatus::Success), at(102));
    assert_eq!(outcome.await, mig_store::FinishOutcome::Stored(id));
    let counters = platform.store.action(id).await.unwrap().unwrap().counters;
    assert_eq!((counters.sent, counters.success), (1, 1));
}

async fn what_speaks_with_the_pid_of_a_killed_agent_is_new(platform: &Platform) {
    let New(victim) = take_one(platform, beat("linux.a", 7), at(0)).await else {
        panic!("not new")
    };
    platform.execute("update agents set status = 'destroyed'").await;
    assert_eq!(take_one(platform, beat("linux.a", 7), at(60)).await, Updated(victim));
    let half_an_hour = 60 + 30 * 60;
    assert_eq!(take_one(platform, beat("linux.a", 7), at(half_an_hour)).await, Updated(victim));
    let later = 2 * half_an_hour;
    let New(id) = take_one(platform, beat("linux.a", 7), at(later)).await else {
        panic!("a process that took over the pid is another agent")
    };
    assert_eq!(take_one(platform, beat("linux.a", 7), at(later + 60)).await, Updated(id));
    let status = async |id| platform.store.agent(id).await.unwrap().unwrap().status;
    assert_eq!(status(victim).await, Some(AgentStatus::Offline));
    assert_eq!(status(id).await, Some(AgentStatus::Online));
}

//! Agents: who is there, and whom a target chooses.

use std::time::{Duration, Instant};

use mig_store::{Chosen, Liveness, Page, PostgresConfig, StoreError};
use mig_types::{Agent, AgentStatus, Target};

use crate::support::{Platform, at, beat, on_both, on_postgres_with};

on_both!(
    a_target_the_database_cannot_evaluate_is_refused,
    a_target_chooses_live_agents_once_by_queueloc,
    a_target_reads_what_agents_told,
    silence_makes_idle_then_offline,
    destroyed_agents_are_never_swept,
    vanished_endpoints_are_those_without_a_live_agent,
    unknown_agents_are_none,
);

async fn chosen(platform: &Platform, text: &str) -> Vec<String> {
    let target: Target = text.parse().unwrap();
    let agents = platform.store.agents_by_target(&target, at(100)).await.unwrap();
    agents.into_iter().map(|agent| agent.queueloc).collect()
}

async fn a_target_the_database_cannot_evaluate_is_refused(platform: &Platform) {
    platform.enroll(&["linux.a"], at(0)).await;
    let texts = ["(environment->>'os')::integer = 1", "name ~ '('"];
    let mut refused = 0;
    for text in texts {
        // A grammar that refuses it earlier is as good.
        let Ok(target) = text.parse::<Target>() else {
            refused += 1;
            continue;
        };
        match platform.store.agents_by_target(&target, at(100)).await {
            Err(StoreError::Target { message }) => {
                assert!(!message.is_empty());
                refused += 1;
            }
            Ok(agents) => assert!(agents.is_empty(), "{text}"),
            Err(other) => panic!("{text}: {other:?}"),
        }
    }
    assert!(refused > 0);
    // The connection is fit for use, and for writing, afterwards.
    for _ in 0..6 {
        assert_eq!(chosen(platform, "name like '%'").await, ["linux.a"]);
    }
    platform.enroll(&["linux.b"], at(1)).await;
}

/// A million elements to look at, where there is time for a fraction of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_takes_the_database_too_long_is_refused() {
    let hasty = |config: &mut PostgresConfig| config.target_timeout = Duration::from_millis(150);
    on_postgres_with(hasty, async |platform| {
        platform.enroll(&["linux.a"], at(0)).await;
        platform.insert(1).await;
        let fill = "insert into agents select 1000 + n, 'n', 'linux.n' || n, 'daemon', '1', n, \
                    now(), null, now(), now(), 'offline' from generate_series(1, 20000) n";
        platform.execute(fill).await;
        let fill = "insert into commands select n, 1, 1000 + n, 'success', \
                    (select json_agg(json_build_object('foundanything', e > 60)) \
                    from generate_series(1, 50) e), now(), now() from generate_series(1, 20000) n";
        platform.execute(fill).await;
        let slow: Target = "id NOT IN (select agentid from commands, \
                            json_array_elements(commands.results) as r \
                            where actionid=1 and r#>>'{foundanything}' = 'true')"
            .parse()
            .unwrap();
        let began = Instant::now();
        match platform.store.agents_by_target(&slow, at(100)).await {
            Err(StoreError::Target { message }) => {
                let wanted = "it takes the database longer than 150ms, which is the limit";
                assert_eq!(message, wanted);
            }
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        // The limit ends with the statement: a quick target is answered.
        assert_eq!(chosen(platform, "status='online'").await, ["linux.a"]);
    })
    .await;
}

async fn a_target_chooses_live_agents_once_by_queueloc(platform: &Platform) {
    platform.enroll(&["linux.b", "linux.a", "linux.gone", "linux.dead"], at(0)).await;
    platform.execute("update agents set status = 'offline' where queueloc = 'linux.gone'").await;
    platform.execute("update agents set status = 'destroyed' where queueloc = 'linux.dead'").await;
    platform.execute("update agents set status = 'idle' where queueloc = 'linux.a'").await;
    // A second process, heard later.
    let second = Agent { version: "later".into(), ..beat("linux.b", 200) };
    platform.store.upsert_heartbeats(&[second], &platform.ids, at(50)).await.unwrap();
    let target: Target = "name like '%'".parse().unwrap();
    let all = Page { limit: 10, offset: 0 };
    let agents = platform.store.page_by_target(&target, all, at(100)).await.unwrap();
    let picked: Vec<_> =
        agents.iter().map(|agent| (agent.queueloc.as_str(), agent.version.as_str())).collect();
    assert_eq!(picked, [("linux.a", "1.0"), ("linux.b", "later")]);
    assert_eq!(agents[1].environment.os, "linux");
    let narrow: Vec<_> = agents
        .iter()
        .map(|agent| Chosen {
            id: agent.id,
            name: agent.name.clone(),
            queueloc: agent.queueloc.clone(),
            loadername: agent.loadername.clone(),
        })
        .collect();
    assert_eq!(platform.store.agents_by_target(&target, at(100)).await.unwrap(), narrow);
    for (page, expected) in [
        (Page { limit: 1, offset: 0 }, &agents[..1]),
        (Page { limit: 5, offset: 1 }, &agents[1..]),
        (Page { limit: 5, offset: 2 }, &[]),
    ] {
        let part = platform.store.page_by_target(&target, page, at(100)).await.unwrap();
        assert_eq!(part, expected, "{page:?}");
    }
    assert_eq!(chosen(platform, "status='online'").await, ["linux.b"]);
    assert!(chosen(platform, "status='offline'").await.is_empty());
}

async fn a_target_reads_what_agents_told(platform: &Platform) {
    let mut windows = beat("windows.desk1", 1);
    windows.environment.os = "windows".into();
    windows.tags.insert("operator".into(), "sales".into());
    let beats = [beat("linux.web1", 1), windows];
    platform.store.upsert_heartbeats(&beats, &platform.ids, at(0)).await.unwrap();
    for (text, expected) in [
        ("queueloc LIKE 'linux.%'", "linux.web1"),
        ("environment->>'os'='windows'", "windows.desk1"),
        ("tags->>'operator'='sales'", "windows.desk1"),
        ("tags#>>'{operator}'='it'", "linux.web1"),
        ("name='windows-desk1' OR name='nobody'", "windows.desk1"),
    ] {
        assert_eq!(chosen(platform, text).await, [expected], "{text}");
    }
}

async fn silence_makes_idle_then_offline(platform: &Platform) {
    let [id] = platform.enroll(&["linux.a"], at(0)).await[..] else { panic!("one agent") };
    let liveness =
        Liveness { idle_after: Duration::from_secs(50), offline_after: Duration::from_secs(200) };
    let status = async || platform.store.agent(id).await.unwrap().unwrap().status.unwrap();
    assert_eq!(platform.store.sweep_agents(liveness, at(50)).await.unwrap(), (0, 0));
    // Silent for long, and yet idle first.
    assert_eq!(platform.store.sweep_agents(liveness, at(1000)).await.unwrap(), (0, 1));
    assert_eq!(status().await, AgentStatus::Idle);
    assert_eq!(platform.second.sweep_agents(liveness, at(1000)).await.unwrap(), (1, 0));
    assert_eq!(status().await, AgentStatus::Offline);
    assert_eq!(platform.second.sweep_agents(liveness, at(2000)).await.unwrap(), (0, 0));
}

async fn destroyed_agents_are_never_swept(platform: &Platform) {
    platform.enroll(&["linux.a"], at(0)).await;
    platform.execute("update agents set status = 'destroyed'").await;
    let liveness = Liveness { idle_after: Duration::ZERO, offline_after: Duration::ZERO };
    assert_eq!(platform.store.sweep_agents(liveness, at(1000)).await.unwrap(), (0, 0));
}

async fn vanished_endpoints_are_those_without_a_live_agent(platform: &Platform) {
    platform.enroll(&["linux.old", "linux.gone", "linux.back", "linux.here"], at(0)).await;
    platform.enroll(&["linux.gone", "linux.back"], at(1000)).await;
    platform.execute("update agents set status = 'offline' where queueloc <> 'linux.here'").await;
    platform.enroll(&["linux.back"], at(1100)).await;
    let window = Duration::from_secs(500);
    let gone = platform.store.vanished_endpoints(window, at(1200)).await.unwrap();
    let gone: Vec<_> = gone.iter().map(mig_types::QueueLoc::as_str).collect();
    assert_eq!(gone, ["linux.gone"]);
}

async fn unknown_agents_are_none(platform: &Platform) {
    let nobody = mig_types::AgentId::new(404).unwrap();
    assert_eq!(platform.store.agent(nobody).await.unwrap(), None);
}

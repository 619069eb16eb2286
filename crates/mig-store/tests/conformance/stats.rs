//! Statistics, counted once and read back.

use mig_store::{AgentsStats, VersionCount};
use mig_types::Agent;

use crate::support::{Platform, at, beat, on_both};

on_both!(an_empty_platform_counts_nothing, counts_agents_and_endpoints);

const DAY: u64 = 24 * 3600;

async fn an_empty_platform_counts_nothing(platform: &Platform) {
    assert_eq!(platform.store.latest_stats().await.unwrap(), None);
    let stats = platform.store.store_stats(at(5)).await.unwrap();
    assert_eq!(stats, AgentsStats { timestamp: at(5), ..AgentsStats::default() });
    assert_eq!(platform.second.latest_stats().await.unwrap(), Some(stats));
}

async fn counts_agents_and_endpoints(platform: &Platform) {
    let version = |queueloc: &str, pid, version: &str| Agent {
        version: version.into(),
        ..beat(queueloc, pid)
    };
    let heard = async |beats: &[Agent], day: u64| {
        platform.store.upsert_heartbeats(beats, &platform.ids, at(day * DAY)).await.unwrap();
    };
    // Ten days ago, three days ago, and today (day 20).
    heard(&[beat("ancient", 1)], 10).await;
    heard(&[beat("vanished", 1), beat("returned", 1), beat("idle", 1)], 17).await;
    platform.execute("update agents set status = 'offline'").await;
    platform.execute("update agents set status = 'idle' where queueloc = 'idle'").await;
    let today = [
        version("returned", 2, "2.0"),
        version("new", 1, "1.0"),
        version("twice", 1, "1.0"),
        version("twice", 2, "2.0"),
        version("flapping", 1, "1.0"),
        version("flapping", 2, "9.9"),
    ];
    heard(&today, 20).await;
    platform.execute("update agents set status = 'idle' where version = '9.9'").await;

    let stats = platform.store.store_stats(at(20 * DAY + 60)).await.unwrap();
    let count = |version: &str, count| VersionCount { version: version.into(), count };
    let expected = AgentsStats {
        timestamp: at(20 * DAY + 60),
        online_agents: 5,
        online_agents_by_version: vec![count("1.0", 3), count("2.0", 2)],
        online_endpoints: 4,
        // The idle one of "flapping" has an online neighbour.
        idle_agents: 1,
        idle_agents_by_version: vec![count("1.0", 1)],
        idle_endpoints: 1,
        // "returned" was heard three days ago.
        new_endpoints: 3,
        multi_agents_endpoints: 1,
        disappeared_endpoints: 1,
        flapping_endpoints: 2,
    };
    assert_eq!(stats, expected);
    platform.store.store_stats(at(19 * DAY)).await.unwrap();
    assert_eq!(platform.second.latest_stats().await.unwrap(), Some(expected));
}

//! Statistics, counted once and read back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mig_store::{AgentsStats, VersionCount};
use mig_types::Agent;
use proptest::prelude::{Strategy as _, any};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::support::{Platform, at, beat, on_both};

on_both!(
    an_empty_platform_counts_nothing,
    counts_agents_and_endpoints,
    counts_any_rows_as_a_slow_reader_would,
    old_statistics_are_deleted_and_the_newest_stays,
);

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

/// A row of `agents`, as far as statistics go; ages in hours.
#[derive(Debug, Clone)]
struct Row {
    endpoint: u8,
    status: &'static str,
    version: u8,
    started: u64,
    heard: u64,
}

fn rows() -> impl proptest::strategy::Strategy<Value = Vec<Row>> {
    let status = proptest::sample::select(vec![
        "online",
        "online",
        "idle",
        "idle",
        "offline",
        "offline",
        "destroyed",
        "upgraded",
    ]);
    // Half of the ages are near the borders: one day and seven.
    let age = || {
        (any::<bool>(), 0u64..9, 0u64..=2, 0u64..240).prop_map(|(border, day, hour, any)| {
            if border { (day * 24 + hour).saturating_sub(1) } else { any }
        })
    };
    let row = (0u8..8, status, 0u8..3, age(), age()).prop_map(
        |(endpoint, status, version, started, heard)| Row {
            endpoint,
            status,
            version,
            started: started.max(heard),
            heard,
        },
    );
    proptest::collection::vec(row, 0..40)
}

/// Every counter by its definition, one after the other.
fn counted(rows: &[Row]) -> AgentsStats {
    let endpoints: BTreeSet<u8> = rows.iter().map(|row| row.endpoint).collect();
    let of = |endpoint: u8| rows.iter().filter(move |row| row.endpoint == endpoint);
    let live = |endpoint, status: &str| of(endpoint).filter(|row| row.status == status).count();
    let endpoints = |holds: &dyn Fn(u8) -> bool| {
        u64::try_from(endpoints.iter().filter(|endpoint| holds(**endpoint)).count()).unwrap()
    };
    let versions = |counts: &dyn Fn(&Row) -> bool| {
        let mut versions = BTreeMap::new();
        for row in rows.iter().filter(|row| counts(row)) {
            *versions.entry(format!("v{}", row.version)).or_insert(0) += 1;
        }
        versions
            .into_iter()
            .map(|(version, count)| VersionCount { version, count })
            .collect::<Vec<_>>()
    };
    let sum = |versions: &[VersionCount]| versions.iter().map(|version| version.count).sum();
    let online = versions(&|row| row.status == "online");
    let idle = versions(&|row| row.status == "idle" && live(row.endpoint, "online") == 0);
    AgentsStats {
        online_agents: sum(&online),
        online_agents_by_version: online,
        idle_agents: sum(&idle),
        idle_agents_by_version: idle,
        online_endpoints: endpoints(&|e| live(e, "online") > 0),
        idle_endpoints: endpoints(&|e| live(e, "idle") > 0 && live(e, "online") == 0),
        new_endpoints: endpoints(&|e| {
            of(e).any(|row| row.started <= 24)
                && !of(e).any(|row| row.heard <= 7 * 24 && row.heard > 24)
        }),
        multi_agents_endpoints: endpoints(&|e| live(e, "online") > 1),
        disappeared_endpoints: endpoints(&|e| {
            live(e, "online") + live(e, "idle") == 0 && of(e).any(|row| row.heard <= 7 * 24)
        }),
        flapping_endpoints: endpoints(&|e| live(e, "online") + live(e, "idle") > 1),
        ..AgentsStats::default()
    }
}

async fn counts_any_rows_as_a_slow_reader_would(platform: &Platform) {
    let now = at(20 * DAY);
    let mut runner = TestRunner::deterministic();
    let strategy = rows();
    for _ in 0..40 {
        let rows = strategy.new_tree(&mut runner).unwrap().current();
        platform.execute("delete from agents").await;
        let ago = |hours: u64| now - Duration::from_secs(hours * 3600);
        let values: Vec<String> = (1..)
            .zip(&rows)
            .map(|(number, row)| {
                format!(
                    "({number}, 'x', 'endpoint{}', 'daemon', 'v{}', {number}, '{}', '{}', '{}', \
                     '{}')",
                    row.endpoint,
                    row.version,
                    ago(row.started),
                    ago(row.heard),
                    ago(row.started),
                    row.status
                )
            })
            .collect();
        if !values.is_empty() {
            let sql = format!(
                "insert into agents (id, name, queueloc, mode, version, pid, starttime, \
                 heartbeattime, refreshtime, status) values {}",
                values.join(", ")
            );
            platform.execute(&sql).await;
        }
        let expected = AgentsStats { timestamp: now, ..counted(&rows) };
        assert_eq!(platform.store.store_stats(now).await.unwrap(), expected, "{rows:#?}");
        // Each pass counts anew: nothing flickers to zero.
        assert_eq!(platform.second.store_stats(now).await.unwrap(), expected, "{rows:#?}");
    }
}

async fn old_statistics_are_deleted_and_the_newest_stays(platform: &Platform) {
    for day in [1, 2, 3, 10] {
        platform.store.store_stats(at(day * DAY)).await.unwrap();
    }
    let week = Duration::from_secs(7 * DAY);
    assert_eq!(platform.store.prune_stats(week, at(10 * DAY)).await.unwrap(), 2);
    assert_eq!(platform.second.prune_stats(week, at(10 * DAY)).await.unwrap(), 0);
    let left = platform.text("select cast(count(*) as text) from agents_stats").await;
    assert_eq!(left, "2");
    let newest = platform.store.latest_stats().await.unwrap().unwrap();
    assert_eq!(newest.timestamp, at(10 * DAY));
}

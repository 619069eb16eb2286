//! Statistics about agents, computed in one pass over their rows.

use std::time::Duration;

use mig_types::Timestamp;

use crate::actions::to_json;
use crate::db::{Db, Sql};
use crate::model::{AgentsStats, StoreError, VersionCount};

type Result<T, E = StoreError> = std::result::Result<T, E>;

const DAY: Duration = Duration::from_hours(24);
const WEEK: Duration = Duration::from_hours(7 * 24);

/// Counters over endpoints: a name and the condition on `endpoints`.
const ENDPOINTS: [(&str, &str); 6] = [
    ("online_endpoints", "online > 0"),
    ("idle_endpoints", "idle > 0 and online = 0"),
    ("new_endpoints", "started = 1 and heard_before = 0"),
    ("multi_agents_endpoints", "online > 1"),
    ("disappeared_endpoints", "heard = 1 and online = 0 and idle = 0"),
    ("flapping_endpoints", "online + idle > 1"),
];

pub(crate) async fn store(db: &Db, now: Timestamp) -> Result<AgentsStats> {
    let stats = compute(db, now).await?;
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mut tx = db.begin().await?;
    let sql = tx
        .sql("insert into agents_stats (timestamp, online_agents, online_agents_by_version, ")
        .push("online_endpoints, idle_agents, idle_agents_by_version, idle_endpoints, ")
        .push("new_endpoints, multi_agents_endpoints, disappeared_endpoints, ")
        .push("flapping_endpoints) values (")
        .time(stats.timestamp)
        .push(", ")
        .int(number(stats.online_agents))
        .push(", ")
        .json(versions_json(&stats.online_agents_by_version)?)
        .push(", ")
        .int(number(stats.online_endpoints))
        .push(", ")
        .int(number(stats.idle_agents))
        .push(", ")
        .json(versions_json(&stats.idle_agents_by_version)?)
        .push(", ")
        .int(number(stats.idle_endpoints))
        .push(", ")
        .int(number(stats.new_endpoints))
        .push(", ")
        .int(number(stats.multi_agents_endpoints))
        .push(", ")
        .int(number(stats.disappeared_endpoints))
        .push(", ")
        .int(number(stats.flapping_endpoints))
        .push(")");
    tx.execute(sql).await?;
    tx.commit().await?;
    Ok(stats)
}

pub(crate) async fn prune(db: &Db, age: Duration, now: Timestamp) -> Result<u64> {
    let mut tx = db.begin().await?;
    let sql = tx.sql("delete from agents_stats where timestamp < ").time(now - age);
    let pruned = tx.execute(sql).await?;
    tx.commit().await?;
    Ok(pruned)
}

async fn compute(db: &Db, now: Timestamp) -> Result<AgentsStats> {
    let mut sql = seen(db, now);
    for (name, condition) in ENDPOINTS {
        sql = sql
            .push("select '")
            .push(name)
            .push("' as kind, '' as version, count(*) as total from endpoints where ")
            .push(condition)
            .push(" union all ");
    }
    let sql = sql
        .push("select 'online', version, count(*) from seen where status = 'online' ")
        .push("group by version union all ")
        .push("select 'idle', seen.version, count(*) from seen join endpoints ")
        .push("on endpoints.queueloc = seen.queueloc where seen.status = 'idle' ")
        .push("and endpoints.online = 0 group by seen.version order by 1, 2");
    let mut stats = AgentsStats { timestamp: now.truncate_micros(), ..AgentsStats::default() };
    for row in db.fetch(sql).await? {
        let (version, count) = (row.text("version")?, row.count("total")?);
        match row.text("kind")?.as_str() {
            "online" => {
                stats.online_agents += count;
                stats.online_agents_by_version.push(VersionCount { version, count });
            }
            "idle" => {
                stats.idle_agents += count;
                stats.idle_agents_by_version.push(VersionCount { version, count });
            }
            "online_endpoints" => stats.online_endpoints = count,
            "idle_endpoints" => stats.idle_endpoints = count,
            "new_endpoints" => stats.new_endpoints = count,
            "multi_agents_endpoints" => stats.multi_agents_endpoints = count,
            "disappeared_endpoints" => stats.disappeared_endpoints = count,
            "flapping_endpoints" => stats.flapping_endpoints = count,
            _ => {}
        }
    }
    Ok(stats)
}

/// `with seen …, endpoints …`: every row that can count, read once, and what
/// there is to say about each endpoint.
fn seen(db: &Db, now: Timestamp) -> Sql {
    db.sql("with seen as materialized (select queueloc, status, version, starttime, ")
        .push("heartbeattime from agents where status in ('online', 'idle') ")
        .push("or heartbeattime >= ")
        .time(now - WEEK)
        .push(" or starttime >= ")
        .time(now - DAY)
        .push("), endpoints as materialized (select queueloc, ")
        .push("sum(case when status = 'online' then 1 else 0 end) as online, ")
        .push("sum(case when status = 'idle' then 1 else 0 end) as idle, ")
        .push("max(case when starttime >= ")
        .time(now - DAY)
        .push(" then 1 else 0 end) as started, max(case when heartbeattime >= ")
        .time(now - WEEK)
        .push(" and heartbeattime < ")
        .time(now - DAY)
        .push(" then 1 else 0 end) as heard_before, max(case when heartbeattime >= ")
        .time(now - WEEK)
        .push(" then 1 else 0 end) as heard from seen group by queueloc) ")
}

pub(crate) async fn latest(db: &Db) -> Result<Option<AgentsStats>> {
    let mut sql = db
        .sql("select timestamp, cast(online_agents_by_version as text) as online_versions, ")
        .push("cast(idle_agents_by_version as text) as idle_versions");
    for column in
        ["online_agents", "idle_agents"].into_iter().chain(ENDPOINTS.map(|(name, _)| name))
    {
        sql = sql.push(", cast(").push(column).push(" as bigint) as ").push(column);
    }
    let sql = sql.push(" from agents_stats order by timestamp desc limit 1");
    let Some(row) = db.fetch_optional(sql).await? else { return Ok(None) };
    Ok(Some(AgentsStats {
        timestamp: row.time("timestamp")?,
        online_agents: row.count("online_agents")?,
        online_agents_by_version: row.json("online_versions")?,
        online_endpoints: row.count("online_endpoints")?,
        idle_agents: row.count("idle_agents")?,
        idle_agents_by_version: row.json("idle_versions")?,
        idle_endpoints: row.count("idle_endpoints")?,
        new_endpoints: row.count("new_endpoints")?,
        multi_agents_endpoints: row.count("multi_agents_endpoints")?,
        disappeared_endpoints: row.count("disappeared_endpoints")?,
        flapping_endpoints: row.count("flapping_endpoints")?,
    }))
}

/// The original writes `null` for an empty list.
fn versions_json(versions: &[VersionCount]) -> Result<String> {
    if versions.is_empty() { Ok("null".to_owned()) } else { to_json(versions) }
}

//! Endpoints on which several agents run, and the orders that end it.

use std::time::Duration;

use mig_types::{Agent, AgentStatus, Timestamp};

use crate::assemble::{SELECT_AGENTS, agent};
use crate::db::{Db, Lock, Sql};
use crate::model::{KillOrder, StoreError};

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Agents that share their queueloc and take turns: of two such, each was heard
/// of between the last two heartbeats of the other. One that started again has
/// two rows as well, but the old one is silent since the new one speaks.
pub(crate) async fn find(db: &Db, window: Duration, now: Timestamp) -> Result<Vec<Vec<Agent>>> {
    let since = now - window;
    let sql = speaking(db.sql(SELECT_AGENTS).push("agents g where "), "g", since)
        .push(" and exists (select 1 from agents o where o.queueloc = g.queueloc ")
        .push("and o.id <> g.id and ");
    let sql = speaking(sql, "o", since)
        .push(" and o.heardbefore < g.heartbeattime and g.heardbefore < o.heartbeattime) ")
        .push("order by g.queueloc, g.starttime, g.id");
    let mut groups: Vec<Vec<Agent>> = Vec::new();
    for row in db.fetch(sql).await? {
        let found = agent(&row)?;
        match groups.last_mut() {
            Some(group) if group.first().is_some_and(|one| one.queueloc == found.queueloc) => {
                group.push(found);
            }
            _ => groups.push(vec![found]),
        }
    }
    Ok(groups)
}

/// The rows of daemons that spoke twice lately.
fn speaking(sql: Sql, alias: &str, since: Timestamp) -> Sql {
    sql.push(alias)
        .push(".status <> 'offline' and ")
        .push(alias)
        .push(".mode <> 'checkin' and ")
        .push(alias)
        .push(".heartbeattime > ")
        .time(since)
        .push(" and ")
        .push(alias)
        .push(".heardbefore > ")
        .time(since)
}

/// Stores the order and marks its victim, or does nothing.
pub(crate) async fn order(db: &Db, order: &KillOrder, now: Timestamp) -> Result<bool> {
    let mut tx = db.begin().await?;
    // Two schedulers that see the same duplicate give one order.
    tx.lock(Lock::Duplicates).await?;
    let sql = tx
        .sql("select status, destructiontime from agents where id = ")
        .int(order.victim.as_i64())
        .locked();
    let Some(row) = tx.fetch_optional(sql).await? else { return Ok(false) };
    let ordered_long_ago = row.time("destructiontime")? <= now - order.again_after;
    let may_be_ordered = match AgentStatus::parse(&row.text("status")?) {
        Some(AgentStatus::Online | AgentStatus::Idle) => true,
        Some(AgentStatus::Destroyed) => ordered_long_ago,
        _ => false,
    };
    if !may_be_ordered {
        return Ok(false);
    }
    let (signer, signature) = &order.signer;
    let sql = tx
        .sql("select count(*) as pending from actions a join signatures s on s.actionid = a.id ")
        .push("where a.status in ('pending', 'scheduled', 'preparing', 'inflight') ")
        .push("and a.expireafter > ")
        .time(now)
        .push(" and a.target = ")
        .text(&order.action.target)
        .push(" and s.investigatorid = ")
        .int(signer.as_i64());
    if let Some(row) = tx.fetch_optional(sql).await?
        && row.int("pending")? > 0
    {
        return Ok(false);
    }
    crate::actions::insert(&mut tx, &order.action, &[(*signer, signature.clone())]).await?;
    let sql = tx
        .sql("update agents set status = 'destroyed', destructiontime = ")
        .time(now)
        .push(" where id = ")
        .int(order.victim.as_i64());
    tx.execute(sql).await?;
    tx.commit().await?;
    Ok(true)
}

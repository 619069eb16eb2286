//! Agents at rest.

use std::time::Duration;

use async_trait::async_trait;
use mig_types::{Agent, AgentId, IdGenerator, QueueLoc, Target, Timestamp};

use crate::assemble::SELECT_AGENTS;
use crate::db::Sql;
use crate::heartbeats;
use crate::model::{
    AgentsStats, Chosen, HeartbeatOutcome, KillOrder, Liveness, Page, Search, StoreError,
};
use crate::search::{self, AgentSource};
use crate::store::SqlStore;
use crate::targets::Plan;
use crate::traits::AgentStore;

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// New identifiers are drawn this often when a draw is taken already.
const DRAWS: u32 = 3;
/// A batch that lost to others about the same agents, which are then stored,
/// runs again this often. Every loss costs PostgreSQL's `deadlock_timeout`.
const LOST_RACES: u32 = 10;

#[async_trait]
impl AgentStore for SqlStore {
    async fn upsert_heartbeats(
        &self,
        beats: &[Agent],
        ids: &IdGenerator,
        now: Timestamp,
    ) -> Result<Vec<HeartbeatOutcome>> {
        if beats.is_empty() {
            return Ok(Vec::new());
        }
        let (mut draw, mut lost) = (1, 0);
        loop {
            // The failed transaction left nothing behind, so it may run again.
            match heartbeats::take(&self.db, beats, ids, now).await {
                Err(StoreError::Conflict { .. }) if draw < DRAWS => draw += 1,
                Err(error) if error.is_lost_race() && lost < LOST_RACES => lost += 1,
                outcome => return outcome.map_err(|error| error.about("an agent id")),
            }
        }
    }

    async fn sweep_agents(&self, liveness: Liveness, now: Timestamp) -> Result<(u64, u64)> {
        let mut tx = self.db.begin().await?;
        let mut swept = [0, 0];
        // Offline first: an agent spends at least one pass idle.
        for (changed, (from, to, silence)) in swept.iter_mut().zip([
            ("idle", "offline", liveness.offline_after),
            ("online", "idle", liveness.idle_after),
        ]) {
            let sql = tx
                .sql("update agents set status = ")
                .text(to)
                .push(" where id in (select a.id from agents a where a.status = ")
                .text(from)
                .push(" and a.heartbeattime < ")
                .time(now - silence)
                // A row that is locked is heartbeating right now.
                .push(" order by a.id")
                .locked_of("a")
                .push(")");
            *changed = tx.execute(sql).await?;
        }
        tx.commit().await?;
        let [offline, idle] = swept;
        Ok((offline, idle))
    }

    async fn agent(&self, id: AgentId) -> Result<Option<Agent>> {
        let sql = self.db.sql(SELECT_AGENTS).push("agents g where g.id = ").int(id.as_i64());
        Ok(self.read_agents(sql).await?.pop())
    }

    async fn agents_by_target(&self, target: &Target, now: Timestamp) -> Result<Vec<Chosen>> {
        let columns = "select cast(h.id as bigint) as id, h.name, h.queueloc, h.loadername from (";
        let sql = self.db.sql(columns);
        let sql = chosen(sql, ", agents.name, agents.loadername", target, now)?.once();
        let rows = self.db.fetch_target(sql, self.read_role, Plan::Any).await?;
        rows.iter()
            .map(|row| {
                Ok(Chosen {
                    id: row.id("id", AgentId::new)?,
                    name: row.text("name")?,
                    queueloc: row.text("queueloc")?,
                    loadername: row.optional_text("loadername")?.unwrap_or_default(),
                })
            })
            .collect()
    }

    async fn page_by_target(
        &self,
        target: &Target,
        page: Page,
        now: Timestamp,
    ) -> Result<Vec<Agent>> {
        // The wide rows are read for the page alone.
        let sql = self.db.sql("select cast(h.id as bigint) as id from (");
        let sql = chosen(sql, "", target, now)?
            .push(" limit ")
            .int(i64::from(page.limit))
            .push(" offset ")
            .int(i64::from(page.offset))
            .once();
        let rows = self.db.fetch_target(sql, self.read_role, Plan::InOrder).await?;
        let ids = rows.iter().map(|row| row.id("id", AgentId::new)).collect::<Result<Vec<_>>>()?;
        let mut agents = self.agents_by_id(&ids.iter().copied().collect()).await?;
        Ok(ids.into_iter().filter_map(|id| agents.remove(&id)).collect())
    }

    async fn search_agents(&self, search: &Search, page: Page) -> Result<Vec<Agent>> {
        let actions = self.fitting_actions(search).await?;
        if actions.is_none() {
            return Ok(Vec::new());
        }
        for source in search::sources(self.db.dialect(), search, &actions, page) {
            let sql = self.db.sql(SELECT_AGENTS).push("agents g");
            let sql = search::agents(sql, search, &actions, page, *source);
            let agents = self.read_agents(sql).await?;
            if *source != AgentSource::Newest || agents.len() == page.limit as usize {
                return Ok(agents);
            }
        }
        Ok(Vec::new())
    }

    async fn duplicate_agents(&self, window: Duration, now: Timestamp) -> Result<Vec<Vec<Agent>>> {
        crate::duplicates::find(&self.db, window, now).await
    }

    async fn order_kill(&self, order: &KillOrder, now: Timestamp) -> Result<bool> {
        crate::duplicates::order(&self.db, order, now).await
    }

    async fn prune_stats(&self, age: Duration, now: Timestamp) -> Result<u64> {
        crate::stats::prune(&self.db, age, now).await
    }

    async fn store_stats(&self, now: Timestamp) -> Result<AgentsStats> {
        crate::stats::store(&self.db, now).await
    }

    async fn latest_stats(&self) -> Result<Option<AgentsStats>> {
        crate::stats::latest(&self.db).await
    }

    async fn vanished_endpoints(&self, window: Duration, now: Timestamp) -> Result<Vec<QueueLoc>> {
        let sql = self
            .db
            .sql("select distinct g.queueloc from agents g where g.status = 'offline' ")
            .push("and g.heartbeattime > ")
            .time(now - window)
            .push(" and not exists (select 1 from agents live where live.queueloc = g.queueloc ")
            .push("and live.status in ('online', 'idle')) order by g.queueloc");
        let mut gone = Vec::new();
        for row in self.db.fetch(sql).await? {
            // What no relay could address has no queue either.
            gone.extend(row.text("queueloc")?.parse::<QueueLoc>());
        }
        Ok(gone)
    }
}

/// Completes a statement that reads from what a target chooses, called `h`:
/// the row heard last of each queueloc, in their order. `columns` are added to
/// its id and queueloc.
fn chosen(sql: Sql, columns: &'static str, target: &Target, now: Timestamp) -> Result<Sql> {
    let sql = sql
        .push("select agents.id, agents.queueloc")
        .push(columns)
        .push(", row_number() over (partition by agents.queueloc order by ")
        .push("agents.heartbeattime desc, agents.id desc) as heard from agents ")
        .push("where agents.status in ('online', 'idle') and (");
    let sql = crate::targets::condition(sql, target, now)?;
    Ok(sql.push(")) as h where h.heard = 1 order by h.queueloc"))
}

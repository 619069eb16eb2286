//! Commands at rest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use mig_types::{
    Action, ActionId, ActionStatus, Command, CommandId, CommandStatus, Counters, ModuleResult,
    Timestamp,
};

use crate::actions::to_json;
use crate::assemble::{SELECT_COMMANDS, command_status};
use crate::db::{Column, Sql, Tx};
use crate::model::{
    FinishOutcome, Finished, Owner, Page, Search, StoreError, StoreEvent, Unpublished,
};
use crate::results::clean_results;
use crate::scope::Scope;
use crate::store::SqlStore;
use crate::traits::CommandStore;

type Result<T, E = StoreError> = std::result::Result<T, E>;

#[async_trait]
impl CommandStore for SqlStore {
    async fn claim_unpublished(
        &self,
        owner: &Owner,
        lease: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Unpublished>> {
        loop {
            let ids = self.claim(owner, now + lease, limit, now).await?;
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            let sql = self.db.sql(SELECT_COMMANDS).push(" where c.status = 'sent' and c.id");
            let sql = sql.among(ids.iter().copied()).push(" order by c.id");
            let commands = self.read_commands(sql).await?;
            if commands.len() < ids.len() {
                // Published by somebody who died before saying so, and answered.
                let open: HashSet<i64> = commands.iter().map(|one| one.id.as_i64()).collect();
                self.leave_outbox(ids.into_iter().filter(|id| !open.contains(id))).await?;
            }
            if !commands.is_empty() {
                return Ok(commands.into_iter().filter_map(unpublished).collect());
            }
        }
    }

    async fn mark_published(&self, ids: &[CommandId]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.leave_outbox(ids.iter().map(|id| id.as_i64())).await
    }

    async fn finish_commands(
        &self,
        results: &[Finished],
        now: Timestamp,
    ) -> Result<Vec<FinishOutcome>> {
        if results.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.begin().await?;
        let ids: Vec<_> = results.iter().map(|result| result.id.as_i64()).collect();
        tx.prefer_indexes().await?;
        let found = tx.sql("select actionid from commands where id").among(ids.iter().copied());
        let actions = lock_actions(&mut tx, found, now).await?;
        let mut stored = stored_commands(&mut tx, &actions, ids).await?;

        let mut writes = Writes::default();
        let mut outcomes = Vec::with_capacity(results.len());
        for result in results {
            outcomes.push(decide(result, &mut stored, &mut writes)?);
        }
        for action in writes.actions() {
            tx.tell(StoreEvent::Progress(action));
        }
        writes.store(&mut tx, now).await?;
        tx.commit().await?;
        Ok(outcomes)
    }

    async fn expire_commands(
        &self,
        grace: Duration,
        now: Timestamp,
    ) -> Result<Vec<(ActionId, u64)>> {
        let mut tx = self.db.begin().await?;
        let over = |sql: Sql, column: &str| {
            sql.push(column)
                .push(" from commands c join actions a on a.id = c.actionid ")
                .push("where c.status = 'sent' and a.expireafter < ")
                .time(now - grace)
        };
        let select = tx.sql("select ");
        let locked = lock_actions(&mut tx, over(select, "c.actionid"), now).await?;
        if locked.is_empty() {
            return Ok(Vec::new());
        }
        let sql = over(
            tx.sql("update commands set status = 'expired', finishtime = ")
                .time(now)
                .push(", finish_seq = due.seq from (select "),
            "c.id, coalesce((select max(f.finish_seq) from commands f \
             where f.actionid = c.actionid), 0) \
             + row_number() over (partition by c.actionid order by c.id) as seq",
        )
        .push(" and a.id")
        .among(locked.iter().map(|id| id.as_i64()))
        .push(") as due where commands.id = due.id and commands.status = 'sent' ")
        .push("returning cast(commands.actionid as bigint) as actionid");
        let mut expired: BTreeMap<ActionId, u64> = BTreeMap::new();
        for row in tx.fetch(sql).await? {
            *expired.entry(row.id("actionid", ActionId::new)?).or_default() += 1;
        }
        for id in expired.keys() {
            tx.tell(StoreEvent::Progress(*id));
        }
        let sql = tx.sql("delete from mig_outbox where until < ").time(now - grace);
        tx.execute(sql).await?;
        tx.commit().await?;
        Ok(expired.into_iter().collect())
    }

    async fn count_in_flight(&self) -> Result<u64> {
        let sql = self.db.sql("select count(*) as total from commands where status = 'sent'");
        match self.db.fetch_optional(sql).await? {
            Some(row) => row.count("total"),
            None => Ok(0),
        }
    }

    async fn command(&self, id: CommandId) -> Result<Option<Command>> {
        let sql = self.db.sql(SELECT_COMMANDS).push(" where c.id = ").int(id.as_i64());
        Ok(self.read_commands(sql).await?.pop())
    }

    async fn search_commands(&self, search: &Search, page: Page) -> Result<Vec<Command>> {
        let actions = self.fitting_actions(search).await?;
        let agents = self.fitting_agents(search).await?;
        if actions.is_none() || agents.is_none() {
            return Ok(Vec::new());
        }
        let scope = Scope { actions, agents };
        let sql = crate::search::commands(self.db.sql(SELECT_COMMANDS), search, &scope, page);
        self.read_commands(sql).await
    }

    async fn finished_since(
        &self,
        action: ActionId,
        cursor: u64,
        limit: u32,
    ) -> Result<(Vec<Command>, u64)> {
        let seqs = self
            .db
            .sql("select cast(id as bigint) as id, finish_seq from commands where actionid = ")
            .int(action.as_i64())
            .push(" and finish_seq > ")
            .int(i64::try_from(cursor).unwrap_or(i64::MAX))
            .push(" order by finish_seq limit ")
            .int(i64::from(limit));
        let mut order = HashMap::new();
        let mut last = cursor;
        for row in self.db.fetch(seqs).await? {
            let seq = row.count("finish_seq")?;
            order.insert(row.id("id", CommandId::new)?, seq);
            last = last.max(seq);
        }
        if order.is_empty() {
            return Ok((Vec::new(), cursor));
        }
        let sql = self.db.sql(SELECT_COMMANDS).push(" where c.id");
        let mut commands =
            self.read_commands(sql.among(order.keys().map(|id| id.as_i64()))).await?;
        commands.sort_by_key(|command| order.get(&command.id).copied());
        Ok((commands, last))
    }
}

impl SqlStore {
    /// The ids of commands that wait for the relay, ours until `lease`.
    async fn claim(
        &self,
        owner: &Owner,
        lease: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<i64>> {
        let mut tx = self.db.begin().await?;
        let sql = tx
            // After the end nobody may run it; expiry will account for it.
            .sql("with picked as materialized (select o.commandid from mig_outbox o ")
            .push("where o.until > ")
            .time(now)
            .push(" and (o.lease is null or o.lease <= ")
            .time(now)
            .push(") order by o.commandid limit ")
            .int(i64::from(limit))
            .locked_of("o")
            .push(") update mig_outbox set owner = ")
            .text(&owner.0)
            .push(", lease = ")
            .time(lease)
            .push(" from picked where mig_outbox.commandid = picked.commandid ")
            .push("returning mig_outbox.commandid as id")
            .planned_anew();
        let rows = tx.fetch(sql).await?;
        tx.commit().await?;
        rows.iter().map(|row| row.int("id")).collect()
    }

    async fn leave_outbox(&self, ids: impl Iterator<Item = i64>) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let sql = tx.sql("delete from mig_outbox where commandid").among(ids).planned_anew();
        tx.execute(sql).await?;
        tx.commit().await
    }
}

/// Touches the actions that `ids` selects and holds their rows until the end
/// of the transaction, in the order of their ids: whoever changes commands of
/// an action queues up here, so finish sequences become visible in order and
/// two batches cannot wait for each other.
async fn lock_actions(tx: &mut Tx, ids: Sql, now: Timestamp) -> Result<Vec<ActionId>> {
    let (text, binds) = ids.into_parts();
    let sql = tx
        // The few actions first: joined with the commands in one go, PostgreSQL may read
        // every command of every action to find those of a batch.
        .sql("with wanted as materialized (select distinct actionid from (")
        .push_bound(&text, binds)
        .push(") as batch), picked as materialized (select id from actions where id in ")
        .push("(select actionid from wanted) order by id")
        .locked()
        .push(") update actions set lastupdatetime = ")
        .time(now)
        .push(" from picked where actions.id = picked.id ")
        .push("returning cast(actions.id as bigint) as id")
        .planned_anew();
    crate::actions::action_ids(&tx.fetch(sql).await?)
}

/// What a result is compared with.
struct Stored {
    action: ActionId,
    queueloc: String,
    status: CommandStatus,
    /// Last finish sequence of the action.
    seq: i64,
}

async fn stored_commands(
    tx: &mut Tx,
    actions: &[ActionId],
    ids: Vec<i64>,
) -> Result<HashMap<CommandId, Stored>> {
    let sql = tx
        // By their ids first: beside the action in one join, either database may read
        // every command of the action instead, and that for each batch.
        .sql("with c as materialized (select id, actionid, agentid, status, queueloc ")
        .push("from commands where id")
        .among(ids)
        // The last sequence is looked up once for each action.
        .push("), last as materialized (select a.id, cast(coalesce((select max(f.finish_seq) ")
        .push("from commands f where f.actionid = a.id), 0) as bigint) as seq from actions a ")
        .push("where a.id")
        .among(actions.iter().map(|id| id.as_i64()))
        .push(") select cast(c.id as bigint) as id, cast(c.actionid as bigint) as actionid, ")
        .push("c.status, coalesce(c.queueloc, g.queueloc) as queueloc, last.seq as seq ")
        .push("from c cross join last cross join agents g ")
        .push("where last.id = c.actionid and g.id = c.agentid")
        .planned_anew();
    let mut stored = HashMap::new();
    for row in tx.fetch(sql).await? {
        stored.insert(
            row.id("id", CommandId::new)?,
            Stored {
                action: row.id("actionid", ActionId::new)?,
                queueloc: row.text("queueloc")?,
                status: command_status(&row)?,
                seq: row.int("seq")?,
            },
        );
    }
    Ok(stored)
}

/// The rows of a batch that change.
#[derive(Default)]
struct Writes {
    ids: Vec<i64>,
    statuses: Vec<Option<String>>,
    results: Vec<Option<String>>,
    seqs: Vec<i64>,
    found: Vec<i64>,
    /// How many sequence numbers of each action are taken by this batch.
    taken: BTreeMap<ActionId, i64>,
}

impl Writes {
    fn actions(&self) -> impl Iterator<Item = ActionId> {
        self.taken.keys().copied()
    }

    async fn store(self, tx: &mut Tx, now: Timestamp) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let sql = tx
            .sql("update commands set status = r.status, results = r.results, finish_seq = r.seq, ")
            .push("found = r.found, finishtime = ")
            .time(now)
            .push(" from ")
            .rows(
                "r",
                vec![
                    Column::Int("id", self.ids),
                    Column::Text("status", self.statuses),
                    Column::Json("results", self.results),
                    Column::Int("seq", self.seqs),
                    Column::Int("found", self.found),
                ],
            )
            .push(" where commands.id = r.id")
            .planned_anew();
        tx.execute(sql).await.map(drop)
    }
}

fn decide(
    result: &Finished,
    stored: &mut HashMap<CommandId, Stored>,
    writes: &mut Writes,
) -> Result<FinishOutcome> {
    let Some(command) = stored.get_mut(&result.id) else { return Ok(FinishOutcome::Unknown) };
    if command.queueloc != result.queueloc.as_str() || !result.status.is_agents() {
        return Ok(FinishOutcome::Unknown);
    }
    if !matches!(command.status, CommandStatus::Sent | CommandStatus::Expired) {
        return Ok(FinishOutcome::AlreadyFinal(command.action, command.status));
    }
    let mut results = result.results.clone();
    clean_results(&mut results);
    let taken = writes.taken.entry(command.action).or_default();
    *taken += 1;
    writes.ids.push(result.id.as_i64());
    writes.statuses.push(Some(result.status.as_str().to_owned()));
    writes.results.push(Some(to_json(&results)?));
    writes.seqs.push(command.seq + *taken);
    writes.found.push(found(&results));
    command.status = result.status;
    Ok(FinishOutcome::Stored(command.action))
}

/// What a search by it needs to know: 1 for an operation that found something, 2 for one
/// that did not.
fn found(results: &[ModuleResult]) -> i64 {
    results.iter().fold(0, |all, result| all | if result.foundanything { 1 } else { 2 })
}

/// The command as an agent shall receive it. `None` for a queueloc that no
/// relay could address, which only a foreign program can have stored.
fn unpublished(mut command: Command) -> Option<Unpublished> {
    let queueloc = command.agent.queueloc.parse().ok()?;
    command.action = Action {
        status: Some(ActionStatus::Preparing),
        finishtime: Timestamp::ZERO,
        lastupdatetime: Timestamp::ZERO,
        counters: Counters { sent: command.action.counters.sent, ..Counters::default() },
        investigators: Vec::new(),
        ..command.action
    };
    command.finishtime = Timestamp::ZERO;
    Some(Unpublished { command, queueloc })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operations_found_is_noted_for_both_searches() {
        let result = |foundanything| ModuleResult { foundanything, ..ModuleResult::default() };
        for (results, noted) in
            [(&[][..], 0), (&[true], 1), (&[false], 2), (&[true, true], 1), (&[false, true], 3)]
        {
            let results: Vec<_> = results.iter().copied().map(result).collect();
            assert_eq!(found(&results), noted);
        }
    }
}

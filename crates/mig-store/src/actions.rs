//! Actions at rest.

use std::time::Duration;

use async_trait::async_trait;
use mig_types::action::{MAX_SIGNATURES, MAX_TEXT};
use mig_types::{
    Action, ActionId, ActionStatus, CommandStatus, InvestigatorId, ModuleResult, Timestamp, wire,
};
use serde::Serialize;

use crate::assemble::SELECT_ACTIONS;
use crate::db::{Column, Row, Tx};
use crate::model::{NewCommand, Owner, Page, Search, StoreError, StoreEvent};
use crate::store::SqlStore;
use crate::traits::ActionStore;

type Result<T, E = StoreError> = std::result::Result<T, E>;

pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    wire::to_string(value).map_err(StoreError::failed)
}

/// Stores an action and its signatures as part of a transaction.
pub(crate) async fn insert(
    tx: &mut Tx,
    action: &Action,
    signers: &[(InvestigatorId, String)],
) -> Result<()> {
    let signatures = fitting(action)?;
    let status = action.status.unwrap_or(ActionStatus::Pending);
    let sql = tx
        .sql("insert into actions (id, name, target, description, threat, operations, ")
        .push("validfrom, expireafter, starttime, finishtime, lastupdatetime, status, ")
        .push("syntaxversion, pgpsignatures) values (")
        .int(action.id.as_i64())
        .push(", ")
        .text(&action.name)
        .push(", ")
        .text(&action.target)
        .push(", ")
        .json(to_json(&action.description)?)
        .push(", ")
        .json(to_json(&action.threat)?)
        .push(", ")
        .json(to_json(&action.operations)?)
        .push(", ")
        .time(action.validfrom)
        .push(", ")
        .time(action.expireafter)
        .push(", ")
        .time(or(action.starttime, Timestamp::NOT_STARTED))
        .push(", ")
        .time(or(action.finishtime, Timestamp::NEVER))
        .push(", ")
        .time(or(action.lastupdatetime, Timestamp::NOT_STARTED))
        .push(", ")
        .text(status.as_str())
        .push(", ")
        .int(i64::from(action.syntaxversion))
        .push(", ")
        .text(signatures)
        .push(")");
    let name = format!("action {}", action.id);
    tx.execute(sql).await.map_err(|error| error.about(name))?;
    if !signers.is_empty() {
        let ids = signers.iter().map(|(id, _)| id.as_i64()).collect();
        let texts = signers.iter().map(|(_, signature)| Some(signature.clone())).collect();
        let sql = tx
            .sql("insert into signatures (actionid, investigatorid, pgpsignature) select ")
            .int(action.id.as_i64())
            .push(", r.investigator, r.signature from ")
            .rows("r", vec![Column::Int("investigator", ids), Column::Text("signature", texts)])
            // One investigator, one signature: a second counts nothing.
            // `true` keeps SQLite from reading "on" as part of a join.
            .push(" where true on conflict (actionid, investigatorid) do nothing");
        tx.execute(sql).await?;
    }
    tx.tell(StoreEvent::ActionCreated(action.id));
    Ok(())
}

/// Creates commands of an action that `owner` has claimed, and queues them for
/// the relay. `false` when it has not, or no longer.
async fn create_commands(
    tx: &mut Tx,
    action: ActionId,
    owner: &Owner,
    commands: &[NewCommand],
    now: Timestamp,
) -> Result<bool> {
    let sql = tx
        .sql("select cast(operations as text) as operations from actions where id = ")
        .int(action.as_i64())
        .push(" and owner = ")
        .text(&owner.0)
        .push(" and status in ('scheduled', 'preparing')")
        .locked();
    let Some(row) = tx.fetch_optional(sql).await? else { return Ok(false) };
    if commands.is_empty() {
        return Ok(true);
    }
    let operations: Option<Vec<serde_json::Value>> = row.json("operations")?;
    let empty = vec![ModuleResult::default(); operations.map_or(0, |list| list.len())];
    let ids = commands.iter().map(|new| new.id.as_i64()).collect();
    let agents = commands.iter().map(|new| new.agent.as_i64()).collect();
    let sql = tx
        .sql("insert into commands (id, actionid, agentid, status, results, starttime, ")
        .push("finishtime, queueloc) select r.id, ")
        .int(action.as_i64())
        .push(", g.id, ")
        .text(CommandStatus::Sent.as_str())
        .push(", ")
        .json(to_json(&empty)?)
        .push(", ")
        .time(now)
        .push(", ")
        .time(Timestamp::NEVER)
        .push(", g.queueloc from ")
        .rows("r", vec![Column::Int("id", ids), Column::Int("agent", agents)])
        .push(" join agents g on g.id = r.agent where true ")
        .push("on conflict (actionid, agentid) where queueloc is not null do nothing ")
        .push("returning cast(id as bigint) as id");
    let created = tx.fetch(sql).await.map_err(|error| error.about("a command id"))?;
    let created = created.iter().map(|row| row.int("id")).collect::<Result<Vec<_>>>()?;
    if created.is_empty() {
        return Ok(true);
    }
    let sql = tx
        .sql("insert into mig_outbox (commandid, until) select r.id, a.expireafter from ")
        .rows("r", vec![Column::Int("id", created)])
        .push(" cross join actions a where a.id = ")
        .int(action.as_i64());
    tx.execute(sql).await?;
    Ok(true)
}

#[async_trait]
impl ActionStore for SqlStore {
    async fn insert_action(
        &self,
        action: &Action,
        signers: &[(InvestigatorId, String)],
    ) -> Result<()> {
        let mut tx = self.db.begin().await?;
        insert(&mut tx, action, signers).await?;
        tx.commit().await
    }

    async fn action(&self, id: ActionId) -> Result<Option<Action>> {
        let sql = self.db.sql(SELECT_ACTIONS).push(" where a.id = ").int(id.as_i64());
        Ok(self.read_actions(sql).await?.pop())
    }

    async fn claim_actions(
        &self,
        owner: &Owner,
        lease: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Action>> {
        let mut tx = self.db.begin().await?;
        let sql = tx
            .sql("with picked as materialized (select id from actions where ((status = ")
            .push("'pending' and validfrom <= ")
            .time(now)
            .push(") or (status in ('scheduled', 'preparing') and (lease_until is null ")
            .push("or lease_until <= ")
            .time(now)
            .push("))) and expireafter > ")
            .time(now)
            .push(" order by validfrom, id limit ")
            .int(i64::from(limit))
            .locked_of("actions")
            .push(") update actions set status = 'scheduled', owner = ")
            .text(&owner.0)
            .push(", lease_until = ")
            .time(now + lease)
            .push(" from picked where actions.id = picked.id ")
            .push("returning cast(actions.id as bigint) as id");
        let ids = action_ids(&tx.fetch(sql).await?)?;
        tx.commit().await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = self
            .db
            .sql(SELECT_ACTIONS)
            .push(" where a.id")
            .among(ids.iter().map(|id| id.as_i64()))
            .push(" order by a.validfrom, a.id");
        self.read_actions(sql).await
    }

    async fn prepare_commands(
        &self,
        action: ActionId,
        owner: &Owner,
        commands: &[NewCommand],
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        if !create_commands(&mut tx, action, owner, commands, now).await? {
            return Ok(false);
        }
        let sql = tx
            .sql("update actions set status = 'preparing', lease_until = ")
            .time(now + lease)
            .push(", lastupdatetime = ")
            .time(now)
            .push(" where id = ")
            .int(action.as_i64());
        tx.execute(sql).await?;
        tx.tell(StoreEvent::CommandsReady(action));
        tx.commit().await?;
        Ok(true)
    }

    async fn dispatch(
        &self,
        action: ActionId,
        owner: &Owner,
        commands: &[NewCommand],
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        if !create_commands(&mut tx, action, owner, commands, now).await? {
            return Ok(false);
        }
        let sql = tx
            .sql("update actions set status = 'inflight', owner = null, lease_until = null, ")
            .push("starttime = ")
            .time(now)
            .push(", lastupdatetime = ")
            .time(now)
            .push(" where id = ")
            .int(action.as_i64());
        tx.execute(sql).await?;
        tx.tell(StoreEvent::CommandsReady(action));
        tx.commit().await?;
        Ok(true)
    }

    async fn invalidate(&self, action: ActionId, reason: &str, now: Timestamp) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let mut reason: String = reason.chars().take(2048).collect();
        crate::results::clean_text(&mut reason);
        let sql = end(&tx, "invalid", now)
            .push(", reason = ")
            .text(reason)
            .push(" where status in ('pending', 'scheduled', 'preparing') and id = ")
            .int(action.as_i64());
        let changed = tx.execute(sql).await? > 0;
        if changed {
            tx.tell(StoreEvent::Progress(action));
        }
        tx.commit().await?;
        Ok(changed)
    }

    async fn reason(&self, action: ActionId) -> Result<Option<String>> {
        let sql = self.db.sql("select reason from actions where status = 'invalid' and id = ");
        match self.db.fetch_optional(sql.int(action.as_i64())).await? {
            Some(row) => row.optional_text("reason"),
            None => Ok(None),
        }
    }

    async fn sweep_expired_actions(&self, now: Timestamp) -> Result<Vec<ActionId>> {
        let tx = self.db.begin().await?;
        let sql = end(&tx, "invalid", now)
            .push(", reason = 'expired before it could start' where id in (select a.id ")
            .push("from actions a where a.status in ('pending', 'scheduled', 'preparing') ")
            .push("and a.expireafter <= ")
            .time(now)
            .push(" and not exists (select 1 from commands c where c.actionid = a.id) ")
            .push("order by a.id")
            .locked()
            .push(") returning cast(id as bigint) as id");
        self.ended(tx, sql).await
    }

    async fn complete_actions(&self, now: Timestamp) -> Result<Vec<Action>> {
        let tx = self.db.begin().await?;
        let sql = end(&tx, "completed", now)
            // An older scheduler that died may have left commands behind an
            // action it never set in flight.
            .push(" where id in (select a.id from actions a where (a.status = 'inflight' ")
            .push("or (a.status in ('scheduled', 'preparing') and a.expireafter <= ")
            .time(now)
            .push(" and exists (select 1 from commands c where c.actionid = a.id))) and not ")
            .push("exists (select 1 from commands c where c.actionid = a.id and ")
            .push("c.status = 'sent') order by a.id")
            .locked()
            .push(") returning cast(id as bigint) as id");
        let ids = self.ended(tx, sql).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = self.db.sql(SELECT_ACTIONS).push(" where a.id");
        self.read_actions(sql.among(ids.iter().map(|id| id.as_i64())).push(" order by a.id")).await
    }

    async fn search_actions(&self, search: &Search, page: Page) -> Result<Vec<Action>> {
        let agents = self.fitting_agents(search).await?;
        if agents.is_none() {
            return Ok(Vec::new());
        }
        let sql = self.db.sql(SELECT_ACTIONS);
        self.read_actions(crate::search::actions(sql, search, &agents, page)).await
    }

    async fn last_actions(&self, limit: u32) -> Result<Vec<Action>> {
        let sql = self.db.sql(SELECT_ACTIONS).push(" order by a.starttime desc, a.id desc limit ");
        self.read_actions(sql.int(i64::from(limit))).await
    }
}

impl SqlStore {
    /// Runs a statement that ends actions, tells of each and commits.
    async fn ended(&self, mut tx: Tx, sql: crate::db::Sql) -> Result<Vec<ActionId>> {
        let mut ids = action_ids(&tx.fetch(sql).await?)?;
        ids.sort_unstable();
        for id in &ids {
            tx.tell(StoreEvent::Progress(*id));
        }
        tx.commit().await?;
        Ok(ids)
    }
}

/// `update actions set …` for a final status; goes on with more or `where`.
fn end(tx: &Tx, status: &'static str, now: Timestamp) -> crate::db::Sql {
    tx.sql("update actions set owner = null, lease_until = null, status = ")
        .text(status)
        .push(", finishtime = ")
        .time(now)
        .push(", lastupdatetime = ")
        .time(now)
}

pub(crate) fn action_ids(rows: &[Row]) -> Result<Vec<ActionId>> {
    rows.iter().map(|row| row.id("id", ActionId::new)).collect()
}

/// The signatures as their column holds them, if all texts of the action fit.
fn fitting(action: &Action) -> Result<String> {
    let refused = |what: String| Err(StoreError::Refused { what });
    for (column, text) in [("name", &action.name), ("target", &action.target)] {
        if text.contains('\0') {
            return refused(format!("U+0000 in the {column} of an action"));
        }
        if text.chars().count() > MAX_TEXT {
            return refused(format!("{column} of an action beyond {MAX_TEXT} characters"));
        }
    }
    let signatures = to_json(&action.pgpsignatures)?;
    if signatures.len() > MAX_SIGNATURES {
        return refused(format!("signatures beyond {MAX_SIGNATURES} bytes"));
    }
    Ok(signatures)
}

/// A new action's unset time as the database spells it.
fn or(time: Timestamp, unset: Timestamp) -> Timestamp {
    if time.is_zero() { unset } else { time }
}

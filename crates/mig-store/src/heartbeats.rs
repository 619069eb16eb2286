//! What a batch of heartbeats does to the agents' rows.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use mig_types::{Agent, AgentId, AgentStatus, IdGenerator, Timestamp};

use crate::actions::to_json;
use crate::db::sql::storable;
use crate::db::{Column, Db, Tx};
use crate::model::{HeartbeatOutcome, StoreError};
use crate::results::{clean_tags, clean_text, clean_value};

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A refresh time this much later than the stored one is a new environment.
const REFRESH_SLACK: Duration = Duration::from_secs(15);
/// After this long, nobody acts on a kill order any more: a destroyed agent
/// that was silent for it is gone, and what speaks now is another process that
/// happens to have its process id.
const KILLED: Duration = Duration::from_mins(30);

/// The row of an endpoint's live agent process.
struct Live {
    id: AgentId,
    status: Option<AgentStatus>,
    starttime: Timestamp,
    refreshtime: Timestamp,
    heard: Timestamp,
    /// Position in [`Changes::rows`] when this batch made the row.
    fresh: Option<usize>,
}

#[derive(Default)]
struct Changes {
    offline: Vec<i64>,
    kept: Vec<i64>,
    rows: Vec<NewRow>,
}

struct NewRow {
    id: AgentId,
    starttime: Timestamp,
    /// When the row it replaces was heard of last.
    heard: Option<Timestamp>,
    agent: Agent,
}

type Key = (String, i64);

/// One transaction with a constant number of statements: a single one when, as
/// nearly always, the agents are known and have not changed.
pub(crate) async fn take(
    db: &Db,
    beats: &[Agent],
    ids: &IdGenerator,
    now: Timestamp,
) -> Result<Vec<HeartbeatOutcome>> {
    let keys: Vec<Key> = beats.iter().map(key).collect();
    let mut tx = db.begin().await?;
    let known = keep_alive(&mut tx, beats, &keys, now).await?;
    let news: Vec<&Agent> = beats
        .iter()
        .zip(&keys)
        .filter(|(_, key)| !known.contains_key(key))
        .map(|(b, _)| b)
        .collect();
    let mut changes = Changes::default();
    let mut live = if news.is_empty() { HashMap::new() } else { live_rows(&mut tx, &news).await? };
    let mut outcomes: Vec<_> = beats
        .iter()
        .zip(&keys)
        .map(|(beat, key)| match known.get(key) {
            Some(id) => HeartbeatOutcome::Updated(*id),
            None => decide(beat, &mut live, &mut changes, ids, now),
        })
        .collect();
    let renamed = changes.store(&mut tx, now).await?;
    tx.commit().await?;
    for outcome in &mut outcomes {
        // Another scheduler inserted the same agent at the same moment.
        let (HeartbeatOutcome::New(id)
        | HeartbeatOutcome::Refreshed(id)
        | HeartbeatOutcome::Updated(id)) = outcome;
        if let Some(winner) = renamed.get(id) {
            *outcome = HeartbeatOutcome::Updated(*winner);
        }
    }
    Ok(outcomes)
}

fn key(beat: &Agent) -> Key {
    let mut queueloc = beat.queueloc.clone();
    clean_text(&mut queueloc);
    (queueloc, pid(beat))
}

/// The column holds 32 bits; no system has larger process ids.
fn pid(beat: &Agent) -> i64 {
    beat.pid.clamp(i64::from(i32::MIN), i64::from(i32::MAX))
}

/// Keeps those agents alive whose rows say all there is to say: that of a live
/// process, with an environment as new as every one in this batch. The ids of
/// those rows; whatever else there is has to be looked at.
async fn keep_alive(
    tx: &mut Tx,
    beats: &[Agent],
    keys: &[Key],
    now: Timestamp,
) -> Result<HashMap<Key, AgentId>> {
    // In one order, so that two batches rarely wait for each other: the one that
    // loses is tried again.
    let mut newest: BTreeMap<&Key, Timestamp> = BTreeMap::new();
    for (beat, key) in beats.iter().zip(keys) {
        let refreshed = newest.entry(key).or_insert(Timestamp::ZERO);
        *refreshed = storable(beat.refreshts).max(*refreshed);
    }
    let slack = |time: Timestamp| {
        if time.is_zero() { time } else { (time - REFRESH_SLACK).max(Timestamp::ZERO) }
    };
    let sql = tx
        .sql("update agents set status = case when agents.status = 'destroyed' then ")
        .push("agents.status else 'online' end, loadername = (select l.loadername from loaders l ")
        .push("where l.queueloc = agents.queueloc), heardbefore = agents.heartbeattime, ")
        .push("heartbeattime = ")
        .time(now)
        .push(" from ")
        .rows(
            "r",
            vec![
                Column::Text("queueloc", newest.keys().map(|(loc, _)| Some(loc.clone())).collect()),
                Column::Int("pid", newest.keys().map(|(_, pid)| *pid).collect()),
                Column::Time("refreshed", newest.values().map(|time| slack(*time)).collect()),
            ],
        )
        .push(" where agents.queueloc = r.queueloc and agents.pid = r.pid ")
        .push("and agents.status <> 'offline' and ((agents.status <> 'destroyed' ")
        .push("and r.refreshed <= agents.refreshtime) or (agents.status = 'destroyed' ")
        .push("and agents.heartbeattime >= ")
        .time(now - KILLED)
        .push(")) returning cast(agents.id as bigint) as id, agents.queueloc, ")
        .push("cast(agents.pid as bigint) as pid");
    let mut known = HashMap::new();
    for row in tx.fetch(sql).await? {
        known.insert((row.text("queueloc")?, row.int("pid")?), row.id("id", AgentId::new)?);
    }
    Ok(known)
}

async fn live_rows(tx: &mut Tx, beats: &[&Agent]) -> Result<HashMap<Key, Live>> {
    let keys: Vec<Key> = beats.iter().map(|beat| key(beat)).collect();
    let sql = tx
        .sql("select cast(g.id as bigint) as id, g.queueloc, cast(g.pid as bigint) as pid, ")
        .push("g.status, g.starttime, g.refreshtime, g.heartbeattime from agents g where g.status <> 'offline' ")
        .push("and (g.queueloc, g.pid) in (select r.queueloc, r.pid from ")
        .rows(
            "r",
            vec![
                Column::Text("queueloc", keys.iter().map(|(loc, _)| Some(loc.clone())).collect()),
                Column::Int("pid", keys.iter().map(|(_, pid)| *pid).collect()),
            ],
        )
        // Always in this order, so that two batches cannot wait for each other.
        .push(") order by g.id")
        .locked();
    let mut live = HashMap::new();
    for row in tx.fetch(sql).await? {
        live.insert(
            (row.text("queueloc")?, row.int("pid")?),
            Live {
                id: row.id("id", AgentId::new)?,
                status: AgentStatus::parse(&row.text("status")?),
                starttime: row.time("starttime")?,
                refreshtime: row.time("refreshtime")?,
                heard: row.time("heartbeattime")?,
                fresh: None,
            },
        );
    }
    Ok(live)
}

fn decide(
    beat: &Agent,
    live: &mut HashMap<Key, Live>,
    changes: &mut Changes,
    ids: &IdGenerator,
    now: Timestamp,
) -> HeartbeatOutcome {
    let key = key(beat);
    let Some(row) = live.get_mut(&key) else {
        let id = ids.agent(now);
        let fresh = Some(changes.push(id, now, None, beat));
        let refreshtime = storable(beat.refreshts);
        let status = None;
        live.insert(key, Live { id, status, starttime: now, refreshtime, heard: now, fresh });
        return HeartbeatOutcome::New(id);
    };
    if row.status == Some(AgentStatus::Destroyed) && row.heard < now - KILLED {
        changes.offline.push(row.id.as_i64());
        let id = ids.agent(now);
        let fresh = Some(changes.push(id, now, None, beat));
        let refreshtime = storable(beat.refreshts);
        *row = Live { id, status: None, starttime: now, refreshtime, heard: now, fresh };
        return HeartbeatOutcome::New(id);
    }
    // As stored: compared with what was stored before.
    let refreshtime = storable(beat.refreshts);
    let refreshed = !refreshtime.is_zero() && refreshtime > row.refreshtime + REFRESH_SLACK;
    // A destroyed agent that still talks stays destroyed until it is gone.
    if !refreshed || row.status == Some(AgentStatus::Destroyed) {
        if row.fresh.is_none() {
            changes.kept.push(row.id.as_i64());
        }
        return HeartbeatOutcome::Updated(row.id);
    }
    row.refreshtime = refreshtime;
    if let Some(slot) = row.fresh.and_then(|index| changes.rows.get_mut(index)) {
        // Made a moment ago by this very batch: there is no history to keep.
        slot.agent = clean(beat);
        return HeartbeatOutcome::Updated(row.id);
    }
    changes.offline.push(row.id.as_i64());
    row.id = ids.agent(now);
    row.fresh = Some(changes.push(row.id, row.starttime, Some(row.heard), beat));
    HeartbeatOutcome::Refreshed(row.id)
}

/// Texts of a hostile host must not spoil later queries.
fn clean(beat: &Agent) -> Agent {
    let mut agent = beat.clone();
    clean_text(&mut agent.name);
    clean_text(&mut agent.queueloc);
    clean_text(&mut agent.version);
    clean_tags(&mut agent.tags);
    agent
}

impl Changes {
    fn push(
        &mut self,
        id: AgentId,
        starttime: Timestamp,
        heard: Option<Timestamp>,
        beat: &Agent,
    ) -> usize {
        self.rows.push(NewRow { id, starttime, heard, agent: clean(beat) });
        self.rows.len() - 1
    }

    /// Writes everything. Ids of new rows that lost a race, with the winner's.
    async fn store(mut self, tx: &mut Tx, now: Timestamp) -> Result<HashMap<AgentId, AgentId>> {
        if !self.kept.is_empty() {
            let sql = tx
                .sql("update agents set status = case when status = 'destroyed' then status ")
                .push("else 'online' end, loadername = (select l.loadername from loaders l ")
                .push("where l.queueloc = agents.queueloc), heardbefore = heartbeattime, ")
                .push("heartbeattime = ")
                .time(now)
                .push(" where id")
                .among(std::mem::take(&mut self.kept));
            tx.execute(sql).await?;
        }
        // After the above: a row may be kept alive and replaced by one batch.
        if !self.offline.is_empty() {
            let sql = tx.sql("update agents set status = 'offline' where id");
            tx.execute(sql.among(std::mem::take(&mut self.offline))).await?;
        }
        if self.rows.is_empty() { Ok(HashMap::new()) } else { self.insert(tx, now).await }
    }

    async fn insert(mut self, tx: &mut Tx, now: Timestamp) -> Result<HashMap<AgentId, AgentId>> {
        // One order for all writers, as above.
        self.rows.sort_by(|a, b| {
            (&a.agent.queueloc, a.agent.pid).cmp(&(&b.agent.queueloc, b.agent.pid))
        });
        let drawn: HashMap<Key, AgentId> =
            self.rows.iter().map(|row| (key(&row.agent), row.id)).collect();
        let text = |pick: fn(&Agent) -> String| -> Vec<Option<String>> {
            self.rows.iter().map(|row| Some(pick(&row.agent))).collect()
        };
        let mut environments = Vec::with_capacity(self.rows.len());
        let mut tags = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let mut environment =
                serde_json::to_value(&row.agent.environment).map_err(StoreError::failed)?;
            clean_value(&mut environment);
            environments.push(Some(to_json(&environment)?));
            // Missing tags are stored as JSON null, as ever.
            let none = row.agent.tags.is_empty();
            tags.push(Some(if none { "null".to_owned() } else { to_json(&row.agent.tags)? }));
        }
        let sql = tx
            .sql("insert into agents (id, name, queueloc, mode, version, pid, starttime, ")
            .push("refreshtime, environment, tags, heartbeattime, destructiontime, status, ")
            .push("heardbefore, loadername) select r.id, r.name, r.queueloc, r.mode, r.version, r.pid, ")
            .push("r.starttime, r.refreshtime, r.environment, r.tags, ")
            .time(now)
            .push(", ")
            .time(Timestamp::NEVER)
            .push(", 'online', case when r.heardbefore > ")
            .time(Timestamp::ZERO)
            .push(" then r.heardbefore end, (select l.loadername from loaders l where l.queueloc = r.queueloc)")
            .push(" from ")
            .rows(
                "r",
                vec![
                    Column::Int("id", self.rows.iter().map(|row| row.id.as_i64()).collect()),
                    Column::Text("name", text(|agent| agent.name.clone())),
                    Column::Text("queueloc", text(|agent| agent.queueloc.clone())),
                    Column::Text("mode", text(|agent| agent.mode.as_str().to_owned())),
                    Column::Text("version", text(|agent| agent.version.clone())),
                    Column::Int("pid", self.rows.iter().map(|row| pid(&row.agent)).collect()),
                    Column::Time("starttime", self.rows.iter().map(|row| row.starttime).collect()),
                    Column::Time(
                        "refreshtime",
                        self.rows.iter().map(|row| row.agent.refreshts).collect(),
                    ),
                    // No heartbeat is as old as zero, which stands for none.
                    Column::Time(
                        "heardbefore",
                        self.rows
                            .iter()
                            .map(|row| row.heard.unwrap_or(Timestamp::ZERO))
                            .collect(),
                    ),
                    Column::Json("environment", environments),
                    Column::Json("tags", tags),
                ],
            )
            .push(" where true on conflict (queueloc, pid) where status <> 'offline' ")
            .push("do update set heardbefore = agents.heartbeattime, ")
            .push("heartbeattime = excluded.heartbeattime ")
            .push("returning cast(id as bigint) as id, queueloc, cast(pid as bigint) as pid");
        let mut renamed = HashMap::new();
        for row in tx.fetch(sql).await? {
            let id = row.id("id", AgentId::new)?;
            match drawn.get(&(row.text("queueloc")?, row.int("pid")?)) {
                Some(wanted) if *wanted != id => renamed.insert(*wanted, id),
                _ => None,
            };
        }
        Ok(renamed)
    }
}

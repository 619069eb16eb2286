//! Rows to documents, with a constant number of statements a page.

use std::collections::{BTreeSet, HashMap, HashSet};

use mig_types::{
    Action, ActionId, ActionStatus, Agent, AgentId, AgentMode, AgentStatus, Command, CommandId,
    CommandStatus, Investigator, InvestigatorId, InvestigatorStatus, Permissions,
};

use crate::counters::Counted;
use crate::db::{Column, Row, Sql};
use crate::model::{InvestigatorRow, StoreError};
use crate::store::SqlStore;

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The start of every statement that reads actions, from `actions a`.
pub(crate) const SELECT_ACTIONS: &str = "select cast(a.id as bigint) as id, a.name, a.target, \
    cast(a.description as text) as description, cast(a.threat as text) as threat, \
    cast(a.operations as text) as operations, a.validfrom, a.expireafter, a.starttime, \
    a.finishtime, a.lastupdatetime, a.status, cast(a.syntaxversion as bigint) as syntaxversion, \
    a.pgpsignatures from actions a";

/// The columns of an agent, from something called `g`.
pub(crate) const SELECT_AGENTS: &str = "select cast(g.id as bigint) as id, g.name, g.queueloc, \
    g.mode, g.version, cast(g.pid as bigint) as pid, g.loadername, g.starttime, \
    g.destructiontime, g.heartbeattime, g.refreshtime, g.status, \
    cast(g.environment as text) as environment, cast(g.tags as text) as tags from ";

/// The start of every statement that reads commands, from `commands c`.
pub(crate) const SELECT_COMMANDS: &str = "select cast(c.id as bigint) as id, \
    cast(c.actionid as bigint) as actionid, cast(c.agentid as bigint) as agentid, c.status, \
    cast(c.results as text) as results, c.starttime, c.finishtime from commands c";

/// The columns of an investigator from `i`, without the private key, which the
/// API's login may not read.
pub(crate) const INVESTIGATOR_COLUMNS: &str = "cast(i.id as bigint) as id, i.name, \
    i.pgpfingerprint, i.publickey, i.status, i.createdat, i.lastmodified, i.permissions, \
    cast(case when i.apikey is null then 0 else 1 end as bigint) as has_api_key";

impl SqlStore {
    /// Actions a statement selects, in its order, with counters and
    /// investigators.
    pub(crate) async fn read_actions(&self, sql: Sql) -> Result<Vec<Action>> {
        let rows = self.db.fetch(sql).await?;
        let mut actions = rows.iter().map(action).collect::<Result<Vec<_>>>()?;
        if actions.is_empty() {
            return Ok(actions);
        }
        let ids: Vec<_> = actions.iter().map(|action| action.id).collect();
        let unknown = self.counted.fill(&mut actions);
        let unknown: HashSet<_> = unknown.into_iter().collect();
        let asked = actions.iter().filter(|action| unknown.contains(&action.id));
        let mut counters = self.counters(asked).await?;
        let mut investigators = self.signers(&ids).await?;
        for action in &mut actions {
            if unknown.contains(&action.id) {
                if let Some(counted) = counters.remove(&action.id) {
                    action.counters = counted.counters;
                    self.counted.keep(action, counted);
                }
                self.counted.learn(action);
            }
            action.investigators = investigators.remove(&action.id).unwrap_or_default();
        }
        Ok(actions)
    }

    pub(crate) async fn read_agents(&self, sql: Sql) -> Result<Vec<Agent>> {
        self.db.fetch(sql).await?.iter().map(agent).collect()
    }

    /// Commands a statement selects, in its order, with their whole actions
    /// and agents.
    pub(crate) async fn read_commands(&self, sql: Sql) -> Result<Vec<Command>> {
        let rows = self.db.fetch(sql).await?;
        let mut actions = BTreeSet::new();
        let mut agents = BTreeSet::new();
        for row in &rows {
            actions.insert(row.id("actionid", ActionId::new)?);
            agents.insert(row.id("agentid", AgentId::new)?);
        }
        let actions = self.actions_by_id(&actions).await?;
        let agents = self.agents_by_id(&agents).await?;
        rows.iter().map(|row| command(row, &actions, &agents)).collect()
    }

    pub(crate) async fn actions_by_id(
        &self,
        ids: &BTreeSet<ActionId>,
    ) -> Result<HashMap<ActionId, Action>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = self.db.sql(SELECT_ACTIONS).push(" where a.id");
        let actions = self.read_actions(sql.among(ids.iter().map(|id| id.as_i64()))).await?;
        Ok(actions.into_iter().map(|action| (action.id, action)).collect())
    }

    pub(crate) async fn agents_by_id(
        &self,
        ids: &BTreeSet<AgentId>,
    ) -> Result<HashMap<AgentId, Agent>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = self.db.sql(SELECT_AGENTS).push("agents g where g.id");
        let agents = self.read_agents(sql.among(ids.iter().map(|id| id.as_i64()))).await?;
        Ok(agents.into_iter().map(|agent| (agent.id, agent)).collect())
    }

    /// Counts the commands of actions: all of them, or only those that
    /// finished since the last time.
    async fn counters(
        &self,
        actions: impl Iterator<Item = &Action>,
    ) -> Result<HashMap<ActionId, Counted>> {
        let mut counted = HashMap::new();
        let mut whole = Vec::new();
        let mut statuses = HashMap::new();
        for action in actions {
            statuses.insert(action.id, action.status);
            match self.counted.counted(action) {
                Some(known) => drop(counted.insert(action.id, known)),
                None => whole.push(action.id),
            }
        }
        whole.extend(self.count_news(&mut counted).await?);
        self.count_all(&whole, &statuses, &mut counted).await?;
        Ok(counted)
    }

    /// Adds what finished since; the actions where that does not add up.
    async fn count_news(&self, counted: &mut HashMap<ActionId, Counted>) -> Result<Vec<ActionId>> {
        if counted.is_empty() {
            return Ok(Vec::new());
        }
        let sql = self
            .db
            .sql("select cast(c.actionid as bigint) as actionid, c.status, count(*) as total, ")
            .push("cast(max(c.finish_seq) as bigint) as seq from ")
            .rows(
                "r",
                vec![
                    Column::Int("action", counted.keys().map(|id| id.as_i64()).collect()),
                    Column::Int("seq", counted.values().map(|known| known.seq).collect()),
                ],
            )
            .push(" join commands c on c.actionid = r.action and c.finish_seq > r.seq ")
            .push("group by c.actionid, c.status");
        let mut wrong = Vec::new();
        for row in self.db.fetch(sql).await? {
            let id = row.id("actionid", ActionId::new)?;
            let Some(known) = counted.get_mut(&id) else { continue };
            if known.finish(command_status(&row)?, row.count("total")?, row.int("seq")?).is_none() {
                wrong.push(id);
            }
        }
        for id in &wrong {
            counted.remove(id);
        }
        Ok(wrong)
    }

    async fn count_all(
        &self,
        ids: &[ActionId],
        statuses: &HashMap<ActionId, Option<ActionStatus>>,
        counted: &mut HashMap<ActionId, Counted>,
    ) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let sql = self
            .db
            .sql("select cast(actionid as bigint) as actionid, status, count(*) as total, ")
            .push("cast(coalesce(max(finish_seq), 0) as bigint) as seq ")
            .push("from commands where actionid")
            .among(ids.iter().map(|id| id.as_i64()))
            .push(" group by actionid, status");
        for row in self.db.fetch(sql).await? {
            let id = row.id("actionid", ActionId::new)?;
            let status = statuses.get(&id).copied().flatten();
            let entry = counted.entry(id).or_insert_with(|| Counted::now(status));
            entry.add(command_status(&row)?, row.count("total")?, row.int("seq")?);
        }
        Ok(())
    }

    async fn signers(&self, ids: &[ActionId]) -> Result<HashMap<ActionId, Vec<Investigator>>> {
        let sql = self
            .db
            .sql("select cast(s.actionid as bigint) as actionid, ")
            .push(INVESTIGATOR_COLUMNS)
            .push(" from signatures s join investigators i on i.id = s.investigatorid ")
            .push("where s.actionid")
            .among(ids.iter().map(|id| id.as_i64()))
            .push(" order by i.id");
        let mut signers: HashMap<ActionId, Vec<Investigator>> = HashMap::new();
        for row in self.db.fetch(sql).await? {
            let investigator = investigator(&row)?;
            signers.entry(row.id("actionid", ActionId::new)?).or_default().push(Investigator {
                id: investigator.id,
                name: investigator.name,
                pgpfingerprint: investigator
                    .fingerprint
                    .map(|print| print.as_str().to_owned())
                    .unwrap_or_default(),
                status: Some(investigator.status),
                createdat: investigator.created_at,
                lastmodified: investigator.last_modified,
                permissions: investigator.permissions,
                isadmin: investigator.permissions.is_admin(),
                ..Investigator::default()
            });
        }
        Ok(signers)
    }
}

fn action(row: &Row) -> Result<Action> {
    Ok(Action {
        id: row.id("id", ActionId::new)?,
        name: row.text("name")?,
        target: row.text("target")?,
        description: row.json("description")?,
        threat: row.json("threat")?,
        validfrom: row.time("validfrom")?,
        expireafter: row.time("expireafter")?,
        operations: row.json("operations")?,
        pgpsignatures: row.json("pgpsignatures")?,
        status: ActionStatus::parse(&row.text("status")?),
        starttime: row.time("starttime")?,
        finishtime: row.time("finishtime")?,
        lastupdatetime: row.time("lastupdatetime")?,
        syntaxversion: u16::try_from(row.int("syntaxversion")?).unwrap_or_default(),
        ..Action::default()
    })
}

pub(crate) fn agent(row: &Row) -> Result<Agent> {
    Ok(Agent {
        id: row.id("id", AgentId::new)?,
        name: row.text("name")?,
        queueloc: row.text("queueloc")?,
        mode: AgentMode::parse(&row.text("mode")?).unwrap_or_default(),
        version: row.text("version")?,
        pid: row.int("pid")?,
        loadername: row.text("loadername")?,
        starttime: row.time("starttime")?,
        destructiontime: row.time("destructiontime")?,
        heartbeatts: row.time("heartbeattime")?,
        refreshts: row.time("refreshtime")?,
        status: AgentStatus::parse(&row.text("status")?),
        environment: row.json("environment")?,
        tags: row.json("tags")?,
        ..Agent::default()
    })
}

fn command(
    row: &Row,
    actions: &HashMap<ActionId, Action>,
    agents: &HashMap<AgentId, Agent>,
) -> Result<Command> {
    let action = row.id("actionid", ActionId::new)?;
    let agent = row.id("agentid", AgentId::new)?;
    Ok(Command {
        id: row.id("id", CommandId::new)?,
        // The foreign keys promise both; a reader beside a deletion may miss.
        action: actions.get(&action).cloned().unwrap_or_default(),
        agent: agents.get(&agent).cloned().unwrap_or_default(),
        status: command_status(row)?,
        results: row.json("results")?,
        starttime: row.time("starttime")?,
        finishtime: row.time("finishtime")?,
    })
}

/// A word nobody defined, as the original stored from untrusted agents, counts
/// as failed: the command is over, and what it says is of no use.
pub(crate) fn command_status(row: &Row) -> Result<CommandStatus> {
    Ok(CommandStatus::parse(&row.text("status")?).unwrap_or(CommandStatus::Failed))
}

pub(crate) fn investigator(row: &Row) -> Result<InvestigatorRow> {
    let bits = u32::try_from(row.int("permissions")?).unwrap_or_default();
    let key = row.bytes("publickey")?.filter(|key| !key.is_empty());
    Ok(InvestigatorRow {
        id: row.id("id", InvestigatorId::new)?,
        name: row.text("name")?,
        fingerprint: row.text("pgpfingerprint")?.parse().ok(),
        public_key: key.map(|key| String::from_utf8_lossy(&key).into_owned()),
        // Whatever is not known to be active has no rights.
        status: InvestigatorStatus::parse(&row.text("status")?)
            .unwrap_or(InvestigatorStatus::Disabled),
        created_at: row.time("createdat")?,
        last_modified: row.time("lastmodified")?,
        permissions: Permissions::from_bits(bits),
        has_api_key: row.int("has_api_key")? != 0,
    })
}

//! Filters of searches as conditions on statements.
//!
//! Each function completes a statement that ends after its `from` clause:
//! `actions a`, `commands c`, `agents g`, `investigators i`, `manifests m` or
//! `loaders l`. Filters on another aggregate are resolved to ids beforehand, or
//! become one `exists` each, so that nothing appears twice.

use mig_types::{ActionId, AgentId, CommandId, InvestigatorId, LoaderId, ManifestId, Timestamp};

use crate::db::{Bind, Sql};
use crate::model::{Page, Search};
use crate::scope::{Fit, Scope};
use crate::target_sql::Dialect;

pub(crate) fn actions(sql: Sql, search: &Search, agents: &Fit, page: Page) -> Sql {
    let mut sql = window(sql.push(" where true"), search, "a.validfrom", "a.expireafter");
    sql = own_action(sql, search);
    sql = like(sql, "a.status", search.status.as_deref());
    if has_command(search) || has_agent(search) {
        sql = asked(sql, search, agents);
    }
    sql = signed_by(sql, search);
    paged(sql, "a.validfrom desc, a.id desc", page)
}

/// A condition on `actions a`: a command of theirs fits. Few agents have few
/// commands, which are read once, before any action; otherwise nearly every
/// action has one, which is soon found.
fn asked(sql: Sql, search: &Search, agents: &Fit) -> Sql {
    let (start, end) = match (sql.dialect(), agents) {
        (_, Fit::Many) => (" and exists (select 1 from commands c where c.actionid = a.id", ")"),
        (Dialect::Postgres, _) => {
            (" and a.id = any(array(select c.actionid from commands c where true", "))")
        }
        (Dialect::Sqlite, _) => (" and a.id in (select c.actionid from commands c where true", ")"),
    };
    of_agents(own_command(sql.push(start), search), search, agents).push(end)
}

/// The ids of a page are found first, in an index where there is one: rows are
/// wide, and a deep page passes over many. `columns` is a statement that ends
/// with `from commands c`.
pub(crate) fn commands(columns: Sql, search: &Search, scope: &Scope, page: Page) -> Sql {
    let sql = columns.push(" where c.id in (");
    let sql = if let (Dialect::Postgres, Some((column, ids, rest))) = (sql.dialect(), leader(scope))
    {
        led(sql, column, ids, search, &rest, page)
    } else {
        let sql = sql.push("select c.id from commands c where true");
        paged(own_commands(sql, search, scope), NEWEST_COMMANDS, page)
    };
    sql.push(") order by ").push(NEWEST_COMMANDS).once()
}

/// The shorter list of ids, its column, and what is left to filter.
fn leader(scope: &Scope) -> Option<(&'static str, &[i64], Scope)> {
    let actions = |ids| ("c.actionid", ids, Scope { actions: Fit::Any, ..scope.clone() });
    let agents = |ids| ("c.agentid", ids, Scope { agents: Fit::Any, ..scope.clone() });
    match (&scope.actions, &scope.agents) {
        (Fit::Ids(one), Fit::Ids(other)) if other.len() < one.len() => {
            Some(agents(other.as_slice()))
        }
        (Fit::Ids(ids), _) => Some(actions(ids.as_slice())),
        (_, Fit::Ids(ids)) => Some(agents(ids.as_slice())),
        _ => None,
    }
}

const NEWEST_COMMANDS: &str = "c.starttime desc, c.id desc";
const LATEST_AGENTS: &str = "g.heartbeattime desc, g.id desc";

/// Commands of few actions or agents. Each keeps its commands in order; the
/// first `limit + offset` of all can only be among the first of each, and only
/// in those whose newest is among the newest. No other plan is fast wherever in
/// time the commands lie.
fn led(sql: Sql, column: &str, leaders: &[i64], search: &Search, scope: &Scope, page: Page) -> Sql {
    let reach = i64::from(page.limit) + i64::from(page.offset);
    let newest = |sql: Sql, leader: &str, limit: i64| {
        let sql = sql.push("select c.id, c.starttime from commands c where ").push(column);
        own_commands(sql.push(" = ").push(leader), search, scope)
            .push(" order by ")
            .push(NEWEST_COMMANDS)
            .push(" limit ")
            .int(limit)
    };
    let sql = sql
        .push("select c.id from (select leader.id from unnest(cast(")
        .bind(Bind::Ints(leaders.to_vec()))
        .push(" as numeric[])) as leader (id) cross join lateral (");
    let sql = newest(sql, "leader.id", 1)
        .push(") as c order by ")
        .push(NEWEST_COMMANDS)
        .push(" limit ")
        .int(reach)
        .push(") as leader cross join lateral (");
    let sql = newest(sql, "leader.id", reach).push(") as c");
    paged(sql, NEWEST_COMMANDS, page)
}

/// Every filter, as a condition on `commands c` alone.
fn own_commands(sql: Sql, search: &Search, scope: &Scope) -> Sql {
    let mut sql = window(sql, search, "c.starttime", "c.starttime");
    sql = own_command(sql, search);
    sql = match search.status.as_deref() {
        Some(word) if is_word(word) => sql.push(" and c.status = ").text(word.to_ascii_lowercase()),
        pattern => like(sql, "c.status", pattern),
    };
    if let Some(wanted) = search.found_anything {
        sql = sql.push(" and c.status = 'success' and ").found_anything(wanted);
    }
    sql = of_actions(sql, search, &scope.actions);
    of_agents(sql, search, &scope.agents)
}

/// Whether a pattern matches but itself in any case; statuses are lower case.
fn is_word(pattern: &str) -> bool {
    pattern.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A condition on `c.actionid`.
fn of_actions(sql: Sql, search: &Search, fit: &Fit) -> Sql {
    match fit {
        Fit::Any => sql,
        Fit::Ids(ids) => sql.push(" and c.actionid").among(ids.iter().copied()),
        Fit::Many => {
            let sql = sql.push(" and exists (select 1 from actions a where a.id = c.actionid");
            signed_by(own_action(sql, search), search).push(")")
        }
    }
}

/// A condition on `c.agentid`.
fn of_agents(sql: Sql, search: &Search, fit: &Fit) -> Sql {
    match fit {
        Fit::Any => sql,
        Fit::Ids(ids) => sql.push(" and c.agentid").among(ids.iter().copied()),
        Fit::Many => {
            let sql = sql.push(" and exists (select 1 from agents g where g.id = c.agentid");
            own_agent(sql, search).push(")")
        }
    }
}

/// Where a page of agents is looked for. PostgreSQL has no index on the time of the
/// last heartbeat, which would be written with every one, but on its hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgentSource {
    /// Among those heard last. A page that is not filled has to be looked for again.
    Newest,
    /// In the hours it can be in: nothing else decides which agents it has.
    Hours,
    /// Among all.
    All,
}

/// How many agents [`AgentSource::Newest`] looks at.
const NEWEST: i64 = 1000;
/// Actions whose commands are read sooner than those of agents.
const FEW_ACTIONS: usize = 10;

/// Where to look for a page, one after the other.
pub(crate) fn sources(
    dialect: Dialect,
    search: &Search,
    actions: &Fit,
    page: Page,
) -> &'static [AgentSource] {
    let reach = i64::from(page.limit) + i64::from(page.offset);
    let has_many = match actions {
        // Names and numbers are in an index.
        Fit::Any => search.agent_id.is_none() && search.agent_name.is_none(),
        Fit::Ids(ids) => ids.len() > FEW_ACTIONS,
        Fit::Many => true,
    };
    if dialect == Dialect::Sqlite {
        &[AgentSource::All]
    } else if *search == Search::default() {
        &[AgentSource::Hours]
    } else if has_many
        && search.before.is_none()
        && search.command_id.is_none()
        && reach <= NEWEST / 4
    {
        &[AgentSource::Newest, AgentSource::All]
    } else {
        &[AgentSource::All]
    }
}

/// As [`commands`]: the ids first. `columns` ends with `from agents g`.
pub(crate) fn agents(
    columns: Sql,
    search: &Search,
    actions: &Fit,
    page: Page,
    source: AgentSource,
) -> Sql {
    let sql = columns.push(" where g.id in (");
    let sql = match source {
        AgentSource::Hours => of_hours(sql, page),
        AgentSource::Newest => {
            let sql = sql
                .push(
                    "select g.id from (select n.id, n.name, n.version, n.status, n.heartbeattime ",
                )
                .push("from agents n order by n.heardhour desc, n.heartbeattime desc, n.id desc ")
                .push("limit ")
                .int(NEWEST)
                .push(") as g where true");
            paged(fitting_agents(sql, search, actions), LATEST_AGENTS, page)
        }
        AgentSource::All => {
            let sql = sql.push("select g.id from agents g where true");
            paged(fitting_agents(sql, search, actions), LATEST_AGENTS, page)
        }
    };
    sql.push(") order by ").push(LATEST_AGENTS).once()
}

/// Counts the agents of each hour in the index, and sorts those of the hours that the
/// page reaches into.
fn of_hours(sql: Sql, page: Page) -> Sql {
    let offset = i64::from(page.offset);
    sql.push("with hours as materialized (select heardhour, count(*) as agents from agents ")
        .push("group by heardhour), placed as materialized (select heardhour, ")
        .push("sum(agents) over (order by heardhour desc) - agents as first, ")
        .push("sum(agents) over (order by heardhour desc) as last from hours) ")
        .push("select g.id from agents g where g.heardhour in ")
        .push("(select heardhour from placed where first < ")
        .int(i64::from(page.limit) + offset)
        .push(" and last > ")
        .int(offset)
        .push(") order by ")
        .push(LATEST_AGENTS)
        .push(" limit ")
        .int(i64::from(page.limit))
        .push(" offset ")
        .int(offset)
        .push(" - (select cast(coalesce(min(first), ")
        .int(offset)
        .push(") as bigint) from placed where last > ")
        .int(offset)
        .push(")")
}

/// Every filter, as a condition on `agents g`.
fn fitting_agents(sql: Sql, search: &Search, actions: &Fit) -> Sql {
    let mut sql = window(sql, search, "g.heartbeattime", "g.heartbeattime");
    sql = own_agent(sql, search);
    sql = like(sql, "g.status", search.status.as_deref());
    if has_action(search) || has_command(search) || has_investigator(search) {
        sql = sql.push(" and exists (select 1 from commands c where c.agentid = g.id");
        sql = of_actions(own_command(sql, search), search, actions).push(")");
    }
    sql
}

pub(crate) fn investigators(sql: Sql, search: &Search, agents: &Fit, page: Page) -> Sql {
    let mut sql = window(sql.push(" where true"), search, "i.lastmodified", "i.lastmodified");
    sql = own_investigator(sql, search);
    sql = like(sql, "i.status", search.status.as_deref());
    if has_action(search) || has_command(search) || has_agent(search) {
        sql = sql
            .push(" and exists (select 1 from signatures s join actions a on a.id = s.actionid ")
            .push("where s.investigatorid = i.id");
        sql = own_action(sql, search);
        if has_command(search) || has_agent(search) {
            sql = asked(sql, search, agents);
        }
        sql = sql.push(")");
    }
    paged(sql, "i.id", page)
}

pub(crate) fn manifests(sql: Sql, search: &Search, page: Page) -> Sql {
    let mut sql = window(sql.push(" where true"), search, "m.timestamp", "m.timestamp");
    sql = equal(sql, "m.id", search.manifest_id.map(ManifestId::as_i64));
    sql = like(sql, "m.name", search.manifest_name.as_deref());
    sql = like(sql, "m.status", search.status.as_deref());
    paged(sql, "m.timestamp desc, m.id desc", page)
}

pub(crate) fn loaders(sql: Sql, search: &Search, page: Page) -> Sql {
    let mut sql = window(sql.push(" where true"), search, "l.lastseen", "l.lastseen");
    sql = equal(sql, "l.id", search.loader_id.map(LoaderId::as_i64));
    sql = like(sql, "l.loadername", search.loader_name.as_deref());
    sql = like(sql, "l.name", search.agent_name.as_deref());
    paged(sql, "l.loadername, l.id", page)
}

pub(crate) const fn has_action(search: &Search) -> bool {
    search.action_id.is_some() || search.action_name.is_some() || search.threat_family.is_some()
}

pub(crate) const fn has_command(search: &Search) -> bool {
    search.command_id.is_some()
}

pub(crate) const fn has_agent(search: &Search) -> bool {
    search.agent_id.is_some() || search.agent_name.is_some() || search.agent_version.is_some()
}

pub(crate) const fn has_investigator(search: &Search) -> bool {
    search.investigator_id.is_some() || search.investigator_name.is_some()
}

pub(crate) fn own_action(sql: Sql, search: &Search) -> Sql {
    let sql = equal(sql, "a.id", search.action_id.map(ActionId::as_i64));
    let sql = like(sql, "a.name", search.action_name.as_deref());
    like(sql, "a.threat ->> 'family'", search.threat_family.as_deref())
}

fn own_command(sql: Sql, search: &Search) -> Sql {
    equal(sql, "c.id", search.command_id.map(CommandId::as_i64))
}

pub(crate) fn own_agent(sql: Sql, search: &Search) -> Sql {
    let sql = equal(sql, "g.id", search.agent_id.map(AgentId::as_i64));
    let sql = match search.agent_name.as_deref() {
        Some(pattern) => sql.push(" and ").like_indexed("g.name", pattern),
        None => sql,
    };
    like(sql, "g.version", search.agent_version.as_deref())
}

fn own_investigator(sql: Sql, search: &Search) -> Sql {
    let sql = equal(sql, "i.id", search.investigator_id.map(InvestigatorId::as_i64));
    like(sql, "i.name", search.investigator_name.as_deref())
}

/// One signer of `a` fits all filters on investigators.
pub(crate) fn signed_by(sql: Sql, search: &Search) -> Sql {
    if !has_investigator(search) {
        return sql;
    }
    let sql = sql
        .push(" and exists (select 1 from signatures s join investigators i ")
        .push("on i.id = s.investigatorid where s.actionid = a.id");
    own_investigator(sql, search).push(")")
}

fn window(sql: Sql, search: &Search, after: &str, before: &str) -> Sql {
    let bound = |sql: Sql, column: &str, operator: &str, time: Option<Timestamp>| match time {
        Some(time) => sql.push(" and ").push(column).push(operator).time(time),
        None => sql,
    };
    let sql = bound(sql, after, " >= ", search.after);
    bound(sql, before, " <= ", search.before)
}

fn equal(sql: Sql, column: &str, id: Option<i64>) -> Sql {
    match id {
        Some(id) => sql.push(" and ").push(column).push(" = ").int(id),
        None => sql,
    }
}

fn like(sql: Sql, column: &str, pattern: Option<&str>) -> Sql {
    match pattern {
        Some(pattern) => sql.push(" and ").like(column, pattern),
        None => sql,
    }
}

fn paged(sql: Sql, order: &str, page: Page) -> Sql {
    sql.push(" order by ")
        .push(order)
        .push(" limit ")
        .int(i64::from(page.limit))
        .push(" offset ")
        .int(i64::from(page.offset))
        // Any combination of filters is another statement.
        .once()
}

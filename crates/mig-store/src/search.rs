//! Filters of searches as conditions on statements.
//!
//! Each function completes a statement that ends after its `from` clause:
//! `actions a`, `commands c`, `agents g`, `investigators i`, `manifests m` or
//! `loaders l`. Filters on
//! another aggregate become one `exists` each, so that nothing appears twice.

use mig_types::{ActionId, AgentId, CommandId, InvestigatorId, LoaderId, ManifestId, Timestamp};

use crate::db::Sql;
use crate::model::{Page, Search};

pub(crate) fn actions(sql: Sql, search: &Search, page: Page) -> Sql {
    let mut sql = window(sql.push(" where true"), search, "a.validfrom", "a.expireafter");
    sql = own_action(sql, search);
    sql = like(sql, "a.status", search.status.as_deref());
    if has_command(search) || has_agent(search) {
        sql = sql
            .push(" and exists (select 1 from commands c join agents g on g.id = c.agentid ")
            .push("where c.actionid = a.id");
        sql = own_agent(own_command(sql, search), search).push(")");
    }
    sql = signed_by(sql, search);
    paged(sql, "a.validfrom desc, a.id desc", page)
}

pub(crate) fn commands(sql: Sql, search: &Search, page: Page) -> Sql {
    let sql = sql.push(" join actions a on a.id = c.actionid");
    let sql = if has_agent(search) { sql.push(" join agents g on g.id = c.agentid") } else { sql };
    let mut sql = window(sql.push(" where true"), search, "c.starttime", "c.starttime");
    sql = own_command(sql, search);
    sql = own_action(sql, search);
    sql = own_agent(sql, search);
    sql = like(sql, "c.status", search.status.as_deref());
    if let Some(wanted) = search.found_anything {
        sql = sql.push(" and c.status = 'success' and ").found_anything("c.results", wanted);
    }
    sql = signed_by(sql, search);
    paged(sql, "c.starttime desc, c.id desc", page)
}

pub(crate) fn agents(sql: Sql, search: &Search, page: Page) -> Sql {
    let mut sql = window(sql.push(" where true"), search, "g.heartbeattime", "g.heartbeattime");
    sql = own_agent(sql, search);
    sql = like(sql, "g.status", search.status.as_deref());
    if has_action(search) || has_command(search) || has_investigator(search) {
        sql = sql
            .push(" and exists (select 1 from commands c join actions a on a.id = c.actionid ")
            .push("where c.agentid = g.id");
        sql = own_action(own_command(sql, search), search);
        sql = signed_by(sql, search).push(")");
    }
    paged(sql, "g.heartbeattime desc, g.id desc", page)
}

pub(crate) fn investigators(sql: Sql, search: &Search, page: Page) -> Sql {
    let mut sql = window(sql.push(" where true"), search, "i.lastmodified", "i.lastmodified");
    sql = own_investigator(sql, search);
    sql = like(sql, "i.status", search.status.as_deref());
    if has_action(search) || has_command(search) || has_agent(search) {
        sql = sql
            .push(" and exists (select 1 from signatures s join actions a on a.id = s.actionid ")
            .push("where s.investigatorid = i.id");
        sql = own_action(sql, search);
        if has_command(search) || has_agent(search) {
            sql = sql
                .push(" and exists (select 1 from commands c join agents g on g.id = c.agentid ")
                .push("where c.actionid = a.id");
            sql = own_agent(own_command(sql, search), search).push(")");
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

const fn has_action(search: &Search) -> bool {
    search.action_id.is_some() || search.action_name.is_some() || search.threat_family.is_some()
}

const fn has_command(search: &Search) -> bool {
    search.command_id.is_some()
}

const fn has_agent(search: &Search) -> bool {
    search.agent_id.is_some() || search.agent_name.is_some() || search.agent_version.is_some()
}

const fn has_investigator(search: &Search) -> bool {
    search.investigator_id.is_some() || search.investigator_name.is_some()
}

fn own_action(sql: Sql, search: &Search) -> Sql {
    let sql = equal(sql, "a.id", search.action_id.map(ActionId::as_i64));
    let sql = like(sql, "a.name", search.action_name.as_deref());
    like(sql, "a.threat ->> 'family'", search.threat_family.as_deref())
}

fn own_command(sql: Sql, search: &Search) -> Sql {
    equal(sql, "c.id", search.command_id.map(CommandId::as_i64))
}

fn own_agent(sql: Sql, search: &Search) -> Sql {
    let sql = equal(sql, "g.id", search.agent_id.map(AgentId::as_i64));
    let sql = like(sql, "g.name", search.agent_name.as_deref());
    like(sql, "g.version", search.agent_version.as_deref())
}

fn own_investigator(sql: Sql, search: &Search) -> Sql {
    let sql = equal(sql, "i.id", search.investigator_id.map(InvestigatorId::as_i64));
    like(sql, "i.name", search.investigator_name.as_deref())
}

/// One signer of `a` fits all filters on investigators.
fn signed_by(sql: Sql, search: &Search) -> Sql {
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

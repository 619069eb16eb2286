//! Actions, commands, agents and the rest in any format.

use mig_client::Found;
use mig_client::search::Kind;
use mig_types::{
    Action, ActionId, ActionStatus, Agent, AgentStatus, Command, Investigator, InvestigatorStatus,
    Loader, ManifestRecord, Timestamp,
};
use serde::Serialize;

use crate::dashboard::names;
use crate::failure::Failure;
use crate::format::{Form, Format};
use crate::grid::{self, Field, Row, Rows};
use crate::output::{Output, room};
use crate::permissions;
use crate::tables;
use crate::text::{compact, seconds};

/// When something happened, if it did.
fn time(time: Timestamp) -> String {
    if time.is_zero() { String::new() } else { seconds(time) }
}

impl Row for Agent {
    const FIELDS: &'static [Field] = &[
        Field::new("name"),
        Field::new("id").number(),
        Field::new("status"),
        Field::new("version").expendable(3),
        Field::csv("mode"),
        Field::new("os").expendable(1),
        Field::new("arch").expendable(2),
        Field::csv("pid").number(),
        Field::csv("starttime"),
        Field::new("heartbeattime").expendable(4),
        Field::csv("tags"),
        Field::csv("environment"),
        Field::hidden("queueloc"),
        Field::hidden("ident"),
        Field::hidden("publicip"),
    ];

    fn cell(&self, field: &str) -> String {
        match field {
            "name" => self.name.clone(),
            "id" => self.id.to_string(),
            "status" => self.status.map_or("", AgentStatus::as_str).to_owned(),
            "version" => self.version.clone(),
            "mode" => self.mode.as_str().to_owned(),
            "os" => self.environment.os.clone(),
            "arch" => self.environment.arch.clone(),
            "pid" => self.pid.to_string(),
            "starttime" => time(self.starttime),
            "heartbeattime" => time(self.heartbeatts),
            "tags" if self.tags.is_empty() => "null".to_owned(),
            "tags" => compact(&self.tags).unwrap_or_default(),
            "environment" => compact(&self.environment).unwrap_or_default(),
            "queueloc" => self.queueloc.clone(),
            "ident" => self.environment.ident.clone(),
            "publicip" => self.environment.publicip.clone(),
            _ => String::new(),
        }
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for Action {
    const FIELDS: &'static [Field] = &[
        Field::new("id").number(),
        Field::new("name"),
        Field::new("target").expendable(4),
        Field::new("status"),
        Field::new("investigators").expendable(3),
        Field::new("sent").number().expendable(1),
        Field::csv("done").number(),
        Field::csv("success").number(),
        Field::csv("failed").number(),
        Field::csv("timeout").number(),
        Field::csv("expired").number(),
        Field::csv("cancelled").number(),
        Field::csv("inflight").number(),
        Field::csv("validfrom"),
        Field::csv("expireafter"),
        Field::csv("starttime"),
        Field::csv("finishtime"),
        Field::new("lastupdatetime").expendable(2),
        Field::hidden("modules"),
    ];

    fn cell(&self, field: &str) -> String {
        let counters = &self.counters;
        match field {
            "id" => self.id.to_string(),
            "name" => self.name.clone(),
            "target" => self.target.clone(),
            "status" => self.status.map_or("", ActionStatus::as_str).to_owned(),
            "investigators" => names(self),
            "sent" => counters.sent.to_string(),
            "done" => counters.done.to_string(),
            "success" => counters.success.to_string(),
            "failed" => counters.failed.to_string(),
            "timeout" => counters.timeout.to_string(),
            "expired" => counters.expired.to_string(),
            "cancelled" => counters.cancelled.to_string(),
            "inflight" => counters.inflight.to_string(),
            "validfrom" => time(self.validfrom),
            "expireafter" => time(self.expireafter),
            "starttime" => time(self.starttime),
            "finishtime" => time(self.finishtime),
            "lastupdatetime" => time(self.lastupdatetime),
            "modules" => {
                let modules = self.operations().iter().map(|operation| operation.module.as_str());
                modules.collect::<Vec<_>>().join(" ")
            }
            _ => String::new(),
        }
    }

    fn action(&self) -> Option<ActionId> {
        Some(self.id)
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Row for Command {
    const FIELDS: &'static [Field] = &[
        Field::new("id").number(),
        Field::csv("actionid").number(),
        Field::new("action").expendable(2),
        Field::csv("agentid").number(),
        Field::new("agent"),
        Field::new("status"),
        Field::csv("starttime"),
        Field::new("finishtime").expendable(1),
    ];

    fn cell(&self, field: &str) -> String {
        match field {
            "id" => self.id.to_string(),
            "actionid" => self.action.id.to_string(),
            "action" => self.action.name.clone(),
            "agentid" => self.agent.id.to_string(),
            "agent" => self.agent.name.clone(),
            "status" => self.status.as_str().to_owned(),
            "starttime" => time(self.starttime),
            "finishtime" => time(self.finishtime),
            _ => String::new(),
        }
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Row for Investigator {
    const FIELDS: &'static [Field] = &[
        Field::new("id").number(),
        Field::new("name"),
        Field::new("status"),
        Field::new("permissions").expendable(1),
        Field::csv("pgpfingerprint"),
        Field::csv("createdat"),
        Field::csv("lastmodified"),
    ];

    fn cell(&self, field: &str) -> String {
        match field {
            "id" => self.id.to_string(),
            "name" => self.name.clone(),
            "status" => self.status.map_or("", InvestigatorStatus::as_str).to_owned(),
            "permissions" => permissions::text(self.permissions),
            "pgpfingerprint" => self.pgpfingerprint.clone(),
            "createdat" => time(self.createdat),
            "lastmodified" => time(self.lastmodified),
            _ => String::new(),
        }
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Row for ManifestRecord {
    const FIELDS: &'static [Field] = &[
        Field::new("id").number(),
        Field::new("name"),
        Field::new("status"),
        Field::new("target").expendable(1),
        Field::new("timestamp").expendable(2),
        Field::hidden("signatures").number(),
    ];

    fn cell(&self, field: &str) -> String {
        match field {
            "id" => self.id.to_string(),
            "name" => self.name.clone(),
            "status" => self.status.map_or("", |status| status.as_str()).to_owned(),
            "target" => self.target.clone(),
            "timestamp" => time(self.timestamp),
            "signatures" => self.signatures.len().to_string(),
            _ => String::new(),
        }
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Row for Loader {
    const FIELDS: &'static [Field] = &[
        Field::new("id").number(),
        Field::new("name"),
        Field::new("agentname").expendable(1),
        Field::new("enabled"),
        Field::new("lastseen").expendable(2),
        Field::csv("expectenv"),
        Field::hidden("prefix"),
    ];

    fn cell(&self, field: &str) -> String {
        match field {
            "id" => self.id.to_string(),
            "name" => self.name.clone(),
            "agentname" => self.agentname.clone(),
            "enabled" => self.enabled.to_string(),
            "lastseen" => time(self.lastseen),
            "expectenv" => self.expectenv.clone(),
            "prefix" => self.prefix.clone(),
            _ => String::new(),
        }
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

/// Columns of a table for this terminal.
pub fn width(form: &Form) -> usize {
    if form.wide { usize::MAX } else { room() }
}

/// Prints things in any format but text, in the order they have.
///
/// # Errors
///
/// [`Failure`] for columns that are not there, and when nobody reads.
pub fn print<T: Row + Serialize>(
    things: &[T],
    form: &Form,
    output: &mut Output,
) -> Result<(), Failure> {
    match form.format {
        Format::Text | Format::Table | Format::Csv => {
            let mut rows = Rows::new::<T>(form)?;
            if let Some(heading) = rows.heading() {
                output.line(&heading)?;
            }
            for thing in things {
                if let Some(line) = rows.add(thing) {
                    output.line(&line)?;
                }
            }
            if form.format != Format::Csv {
                let links = output.links_of_data();
                let mut actions = things.iter().map(Row::action);
                for (index, line) in rows.table(width(form)).iter().enumerate() {
                    // The heading is about none of them.
                    let action = if form.header && index == 0 { None } else { actions.next() };
                    match action.flatten() {
                        Some(id) => output.line(&links.action(line, id))?,
                        None => output.line(line)?,
                    }
                }
            }
        }
        Format::Json => output.line(&compact(things).map_err(unwritten)?)?,
        Format::NdJson => {
            for thing in things {
                output.line(&compact(thing).map_err(unwritten)?)?;
            }
        }
        Format::Name => {
            for thing in things {
                output.line(&mig_module::text::printable(&thing.name()))?;
            }
        }
    }
    Ok(())
}

/// [`print()`] of a single thing: its document, not a list of one.
///
/// # Errors
///
/// As [`print()`].
pub fn print_one<T: Row + Serialize>(
    thing: &T,
    form: &Form,
    output: &mut Output,
) -> Result<(), Failure> {
    match form.format {
        Format::Json => output.line(&compact(thing).map_err(unwritten)?),
        _ => print(std::slice::from_ref(thing), form, output),
    }
}

/// One document, where there are no rows.
///
/// # Errors
///
/// [`Failure`] when it cannot be written.
pub fn document<T: Serialize>(value: &T, output: &mut Output) -> Result<(), Failure> {
    output.line(&compact(value).map_err(unwritten)?)
}

/// That the columns a form names are those of this kind.
///
/// # Errors
///
/// [`Failure`] for wrong usage.
pub fn check(kind: Kind, form: &Form) -> Result<(), Failure> {
    match kind {
        Kind::Action => grid::check::<Action>(form),
        Kind::Command => grid::check::<Command>(form),
        Kind::Agent => grid::check::<Agent>(form),
        Kind::Investigator => grid::check::<Investigator>(form),
        Kind::Manifest => grid::check::<ManifestRecord>(form),
        Kind::Loader => grid::check::<Loader>(form),
    }
}

/// Prints what a search found. Keys of loaders are left out.
///
/// # Errors
///
/// As [`print()`].
pub fn found(mut found: Found, form: &Form, output: &mut Output) -> Result<(), Failure> {
    match &mut found {
        Found::Actions(all) => grid::sort(all, form)?,
        Found::Commands(all) => grid::sort(all, form)?,
        Found::Agents(all) => grid::sort(all, form)?,
        Found::Investigators(all) => grid::sort(all, form)?,
        Found::Manifests(all) => grid::sort(all, form)?,
        Found::Loaders(all) => {
            for loader in all.iter_mut() {
                loader.key.clear();
            }
            grid::sort(all, form)?;
        }
    }
    if found.is_empty() && matches!(form.format, Format::Text | Format::Table) {
        output.say("no result");
    }
    if form.format == Format::Text {
        if found.is_empty() {
            return Ok(());
        }
        let mut lines = tables::lines(&found, width(form));
        if let Found::Actions(all) = &found {
            let pages = output.links_of_data();
            for (line, action) in lines.iter_mut().skip(1).zip(all) {
                *line = pages.action(line, action.id);
            }
        }
        let skipped = usize::from(!form.header);
        return lines.iter().skip(skipped).try_for_each(|line| output.line(line));
    }
    match &found {
        Found::Actions(all) => print(all, form, output),
        Found::Commands(all) => print(all, form, output),
        Found::Agents(all) => print(all, form, output),
        Found::Investigators(all) => print(all, form, output),
        Found::Manifests(all) => print(all, form, output),
        Found::Loaders(all) => print(all, form, output),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of map_err")]
fn unwritten(error: serde_json::Error) -> Failure {
    Failure::other(format!("cannot write JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each cell of a thing, by the columns of its kind.
    fn cells<T: Row>(thing: &T) -> Vec<(&'static str, String)> {
        T::FIELDS.iter().map(|field| (field.name, thing.cell(field.name))).collect()
    }

    fn is_complete<T: Row>(thing: &T, empty: &[&str]) {
        for (name, cell) in cells(thing) {
            assert_eq!(cell.is_empty(), empty.contains(&name), "{name}: {cell:?}");
        }
    }

    #[test]
    fn every_column_has_a_cell() {
        let agent: Agent =
            mig_types::wire::from_slice(include_bytes!("../tests/samples/agent.json")).unwrap();
        is_complete(&agent, &[]);
        let one: Investigator =
            mig_types::wire::from_slice(include_bytes!("../tests/samples/investigator.json"))
                .unwrap();
        is_complete(&one, &[]);
        // What has not happened yet has no time.
        let times =
            ["name", "target", "status", "investigators", "starttime", "finishtime", "modules"];
        let action = Action {
            validfrom: Timestamp::parse("2026-06-01T12:00:00.5Z").unwrap(),
            expireafter: Timestamp::parse("2026-06-01T12:00:00Z").unwrap(),
            lastupdatetime: Timestamp::parse("2026-06-01T12:00:00Z").unwrap(),
            ..Action::default()
        };
        for (name, cell) in cells(&action) {
            assert_eq!(cell.is_empty(), times.contains(&name), "{name}: {cell:?}");
        }
        assert_eq!(action.cell("validfrom"), "2026-06-01T12:00:00Z");
        is_complete(&ManifestRecord::default(), &["name", "status", "target", "timestamp"]);
        let loader = Loader { name: "l".into(), agentname: "a".into(), ..Loader::default() };
        is_complete(&loader, &["lastseen", "expectenv", "prefix"]);
        let command = Command { agent, ..Command::default() };
        is_complete(&command, &["action", "starttime", "finishtime"]);
    }

    #[test]
    fn csv_of_agents_has_the_fields_of_the_search_program() {
        let form = Form { format: Format::Csv, header: true, ..Form::default() };
        let heading = Rows::new::<Agent>(&form).unwrap().heading();
        let fields = "name,id,status,version,mode,os,arch,pid,starttime,heartbeattime,tags,\
                      environment";
        assert_eq!(heading.as_deref(), Some(fields));
    }
}

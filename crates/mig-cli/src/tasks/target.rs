//! `mig target check`: whom an action would reach.

use std::collections::BTreeMap;

use mig_module::text::printable;
use mig_terminal::failure::{Failure, code};
use mig_terminal::format::Format;
use mig_terminal::grid::{self, Field, Row};
use mig_terminal::listing;
use mig_terminal::output::Output;
use mig_types::{Agent, Target};
use serde::Serialize;
use serde_json::json;

use super::open;
use super::order::{self, Order};
use crate::launch;

pub(super) const USAGE: &str = "\
usage: mig target check \"<target>\" [-o <format>]

Whether a target is one, how many agents it means now, on which systems, and the first
ten of them. mig agents -t <target> lists them all, mig help targets explains.

    mig target check \"tags->>'operator'='it' and environment->>'os'='linux'\"
    mig target check allonline

exit status: 0 some agent matches, 5 none does, 1 it is no target";

/// Names shown.
const NAMES: usize = 10;

pub(super) async fn run(line: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(order) = Order::read(line, &[], USAGE, order::any, output)? else { return Ok(0) };
    if order.verb() != "check" {
        return Err(order.unknown());
    }
    order.at_most(1)?;
    let given = order.words.get(1).ok_or_else(|| order.misused("the target is missing"))?;
    grid::check::<System>(&order.form)?;
    let session = open(&order.options, output).await?;
    let target = session.config.macros.expand(given);
    target
        .parse::<Target>()
        .map_err(|error| Failure::other(format!("the target is refused at {error}: {target}")))?;
    let api = session.api_with_any_key("cmd")?;
    let mut agents = api.agents_of_target(&target).await.map_err(launch::rejected)?;
    let mut seen = Seen::default();
    while let Some(agent) = agents.next().await? {
        if order.form.format == Format::Name {
            output.line(&printable(&agent.name))?;
        }
        seen.take(agent);
    }
    match order.form.format {
        Format::Json | Format::NdJson => {
            let value = json!({
                "target": target, "agents": seen.count, "systems": seen.systems, "names": seen.names,
            });
            listing::document(&value, output)?;
        }
        Format::Name => {}
        Format::Text => {
            for line in seen.lines(&target) {
                output.line(&printable(&line))?;
            }
        }
        Format::Table | Format::Csv => {
            let system = |(os, agents)| System { os, agents };
            let mut systems: Vec<System> =
                std::mem::take(&mut seen.systems).into_iter().map(system).collect();
            grid::sort(&mut systems, &order.form)?;
            listing::print(&systems, &order.form, output)?;
        }
    }
    Ok(if seen.count == 0 { code::NO_AGENT } else { 0 })
}

/// How many agents run on a system.
#[derive(Debug, Serialize)]
struct System {
    os: String,
    agents: u64,
}

impl Row for System {
    const FIELDS: &'static [Field] = &[Field::new("os"), Field::new("agents").number()];

    fn cell(&self, field: &str) -> String {
        if field == "os" { self.os.clone() } else { self.agents.to_string() }
    }

    fn name(&self) -> String {
        self.os.clone()
    }
}

/// What is kept of agents: they may be many.
#[derive(Debug, Default)]
struct Seen {
    count: u64,
    systems: BTreeMap<String, u64>,
    names: Vec<String>,
}

impl Seen {
    fn take(&mut self, agent: Agent) {
        self.count += 1;
        // An agent says what it likes.
        let system = if self.systems.len() < 100 || self.systems.contains_key(&agent.environment.os)
        {
            agent.environment.os
        } else {
            "other".to_owned()
        };
        *self.systems.entry(system).or_default() += 1;
        if self.names.len() < NAMES {
            self.names.push(agent.name);
        }
    }

    fn lines(&self, target: &str) -> Vec<String> {
        let mut lines = vec![
            format!("target    {target}"),
            format!("agents    {} can be asked now", self.count),
        ];
        let unknown = |os: &String| if os.is_empty() { "unknown".to_owned() } else { os.clone() };
        lines.extend(
            self.systems.iter().map(|(os, count)| format!("system    {} {count}", unknown(os))),
        );
        lines.extend(self.names.iter().map(|name| format!("agent     {name}")));
        let more = self.count.saturating_sub(self.names.len() as u64);
        if more > 0 {
            lines.push(format!("          and {more} more"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::Environment;

    #[test]
    fn ten_names_and_all_systems_are_told() {
        let mut seen = Seen::default();
        for number in 0..12 {
            let os = if number % 3 == 0 { "windows" } else { "linux" };
            let environment = Environment { os: os.into(), ..Environment::default() };
            seen.take(Agent { name: format!("web{number}"), environment, ..Agent::default() });
        }
        let lines = seen.lines("name like 'web%'");
        assert_eq!(lines[1], "agents    12 can be asked now");
        assert_eq!(lines[2..4], ["system    linux 8", "system    windows 4"]);
        assert_eq!(lines[13], "agent     web9");
        assert_eq!(lines[14], "          and 2 more");
    }
}

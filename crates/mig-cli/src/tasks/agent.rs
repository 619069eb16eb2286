//! `mig agent` and `mig command`: one of them.

use mig_client::search::{Kind as What, Search};
use mig_module::Registry;
use mig_module::args::{Flag, Kind};
use mig_runtime::Shutdown;
use mig_terminal::failure::Failure;
use mig_terminal::format::Format;
use mig_terminal::listing;
use mig_terminal::output::Output;
use mig_types::{AgentId, CommandId};

use super::order::{self, Order, find};
use super::{globals, open, show};
use crate::print::Printer;

pub(super) const AGENT: &str = "\
usage: mig agent list [\"<conditions>\"] [-t <target>] [--watch <duration>] [-o <format>]
       mig agent show <id> [-o <format>]
       mig agent actions <id> [-o <format>]

    mig agent list \"name=web*\"     the same as mig agents
    mig agent show 4611686023      what it told of itself and its machine
    mig agent actions 4611686023   what it was asked lately";

pub(super) async fn agent(
    line: &[String],
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<u8, Failure> {
    // It has options of its own.
    if let Some(("list", rest)) = line.split_first().map(|(verb, rest)| (verb.as_str(), rest)) {
        return show::agents(rest, output, shutdown).await;
    }
    let Some(order) = Order::read(line, &[], AGENT, order::any, output)? else { return Ok(0) };
    if !["show", "actions"].contains(&order.verb()) {
        return Err(order.unknown());
    }
    let id: AgentId = order.id("an agent")?;
    let kind = if order.verb() == "actions" { What::Command } else { What::Agent };
    listing::check(kind, &order.form)?;
    let session = open(&order.options, output).await?;
    if order.verb() == "actions" {
        let conditions = format!("agentid={id}");
        let search = Search::conditions(What::Command, &conditions, session.clock.now())
            .map_err(|error| Failure::usage(error.to_string()))?;
        return find(&search, &session, &order.form, output).await;
    }
    let agent = session.api_with_any_key("cmd")?.agent(id).await?;
    let now = session.clock.now();
    order.print(&agent, || mig_terminal::agent::details(&agent, now), output)?;
    Ok(0)
}

pub(super) const COMMAND: &str = "\
usage: mig command show <id> [-show found|notfound|all] [-o <format>]
       mig command list [\"<conditions>\"] [-o <format>]

What one agent answered to one action.

    mig command list \"actionid=6884999430150 status=failed\"
    mig command show 6884999495681 -show all";

const COMMAND_FLAGS: [Flag; 1] = [("show", Kind::Text)];

pub(super) async fn command(
    registry: &Registry,
    line: &[String],
    output: &mut Output,
) -> Result<u8, Failure> {
    let Some(order) = Order::read(line, &COMMAND_FLAGS, COMMAND, order::any, output)? else {
        return Ok(0);
    };
    match order.verb() {
        "list" => {
            let session = open(&order.options, output).await?;
            order.list(What::Command, &session, output).await
        }
        "show" => {
            let id: CommandId = order.id("a command")?;
            let mut globals = globals(&order.options)?;
            globals.form = order.form.clone();
            let mut printer = Printer::new(registry, &globals)?;
            let api = open(&order.options, output).await?.api_with_any_key("cmd")?;
            let command = api.command(id).await?;
            if matches!(order.form.format, Format::Json | Format::NdJson) {
                listing::document(&command, output)?;
                return Ok(0);
            }
            if !command.status.is_final() {
                output.say(&format!("not answered yet: {}", command.status));
            }
            printer.command(command, output)?;
            printer.finish(output)?;
            Ok(0)
        }
        _ => Err(order.unknown()),
    }
}

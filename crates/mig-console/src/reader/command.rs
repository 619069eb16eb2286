//! A command: one action on one agent.

use mig_client::search::Kind;
use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_terminal::orders;
use mig_terminal::output::Paint;
use mig_types::{Command, CommandId};

use crate::completion::Scope;
use crate::console::{Console, Mode, Next, settle};
use crate::order::Order;
use crate::results;
use crate::top::json;

const NAME: &str = "command reader";

pub(crate) async fn run(console: &mut Console, id: CommandId) -> Result<(), Failure> {
    let mut command = console.call(console.api.command(id)).await?;
    console.saw(Kind::Command, &id);
    console.enter(NAME);
    console.say(&format!(
        "Command {id} ran on agent '{}' based on action '{}'",
        printable(&command.agent.name),
        printable(&command.action.name)
    ));
    let prompt = format!("command {}>", id.get() % 1000);
    let mode = Mode { prompt: &prompt, paint: Paint::BoldCyan, scope: Scope::Command };
    while let Some(order) = console.order(mode).await? {
        let outcome = obey(console, &order, &mut command).await;
        if settle(outcome)? == Next::Leave {
            break;
        }
    }
    Ok(())
}

async fn obey(console: &Console, order: &Order, command: &mut Command) -> Result<Next, Failure> {
    match order.verb() {
        "json" => console.say(&json(command)?),
        "r" => {
            *command = console.call(console.api.command(command.id)).await?;
            console.say("Reload succeeded");
        }
        "results" => match order.rest()[..] {
            [] => results::one(console, command, None, false),
            ["found"] => results::one(console, command, None, true),
            [word, ..] => {
                return Err(Failure::usage(format!("Unknown option '{word}'")));
            }
        },
        "help" => console.say(orders::COMMAND),
        _ => return Ok(console.unknown(order, NAME)),
    }
    Ok(Next::Stay)
}

//! An agent.

use mig_client::Found;
use mig_client::search::{Kind, Search};
use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_terminal::orders;
use mig_terminal::output::Paint;
use mig_terminal::text::{compact, left, seconds};
use mig_types::{Agent, AgentId};

use crate::completion::Scope;
use crate::console::{Console, Mode, Next, settle};
use crate::order::Order;
use crate::top::json;

const NAME: &str = "agent reader";

pub(crate) async fn run(console: &mut Console, id: AgentId) -> Result<(), Failure> {
    let mut agent = console.call(console.api.agent(id)).await?;
    console.saw(Kind::Agent, &id);
    console.enter(NAME);
    console.say(&format!("Agent {id} named '{}'", printable(&agent.name)));
    let prompt = format!("agent {}>", id.get() % 1000);
    let mode = Mode { prompt: &prompt, paint: Paint::BoldBlue, scope: Scope::Agent };
    while let Some(order) = console.order(mode).await? {
        let outcome = obey(console, &order, &mut agent).await;
        if settle(outcome)? == Next::Leave {
            break;
        }
    }
    Ok(())
}

async fn obey(console: &mut Console, order: &Order, agent: &mut Agent) -> Result<Next, Failure> {
    match order.verb() {
        "details" => {
            *agent = console.call(console.api.agent(agent.id)).await?;
            console.say(&mig_terminal::agent::details(agent, console.now())?);
        }
        "json" => match order.rest()[..] {
            [] => console.say(
                &compact(agent)
                    .map_err(|error| Failure::other(format!("cannot write JSON: {error}")))?,
            ),
            ["pretty"] => console.say(&json(agent)?),
            _ => return Err(Failure::usage("must be 'json [pretty]'")),
        },
        "lastactions" => {
            let count = order.count(10)?;
            last_actions(console, agent.id, count).await?;
        }
        "r" => {
            *agent = console.call(console.api.agent(agent.id)).await?;
            console.say("Reload succeeded");
        }
        "help" => console.say(orders::AGENT),
        _ => return Ok(console.unknown(order, NAME)),
    }
    Ok(Next::Stay)
}

async fn last_actions(console: &mut Console, id: AgentId, count: usize) -> Result<(), Failure> {
    let text = format!("agentid={id} limit={}", count.max(1));
    let search = Search::conditions(Kind::Command, &text, console.now())
        .map_err(|error| Failure::other(error.to_string()))?;
    let Found::Commands(commands) = console.call(console.api.find(&search)).await? else {
        return Ok(());
    };
    if commands.is_empty() {
        console.say("no command found");
        return Ok(());
    }
    console.screen.row(
        "-------  ID  ------- + --------    Action Name ------- + ----    Date    ---- +  \
         -- Status --",
    );
    for command in &commands {
        console.screen.row(&format!(
            "{}     {}   {}    {}",
            command.id,
            left(&command.action.name, 30),
            seconds(command.starttime),
            command.status
        ));
    }
    for command in commands.iter().rev() {
        console.saw(Kind::Command, &command.id);
        console.saw(Kind::Action, &command.action.id);
    }
    Ok(())
}

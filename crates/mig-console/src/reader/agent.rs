//! An agent.

use mig_client::Found;
use mig_client::search::{Kind, Search};
use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_terminal::output::Paint;
use mig_terminal::text::{compact, left, moment, pretty, seconds};
use mig_types::{Agent, AgentId, AgentStatus, Timestamp, duration};

use crate::completion::Scope;
use crate::console::{Console, Mode, Next, settle};
use crate::order::Order;
use crate::top::json;

const HELP: &str = "\
The following orders are available:
details                 print the details of the agent
exit                    exit this mode
help                    show this help
json <pretty>           show the json of the agent registration
r                       refresh the agent (get latest version from upstream)
lastactions <limit>     print the last actions that ran on the agent. limit=10 by default.";

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
            console.say(&details(agent, console.now())?);
        }
        "json" => match order.rest()[..] {
            [] => console.say(&compact(agent).map_err(unwritable)?),
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
        "help" => console.say(HELP),
        _ => return Ok(console.unknown(order, NAME)),
    }
    Ok(Next::Stay)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of map_err")]
fn unwritable(error: serde_json::Error) -> Failure {
    Failure::other(format!("cannot write JSON: {error}"))
}

fn details(agent: &Agent, now: Timestamp) -> Result<String, Failure> {
    let environment = &agent.environment;
    let seen = duration::format_signed(now.signed_nanos_since(agent.heartbeatts));
    let lines = [
        format!("Agent ID {}", agent.id),
        format!("name       {}", agent.name),
        format!("last seen  {seen} ago"),
        format!("version    {}", agent.version),
        format!("mode       {}", agent.mode.as_str()),
        format!("location   {}", agent.queueloc),
        format!("platform   {} {}", environment.os, environment.arch),
        format!("pid        {}", agent.pid),
        format!("starttime  {}", moment(agent.starttime)),
        format!("status     {}", agent.status.map_or("unknown", AgentStatus::as_str)),
    ];
    let shown: Vec<String> = lines.iter().map(|line| printable(line)).collect();
    let mut text = shown.join("\n");
    text.push_str("\nenvironment ");
    text.push_str(&pretty(environment, "    ").map_err(unwritable)?);
    text.push_str("\ntags ");
    text.push_str(&pretty(&agent.tags, "    ").map_err(unwritable)?);
    Ok(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_those_of_the_original() {
        let agent: Agent =
            mig_types::wire::from_slice(include_bytes!("../../tests/samples/agent.json")).unwrap();
        let now = agent.heartbeatts + std::time::Duration::from_nanos(18_216_904_420);
        let expected = include_str!("../../tests/samples/agent-details.txt");
        assert_eq!(details(&agent, now).unwrap(), expected.trim_end());
    }
}

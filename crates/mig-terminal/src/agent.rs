//! An agent for people to read.

use mig_module::text::printable;
use mig_types::{Agent, AgentStatus, Timestamp, duration};

use crate::failure::Failure;
use crate::text::{moment, pretty};

#[expect(clippy::needless_pass_by_value, reason = "the signature of map_err")]
fn unwritable(error: serde_json::Error) -> Failure {
    Failure::other(format!("cannot write JSON: {error}"))
}

/// What is known of one, a line each, and what it told of its machine.
///
/// # Errors
///
/// [`Failure`] when that cannot be written.
pub fn details(agent: &Agent, now: Timestamp) -> Result<String, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_those_of_the_original() {
        let agent: Agent =
            mig_types::wire::from_slice(include_bytes!("../tests/samples/agent.json")).unwrap();
        let now = agent.heartbeatts + std::time::Duration::from_nanos(18_216_904_420);
        let expected = include_str!("../tests/samples/agent-details.txt");
        assert_eq!(details(&agent, now).unwrap(), expected.trim_end());
    }
}

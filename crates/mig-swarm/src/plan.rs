//! Who the simulated agents are and how they reach a relay.

use std::sync::Arc;
use std::time::Duration;

use mig_relay::RelayConfig;
use mig_sign::keyring::Keyring;
use mig_types::{Agent, AgentMode, Environment, QueueLoc, Tags, Timestamp};

use crate::fate::Behaviour;

/// Most agents of one swarm: identifiers are written with six digits.
const MAX_AGENTS: usize = 1_000_000;
/// The longest name of a swarm that leaves room in a queueloc.
const MAX_NAME: usize = 64;

/// A fleet to simulate.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The relay and how to reach it; each connection is made with it.
    pub relay: RelayConfig,
    /// Names the swarm. Agents are called `<name>-<number>`, so that a target
    /// finds them: `name LIKE 'swarm-%'`.
    pub name: String,
    pub agents: usize,
    /// Agents that share a connection. A built-in relay takes at most 16.
    pub per_connection: usize,
    /// Between two heartbeats of one agent.
    pub heartbeat: Duration,
    pub behaviour: Behaviour,
    /// With keys, agents verify signatures and refuse what does not hold.
    pub keyring: Option<Arc<Keyring>>,
}

/// Why a plan makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    #[error("a swarm has between 1 and {MAX_AGENTS} agents, not {0}")]
    Agents(usize),
    #[error("a connection carries at least one agent")]
    PerConnection,
    #[error("the swarm's name '{0}' has to be 1 to {MAX_NAME} letters, digits, dots or dashes")]
    Name(String),
    #[error("the time between heartbeats cannot be zero")]
    Heartbeat,
}

impl Plan {
    /// `agents` of them at `relay`, ten to a connection, one heartbeat a
    /// minute, answering at once.
    pub fn new(relay: RelayConfig, name: impl Into<String>, agents: usize) -> Self {
        Self {
            relay,
            name: name.into(),
            agents,
            per_connection: 10,
            heartbeat: Duration::from_mins(1),
            behaviour: Behaviour::default(),
            keyring: None,
        }
    }

    /// # Errors
    ///
    /// [`PlanError`] names the first thing that cannot be.
    pub fn check(&self) -> Result<(), PlanError> {
        if !(1..=MAX_AGENTS).contains(&self.agents) {
            return Err(PlanError::Agents(self.agents));
        }
        if self.per_connection == 0 {
            return Err(PlanError::PerConnection);
        }
        if self.heartbeat.is_zero() {
            return Err(PlanError::Heartbeat);
        }
        // Also keeps it harmless inside the text of a target.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.chars().all(plain) {
            return Err(PlanError::Name(self.name.clone()));
        }
        Ok(())
    }

    /// Chooses all agents of this swarm and no other.
    pub fn target(&self) -> String {
        format!("name LIKE '{}-%' AND tags->>'swarm'='{}'", self.name, self.name)
    }

    pub(crate) fn agent_name(&self, number: usize) -> String {
        format!("{}-{number:06}", self.name)
    }

    pub(crate) fn queueloc(&self, number: usize) -> Option<QueueLoc> {
        // Stable, so that a swarm started again meets its old queues.
        format!("linux.{}.swarm", self.agent_name(number)).parse().ok()
    }

    /// What an agent tells of itself.
    pub(crate) fn record(&self, number: usize, now: Timestamp) -> Agent {
        let mut tags = Tags::new();
        tags.insert("swarm".to_owned(), self.name.clone().into());
        let [_, high, middle, low] = u32::try_from(number).unwrap_or_default().to_be_bytes();
        Agent {
            name: self.agent_name(number),
            queueloc: self.queueloc(number).map_or_else(String::new, |q| q.as_str().to_owned()),
            mode: AgentMode::Daemon,
            version: concat!("swarm-", env!("CARGO_PKG_VERSION")).to_owned(),
            pid: i64::try_from(number).unwrap_or_default() + 1,
            starttime: now,
            heartbeatts: now,
            refreshts: now,
            environment: Environment {
                init: "systemd".to_owned(),
                ident: "Simulated Linux 1".to_owned(),
                os: "linux".to_owned(),
                arch: "amd64".to_owned(),
                addresses: vec![format!("10.{high}.{middle}.{low}/8")],
                modules: vec!["file".to_owned(), "netstat".to_owned()],
                ..Environment::default()
            },
            tags,
            ..Agent::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new(RelayConfig::new("amqp://guest:guest@localhost/"), "swarm", 3)
    }

    #[test]
    fn a_plan_that_cannot_be_names_what_is_wrong() {
        assert!(plan().check().is_ok());
        for (change, text) in [
            ((|p| p.agents = 0) as fn(&mut Plan), "agents"),
            (|p| p.agents = 2_000_000, "agents"),
            (|p| p.per_connection = 0, "connection"),
            (|p| p.heartbeat = Duration::ZERO, "heartbeats"),
            (|p| p.name.clear(), "name"),
            (|p| p.name = "a' OR '1'='1".to_owned(), "name"),
            (|p| p.name = "a".repeat(65), "name"),
        ] {
            let mut plan = plan();
            change(&mut plan);
            let error = plan.check().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn the_target_chooses_this_swarm_alone() {
        use mig_types::Target;
        use mig_types::target::{Facts, Truth};

        let target: Target = plan().target().parse().unwrap();
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let own = plan().record(2, now);
        assert_eq!(target.evaluate(Facts { agent: &own, now }), Truth::True);
        let mut other = plan();
        other.name = "swarm2".to_owned();
        let other = other.record(2, now);
        assert_eq!(target.evaluate(Facts { agent: &other, now }), Truth::False);
    }

    #[test]
    fn every_agent_has_an_address_of_its_own() {
        let plan = plan();
        assert_eq!(plan.queueloc(2).unwrap().as_str(), "linux.swarm-000002.swarm");
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let record = plan.record(70_000, now);
        assert_eq!(record.environment.addresses, ["10.1.17.112/8"]);
        assert_eq!(record.queueloc, "linux.swarm-070000.swarm");
    }
}

//! The configuration of `mig-standalone`; every key has a default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mig_api::{ApiSettings, Authentication, ClientIp, Server};
use mig_runtime::config::ConfigError;
use mig_runtime::logging::LogConfig;
use serde::Deserialize;

/// Time between two looks at the liveness of agents. A small fleet on one
/// machine can afford to be prompt.
const PERIODIC: Duration = Duration::from_secs(10);

/// The whole file, one field a section.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StandaloneConfig {
    pub data: Data,
    pub server: Server,
    pub authentication: Authentication,
    pub relay: RelaySection,
    pub agent: AgentSection,
    pub logging: LogConfig,
}

/// Section `[data]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Holds databases, certificates and the agents' password.
    pub directory: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { directory: PathBuf::from("/var/lib/mig-standalone") }
    }
}

/// Section `[relay]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelaySection {
    /// Where agents connect.
    pub listen: String,
    /// Name or address under which agents reach it; in the certificate.
    pub name: String,
}

impl Default for RelaySection {
    fn default() -> Self {
        Self { listen: "127.0.0.1:5671".to_owned(), name: "localhost".to_owned() }
    }
}

/// Section `[agent]`: what the scheduler expects of agents.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSection {
    /// Must mirror the agents' setting.
    #[serde(with = "mig_types::duration::serde_text")]
    pub heartbeatfreq: Duration,
    /// An idle agent is offline after this silence.
    #[serde(with = "mig_types::duration::serde_text")]
    pub timeout: Duration,
    /// File of agents that may register; empty: all.
    pub whitelist: String,
}

impl Default for AgentSection {
    fn default() -> Self {
        Self {
            heartbeatfreq: Duration::from_mins(5),
            timeout: Duration::from_mins(20),
            whitelist: String::new(),
        }
    }
}

/// What the configuration means, checked.
#[derive(Debug, Clone)]
pub struct Validated {
    pub api_listen: SocketAddr,
    pub relay_listen: SocketAddr,
    pub api: ApiSettings,
}

impl StandaloneConfig {
    /// Checks what types cannot; names the key that is wrong. Touches nothing.
    pub fn validate(&self) -> Result<Validated, ConfigError> {
        let api_listen = format!("{}:{}", self.server.ip, self.server.port)
            .parse()
            .map_err(|_| ConfigError::invalid("server.ip", "is not an IP address"))?;
        let relay_listen = self.relay.listen.parse().map_err(|_| {
            ConfigError::invalid("relay.listen", "is not an address and port like 0.0.0.0:5671")
        })?;
        if self.relay.name.is_empty() {
            return Err(ConfigError::invalid("relay.name", "must not be empty"));
        }
        if self.agent.heartbeatfreq < Duration::from_secs(1) {
            return Err(ConfigError::invalid("agent.heartbeatfreq", "must be at least 1s"));
        }
        if self.agent.timeout <= self.agent.heartbeatfreq {
            let reason = "must be longer than agent.heartbeatfreq";
            return Err(ConfigError::invalid("agent.timeout", reason));
        }
        let client_ip = ClientIp::parse(&self.server.clientpublicip)
            .map_err(|reason| ConfigError::invalid("server.clientpublicip", reason))?;
        let api = ApiSettings {
            host: self.server.host.trim_end_matches('/').to_owned(),
            baseroute: self.server.baseroute.clone(),
            authenticate: self.authentication.enabled,
            token_tolerance: self.authentication.tokenduration,
            client_ip,
            strict_search: self.authentication.strictsearch,
            max_form: self.server.maxbytes,
            whitelist: (!self.agent.whitelist.is_empty())
                .then(|| PathBuf::from(&self.agent.whitelist)),
            ..ApiSettings::default()
        };
        Ok(Validated { api_listen, relay_listen, api })
    }

    /// What the scheduler needs to know; its spool lives in the data directory.
    pub fn scheduler_settings(&self) -> mig_scheduler::Settings {
        let whitelist = &self.agent.whitelist;
        mig_scheduler::Settings {
            agent_timeout: self.agent.timeout,
            heartbeat_frequency: self.agent.heartbeatfreq,
            whitelist: (!whitelist.is_empty()).then(|| PathBuf::from(whitelist)),
            periodic_frequency: PERIODIC,
            spool: Some(self.data.directory.join("spool")),
            ..mig_scheduler::Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        let config: StandaloneConfig = mig_runtime::config::parse_strict(text, "t.cfg").unwrap();
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_value_is_named_by_its_key() {
        assert!(fault("[relay]\nlisten = here\n").contains("relay.listen"));
        assert!(fault("[server]\nip = here\n").contains("server.ip"));
        assert!(fault("[agent]\nheartbeatfreq = 0s\n").contains("agent.heartbeatfreq"));
        assert!(fault("[agent]\ntimeout = 10s\n").contains("agent.timeout"));
        let unknown: Result<StandaloneConfig, _> =
            mig_runtime::config::parse_strict("[relay]\nport = 1\n", "t.cfg");
        assert!(unknown.is_err());
    }

    #[test]
    fn the_sample_loads() {
        let text = include_str!("../../../conf/standalone.cfg.inc");
        let config: StandaloneConfig = mig_runtime::config::parse_strict(text, "sample").unwrap();
        config.validate().unwrap();
    }

    #[test]
    fn defaults_are_valid() {
        StandaloneConfig::default().validate().unwrap();
    }
}

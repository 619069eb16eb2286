//! The file `scheduler.cfg`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mig_relay::RelayConfig;
use mig_runtime::Secret;
use mig_runtime::config::{self, ConfigError};
use mig_runtime::logging::LogConfig;
use mig_store::{PostgresConfig, SslMode, TARGET_TIMEOUT};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::settings::Settings;

/// Longest time one attempt to connect may take; the relay is tried again.
const MAX_CONNECT: Duration = Duration::from_secs(30);
/// The longest heartbeat AMQP can express.
const MAX_AMQP_HEARTBEAT: Duration = Duration::from_secs(u16::MAX as u64);
/// Connections when `maxconn` is zero, which once meant "no limit".
const UNLIMITED: u32 = 100;

/// `scheduler.cfg`, one field a section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerConfig {
    pub agent: AgentSection,
    pub collector: CollectorSection,
    pub periodic: PeriodicSection,
    pub directories: DirectoriesSection,
    pub postgres: PostgresSection,
    pub mq: MqSection,
    pub logging: LogConfig,
    pub metrics: MetricsSection,
    pub debug: DebugSection,
    pub pgp: PgpSection,
}

/// Section `[agent]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSection {
    /// Silence after which an idle agent is offline.
    #[serde(with = "mig_types::duration::serde_text")]
    pub timeout: Duration,
    /// Time between two heartbeats, as the agents have it.
    #[serde(with = "mig_types::duration::serde_text")]
    pub heartbeatfreq: Duration,
    /// File of queuelocs that may join; empty for everybody.
    pub whitelist: PathBuf,
    /// Look for endpoints with several agents.
    pub detectmultiagents: bool,
    /// Order the end of one of them, instead of a warning.
    pub killdupagents: bool,
    /// One log line for each command.
    pub logactions: bool,
}

impl Default for AgentSection {
    fn default() -> Self {
        Self {
            timeout: Duration::from_mins(20),
            heartbeatfreq: Duration::from_mins(5),
            whitelist: PathBuf::new(),
            detectmultiagents: false,
            killdupagents: false,
            logactions: false,
        }
    }
}

/// Section `[collector]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectorSection {
    /// Time between two looks for work that no event announced.
    #[serde(with = "mig_types::duration::serde_text")]
    pub freq: Duration,
}

impl Default for CollectorSection {
    fn default() -> Self {
        Self { freq: Duration::from_secs(1) }
    }
}

/// Section `[periodic]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeriodicSection {
    /// Time between two periodic runs.
    #[serde(with = "mig_types::duration::serde_text")]
    pub freq: Duration,
    /// Age at which refused and finished spool files are deleted.
    #[serde(with = "mig_types::duration::serde_text")]
    pub deleteafter: Duration,
    /// Time between two clean-ups of queues.
    #[serde(with = "mig_types::duration::serde_text")]
    pub queuescleanupfreq: Duration,
    /// Age at which statistics about agents are deleted.
    #[serde(with = "mig_types::duration::serde_text")]
    pub keepstatistics: Duration,
}

impl Default for PeriodicSection {
    fn default() -> Self {
        Self {
            freq: Duration::from_secs(87),
            deleteafter: Duration::from_hours(72),
            queuescleanupfreq: Duration::from_hours(24),
            keepstatistics: Duration::from_hours(365 * 24),
        }
    }
}

/// Section `[directories]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectoriesSection {
    pub spool: PathBuf,
    /// Accepted; temporary files are made where they end up.
    pub tmp: PathBuf,
}

impl Default for DirectoriesSection {
    fn default() -> Self {
        Self { spool: "/var/cache/mig/".into(), tmp: "/var/tmp/".into() }
    }
}

/// Section `[postgres]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresSection {
    pub host: String,
    pub port: u16,
    pub dbname: String,
    pub user: String,
    pub password: Secret<String>,
    pub sslmode: String,
    /// Most connections at once.
    pub maxconn: u32,
    /// A target that takes longer to evaluate makes its action invalid.
    #[serde(with = "mig_types::duration::serde_text")]
    pub targettimeout: Duration,
}

impl Default for PostgresSection {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 5432,
            dbname: "mig".to_owned(),
            user: "migscheduler".to_owned(),
            // Wrong on purpose, as in the sample file.
            password: Secret::new("123456".to_owned()),
            sslmode: "disable".to_owned(),
            maxconn: 10,
            targettimeout: TARGET_TIMEOUT,
        }
    }
}

/// Section `[mq]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MqSection {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub pass: Secret<String>,
    pub vhost: String,
    pub usetls: bool,
    /// PEM file of the only authorities trusted.
    pub cacert: PathBuf,
    /// PEM file of the client certificate.
    pub tlscert: PathBuf,
    /// PEM file of its key.
    pub tlskey: PathBuf,
    /// Wanted AMQP heartbeat; keep it above the agents' heartbeat.
    #[serde(with = "mig_types::duration::serde_text")]
    pub timeout: Duration,
}

impl Default for MqSection {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 5672,
            user: "guest".to_owned(),
            pass: Secret::new("guest".to_owned()),
            vhost: "mig".to_owned(),
            usetls: false,
            cacert: PathBuf::new(),
            tlscert: PathBuf::new(),
            tlskey: PathBuf::new(),
            timeout: Duration::from_mins(10),
        }
    }
}

/// Section `[metrics]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSection {
    /// `address:port` of the listener for monitoring; empty for none.
    pub listen: String,
}

/// Section `[debug]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DebugSection {
    /// One log line for each heartbeat.
    pub heartbeats: bool,
}

/// Section `[pgp]`, a leftover: the key always comes from the database.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PgpSection {
    pub privkeyid: String,
}

impl SchedulerConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with file, line and key of the first fault.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        config::load_checked(path, Self::validate)
    }

    /// Checks what types cannot; names the key that is wrong. Touches nothing.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first wrong key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let second = Duration::from_secs(1);
        for (key, value, least) in [
            // One zero in a template, and ten thousand agents look dead.
            ("agent.heartbeatfreq", self.agent.heartbeatfreq, second),
            ("agent.timeout", self.agent.timeout, self.agent.heartbeatfreq),
            ("collector.freq", self.collector.freq, Duration::from_millis(10)),
            ("periodic.freq", self.periodic.freq, Duration::from_millis(100)),
            ("periodic.deleteafter", self.periodic.deleteafter, second),
            ("periodic.queuescleanupfreq", self.periodic.queuescleanupfreq, second),
            ("periodic.keepstatistics", self.periodic.keepstatistics, second),
            ("mq.timeout", self.mq.timeout, second),
            ("postgres.targettimeout", self.postgres.targettimeout, Duration::from_millis(100)),
        ] {
            if value < least {
                let least = mig_types::duration::format(least);
                return Err(ConfigError::invalid(key, format!("must be at least {least}")));
            }
        }
        for (key, value) in [
            ("directories.spool", self.directories.spool.as_os_str().is_empty()),
            ("postgres.host", self.postgres.host.is_empty()),
            ("postgres.port", self.postgres.port == 0),
            ("postgres.dbname", self.postgres.dbname.is_empty()),
            ("postgres.user", self.postgres.user.is_empty()),
            ("mq.host", self.mq.host.is_empty()),
            ("mq.port", self.mq.port == 0),
            ("mq.user", self.mq.user.is_empty()),
            ("mq.pass", self.mq.pass.expose().is_empty()),
        ] {
            if value {
                return Err(ConfigError::invalid(key, "must be set"));
            }
        }
        self.sslmode()?;
        self.metrics_address()?;
        let empty = |path: &Path| path.as_os_str().is_empty();
        if empty(&self.mq.tlscert) != empty(&self.mq.tlskey) {
            return Err(ConfigError::invalid("mq.tlskey", "goes together with mq.tlscert"));
        }
        Ok(())
    }

    /// Where monitoring is served, if anywhere.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] on what is no address with a port.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        if self.metrics.listen.is_empty() {
            return Ok(None);
        }
        let address = self.metrics.listen.parse();
        address
            .map(Some)
            .map_err(|_| ConfigError::invalid("metrics.listen", "must be an address and a port"))
    }

    fn sslmode(&self) -> Result<SslMode, ConfigError> {
        if self.postgres.sslmode.is_empty() {
            return Ok(SslMode::VerifyFull);
        }
        let mode = self.postgres.sslmode.parse::<SslMode>();
        mode.map_err(|error| ConfigError::invalid("postgres.sslmode", error.to_string()))
    }

    /// What the passes need.
    pub fn settings(&self) -> Settings {
        let whitelist = &self.agent.whitelist;
        Settings {
            agent_timeout: self.agent.timeout,
            heartbeat_frequency: self.agent.heartbeatfreq,
            whitelist: (!whitelist.as_os_str().is_empty()).then(|| whitelist.clone()),
            detect_duplicates: self.agent.detectmultiagents,
            kill_duplicates: self.agent.killdupagents,
            log_actions: self.agent.logactions,
            debug_heartbeats: self.debug.heartbeats,
            collector_frequency: self.collector.freq,
            periodic_frequency: self.periodic.freq,
            queues_cleanup_frequency: self.periodic.queuescleanupfreq,
            delete_after: self.periodic.deleteafter,
            keep_statistics: self.periodic.keepstatistics,
            observe: !self.metrics.listen.is_empty(),
            spool: Some(self.directories.spool.clone()),
            ..Settings::default()
        }
    }

    /// How the database is reached.
    ///
    /// # Errors
    ///
    /// As [`SchedulerConfig::validate`].
    pub fn postgres(&self) -> Result<PostgresConfig, ConfigError> {
        let section = &self.postgres;
        Ok(PostgresConfig {
            host: section.host.clone(),
            port: section.port,
            dbname: section.dbname.clone(),
            user: section.user.clone(),
            password: section.password.expose().clone(),
            sslmode: self.sslmode()?,
            maxconn: if section.maxconn == 0 { UNLIMITED } else { section.maxconn },
            target_timeout: section.targettimeout,
        })
    }

    /// How the relay is reached; reads the certificates.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] naming the key whose file cannot be read.
    pub fn relay(&self) -> Result<RelayConfig, ConfigError> {
        let section = &self.mq;
        let read = |key: &str, path: &Path| {
            if path.as_os_str().is_empty() || !section.usetls {
                return Ok(None);
            }
            let unreadable = |error: std::io::Error| {
                ConfigError::invalid(key, format!("cannot read {}: {error}", path.display()))
            };
            std::fs::read(path).map(Some).map_err(unreadable)
        };
        let mut relay = RelayConfig::new(section.address());
        relay.ca_pem = read("mq.cacert", &section.cacert)?;
        relay.cert_pem = read("mq.tlscert", &section.tlscert)?;
        relay.key_pem = read("mq.tlskey", &section.tlskey)?;
        relay.heartbeat = section.timeout.min(MAX_AMQP_HEARTBEAT);
        relay.connect_timeout = section.timeout.min(MAX_CONNECT);
        Ok(relay)
    }
}

impl MqSection {
    /// The relay's URL; any password and virtual host survive in it.
    fn address(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let scheme = if self.usetls { "amqps" } else { "amqp" };
        let host = if self.host.contains(':') && !self.host.starts_with('[') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let vhost = if self.vhost.is_empty() { "/" } else { &self.vhost };
        format!(
            "{scheme}://{}:{}@{host}:{}/{}",
            encode(&self.user),
            encode(self.pass.expose()),
            self.port,
            encode(vhost)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SchedulerConfig, ConfigError> {
        let config: SchedulerConfig = config::parse_strict(text, "scheduler.cfg")?;
        config.validate()?;
        Ok(config)
    }

    #[test]
    fn refuses_wrong_keys_by_name() {
        for (text, key) in [
            ("[agent]\nheartbeatfreq = \"0s\"", "heartbeatfreq"),
            ("[agent]\ntimeout = \"10s\"", "timeout"),
            ("[agent]\nheartbeat = \"5m\"", "heartbeat"),
            ("[agents]\ntimeout = \"5m\"", "agents"),
            ("[collector]\nfreq = \"0s\"", "freq"),
            ("[collector]\nfreq = 1", "freq"),
            ("[periodic]\nfreq = \"-5s\"", "freq"),
            ("[postgres]\nsslmode = \"off\"", "sslmode"),
            ("[postgres]\nport = 0", "port"),
            ("[postgres]\ntargettimeout = \"0s\"", "targettimeout"),
            ("[postgres]\nport = 65536", "port"),
            ("[mq]\nuser = \"\"", "user"),
            ("[metrics]\nlisten = \"9106\"", "listen"),
            ("[periodic]\nkeepstatistics = \"0s\"", "keepstatistics"),
            ("[mq]\ntlscert = \"/etc/mig/scheduler.crt\"", "tlskey"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(key), "{text:?}: {error}");
        }
    }

    #[test]
    fn every_key_of_both_eras_is_known() {
        let config = parse(include_str!("../tests/scheduler.cfg")).unwrap();
        let settings = config.settings();
        assert_eq!(settings.agent_timeout, Duration::from_hours(1));
        assert_eq!(settings.delete_after, Duration::from_hours(360));
        assert_eq!(settings.whitelist, Some("/var/cache/mig/agents_whitelist.txt".into()));
        let postgres = config.postgres().unwrap();
        assert_eq!((postgres.maxconn, postgres.sslmode), (100, SslMode::VerifyFull));
    }

    #[test]
    fn an_empty_file_is_the_template() {
        let config = parse("").unwrap();
        assert_eq!(
            config.settings(),
            Settings { spool: Some("/var/cache/mig/".into()), ..Settings::default() }
        );
        assert_eq!(config.mq.address(), "amqp://guest:guest@127.0.0.1:5672/mig");
    }

    #[test]
    fn credentials_survive_the_address_and_stay_out_of_print() {
        let mut config = SchedulerConfig::default();
        config.mq.pass = Secret::new("a/b@c:d%é".to_owned());
        config.mq.vhost = String::new();
        config.mq.usetls = true;
        config.mq.host = "::1".to_owned();
        assert_eq!(config.mq.address(), "amqps://guest:a%2Fb%40c%3Ad%25%C3%A9@[::1]:5672/%2F");
        assert!(!format!("{config:?}").contains("a/b"));
    }
}

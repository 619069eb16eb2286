//! The API's configuration file, `/etc/mig/api.cfg`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use mig_runtime::Secret;
use mig_runtime::config::ConfigError;
use mig_runtime::logging::LogConfig;
use mig_store::{PostgresConfig, TARGET_TIMEOUT};
use serde::Deserialize;

use crate::client_ip::ClientIp;
use crate::state::ApiSettings;

/// Smallest limit of a form, in bytes: below it no action fits.
const MIN_FORM: usize = 64 * 1024;
/// Below it the simplest target may fail on a busy database.
const MIN_TARGET_TIMEOUT: Duration = Duration::from_millis(100);

/// The whole file, one field a section.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    pub authentication: Authentication,
    pub agent: AgentSection,
    pub manifest: Manifest,
    pub server: Server,
    pub postgres: PostgresSection,
    pub logging: LogConfig,
    pub metrics: MetricsSection,
}

/// Section `[authentication]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authentication {
    /// Off while the first investigator is created, on ever after.
    pub enabled: bool,
    /// How far a token's time may be from now, either way.
    #[serde(with = "mig_types::duration::serde_text")]
    pub tokenduration: Duration,
    /// Whether a search also needs the permission to read what it finds.
    pub strictsearch: bool,
}

impl Default for Authentication {
    fn default() -> Self {
        Self { enabled: true, tokenduration: Duration::from_mins(10), strictsearch: false }
    }
}

/// Section `[agent]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSection {
    /// Which agents may send heartbeats over HTTP: the scheduler's file of
    /// queuelocs and expressions. Empty means all of them.
    pub whitelist: PathBuf,
}

/// Section `[metrics]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSection {
    /// Address and port where counters are shown, such as `127.0.0.1:9107`;
    /// empty means nowhere. Nobody is asked who they are there.
    pub listen: String,
}

/// Section `[manifest]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manifest {
    /// Signatures that make a manifest active.
    pub requiredsignatures: u32,
    /// Largest manifest accepted, in bytes of the request.
    pub maxbytes: usize,
}

impl Default for Manifest {
    fn default() -> Self {
        Self { requiredsignatures: 1, maxbytes: ApiSettings::default().max_manifest }
    }
}

/// Section `[server]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    pub ip: String,
    pub port: u16,
    /// Public base in front of `baseroute` in every link, such as
    /// `https://api.mig.example.net`.
    pub host: String,
    /// Path all routes live under, without a final slash.
    pub baseroute: String,
    /// `peer` or `x-forwarded-for:<n>`.
    pub clientpublicip: String,
    /// Largest form accepted, in bytes.
    pub maxbytes: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            ip: "127.0.0.1".to_owned(),
            port: 12345,
            host: "http://localhost:12345".to_owned(),
            baseroute: "/api/v1".to_owned(),
            clientpublicip: "peer".to_owned(),
            maxbytes: ApiSettings::default().max_form,
        }
    }
}

/// Section `[postgres]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresSection {
    pub host: String,
    pub port: u16,
    pub dbname: String,
    pub user: String,
    pub password: Secret<String>,
    /// `disable`, `require` or `verify-full`.
    pub sslmode: String,
    pub maxconn: u32,
    /// A target that takes longer to evaluate is refused.
    #[serde(with = "mig_types::duration::serde_text")]
    pub targettimeout: Duration,
}

impl Default for PostgresSection {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 5432,
            dbname: "mig".to_owned(),
            user: "migapi".to_owned(),
            password: Secret::default(),
            sslmode: "disable".to_owned(),
            maxconn: 10,
            targettimeout: TARGET_TIMEOUT,
        }
    }
}

impl ApiConfig {
    /// Checks what types cannot; names the key that is wrong. Touches nothing.
    pub fn validate(&self) -> Result<ApiSettings, ConfigError> {
        if self.authentication.tokenduration < Duration::from_secs(1) {
            let reason = "must be at least 1s";
            return Err(ConfigError::invalid("authentication.tokenduration", reason));
        }
        if self.manifest.requiredsignatures < 1 {
            return Err(ConfigError::invalid("manifest.requiredsignatures", "must be at least 1"));
        }
        if self.server.ip.parse::<IpAddr>().is_err() {
            let reason = format!("{:?} is not an IP address", self.server.ip);
            return Err(ConfigError::invalid("server.ip", reason));
        }
        let route = &self.server.baseroute;
        if !route.is_empty() && (!route.starts_with('/') || route.ends_with('/')) {
            let reason = "starts with a slash and does not end with one, such as \"/api/v1\"";
            return Err(ConfigError::invalid("server.baseroute", reason));
        }
        let client_ip = ClientIp::parse(&self.server.clientpublicip)
            .map_err(|reason| ConfigError::invalid("server.clientpublicip", reason))?;
        for (key, bytes) in [
            ("server.maxbytes", self.server.maxbytes),
            ("manifest.maxbytes", self.manifest.maxbytes),
        ] {
            if bytes < MIN_FORM {
                return Err(ConfigError::invalid(key, format!("must be at least {MIN_FORM}")));
            }
        }
        self.postgres()?;
        self.metrics_address()?;
        let whitelist = &self.agent.whitelist;
        Ok(ApiSettings {
            host: self.server.host.trim_end_matches('/').to_owned(),
            baseroute: route.clone(),
            authenticate: self.authentication.enabled,
            token_tolerance: self.authentication.tokenduration,
            client_ip,
            strict_search: self.authentication.strictsearch,
            required_signatures: self.manifest.requiredsignatures,
            max_manifest: self.manifest.maxbytes,
            max_form: self.server.maxbytes,
            whitelist: (!whitelist.as_os_str().is_empty()).then(|| whitelist.clone()),
        })
    }

    /// Where counters are shown, if anywhere.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        if self.metrics.listen.is_empty() {
            return Ok(None);
        }
        self.metrics.listen.parse().map(Some).map_err(|_| {
            let reason = "must be an address and a port such as 127.0.0.1:9107";
            ConfigError::invalid("metrics.listen", reason)
        })
    }

    /// The database part, for the store.
    pub fn postgres(&self) -> Result<PostgresConfig, ConfigError> {
        if self.postgres.targettimeout < MIN_TARGET_TIMEOUT {
            return Err(ConfigError::invalid("postgres.targettimeout", "must be at least 100ms"));
        }
        let sslmode = self
            .postgres
            .sslmode
            .parse()
            .map_err(|error| ConfigError::invalid("postgres.sslmode", format!("{error}")))?;
        Ok(PostgresConfig {
            host: self.postgres.host.clone(),
            port: self.postgres.port,
            dbname: self.postgres.dbname.clone(),
            user: self.postgres.user.clone(),
            password: self.postgres.password.expose().clone(),
            sslmode,
            maxconn: self.postgres.maxconn,
            target_timeout: self.postgres.targettimeout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: impl FnOnce(&mut ApiConfig)) -> String {
        let mut config = ApiConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_value_is_named_by_its_key() {
        let zero = fault(|c| c.authentication.tokenduration = Duration::ZERO);
        assert!(zero.contains("authentication.tokenduration"), "{zero}");
        assert!(fault(|c| c.server.ip = "nowhere".into()).contains("server.ip"));
        assert!(fault(|c| c.server.baseroute = "api/".into()).contains("server.baseroute"));
        assert!(fault(|c| c.server.clientpublicip = "guess".into()).contains("clientpublicip"));
        assert!(fault(|c| c.postgres.sslmode = "maybe".into()).contains("postgres.sslmode"));
        assert!(fault(|c| c.postgres.targettimeout = Duration::ZERO).contains("targettimeout"));
        assert!(fault(|c| c.metrics.listen = "9107".into()).contains("metrics.listen"));
        assert!(fault(|c| c.server.maxbytes = 0).contains("server.maxbytes"));
        assert!(fault(|c| c.manifest.maxbytes = 1000).contains("manifest.maxbytes"));
        assert!(fault(|c| c.manifest.requiredsignatures = 0).contains("requiredsignatures"));
    }

    #[test]
    fn the_sample_loads() {
        let text = include_str!("../../../conf/api.cfg.inc");
        let config: ApiConfig = mig_runtime::config::parse_strict(text, "api.cfg.inc").unwrap();
        config.validate().unwrap();
    }

    #[test]
    fn defaults_are_valid_and_authenticate() {
        assert!(ApiConfig::default().validate().unwrap().authenticate);
    }
}

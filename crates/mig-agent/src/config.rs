//! The configuration: built-in values, the file, and what comes out of both.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::embed::Carried;
use crate::execute::child::Sandboxing;
use crate::pem::Pem;
use mig_runtime::Secret;
use mig_runtime::config::{self, ConfigError};
use mig_runtime::logging::LogConfig;
use mig_types::{Tags, duration};
use serde::Deserialize;
use serde_json::Value;

/// Where the configuration is looked for when `-c` does not say.
pub const DEFAULT_FILE: &str = "/etc/mig/mig-agent.cfg";
/// Where keys and access lists are when nothing says otherwise.
pub const DEFAULT_CONFDIR: &str = "/etc/mig";
/// Where identity and journal are kept when nothing says otherwise.
pub const DEFAULT_RUNDIR: &str =
    if cfg!(target_os = "macos") { "/Library/Preferences/mig" } else { "/var/lib/mig" };

/// Most actions the status shows.
const MAX_ACTIONS: u8 = 30;

/// `mig-agent.cfg`. What it leaves out keeps its built-in value.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    agent: AgentSection,
    stats: StatsSection,
    certs: CertsSection,
    embed: EmbedSection,
    logging: Option<LogConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AgentSection {
    relay: Option<Secret<String>>,
    api: Option<String>,
    socket: Option<String>,
    #[serde(deserialize_with = "optional_duration")]
    heartbeatfreq: Option<Duration>,
    #[serde(deserialize_with = "optional_duration")]
    moduletimeout: Option<Duration>,
    #[serde(deserialize_with = "optional_duration")]
    refreshenv: Option<Duration>,
    isimmortal: Option<bool>,
    installservice: Option<bool>,
    discoverpublicip: Option<bool>,
    discoverawsmeta: Option<bool>,
    awsmetadata: Option<String>,
    checkin: Option<bool>,
    #[serde(deserialize_with = "optional_duration")]
    checkinwait: Option<Duration>,
    extraprivacymode: Option<bool>,
    nopersistmods: Option<bool>,
    onlyverifypubkey: Option<bool>,
    proxies: Option<String>,
    tags: Vec<String>,
    hostname: Option<String>,
    rundir: Option<PathBuf>,
    confdir: Option<PathBuf>,
    unverifiabletargets: Option<Unverifiable>,
    modulememory: Option<u64>,
    moduleoutput: Option<u64>,
    modulethreads: Option<usize>,
    modulesandbox: Option<Sandboxing>,
    moduleprocesses: Option<usize>,
    modulecgroups: Option<bool>,
    moduledir: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatsSection {
    maxactions: Option<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CertsSection {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// What a program shall carry beside the configuration; without effect when an
/// agent reads its file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EmbedSection {
    acl: Option<PathBuf>,
    keys: Option<PathBuf>,
}

/// What happens to an action whose target the agent cannot judge itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unverifiable {
    /// It is run: the schedulers know what the agent does not.
    #[default]
    Allow,
    /// It is refused.
    Deny,
}

/// What one module process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Wall-clock time.
    pub time: Duration,
    pub memory_bytes: u64,
    pub output_bytes: usize,
    pub threads: usize,
    pub sandbox: Sandboxing,
    /// Processes and threads of one module together.
    pub processes: usize,
    /// Runs are kept in control groups where the system has them.
    pub cgroups: bool,
}

/// How this agent is to run: built-in values overridden by the file.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is one key of the configuration file")]
pub struct AgentConfig {
    pub relay: Secret<String>,
    pub api: String,
    /// Address of the stat socket; `None` when it is off.
    pub socket: Option<String>,
    pub heartbeatfreq: Duration,
    /// Time between two looks at the environment; `None`: only at start.
    pub refreshenv: Option<Duration>,
    pub isimmortal: bool,
    pub installservice: bool,
    pub discoverpublicip: bool,
    pub discoverawsmeta: bool,
    /// Where the cloud's metadata service is.
    pub awsmetadata: String,
    /// Connect, work off what waits, and end.
    pub checkin: bool,
    /// Silence of the relay that ends a check-in.
    pub checkinwait: Duration,
    pub extraprivacymode: bool,
    pub nopersistmods: bool,
    pub onlyverifypubkey: bool,
    pub unverifiabletargets: Unverifiable,
    /// `host:port`, tried in this order.
    pub proxies: Vec<String>,
    pub tags: Tags,
    pub maxactions: usize,
    pub budgets: Budgets,
    /// Where executables of modules are; `None` is beside the agent's own.
    pub moduledir: Option<PathBuf>,
    pub ca: Pem,
    pub cert: Pem,
    pub key: Pem,
    /// The access list to embed.
    pub embed_acl: Option<PathBuf>,
    /// The folder of keys to embed.
    pub embed_keys: Option<PathBuf>,
    /// What the program itself carries.
    pub carried: Option<Arc<Carried>>,
    /// The name to report instead of the host's own.
    pub hostname: Option<String>,
    pub rundir: PathBuf,
    pub confdir: PathBuf,
    pub logging: LogConfig,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            relay: Secret::new("amqp://guest:guest@localhost:5672/".to_owned()),
            api: "http://localhost:1664/api/v1/".to_owned(),
            socket: Some("127.0.0.1:51664".to_owned()),
            heartbeatfreq: Duration::from_mins(5),
            refreshenv: None,
            isimmortal: true,
            installservice: true,
            discoverpublicip: false,
            discoverawsmeta: false,
            awsmetadata: "http://169.254.169.254".to_owned(),
            checkin: false,
            checkinwait: Duration::from_secs(10),
            extraprivacymode: false,
            nopersistmods: false,
            onlyverifypubkey: false,
            unverifiabletargets: Unverifiable::Allow,
            proxies: Vec::new(),
            tags: Tags::new(),
            maxactions: 15,
            budgets: Budgets {
                time: Duration::from_mins(5),
                memory_bytes: 256 * MEGABYTE,
                output_bytes: 20 << 20,
                threads: half_the_cores(),
                sandbox: Sandboxing::default(),
                processes: 64,
                cgroups: true,
            },
            moduledir: None,
            ca: Pem::None,
            cert: Pem::None,
            key: Pem::None,
            embed_acl: None,
            embed_keys: None,
            carried: None,
            hostname: None,
            rundir: DEFAULT_RUNDIR.into(),
            confdir: DEFAULT_CONFDIR.into(),
            logging: LogConfig::default(),
        }
    }
}

const MEGABYTE: u64 = 1 << 20;

/// The share of the machine the agent and its modules may use.
pub fn half_the_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

impl AgentConfig {
    /// Reads the file `-c` names; without one the default file, and the
    /// `builtin` values when that does not exist. What a file leaves out has its
    /// built-in value.
    ///
    /// The second value says where the values came from.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with file and line on anything that is not understood.
    pub fn load(
        file: Option<&Path>,
        builtin: Self,
    ) -> Result<(Self, Option<PathBuf>), ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        if file.is_none() && !path.exists() {
            return Ok((builtin, None));
        }
        let config = Self::from_file(config::load_strict(path)?, builtin)?;
        Ok((config, Some(path.to_owned())))
    }

    /// Reads the text of a configuration file; `name` is for messages.
    ///
    /// # Errors
    ///
    /// As [`AgentConfig::load`].
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        Self::from_file(config::parse_strict(text, name)?, Self::default())
    }

    /// The built-in values of a program that carries some.
    pub(crate) fn parse_carried(carried: &Carried) -> Result<Self, ConfigError> {
        let mut config = Self::parse(&carried.config, &carried.name)?;
        // The paths were those of the machine that built.
        config.ca = Pem::carried(carried.ca.as_ref());
        config.cert = Pem::carried(carried.cert.as_ref());
        config.key = Pem::carried(carried.key.as_ref());
        (config.embed_acl, config.embed_keys) = (None, None);
        config.validate()?;
        config.carried = Some(Arc::new(carried.clone()));
        Ok(config)
    }

    fn from_file(file: File, builtin: Self) -> Result<Self, ConfigError> {
        let File { agent, stats, certs, embed, logging } = file;
        let (ca, cert, key) = (Pem::file(certs.ca), Pem::file(certs.cert), Pem::file(certs.key));
        // One of ours would not fit one of theirs.
        let (cert, key) =
            if cert.is_none() && key.is_none() { (builtin.cert, builtin.key) } else { (cert, key) };
        let filled = |list: String| {
            let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect::<Vec<_>>()
        };
        let proxies = agent.proxies.map(filled).unwrap_or_default();
        let mut tags = builtin.tags;
        for tag in agent.tags {
            let (name, value) = tag.split_once(':').ok_or_else(|| {
                ConfigError::invalid("agent.tags", format!("{tag:?} is not name:value"))
            })?;
            tags.insert(name.trim().to_owned(), Value::from(value.trim()));
        }
        let budgets = Budgets {
            time: agent.moduletimeout.unwrap_or(builtin.budgets.time),
            memory_bytes: megabytes(agent.modulememory, builtin.budgets.memory_bytes),
            output_bytes: usize::try_from(megabytes(
                agent.moduleoutput,
                builtin.budgets.output_bytes as u64,
            ))
            .unwrap_or(usize::MAX),
            threads: agent.modulethreads.unwrap_or(builtin.budgets.threads),
            sandbox: agent.modulesandbox.unwrap_or(builtin.budgets.sandbox),
            processes: agent.moduleprocesses.unwrap_or(builtin.budgets.processes),
            cgroups: agent.modulecgroups.unwrap_or(builtin.budgets.cgroups),
        };
        let config = Self {
            relay: agent.relay.unwrap_or(builtin.relay),
            api: agent.api.unwrap_or(builtin.api),
            socket: agent
                .socket
                .map_or(builtin.socket, |text| Some(text).filter(|t| !t.is_empty())),
            heartbeatfreq: agent.heartbeatfreq.unwrap_or(builtin.heartbeatfreq),
            refreshenv: agent
                .refreshenv
                .map_or(builtin.refreshenv, |every| Some(every).filter(|every| !every.is_zero())),
            isimmortal: agent.isimmortal.unwrap_or(builtin.isimmortal),
            installservice: agent.installservice.unwrap_or(builtin.installservice),
            discoverpublicip: agent.discoverpublicip.unwrap_or(builtin.discoverpublicip),
            discoverawsmeta: agent.discoverawsmeta.unwrap_or(builtin.discoverawsmeta),
            awsmetadata: agent
                .awsmetadata
                .filter(|address| !address.is_empty())
                .unwrap_or(builtin.awsmetadata),
            checkin: agent.checkin.unwrap_or(builtin.checkin),
            checkinwait: agent.checkinwait.unwrap_or(builtin.checkinwait),
            extraprivacymode: agent.extraprivacymode.unwrap_or(builtin.extraprivacymode),
            nopersistmods: agent.nopersistmods.unwrap_or(builtin.nopersistmods),
            onlyverifypubkey: agent.onlyverifypubkey.unwrap_or(builtin.onlyverifypubkey),
            unverifiabletargets: agent.unverifiabletargets.unwrap_or(builtin.unverifiabletargets),
            proxies: if proxies.is_empty() { builtin.proxies } else { proxies },
            tags,
            maxactions: stats.maxactions.map_or(builtin.maxactions, usize::from),
            budgets,
            moduledir: present(agent.moduledir).or(builtin.moduledir),
            ca: if ca.is_none() { builtin.ca } else { ca },
            cert,
            key,
            embed_acl: present(embed.acl),
            embed_keys: present(embed.keys),
            carried: builtin.carried,
            hostname: agent.hostname.filter(|name| !name.is_empty()).or(builtin.hostname),
            rundir: present(agent.rundir).unwrap_or(builtin.rundir),
            confdir: present(agent.confdir).unwrap_or(builtin.confdir),
            logging: logging.unwrap_or(builtin.logging),
        };
        config.validate()?;
        Ok(config)
    }

    /// Checks what types cannot; names the key that is wrong.
    fn validate(&self) -> Result<(), ConfigError> {
        let invalid = |key: &str, reason: &str| Err(ConfigError::invalid(key, reason));
        // One zero in a template, and ten thousand agents drown the relay.
        if self.heartbeatfreq < Duration::from_secs(1) {
            return invalid("agent.heartbeatfreq", "must be at least 1s");
        }
        if self.refreshenv.is_some_and(|every| every < Duration::from_secs(1)) {
            return invalid("agent.refreshenv", "must be at least 1s, or empty");
        }
        if self.budgets.time.is_zero() {
            return invalid("agent.moduletimeout", "must not be zero");
        }
        if self.checkinwait.is_zero() {
            return invalid("agent.checkinwait", "must not be zero");
        }
        for (key, value) in [
            ("agent.modulememory", self.budgets.memory_bytes),
            ("agent.moduleoutput", self.budgets.output_bytes as u64),
            ("agent.modulethreads", self.budgets.threads as u64),
            ("agent.moduleprocesses", self.budgets.processes as u64),
        ] {
            if value == 0 {
                return invalid(key, "must not be zero");
            }
        }
        if self.maxactions > usize::from(MAX_ACTIONS) {
            return invalid("stats.maxactions", "must be 0 to 30");
        }
        if self.cert.is_none() != self.key.is_none() {
            return invalid("certs.cert", "certificate and key come together");
        }
        Ok(())
    }

    /// One `NAME : value` line per setting, without secrets.
    pub fn describe(&self) -> String {
        let lines = [
            ("ISIMMORTAL", self.isimmortal.to_string()),
            ("MUSTINSTALLSERVICE", self.installservice.to_string()),
            ("DISCOVERPUBLICIP", self.discoverpublicip.to_string()),
            ("DISCOVERAWSMETA", self.discoverawsmeta.to_string()),
            ("AWSMETADATA", self.awsmetadata.clone()),
            ("CHECKIN", self.checkin.to_string()),
            ("CHECKINWAIT", duration::format(self.checkinwait)),
            ("EXTRAPRIVACYMODE", self.extraprivacymode.to_string()),
            ("SPAWNPERSISTENT", (!self.nopersistmods).to_string()),
            ("ONLYVERIFYPUBKEY", self.onlyverifypubkey.to_string()),
            ("REFRESHENV", duration::format(self.refreshenv.unwrap_or_default())),
            ("AMQPBROKER", mask_password(self.relay.expose())),
            ("APIURL", self.api.clone()),
            ("PROXIES", self.proxies.join(",")),
            ("SOCKET", self.socket.clone().unwrap_or_default()),
            ("HEARTBEATFREQ", duration::format(self.heartbeatfreq)),
            ("MODULETIMEOUT", duration::format(self.budgets.time)),
            ("MODULEMEMORY", format!("{} MB", self.budgets.memory_bytes / MEGABYTE)),
            ("MODULEOUTPUT", format!("{} MB", self.budgets.output_bytes >> 20)),
            ("MODULETHREADS", self.budgets.threads.to_string()),
            ("MODULEPROCESSES", self.budgets.processes.to_string()),
            ("MODULEDIR", shown(self.moduledir.as_deref())),
            ("UNVERIFIABLETARGETS", format!("{:?}", self.unverifiabletargets).to_lowercase()),
            ("STATSMAXACTIONS", self.maxactions.to_string()),
            ("CACERT", self.ca.to_string()),
            ("AGENTCERT", self.cert.to_string()),
            ("AGENTKEY", self.key.to_string()),
            ("HOSTNAME", self.hostname.clone().unwrap_or_default()),
            ("RUNDIR", self.rundir.display().to_string()),
            ("CONFDIR", self.confdir.display().to_string()),
            ("TAGS", Value::Object(self.tags.clone()).to_string()),
        ];
        lines.map(|(name, value)| name.to_owned() + " : " + &value + "\n").concat()
    }
}

fn shown(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

/// `amqp://user:***@host/vhost`.
fn mask_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return "***".to_owned() };
    match rest.rsplit_once('@') {
        Some((account, host)) => {
            let user = account.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{host}")
        }
        None => address.to_owned(),
    }
}

fn megabytes(value: Option<u64>, builtin: u64) -> u64 {
    value.map_or(builtin, |value| value.saturating_mul(MEGABYTE))
}

/// An empty path is an absent one.
fn present(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// A duration in Go's notation; an empty text is an absent one.
fn optional_duration<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    duration::parse(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AgentConfig, ConfigError> {
        AgentConfig::parse(text, "mig-agent.cfg")
    }

    #[test]
    fn a_file_is_laid_over_what_the_program_carries() {
        let carried = Carried {
            cert: Some("cert".into()),
            key: Some("key".into()),
            ..Carried::new(
                "built.cfg",
                "[agent]\nrelay = \"amqp://a:pw@built/\"\nrefreshenv = \"5m\"\n\
                 checkin = on\ntags = \"operator:it\"\n[certs]\ncert = a\nkey = b\n\
                 [logging]\nmode = \"syslog\"\n",
            )
        };
        let builtin = carried.settings().unwrap();
        assert!(builtin.describe().contains("AGENTKEY : carried\n"));
        let over = |text: &str| {
            let file = config::parse_strict(text, "x").unwrap();
            AgentConfig::from_file(file, builtin.clone()).unwrap()
        };
        let same = over("");
        assert_eq!(same.describe(), builtin.describe());
        assert_eq!(same.logging.mode, "syslog");
        let other = over(
            "[agent]\nrefreshenv = \"0s\"\ncheckin = off\ntags = \"site:b\"\n\
             [certs]\ncert = /c\nkey = /k\n",
        );
        assert_eq!((other.refreshenv, other.checkin), (None, false));
        assert_eq!(other.relay.expose(), "amqp://a:pw@built/");
        assert_eq!(other.tags.len(), 2);
        assert_eq!(other.key, Pem::File("/k".into()));
        let half = config::parse_strict("[certs]\ncert = /c\n", "x").unwrap();
        assert!(AgentConfig::from_file(half, builtin.clone()).is_err());
    }

    #[test]
    fn refuses_with_file_and_key() {
        for (text, part) in [
            ("[agent]\nrelais = \"x\"\n", "mig-agent.cfg:2"),
            ("[agnt]\n", "mig-agent.cfg:1"),
            ("[agent]\nheartbeatfreq = \"5\"\n", "mig-agent.cfg:2"),
            ("[agent]\nheartbeatfreq = \"1ms\"\n", "heartbeatfreq"),
            ("[agent]\nmoduletimeout = \"0s\"\n", "moduletimeout"),
            ("[agent]\nmodulememory = 0\n", "modulememory"),
            ("[agent]\ntags = \"operator\"\n", "tags"),
            ("[agent]\nunverifiabletargets = maybe\n", "mig-agent.cfg:2"),
            ("[stats]\nmaxactions = 31\n", "maxactions"),
            ("[certs]\ncert = /x\n", "certs.cert"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_is_absent_keeps_its_builtin_value() {
        let config = parse("").unwrap();
        assert!(config.isimmortal && !config.checkin);
        assert_eq!(config.heartbeatfreq, Duration::from_mins(5));
        assert_eq!(config.socket.as_deref(), Some("127.0.0.1:51664"));
        assert_eq!(config.budgets.memory_bytes, 256 << 20);
        assert_eq!(config.unverifiabletargets, Unverifiable::Allow);
    }

    #[test]
    fn reads_a_complete_file() {
        let text = r#"
[agent]
    relay = "amqps://agent:pw@relay.example.net:5671/mig"
    api = "https://api.example.net/api/v1/"
    socket = ""
    heartbeatfreq = "30s"
    moduletimeout = "60s"
    isimmortal = off
    installservice = on
    discoverpublicip = off
    checkin = off
    extraprivacymode = on
    refreshenv = ""
    proxies = "p1.example.net:8888, p2.example.net:8888"
    tags = "operator: it"
    tags = "url:http://x:1/"
    rundir = /tmp/a
    confdir = /tmp/b
    unverifiabletargets = deny
    modulememory = 64
    moduleoutput = 1
    modulethreads = 2
    modulesandbox = require
    moduleprocesses = 9
    modulecgroups = off
    moduledir = /usr/lib/mig
[stats]
    maxactions = 30
[certs]
    ca = "/etc/mig/ca.crt"
    cert = "/etc/mig/agent.crt"
    key = "/etc/mig/agent.key"
[logging]
    mode = "stdout"
    level = "debug"
"#;
        let config = parse(text).unwrap();
        assert_eq!(config.socket, None);
        assert!(!config.isimmortal && config.installservice && config.extraprivacymode);
        assert_eq!(config.proxies, ["p1.example.net:8888", "p2.example.net:8888"]);
        assert_eq!(config.tags.get("operator"), Some(&Value::from("it")));
        assert_eq!(config.tags.get("url"), Some(&Value::from("http://x:1/")));
        assert_eq!(config.unverifiabletargets, Unverifiable::Deny);
        assert_eq!((config.budgets.memory_bytes, config.budgets.output_bytes), (64 << 20, 1 << 20));
        assert_eq!(config.budgets.sandbox, Sandboxing::Require);
        assert_eq!((config.budgets.processes, config.budgets.cgroups), (9, false));
        assert_eq!(config.moduledir.as_deref(), Some(Path::new("/usr/lib/mig")));
        let text = config.describe();
        assert!(text.contains("AMQPBROKER : amqps://agent:***@relay.example.net:5671/mig"));
        assert!(!text.contains("pw"), "{text}");
    }
}

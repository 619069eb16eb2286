//! `tools/create_rabbitmq_config.sh` and what it leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use mig_relay::{Relay, RelayConfig, RelayError, Source};
use mig_testservices::{Account, RabbitMq};

use super::{Certificates, script, succeed, word_after};

/// A broker that knows only what the script told it, and runs with the
/// configuration that it wrote.
pub struct Broker {
    pub node: RabbitMq,
    scheduler: String,
    agent: String,
}

/// A node as it comes out of the package: the user `guest`, nothing of ours.
///
/// # Errors
///
/// When it does not start.
pub fn empty_broker(directory: &Path) -> anyhow::Result<RabbitMq> {
    let node = RabbitMq::start(directory)?;
    node.ctl(&["delete_vhost", "mig"])?;
    for account in [Account::Admin, Account::Scheduler, Account::Agent, Account::Worker] {
        node.ctl(&["delete_user", account.name()])?;
    }
    node.ctl(&["add_user", "guest", "guest"])?;
    node.ctl(&["set_user_tags", "guest", "administrator"])?;
    Ok(node)
}

/// The script on a node, with `etc` in the place of `/etc/rabbitmq`.
pub fn configure(node: &RabbitMq, etc: &Path, arguments: &[&str]) -> Command {
    let mut command = script("tools/create_rabbitmq_config.sh");
    command
        .arg("--no-restart")
        .args(arguments)
        .env("MIG_RABBITMQCTL", node.ctl_path())
        .env("MIG_RABBITMQ_DIR", etc)
        .env("MIG_TLS_PORT", node.tls_port().to_string())
        .env("MIG_PLAIN_PORT", node.plain_port().to_string());
    command
}

impl Broker {
    /// Puts the certificates in place, runs the script twice, and starts the
    /// node with the configuration that it wrote. The second run must be
    /// refused.
    ///
    /// # Errors
    ///
    /// When the script does not do what the guide says.
    pub fn create(directory: &Path, certificates: &Certificates) -> anyhow::Result<Self> {
        let mut node = empty_broker(&directory.join("broker"))?;
        let etc = Self::etc(directory, certificates)?;
        let said = succeed(&mut configure(&node, &etc, &[]))?;
        let users = node.ctl(&["list_users", "--silent"])?;
        ensure!(!users.contains("guest"), "{users}");
        let again = configure(&node, &etc, &[]).output()?;
        ensure!(!again.status.success(), "a second run must be refused");
        let (scheduler, agent) = (word_after(&said, "scheduler ")?, word_after(&said, "agent ")?);
        node.restart_with(&fs::read_to_string(etc.join("rabbitmq.conf"))?)?;
        Ok(Self { node, scheduler, agent })
    }

    /// A directory like `/etc/rabbitmq`, with the certificates where the guide
    /// puts them.
    ///
    /// # Errors
    ///
    /// When it cannot be filled.
    pub fn etc(directory: &Path, certificates: &Certificates) -> anyhow::Result<PathBuf> {
        let etc = directory.join("etc-rabbitmq");
        fs::create_dir(&etc)?;
        for (from, to) in [
            ("ca/ca.crt", "ca.crt"),
            ("rabbitmq.crt", "rabbitmq.crt"),
            ("rabbitmq.key", "rabbitmq.key"),
        ] {
            fs::copy(certificates.file(from), etc.join(to))?;
        }
        Ok(etc)
    }

    pub fn agent_url(&self) -> String {
        format!("amqps://agent:{}@localhost:{}/mig", self.agent, self.node.tls_port())
    }

    /// Section `[mq]` for the scheduler.
    pub fn section(&self, certificates: &Certificates) -> String {
        format!(
            "[mq]\nhost = localhost\nport = {}\nuser = scheduler\npass = \"{}\"\nvhost = mig\n\
             usetls = on\ncacert = \"{}\"\ntlscert = \"{}\"\ntlskey = \"{}\"\ntimeout = 10m\n",
            self.node.tls_port(),
            self.scheduler,
            certificates.file("ca/ca.crt").display(),
            certificates.file("scheduler.crt").display(),
            certificates.file("scheduler.key").display(),
        )
    }

    /// The node's log.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        let directory = self.node.ca_path();
        let directory = directory.parent().context("no directory")?;
        Ok(fs::read_to_string(directory.join("log/rabbitmq.log"))?)
    }

    /// Whether the agents' account is refused a source that is not an agent's.
    ///
    /// # Errors
    ///
    /// When the relay fails in another way.
    pub async fn refuses_agent(
        &self,
        source: Source,
        certificates: &Certificates,
    ) -> anyhow::Result<bool> {
        let relay = connect(&self.agent_url(), "agent", certificates).await?;
        match relay.consume(source, 1).await {
            Err(RelayError::Refused { .. }) => Ok(true),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(false),
        }
    }
}

/// Connects with one of the certificates.
///
/// # Errors
///
/// When the certificates cannot be read or used.
pub async fn connect(
    url: &str,
    role: &str,
    certificates: &Certificates,
) -> anyhow::Result<Arc<dyn Relay>> {
    let mut config = RelayConfig::new(url.to_owned());
    config.ca_pem = Some(fs::read(certificates.file("ca/ca.crt"))?);
    config.cert_pem = Some(fs::read(certificates.file(&format!("{role}.crt")))?);
    config.key_pem = Some(fs::read(certificates.file(&format!("{role}.key")))?);
    Ok(mig_relay::connect(&config).await?)
}

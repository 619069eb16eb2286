//! A private `RabbitMQ` node.

use std::fs::{File, Permissions as Mode};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use rcgen::ExtendedKeyUsagePurpose;
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::authority::Authority;
use crate::locate::{epmd, rabbitmq_bin};
use crate::process::{
    Watchdog, command, end, free_port, is_alive, output, random_bytes, random_hex, send, tail,
    wait_until,
};

const START_LIMIT: Duration = Duration::from_mins(2);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const NODE: &str = "migtest@localhost";
const VHOST: &str = "mig";
/// What a private node needs, whoever wrote the rest.
const OWN_SETTINGS: &str =
    "log.console = false\nlog.file = rabbitmq.log\ndisk_free_limit.absolute = 50MB\n";

/// The users of the guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// Administrator without any right inside the virtual host.
    Admin,
    Scheduler,
    /// Shared by all agents.
    Agent,
    Worker,
}

impl Account {
    const ALL: [Self; 4] = [Self::Admin, Self::Scheduler, Self::Agent, Self::Worker];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Scheduler => "scheduler",
            Self::Agent => "agent",
            Self::Worker => "worker",
        }
    }
}

/// What the agents' account may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Permissions {
    /// The queues of agents only, `mig.agt.<os>.…`.
    #[default]
    Tight,
    /// As the guide prescribes: `mig.agt.…`, so the queues of heartbeats and
    /// results can be read too.
    Guide,
}

/// A running node, stopped when dropped.
#[derive(Debug)]
pub struct RabbitMq {
    bin: PathBuf,
    directory: PathBuf,
    ports: Ports,
    passwords: [String; 4],
    ca_pem: String,
    client_cert_pem: String,
    client_key_pem: String,
    /// Whether it listens without TLS.
    plain: bool,
    /// The port mapper, ours alone; it outlives a killed node.
    mapper: Option<Running>,
    node: Option<Running>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    plain: u16,
    tls: u16,
    distribution: u16,
    mapper: u16,
}

#[derive(Debug)]
struct Running {
    watchdog: Watchdog,
    child: Child,
    /// The process that does the work: not the child when that is a script.
    pid: u32,
}

impl RabbitMq {
    /// Makes a node below `directory` and starts it.
    ///
    /// # Errors
    ///
    /// When `RabbitMQ` is missing or does not start; the message has the end of
    /// its log.
    pub fn start(directory: &Path) -> Result<Self> {
        Self::start_with(directory, Permissions::Tight)
    }

    /// As [`RabbitMq::start`], with a choice of permissions.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::start`].
    pub fn start_with(directory: &Path, permissions: Permissions) -> Result<Self> {
        let bin = rabbitmq_bin()?;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let own = directory.canonicalize()?.join("rabbitmq");
        std::fs::create_dir(&own).with_context(|| format!("cannot create {}", own.display()))?;
        std::fs::set_permissions(&own, Mode::from_mode(0o700))?;

        let authority = Authority::new("MIG test CA")?;
        let server =
            authority.issue(&["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)?;
        let client = authority.issue(&["mig-client"], ExtendedKeyUsagePurpose::ClientAuth)?;
        let node = Self {
            bin,
            directory: own,
            ports: Ports::free()?,
            passwords: [
                random_hex::<16>()?,
                random_hex::<16>()?,
                random_hex::<16>()?,
                random_hex::<16>()?,
            ],
            ca_pem: authority.pem.clone(),
            client_cert_pem: client.certificate,
            client_key_pem: client.key,
            plain: true,
            mapper: None,
            node: None,
        };
        node.write("ca.pem", &node.ca_pem)?;
        node.write("client.pem", &node.client_cert_pem)?;
        node.write("client.key", &node.client_key_pem)?;
        node.write("server.pem", &server.certificate)?;
        node.write("server.key", &server.key)?;
        node.write("definitions.json", &node.definitions(permissions)?.to_string())?;
        node.write("rabbitmq.conf", &node.configuration())?;
        node.write("enabled_plugins", "[].\n")?;
        node.write("none.conf", "")?;
        node.write_ctl_script()?;

        let mut node = node;
        node.launch()?;
        Ok(node)
    }

    /// Address over TLS; needs the client certificate.
    pub fn amqps_url(&self, account: Account) -> String {
        self.url("amqps", "localhost", self.ports.tls, account)
    }

    /// Address without TLS, on the loopback.
    pub fn amqp_url(&self, account: Account) -> String {
        self.url("amqp", "127.0.0.1", self.ports.plain, account)
    }

    pub const fn tls_port(&self) -> u16 {
        self.ports.tls
    }

    pub const fn plain_port(&self) -> u16 {
        self.ports.plain
    }

    /// Thirty-two hexadecimal digits.
    pub fn password(&self, account: Account) -> &str {
        &self.passwords[account as usize]
    }

    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub fn client_cert_pem(&self) -> &str {
        &self.client_cert_pem
    }

    pub fn client_key_pem(&self) -> &str {
        &self.client_key_pem
    }

    pub fn ca_path(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    pub fn client_cert_path(&self) -> PathBuf {
        self.directory.join("client.pem")
    }

    pub fn client_key_path(&self) -> PathBuf {
        self.directory.join("client.key")
    }

    /// A program that runs `rabbitmqctl` on this node with the arguments given.
    pub fn ctl_path(&self) -> PathBuf {
        self.directory.join("ctl")
    }

    /// Process number of the node, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.node.as_ref().map(|node| node.pid)
    }

    /// Runs `rabbitmqctl` and gives its output.
    ///
    /// # Errors
    ///
    /// When it fails, with its words.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String> {
        output(command(self.ctl_path()).args(arguments))
    }

    /// Ends the node at once, as a crash would.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        let Some(Running { watchdog, mut child, pid }) = self.node.take() else { return Ok(()) };
        drop(watchdog);
        send(pid, Signal::KILL);
        end(&mut child, pid, Signal::KILL, STOP_LIMIT)?;
        wait_until("the end of RabbitMQ", STOP_LIMIT, || Ok(!is_alive(pid)))
    }

    /// Stops the node if it runs and starts it again on the same ports.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop_node()?;
        self.launch()
    }

    /// [`RabbitMq::restart`] with a configuration of somebody else's, such as one
    /// that an operator's script wrote for the same ports. Only where the log
    /// goes and how much disk must be free stay as they were. Users, permissions
    /// and queues are those of the node.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::start`].
    pub fn restart_with(&mut self, configuration: &str) -> Result<()> {
        self.stop_node()?;
        self.write("rabbitmq.conf", &format!("{configuration}\n{OWN_SETTINGS}"))?;
        self.plain = !configuration.contains("listeners.tcp = none");
        self.launch()
    }

    /// Stops the node and its port mapper.
    ///
    /// # Errors
    ///
    /// When one can be neither stopped nor killed.
    pub fn stop(&mut self) -> Result<()> {
        let node = self.stop_node();
        if let Some(Running { watchdog, mut child, pid }) = self.mapper.take() {
            drop(watchdog);
            end(&mut child, pid, Signal::TERM, STOP_LIMIT)?;
        }
        node
    }

    fn stop_node(&mut self) -> Result<()> {
        let Some(Running { watchdog, mut child, pid }) = self.node.take() else { return Ok(()) };
        drop(watchdog);
        end(&mut child, pid, Signal::TERM, STOP_LIMIT)?;
        wait_until("the end of RabbitMQ", STOP_LIMIT, || Ok(!is_alive(pid)))
    }

    fn url(&self, scheme: &str, host: &str, port: u16, account: Account) -> String {
        let (name, password) = (account.name(), self.password(account));
        format!("{scheme}://{name}:{password}@{host}:{port}/{VHOST}")
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn configuration(&self) -> String {
        let Ports { plain, tls, .. } = self.ports;
        let at = self.directory.display();
        format!(
            "listeners.tcp.1 = 127.0.0.1:{plain}\n\
             listeners.ssl.1 = 127.0.0.1:{tls}\n\
             ssl_options.cacertfile = {at}/ca.pem\n\
             ssl_options.certfile = {at}/server.pem\n\
             ssl_options.keyfile = {at}/server.key\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = true\n\
             ssl_options.versions.1 = tlsv1.3\n\
             ssl_options.versions.2 = tlsv1.2\n\
             load_definitions = {at}/definitions.json\n\
             {OWN_SETTINGS}"
        )
    }

    fn definitions(&self, permissions: Permissions) -> Result<Value> {
        let mut users = Vec::new();
        for account in Account::ALL {
            let tags = if account == Account::Admin { vec!["administrator"] } else { vec![] };
            users.push(json!({
                "name": account.name(),
                "password_hash": password_hash(self.password(account))?,
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": tags,
            }));
        }
        let agents = match permissions {
            Permissions::Tight => r"mig\.agt\.(linux|darwin|windows)\..*",
            Permissions::Guide => r"mig\.agt\..*",
        };
        let grant = |user: &str, configure: &str, write: &str, read: &str| {
            json!({
                "user": user, "vhost": VHOST,
                "configure": configure, "write": write, "read": read,
            })
        };
        Ok(json!({
            "vhosts": [{ "name": VHOST }],
            "users": users,
            "permissions": [
                grant(
                    "scheduler",
                    r"^(toagents|toschedulers|toworkers|mig\.agt\..*)$",
                    r"^(toagents|toworkers|mig\.agt\.(heartbeats|results))$",
                    r"^(toagents|toschedulers|toworkers|mig\.agt\.(heartbeats|results))$",
                ),
                grant(
                    "agent",
                    &format!("^{agents}$"),
                    &format!("^(toschedulers|{agents})$"),
                    &format!("^(toagents|{agents})$"),
                ),
                grant(
                    "worker",
                    r"^migevent\..*$",
                    r"^migevent(|\..*)$",
                    r"^(toworkers|migevent\..*)$",
                ),
            ],
        }))
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let at = |name: &str| self.directory.join(name).display().to_string();
        let Ports { distribution, mapper, .. } = self.ports;
        vec![
            ("HOME", at("")),
            ("RABBITMQ_NODENAME", NODE.to_owned()),
            ("RABBITMQ_CONFIG_FILE", at("rabbitmq")),
            ("RABBITMQ_CONF_ENV_FILE", at("none.conf")),
            ("RABBITMQ_MNESIA_BASE", at("mnesia")),
            ("RABBITMQ_LOG_BASE", at("log")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins")),
            ("RABBITMQ_PID_FILE", at("pid")),
            ("RABBITMQ_DIST_PORT", distribution.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("ERL_EPMD_PORT", mapper.to_string()),
            (
                // Without it, nodes talk to each other on every interface.
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
            ),
        ]
    }

    fn write_ctl_script(&self) -> Result<()> {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let mut script = String::from("#!/bin/sh\n");
        for (name, value) in self.environment() {
            script.push_str(&["export ", name, "=", &quoted(&value), "\n"].concat());
        }
        let program = self.bin.join("rabbitmqctl").display().to_string();
        script.push_str(&["exec ", &quoted(&program), " \"$@\"\n"].concat());
        self.write("ctl", &script)?;
        std::fs::set_permissions(self.ctl_path(), Mode::from_mode(0o700))?;
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = command(program);
        command.current_dir(&self.directory).envs(self.environment());
        command
    }

    fn launch(&mut self) -> Result<()> {
        self.launch_mapper()?;
        let pid_file = self.directory.join("pid");
        // Of a node that was killed.
        let _ = std::fs::remove_file(&pid_file);
        let console = File::create(self.directory.join("console"))?;
        let mut child = self
            .command(&self.bin.join("rabbitmq-server"))
            .stdout(Stdio::from(console.try_clone()?))
            .stderr(Stdio::from(console))
            .spawn()
            .context("cannot start rabbitmq-server")?;
        let script = child.id();
        let early = Watchdog::killing(&[script])?;
        let pid = wait_for_pid(&pid_file, &mut child);
        let pid = match pid {
            Ok(pid) => pid,
            Err(error) => {
                drop(early);
                end(&mut child, script, Signal::KILL, STOP_LIMIT)?;
                return Err(self.explain(error));
            }
        };
        let watchdog = Watchdog::killing(&[pid, script])?;
        drop(early);
        self.node = Some(Running { watchdog, child, pid });
        if let Err(error) = self.wait_ready() {
            let error = self.explain(error);
            self.stop()?;
            return Err(error);
        }
        Ok(())
    }

    fn launch_mapper(&mut self) -> Result<()> {
        if self.mapper.is_some() {
            return Ok(());
        }
        let child = self
            .command(&epmd()?)
            .args(["-address", "127.0.0.1", "-port", &self.ports.mapper.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start epmd")?;
        let pid = child.id();
        self.mapper = Some(Running { watchdog: Watchdog::killing(&[pid])?, child, pid });
        let port = self.ports.mapper;
        wait_until("a connection to epmd", START_LIMIT, || {
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        })
    }

    fn wait_ready(&mut self) -> Result<()> {
        let (Ports { plain, tls, .. }, has_plain) = (self.ports, self.plain);
        let Some(node) = &mut self.node else { bail!("it is not running") };
        wait_until("a connection to RabbitMQ", START_LIMIT, || {
            if let Some(status) = node.child.try_wait()? {
                bail!("it ended with {status}");
            }
            Ok((!has_plain || speaks_amqp(plain).unwrap_or(false))
                && TcpStream::connect((Ipv4Addr::LOCALHOST, tls)).is_ok())
        })
    }

    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let console = tail(&self.directory.join("console"));
        let log = tail(&self.directory.join("log/rabbitmq.log"));
        error.context(format!("RabbitMQ did not start; its logs end:\n{console}\n{log}"))
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("RabbitMQ on port {}: {error:#}", self.ports.plain);
        }
    }
}

impl Ports {
    fn free() -> Result<Self> {
        let mut ports = [0; 4];
        let mut count = 0;
        while let Some(slot) = ports.get_mut(count) {
            let port = free_port()?;
            *slot = port;
            // The same port twice: take another for this slot.
            if !ports.iter().take(count).any(|known| *known == port) {
                count += 1;
            }
        }
        let [plain, tls, distribution, mapper] = ports;
        Ok(Self { plain, tls, distribution, mapper })
    }
}

/// Base64 of a salt of four bytes and the SHA-256 of salt and password.
fn password_hash(password: &str) -> Result<String> {
    let salt: [u8; 4] = random_bytes()?;
    let digest = Sha256::new().chain_update(salt).chain_update(password).finalize();
    let mut bytes = salt.to_vec();
    bytes.extend(digest);
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// The node writes its number once it runs; the start script is not it.
fn wait_for_pid(path: &Path, script: &mut Child) -> Result<u32> {
    let mut pid = None;
    wait_until("the process number of RabbitMQ", START_LIMIT, || {
        if let Some(status) = script.try_wait()? {
            bail!("it ended with {status}");
        }
        pid = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        Ok(pid.is_some())
    })?;
    pid.context("no process number")
}

/// Sends the protocol header; a node that is ready answers with a method frame.
fn speaks_amqp(port: u16) -> std::io::Result<bool> {
    const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
    const METHOD_FRAME: u8 = 1;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(HEADER)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    Ok(kind == [METHOD_FRAME])
}

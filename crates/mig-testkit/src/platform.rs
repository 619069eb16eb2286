//! Whole platforms of real processes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use mig_testservices::{Account, Postgres, RabbitMq};
use tempfile::TempDir;

use crate::agent::{AgentOptions, RelayAccess, TestAgent};
use crate::investigator::TestInvestigator;
use crate::process::{Managed, binary, free_port};
use crate::wait::until;

/// What a platform stands on.
pub enum Backends {
    /// `mig-standalone`: SQLite and the built-in relay.
    Embedded,
    /// PostgreSQL and RabbitMQ over TLS, started for this platform alone.
    Servers(Box<Servers>),
}

/// Private servers of one platform.
pub struct Servers {
    pub postgres: Postgres,
    pub rabbitmq: RabbitMq,
}

/// What differs from platform to platform.
#[derive(Debug, Clone)]
pub struct PlatformOptions {
    /// Level of the servers' logs.
    pub log_level: &'static str,
    /// Between two heartbeats of an agent, as servers expect them.
    pub heartbeat: &'static str,
    /// Silence after which an agent is taken to be gone.
    pub timeout: &'static str,
}

impl Default for PlatformOptions {
    fn default() -> Self {
        Self { log_level: "debug", heartbeat: "2s", timeout: "60s" }
    }
}

impl PlatformOptions {
    /// For thousands of agents: servers that write little and agents that
    /// stay known.
    pub fn crowd() -> Self {
        Self { log_level: "info", heartbeat: "60s", timeout: "1h" }
    }
}

/// A platform: servers, investigators, agents.
pub struct TestPlatform {
    // Processes end before the directory goes: fields drop in this order.
    pub agents: Vec<TestAgent>,
    pub servers: Vec<Managed>,
    pub backends: Backends,
    pub investigators: Vec<TestInvestigator>,
    api: SocketAddr,
    relay_port: u16,
    /// Server processes started so far, for the names of their logs.
    started: usize,
    options: PlatformOptions,
    directory: TempDir,
}

/// What one `mig` run printed and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl TestPlatform {
    /// `mig-standalone` with two investigators, `alice` and `bob`.
    pub fn embedded() -> anyhow::Result<Self> {
        Self::embedded_with(PlatformOptions::default())
    }

    /// [`TestPlatform::embedded`] with options.
    pub fn embedded_with(options: PlatformOptions) -> anyhow::Result<Self> {
        Self::start(options, |_| Ok(Backends::Embedded))
    }

    /// `mig-scheduler` and `mig-api` on PostgreSQL and RabbitMQ over TLS.
    pub fn servers() -> anyhow::Result<Self> {
        Self::servers_with(PlatformOptions::default())
    }

    /// [`TestPlatform::servers`] with options.
    pub fn servers_with(options: PlatformOptions) -> anyhow::Result<Self> {
        Self::start(options, |directory| {
            // Durable: tests kill it and expect what was committed.
            let postgres = Postgres::start_durable(&directory.join("postgres"))?;
            let rabbitmq = RabbitMq::start(&directory.join("rabbitmq"))?;
            Ok(Backends::Servers(Box::new(Servers { postgres, rabbitmq })))
        })
    }

    fn start(
        options: PlatformOptions,
        backends: impl FnOnce(&Path) -> anyhow::Result<Backends>,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("mig-test-").tempdir()?;
        // Servers that run as another user must be able to reach below it.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        }
        let backends = backends(directory.path())?;
        let investigators = ["alice", "bob"]
            .into_iter()
            .map(|name| TestInvestigator::create(name, directory.path()))
            .collect::<Result<Vec<_>, _>>()?;
        let api = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let relay_port = match &backends {
            Backends::Embedded => free_port()?,
            Backends::Servers(_) => 0,
        };
        let mut platform = Self {
            agents: Vec::new(),
            servers: Vec::new(),
            backends,
            investigators,
            api,
            relay_port,
            started: 0,
            options,
            directory,
        };
        platform.write_configuration()?;
        platform.enrol()?;
        platform.start_servers()?;
        let url = platform.api_url();
        for investigator in &platform.investigators {
            investigator.configure(&url)?;
        }
        Ok(platform)
    }

    /// Base of the API, with the final slash clients want.
    pub fn api_url(&self) -> String {
        format!("http://{}/api/v1/", self.api)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_configuration(&self) -> anyhow::Result<()> {
        let (ip, port) = (self.api.ip(), self.api.port());
        let server = format!(
            "[server]\nip = {ip}\nport = {port}\nhost = \"http://{}\"\nbaseroute = /api/v1\n",
            self.api
        );
        let PlatformOptions { log_level, heartbeat, timeout } = &self.options;
        let logging = format!("[logging]\nmode = stdout\nlevel = {log_level}\n");
        let agent = format!("[agent]\ntimeout = {timeout}\nheartbeatfreq = {heartbeat}\n");
        match &self.backends {
            Backends::Embedded => {
                let text = format!(
                    "[data]\ndirectory = \"{}\"\n{server}[relay]\nlisten = 127.0.0.1:{}\n\
                     {agent}{logging}",
                    self.path("data").display(),
                    self.relay_port
                );
                fs::write(self.path("standalone.cfg"), text)?;
            }
            Backends::Servers(servers) => {
                let postgres = postgres_section(&servers.postgres);
                let (mq, spool) = (Self::mq_section(&servers.rabbitmq)?, self.path("spool"));
                let scheduler = format!(
                    "{agent}[collector]\nfreq = 1s\n[periodic]\nfreq = 5s\ndeleteafter = 1h\n\
                     queuescleanupfreq = 24h\n[directories]\nspool = \"{}\"\ntmp = \"{}\"\n\
                     {postgres}{mq}{logging}",
                    spool.display(),
                    self.directory.path().display()
                );
                fs::write(self.path("scheduler.cfg"), scheduler)?;
                let authentication = "[authentication]\nenabled = on\ntokenduration = 10m\n";
                let api = format!("{authentication}{server}{postgres}{logging}");
                fs::write(self.path("api.cfg"), api)?;
            }
        }
        Ok(())
    }

    fn mq_section(rabbitmq: &RabbitMq) -> anyhow::Result<String> {
        let (user, password, host, port) = split_url(&rabbitmq.amqps_url(Account::Scheduler))?;
        Ok(format!(
            "[mq]\nhost = {host}\nport = {port}\nuser = {user}\npass = {password}\nvhost = mig\n\
             usetls = on\ncacert = \"{}\"\ntlscert = \"{}\"\ntlskey = \"{}\"\ntimeout = 10m\n",
            rabbitmq.ca_path().display(),
            rabbitmq.client_cert_path().display(),
            rabbitmq.client_key_path().display()
        ))
    }

    /// Registers the investigators' keys before anything serves.
    fn enrol(&self) -> anyhow::Result<()> {
        if let Backends::Servers(_) = self.backends {
            self.run_once("mig-scheduler", &["-c", "scheduler.cfg", "--migrate"])?;
        }
        for investigator in &self.investigators {
            let key = investigator.public_key_file();
            let key = key.to_str().context("path is not UTF-8")?;
            match self.backends {
                Backends::Embedded => {
                    let name = investigator.name.as_str();
                    let args =
                        ["-c", "standalone.cfg", "add-investigator", name, key, "--administrator"];
                    self.run_once("mig-standalone", &args)?;
                }
                Backends::Servers(_) => {
                    let name = investigator.name.as_str();
                    self.run_once("mig-api", &["-c", "api.cfg", "--add-investigator", name, key])?;
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "test support starts the programs under test")]
    fn run_once(&self, program: &str, args: &[&str]) -> anyhow::Result<()> {
        let output = Command::new(binary(program)?)
            .args(args)
            .current_dir(self.directory.path())
            .output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("{program} {args:?} ended with {}: {text}", output.status);
        }
        Ok(())
    }

    /// Starts the servers, all of them new processes.
    pub fn start_servers(&mut self) -> anyhow::Result<()> {
        self.servers.clear();
        let programs: &[(&str, &str)] = match self.backends {
            Backends::Embedded => &[("mig-standalone", "standalone.cfg")],
            Backends::Servers(_) => &[("mig-scheduler", "scheduler.cfg"), ("mig-api", "api.cfg")],
        };
        for (program, config) in programs {
            self.start_server(program, config)?;
        }
        self.wait_api()
    }

    /// Waits until the API, the server started last, listens.
    pub fn wait_api(&mut self) -> anyhow::Result<()> {
        let api = self.api;
        self.servers.last_mut().context("no server")?.wait_listening(api)
    }

    /// Starts one more server process, such as a second scheduler.
    pub fn start_server(&mut self, program: &str, config: &str) -> anyhow::Result<()> {
        let number = self.started;
        self.started += 1;
        let process = Managed::start(
            &format!("{program}-{number}"),
            &binary(program)?,
            &["-c", config],
            &[],
            self.directory.path(),
        )?;
        self.servers.push(process);
        Ok(())
    }

    /// Starts a second scheduler with a spool of its own.
    pub fn add_scheduler(&mut self) -> anyhow::Result<()> {
        let config = fs::read_to_string(self.path("scheduler.cfg"))?;
        fs::write(self.path("scheduler2.cfg"), config.replace("/spool\"", "/spool2\""))?;
        self.start_server("mig-scheduler", "scheduler2.cfg")?;
        // The API stays last.
        self.servers.rotate_right(1);
        Ok(())
    }

    /// Kills servers at once and starts them again.
    pub fn kill9_servers(&mut self) -> anyhow::Result<()> {
        for server in &mut self.servers {
            server.kill9();
        }
        self.start_servers()
    }

    /// The server processes of that program.
    pub fn processes(&self, program: &str) -> impl Iterator<Item = &Managed> {
        self.servers.iter().filter(move |server| server.is(program))
    }

    /// Ends a server in an orderly way.
    pub fn stop_server(&mut self, program: &str) -> anyhow::Result<()> {
        let position = self.servers.iter().position(|server| server.is(program));
        let mut server = self.servers.remove(position.with_context(|| program.to_owned())?);
        server.terminate(Duration::from_secs(30))?;
        Ok(())
    }

    /// How agents reach the relay.
    pub fn relay_access(&self) -> anyhow::Result<RelayAccess> {
        match &self.backends {
            Backends::Embedded => {
                let data = self.path("data");
                let password = fs::read_to_string(data.join("agent.password"))?;
                Ok(RelayAccess {
                    url: format!("wss://agent:{password}@localhost:{}/", self.relay_port),
                    ca: Some(data.join("ca.crt")),
                    certificate: None,
                })
            }
            Backends::Servers(servers) => Ok(RelayAccess {
                url: servers.rabbitmq.amqps_url(Account::Agent),
                ca: Some(servers.rabbitmq.ca_path()),
                certificate: Some((
                    servers.rabbitmq.client_cert_path(),
                    servers.rabbitmq.client_key_path(),
                )),
            }),
        }
    }

    /// Starts an agent that knows every investigator's key.
    pub fn start_agent(&mut self, options: &AgentOptions) -> anyhow::Result<&mut TestAgent> {
        let keys: Vec<&TestInvestigator> = self.investigators.iter().collect();
        let access = self.relay_access()?;
        let agent =
            TestAgent::start(options, &keys, &access, &self.api_url(), self.directory.path())?;
        self.agents.push(agent);
        self.agents.last_mut().context("just pushed")
    }

    /// The investigator of that name.
    pub fn investigator(&self, name: &str) -> anyhow::Result<&TestInvestigator> {
        let found = self.investigators.iter().find(|person| person.name == name);
        found.with_context(|| format!("no investigator {name}"))
    }

    /// Runs the real `mig` as one of the investigators.
    pub fn mig(&self, investigator: &str, args: &[&str]) -> anyhow::Result<Outcome> {
        Ok(self.mig_command(investigator, args)?.output()?.into())
    }

    /// [`TestPlatform::mig`], not yet started.
    #[expect(clippy::disallowed_methods, reason = "test support starts the programs under test")]
    pub fn mig_command(&self, investigator: &str, args: &[&str]) -> anyhow::Result<Command> {
        let person = self.investigator(investigator)?;
        let mut command = Command::new(binary("mig")?);
        command
            .args(args)
            .env("HOME", person.home())
            .env("MIG_SIGNING_KEY", person.secret_key_file())
            .env("MIG_YES", "1")
            .env_remove("MIG_CONFIG")
            .env_remove("MIG_CONTEXT")
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Waits until `mig` sees that many agents online.
    pub fn wait_agents(&self, count: usize) -> anyhow::Result<()> {
        let what = format!("{count} agents online");
        let result = until(&what, Duration::from_mins(1), || {
            let args = ["file", "-t", "status='online'", "--dry-run", "-path", "/etc"];
            let outcome = self.mig("alice", &args).ok()?;
            (outcome.stdout.lines().count() == count).then_some(())
        });
        result.with_context(|| {
            let logs: Vec<String> = self.agents.iter().map(|agent| agent.process.log()).collect();
            logs.join("\n---\n")
        })
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn postgres_section(postgres: &Postgres) -> String {
    let (user, _, host, port) = split_url(&postgres.url()).unwrap_or_default();
    format!(
        "[postgres]\nhost = {host}\nport = {port}\ndbname = postgres\nuser = {user}\n\
         password = unused\nsslmode = disable\nmaxconn = 10\n"
    )
}

/// User, password, host and port of `scheme://user:password@host:port/…`.
fn split_url(url: &str) -> anyhow::Result<(String, String, String, u16)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (account, address) = rest.split_once('@').context("url without account")?;
    let (user, password) = account.split_once(':').unwrap_or((account, ""));
    let address = address.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = address.rsplit_once(':').context("url without port")?;
    Ok((user.to_owned(), password.to_owned(), host.to_owned(), port.parse()?))
}

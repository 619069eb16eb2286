//! Real agents with their own directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use mig_types::{Acl, QueueLoc, wire};

use crate::investigator::TestInvestigator;
use crate::process::{Managed, binary};
use crate::wait::until;

/// What a test may choose about an agent.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    pub name: String,
    pub tags: Vec<(String, String)>,
    pub acl: Acl,
    /// Lines added to section `[agent]`.
    pub settings: Vec<String>,
    /// Started instead of `mig-agent`.
    pub program: Option<PathBuf>,
    /// Without a debug log, as agents are run.
    pub is_quiet: bool,
}

/// A running agent.
pub struct TestAgent {
    pub process: Managed,
    directory: PathBuf,
    name: String,
    program: PathBuf,
    is_quiet: bool,
}

/// How an agent reaches the relay.
#[derive(Debug, Clone)]
pub struct RelayAccess {
    pub url: String,
    pub ca: Option<PathBuf>,
    /// Client certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl TestAgent {
    /// Starts an agent in a directory of its own below `scratch`.
    pub fn start(
        options: &AgentOptions,
        keys: &[&TestInvestigator],
        access: &RelayAccess,
        api: &str,
        scratch: &Path,
    ) -> anyhow::Result<Self> {
        let directory = scratch.join(format!("agent-{}", options.name));
        let (run, keyring) = (directory.join("run"), directory.join("agentkeys"));
        fs::create_dir_all(&run)?;
        fs::create_dir_all(&keyring)?;
        for key in keys {
            fs::copy(key.public_key_file(), keyring.join(&key.name))?;
        }
        fs::write(directory.join("acl.cfg"), wire::to_vec(&options.acl)?)?;
        fs::write(
            directory.join("mig-agent.cfg"),
            configuration(options, access, api, &directory),
        )?;
        let program = options.program.clone().map_or_else(|| binary("mig-agent"), Ok)?;
        let is_quiet = options.is_quiet;
        let process = Self::spawn(&options.name, &program, is_quiet, &directory)?;
        Ok(Self { process, directory, name: options.name.clone(), program, is_quiet })
    }

    fn spawn(
        name: &str,
        program: &Path,
        is_quiet: bool,
        directory: &Path,
    ) -> anyhow::Result<Managed> {
        let config = directory.join("mig-agent.cfg");
        let config = config.to_str().context("the scratch directory is not UTF-8")?;
        Managed::start(
            &format!("agent-{name}"),
            program,
            &["-c", config, if is_quiet { "-f" } else { "-d" }],
            &[],
            directory,
        )
    }

    /// Starts it again on the same directories.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill9();
        self.process = Self::spawn(&self.name, &self.program, self.is_quiet, &self.directory)?;
        Ok(())
    }

    /// Its address, once it has one.
    pub fn queueloc(&self) -> anyhow::Result<QueueLoc> {
        let file = self.run_directory().join(".migqueueloc");
        let text = until("the agent's queueloc", Duration::from_secs(30), || {
            fs::read_to_string(&file).ok().filter(|text| !text.is_empty())
        })?;
        Ok(text.trim().parse()?)
    }

    pub fn run_directory(&self) -> PathBuf {
        self.directory.join("run")
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

fn configuration(
    options: &AgentOptions,
    access: &RelayAccess,
    api: &str,
    directory: &Path,
) -> String {
    let mut lines = vec![
        "[agent]".to_owned(),
        format!("relay = \"{}\"", access.url),
        format!("api = \"{api}\""),
        "socket = \"\"".to_owned(),
        "heartbeatfreq = \"2s\"".to_owned(),
        "moduletimeout = \"60s\"".to_owned(),
        "isimmortal = off".to_owned(),
        "installservice = off".to_owned(),
        "discoverpublicip = off".to_owned(),
        "discoverawsmeta = off".to_owned(),
        format!("hostname = \"{}\"", options.name),
        format!("rundir = \"{}\"", directory.join("run").display()),
        format!("confdir = \"{}\"", directory.display()),
    ];
    lines.extend(options.tags.iter().map(|(name, value)| format!("tags = \"{name}:{value}\"")));
    lines.extend(options.settings.iter().cloned());
    lines.push("[certs]".to_owned());
    lines.extend(access.ca.iter().map(|ca| format!("ca = \"{}\"", ca.display())));
    if let Some((certificate, key)) = &access.certificate {
        lines.push(format!("cert = \"{}\"", certificate.display()));
        lines.push(format!("key = \"{}\"", key.display()));
    }
    let level = if options.is_quiet { "warning" } else { "debug" };
    lines.push(format!("[logging]\nmode = stdout\nlevel = {level}\n"));
    lines.join("\n")
}

//! Starts the standalone server. Everything that can go wrong is tested in the
//! library.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use mig_runtime::config::ConfigError;
use mig_runtime::{Shutdown, logging};
use mig_standalone::{DataDir, StandaloneConfig, add_investigator, agent_config, serve};

/// MIG's API, scheduler, database and relay in one process.
///
/// Without a subcommand it serves until it is asked to stop (ctrl-c).
#[derive(Parser)]
#[command(name = "mig-standalone", version, args_conflicts_with_subcommands = false)]
struct Args {
    /// Configuration file; every key has a default.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Data directory, instead of `[data] directory`.
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until asked to stop (the default).
    Serve,
    /// Enrol an investigator's public key; works while the server runs.
    AddInvestigator {
        /// Display name.
        name: String,
        /// Armored public key, as `gpg --export -a` prints it.
        key: PathBuf,
        /// May also manage investigators.
        #[arg(long)]
        administrator: bool,
    },
    /// Print the configuration an agent needs to connect to this server.
    AgentConfig,
}

fn main() -> ExitCode {
    let args = Args::parse();
    mig_runtime::run("mig-standalone", async move |shutdown| run(args, shutdown).await)
}

async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut config: StandaloneConfig = match &args.config {
        Some(path) => mig_runtime::config::load_strict(path)?,
        None => StandaloneConfig::default(),
    };
    if let Some(directory) = args.data {
        config.data.directory = directory;
    }
    let validated = config.validate()?;
    let data = DataDir::open(&config.data.directory, &config.relay.name)
        .context("the data directory cannot be used")?;
    let mut out = std::io::stdout();
    match args.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let log = logging::init("mig-standalone", &config.logging)?;
            let hangups = tokio::spawn(logging::reload_on_hangup(log, move || {
                let Some(path) = &args.config else { return Ok(None) };
                let config = mig_runtime::config::load_strict::<StandaloneConfig>(path)?;
                Ok::<_, ConfigError>(Some(config.logging))
            }));
            let served = serve(&config, validated, &data, shutdown).await;
            // Not before the last line: it holds the log.
            hangups.abort();
            served
        }
        Command::AddInvestigator { name, key, administrator } => {
            let row = add_investigator(&data, &name, &key, administrator).await?;
            let id = row.id;
            writeln!(out, "Investigator '{name}' successfully created with ID {id}")?;
            Ok(())
        }
        Command::AgentConfig => {
            write!(out, "{}", agent_config(&config, &data)?)?;
            Ok(())
        }
    }
}

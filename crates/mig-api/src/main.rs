//! Starts the API. Everything that can go wrong is tested in the library.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use mig_api::ApiConfig;
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_runtime::config::ConfigError;
use mig_runtime::logging::{self, LogConfig};
use mig_types::Permissions;

/// The REST API of MIG: stores signed actions, serves results and searches.
#[derive(Parser)]
#[command(name = "mig-api", version, disable_version_flag = true)]
struct Args {
    /// Configuration file.
    #[arg(short, long, default_value = "/etc/mig/api.cfg", value_name = "FILE")]
    config: PathBuf,
    /// Log to standard output at level debug, whatever the file says.
    #[arg(short, long)]
    debug: bool,
    /// Enrol an administrator with the armored public key in a file, and exit;
    /// how the first investigator comes in.
    #[arg(long, num_args = 2, value_names = ["NAME", "KEYFILE"])]
    add_investigator: Option<Vec<String>>,
    /// Print the `OpenAPI` document of this API and exit.
    #[arg(long)]
    openapi: bool,
    /// Print the version and exit.
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    mig_runtime::run("mig-api", async move |shutdown| {
        if args.openapi {
            std::io::stdout().write_all(mig_api::openapi().as_bytes())?;
            return Ok(());
        }
        let mut config: ApiConfig = mig_runtime::config::load_strict(&args.config)?;
        if args.debug {
            config.logging = LogConfig {
                mode: "stdout".to_owned(),
                level: "debug".to_owned(),
                ..LogConfig::default()
            };
        }
        config.validate()?;
        if let Some([name, key]) = args.add_investigator.as_deref() {
            return add_investigator(&config, name, Path::new(key)).await;
        }
        let log = logging::init("mig-api", &config.logging)?;
        let hangups = tokio::spawn(logging::reload_on_hangup(log, move || {
            let config = mig_runtime::config::load_strict::<ApiConfig>(&args.config)?;
            Ok::<_, ConfigError>((!args.debug).then_some(config.logging))
        }));
        let served = mig_api::open(&config, shutdown).await;
        // Not before the last line: it holds the log.
        hangups.abort();
        served
    })
}

async fn add_investigator(config: &ApiConfig, name: &str, key: &Path) -> anyhow::Result<()> {
    let store = mig_store::open_postgres(&config.postgres()?).await?;
    let now = SystemClock.now();
    let row = mig_api::enrol(store.as_ref(), name, key, Permissions::ALL, now).await;
    store.close().await;
    let id = row?.id;
    writeln!(std::io::stdout(), "Investigator '{name}' successfully created with ID {id}")?;
    Ok(())
}

//! `make demo`: a server, three agents, two investigators and their questions.
//!
//! Everything is real: the programs are the ones people run, each in its own
//! process, talking over TLS; the files searched are this machine's.

mod folder;
mod processes;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Shows MIG at work on this machine, with throw-away keys.
#[derive(Debug, Parser)]
#[command(name = "mig-demo", version)]
pub(crate) struct Args {
    /// Folder for everything the demonstration makes; emptied at the start.
    #[arg(long, default_value = "demo", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Port of the API on loopback [default: a free one].
    #[arg(long, value_name = "PORT")]
    pub(crate) api_port: Option<u16>,
    /// Port of the relay on loopback [default: a free one].
    #[arg(long, value_name = "PORT")]
    pub(crate) relay_port: Option<u16>,
    /// Seconds to count down before the first question [default: as `mig`].
    #[arg(long, value_name = "N")]
    pub(crate) countdown: Option<u32>,
    /// Keep the server and the agents running until ctrl-c.
    #[arg(long)]
    pub(crate) keep: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    mig_runtime::run("mig-demo", async move |shutdown| story::tell(&args, &shutdown).await)
}

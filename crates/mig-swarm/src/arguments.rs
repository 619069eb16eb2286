//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mig_swarm::{Past, Share};

/// Simulated agents for load and chaos.
#[derive(Debug, Parser)]
#[command(name = "mig-swarm", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    Run(Box<Run>),
    Seed(Seed),
}

/// Run agents against a platform; with --actions, ask them and check.
///
/// Agents heartbeat, take commands and answer until ctrl-c, and the counts are
/// printed then. With --actions the swarm launches actions itself, waits for
/// their ends, and compares every stored command with what its agents did: the
/// exit code is 1 unless all of them are as they must be.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Two hundred agents until ctrl-c:
    mig-swarm run --relay amqp://agent:secret@mq.example.net/mig --agents 200

  Five actions to 1,000 agents that take up to two seconds, fail now and then
  and never answer one command in a hundred:
    mig-swarm run --relay amqps://agent:secret@mq.example.net/mig \\
      --ca ca.crt --cert agent.crt --key agent.key --agents 1000 \\
      --actions 5 --delay 0s..2s --fail 5% --lose 1% --validity 1m

The relay's address holds a password: give it as MIG_SWARM_RELAY where others
can list processes.")]
pub(crate) struct Run {
    /// amqp://, amqps://, ws:// or wss:// with user and password of agents.
    #[arg(long, env = "MIG_SWARM_RELAY", hide_env_values = true, value_name = "URL")]
    pub(crate) relay: String,
    /// The only certificate authority trusted.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Client certificate.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Key of the client certificate.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// How many agents.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) agents: usize,
    /// Agents are called <NAME>-000000 and so on, and carry the tag swarm=<NAME>.
    #[arg(long, default_value = "swarm", value_name = "NAME")]
    pub(crate) name: String,
    /// Agents on one connection; real ones have one each. The built-in relay
    /// takes at most 16.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) per_connection: usize,
    /// Between two heartbeats of an agent.
    #[arg(long, default_value = "1m", value_parser = duration, value_name = "TIME")]
    pub(crate) heartbeat: Duration,
    /// Between a command and its answer: 500ms, or 0s..2s for anything between.
    #[arg(long, default_value = "0s", value_parser = range, value_name = "TIME")]
    pub(crate) delay: RangeInclusive<Duration>,
    /// Share of commands answered with status failed.
    #[arg(long, default_value = "0%", value_name = "SHARE")]
    pub(crate) fail: Share,
    /// Share of commands never answered.
    #[arg(long, default_value = "0%", value_name = "SHARE")]
    pub(crate) lose: Share,
    /// Bytes of made-up elements in an answer.
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    pub(crate) payload: usize,
    /// Verify signatures with this armored public key; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) verify: Vec<PathBuf>,
    /// Launch so many actions, check them, and end.
    #[arg(long, value_name = "N")]
    pub(crate) actions: Option<usize>,
    /// Between two launches.
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "TIME")]
    pub(crate) every: Duration,
    /// How long an action is valid: commands never answered expire then.
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "TIME")]
    pub(crate) validity: Duration,
    /// Give up after this time.
    #[arg(long, default_value = "15m", value_parser = duration, value_name = "TIME")]
    pub(crate) limit: Duration,
    /// The investigator's configuration, as of mig: API and key.
    #[arg(short, long, env = "MIG_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Sign with this secret key instead of GnuPG.
    #[arg(long, env = "MIG_SIGNING_KEY", value_name = "FILE")]
    pub(crate) signing_key: Option<PathBuf>,
    /// Print the counts as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Fill a PostgreSQL database with the past of a large platform.
///
/// Agents with their history, investigators, loaders, manifests, statistics,
/// and actions whose commands have results. The database must be migrated and
/// empty; it takes the owner of its tables. Same seed, same rows, but for times:
/// they end now.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  A million commands on ten thousand agents:
    mig-swarm seed --database postgres://migadmin:secret@db.example.net/mig \\
      --commands 1000000

The address holds a password: give it as MIG_SWARM_DATABASE where others can
list processes.")]
pub(crate) struct Seed {
    /// postgres:// with user, password, host and database.
    #[arg(long, env = "MIG_SWARM_DATABASE", hide_env_values = true, value_name = "URL")]
    pub(crate) database: String,
    /// How many commands.
    #[arg(long, value_name = "N")]
    pub(crate) commands: u64,
    /// How many endpoints; each had four agents so far, one of which lives.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) agents: u64,
    /// How many actions; by default one for each 500 commands.
    #[arg(long, value_name = "N")]
    pub(crate) actions: Option<u64>,
    /// Other rows for another seed.
    #[arg(long = "seed", default_value_t = 1, value_name = "N")]
    pub(crate) chance: u64,
    /// Add to a database that holds rows already.
    #[arg(long)]
    pub(crate) add: bool,
}

impl Seed {
    pub(crate) fn past(&self) -> Past {
        let Self { commands, agents, chance: seed, add, .. } = *self;
        let actions = self.actions.unwrap_or_else(|| (commands / 500).max(10));
        Past { commands, agents, actions, seed, add }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    mig_types::duration::parse(text).map_err(|error| error.to_string())
}

fn range(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (duration(from)?, duration(to)?);
    if from > to {
        return Err("the shorter time comes first".to_owned());
    }
    Ok(from..=to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_one_time_or_two() {
        let ms = Duration::from_millis;
        assert_eq!(range("500ms"), Ok(ms(500)..=ms(500)));
        assert_eq!(range("0s..2s"), Ok(ms(0)..=ms(2000)));
        assert!(range("2s..1s").is_err());
        assert!(range("fast").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}

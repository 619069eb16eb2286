//! Agents that a target chooses, one a line: `agents "name like 'web%'"`.
//!
//! Reads `~/.migrc` and signs as its owner, as every client does.

#![expect(clippy::print_stdout, reason = "the agents are the output")]

use std::error::Error;
use std::sync::Arc;

use mig_client::{ApiClient, ClientConfig, config, signer};
use mig_runtime::clock::SystemClock;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let target = std::env::args().nth(1).unwrap_or_else(|| "status='online'".to_owned());
    let environment = &config::process_environment;
    let path = ClientConfig::default_path(environment).ok_or("there is no home directory")?;
    let (config, warnings) = ClientConfig::load(&path, environment)?;
    for warning in &warnings {
        eprintln!("{warning}");
    }

    let signer = signer::from_config(&config)?;
    let client = ApiClient::new(&config, "example", "1.0", Some(signer), Arc::new(SystemClock))?;
    // A macro of the file stands for its target.
    for agent in client.evaluate_target(&config.macros.expand(&target)).await? {
        println!("{} {} {}", agent.id, agent.name, agent.environment.os);
    }
    Ok(())
}

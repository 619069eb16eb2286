//! Answers to an earlier action as JSON, one command a line, page by page:
//! `results <action id>`. Works with an API key, too.

#![expect(clippy::print_stdout, reason = "the answers are the output")]

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;

use mig_client::{ApiClient, ClientConfig, CommandQuery, config, signer};
use mig_runtime::clock::SystemClock;
use mig_types::ActionId;

/// Commands asked for at once: no more are ever in memory.
const PAGE: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let id: ActionId = std::env::args().nth(1).ok_or("usage: results <action id>")?.parse()?;
    let environment = &config::process_environment;
    let path = ClientConfig::default_path(environment).ok_or("there is no home directory")?;
    let (config, _) = ClientConfig::load(&path, environment)?;
    // Reading needs no key where there is an API key.
    let signer = signer::from_config(&config).ok();
    let client = ApiClient::new(&config, "example", "1.0", signer, Arc::new(SystemClock))?;

    let query = CommandQuery::of(id);
    let mut seen = HashSet::new();
    for page in 0.. {
        let commands = client.commands_page(&query, page * PAGE, PAGE).await?;
        if commands.is_empty() {
            break;
        }
        // Pages can overlap while commands are still being answered.
        for command in commands.iter().filter(|command| seen.insert(command.id)) {
            println!("{}", serde_json::to_string(command)?);
        }
    }
    Ok(())
}

//! Asks agents whether they have a file, and prints each answer as it comes:
//! `ask <target> <directory> <name>`.

#![expect(clippy::print_stdout, reason = "the answers are the output")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use mig_client::{ApiClient, ClientConfig, FollowEvent, FollowOptions, config, launch, signer};
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_types::{Action, Operation};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, directory, name] = arguments.as_slice() else {
        return Err("usage: ask <target> <directory> <name>".into());
    };
    let environment = &config::process_environment;
    let path = ClientConfig::default_path(environment).ok_or("there is no home directory")?;
    let (config, _) = ClientConfig::load(&path, environment)?;
    let (clock, signer) = (Arc::new(SystemClock), signer::from_config(&config)?);
    let client = ApiClient::new(&config, "example", "1.0", Some(signer.clone()), clock.clone())?;

    let operation = Operation {
        module: "file".into(),
        parameters: json!({ "searches": { "s1": {
            "paths": [directory], "names": [format!("^{name}$")],
            "options": { "matchall": true, "maxdepth": 10, "matchlimit": 100 },
        } } }),
        ..Operation::default()
    };
    let mut action = Action {
        name: format!("who has {name}"),
        target: config.macros.expand(target),
        operations: Some(vec![operation]),
        ..Action::default()
    };
    // A mistake in the target shows here, before anything is signed.
    let agents = client.evaluate_target(&action.target).await?;
    eprintln!("{} agents", agents.len());
    launch::set_times(&mut action, clock.now(), Duration::from_mins(5));
    launch::sign_action(&mut action, signer.as_ref(), clock.now()).await?;
    let launched = client.post_action(&action).await?;
    eprintln!("action {}", launched.id);

    let mut follower = client.follow(launched.id, FollowOptions::default());
    while let Some(event) = follower.next().await? {
        let FollowEvent::Command(command) = event else { continue };
        let found = command.results.iter().flatten().any(|result| result.foundanything);
        println!("{} {} {}", command.agent.name, command.status, if found { "yes" } else { "no" });
    }
    Ok(())
}

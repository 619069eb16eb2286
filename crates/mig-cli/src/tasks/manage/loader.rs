//! `mig loader`.

use mig_client::search::Kind as What;
use mig_module::args::Flag;
use mig_module::text::printable;
use mig_runtime::random;
use mig_terminal::failure::Failure;
use mig_terminal::output::Output;
use mig_terminal::text;
use mig_types::loader::{KEY_LEN, PREFIX_LEN};
use mig_types::{Loader, LoaderId};

use crate::tasks::open;
use crate::tasks::order::{Order, of_lists_and_things};

pub(in crate::tasks) const USAGE: &str = "\
usage: mig loader list [\"<conditions>\"] [-o <format>]
       mig loader show <id> [-o <format>]
       mig loader create -name <name> [-expectenv <condition>]
       mig loader enable | disable | key <id>
       mig loader expectenv <id> [\"<condition>\"]

Entries of the programs that keep agents current. create and key print the key for
the loader's configuration on standard output, once; a new entry is disabled. key
replaces the one in force at once. expectenv without a condition removes it.

    mig loader create -name web1.example.net
    mig loader enable 4";

const FLAGS: [Flag; 2] =
    [("name", mig_module::args::Kind::Text), ("expectenv", mig_module::args::Kind::Text)];

pub(in crate::tasks) async fn run(line: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(order) = Order::read(line, &FLAGS, USAGE, of_lists_and_things, output)? else {
        return Ok(0);
    };
    match order.verb() {
        "list" => {
            let session = open(&order.options, output).await?;
            order.list(What::Loader, &session, output).await
        }
        "create" => create(&order, output).await,
        "show" | "enable" | "disable" | "key" | "expectenv" => one(&order, output).await,
        _ => Err(order.unknown()),
    }
}

async fn create(order: &Order, output: &mut Output) -> Result<u8, Failure> {
    order.at_most(0)?;
    let loader = Loader {
        name: order.needed("name")?.to_owned(),
        expectenv: order.options.text("expectenv").unwrap_or_default().to_owned(),
        // Platforms of 2016 take what the client draws, later ones draw anew.
        prefix: random::alphanumeric(PREFIX_LEN),
        key: random::alphanumeric(KEY_LEN),
        ..Loader::default()
    };
    let api = open(&order.options, output).await?.api_with_any_key("cmd")?;
    let created = api.create_loader(&loader).await?;
    if created.id.is_unset() {
        output.say("New entry successfully created but is disabled");
    } else {
        output.say(&format!("New entry successfully created (id {}) but is disabled", created.id));
    }
    tell_key(&created, output)?;
    Ok(0)
}

async fn one(order: &Order, output: &mut Output) -> Result<u8, Failure> {
    let id: LoaderId = order.id_of_more("a loader")?;
    order.at_most(if order.verb() == "expectenv" { 2 } else { 1 })?;
    let api = open(&order.options, output).await?.api_with_any_key("cmd")?;
    match order.verb() {
        "enable" | "disable" => {
            let enable = order.verb() == "enable";
            api.enable_loader(id, enable).await?;
            let word = if enable { "enabled" } else { "disabled" };
            output.say(&format!("Loader has been {word}"));
        }
        "expectenv" => {
            let condition = order.words.get(2).map_or("", String::as_str);
            api.expect_of_loader(id, condition).await?;
            output.say("Expected environment match set");
        }
        "key" => {
            let loader = api.loader(id).await?;
            let offered = Loader { key: random::alphanumeric(KEY_LEN), ..loader };
            let stored = api.replace_loader_key(&offered).await?;
            output.say("Loader key changed");
            tell_key(&stored, output)?;
        }
        _ => {
            let loader = Loader { key: String::new(), ..api.loader(id).await? };
            let text = || text::compact(&loader).map_err(|error| Failure::other(error.to_string()));
            order.print(&loader, text, output)?;
        }
    }
    Ok(0)
}

/// What to put into the loader's configuration, for a script to take.
fn tell_key(loader: &Loader, output: &mut Output) -> Result<(), Failure> {
    output.say("Loader key including prefix to supply to client:");
    output.line(&printable(&format!("{}{}", loader.prefix, loader.key)))
}

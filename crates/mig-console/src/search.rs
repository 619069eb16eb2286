//! `search`.

use mig_client::Found;
use mig_client::search::{Kind, Search, SearchError};
use mig_terminal::failure::Failure;
use mig_terminal::orders;

use crate::console::Console;
use crate::order::Order;
use mig_terminal::output::room;
use mig_terminal::tables;

pub(crate) async fn run(console: &mut Console, order: &Order) -> Result<(), Failure> {
    if matches!(order.rest()[..], [] | ["help"]) {
        console.say(orders::SEARCH);
        return Ok(());
    }
    let now = console.now();
    let text = order.line.split_once(char::is_whitespace).map_or("", |(_, rest)| rest);
    let search = Search::parse(text, now).map_err(|error| explain(&error))?;
    console.say(&format!(
        "Searching {} after {} and before {}, limited to {} results",
        search.kind.as_str(),
        search.after,
        search.before,
        search.limit
    ));
    let found = console.call(console.api.find(&search)).await?;
    if found.is_empty() {
        console.say("no result");
        return Ok(());
    }
    for line in tables::lines(&found, room()) {
        console.say(&line);
    }
    remember(console, &found);
    Ok(())
}

fn explain(error: &SearchError) -> Failure {
    Failure::usage(error.to_string()).hint("`search help` lists what can be searched")
}

fn remember(console: &mut Console, found: &Found) {
    // The first row last: it is what Tab offers first.
    match found {
        Found::Actions(all) => all.iter().rev().for_each(|one| console.saw(Kind::Action, &one.id)),
        Found::Commands(all) => {
            all.iter().rev().for_each(|one| console.saw(Kind::Command, &one.id));
        }
        Found::Agents(all) => all.iter().rev().for_each(|one| console.saw(Kind::Agent, &one.id)),
        Found::Investigators(all) => {
            all.iter().rev().for_each(|one| console.saw(Kind::Investigator, &one.id));
        }
        Found::Manifests(all) => {
            all.iter().rev().for_each(|one| console.saw(Kind::Manifest, &one.id));
        }
        Found::Loaders(all) => all.iter().rev().for_each(|one| console.saw(Kind::Loader, &one.id)),
    }
}

//! A loader: the program that keeps one agent current.

use mig_client::search::Kind;
use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_terminal::orders;
use mig_terminal::output::Paint;
use mig_types::loader::KEY_LEN;
use mig_types::{Loader, LoaderId};

use crate::completion::Scope;
use crate::console::{Console, Mode, Next, settle};
use crate::order::Order;
use crate::top::json;

const NAME: &str = "loader reader";

pub(crate) async fn run(console: &mut Console, id: LoaderId) -> Result<(), Failure> {
    let mut loader = console.call(console.api.loader(id)).await?;
    console.saw(Kind::Loader, &id);
    console.enter(NAME);
    console.say(&format!("Loader: '{}'.", printable(&loader.name)));
    console.say(&format!("Status '{}'.", loader.enabled));
    let prompt = format!("loader {}>", id.get() % 1000);
    let mode = Mode { prompt: &prompt, paint: Paint::BoldRed, scope: Scope::Loader };
    while let Some(order) = console.order(mode).await? {
        let outcome = obey(console, &order, &mut loader).await;
        if settle(outcome)? == Next::Leave {
            break;
        }
    }
    Ok(())
}

async fn obey(console: &mut Console, order: &Order, loader: &mut Loader) -> Result<Next, Failure> {
    match order.verb() {
        "enable" | "disable" => {
            let enable = order.verb() == "enable";
            console.call(console.api.enable_loader(loader.id, enable)).await?;
            let word = if enable { "enabled" } else { "disabled" };
            console.say(&format!("Loader has been {word}"));
            reload(console, loader).await?;
        }
        "expectenv" => {
            console.call(console.api.expect_of_loader(loader.id, &order.text())).await?;
            console.say("Expected environment match set");
            reload(console, loader).await?;
        }
        "json" => console.say(&json(&Loader { key: String::new(), ..loader.clone() })?),
        "key" => {
            if !console.confirm("generate new key for loader?").await? {
                console.say("abort");
                return Ok(Next::Stay);
            }
            let key = mig_runtime::random::alphanumeric(KEY_LEN);
            let offered = Loader { key, ..loader.clone() };
            let stored = console.call(console.api.replace_loader_key(&offered)).await?;
            console.say("Loader key changed");
            console.say(&key_line(&stored));
        }
        "r" => reload(console, loader).await?,
        "help" => console.say(orders::LOADER),
        _ => return Ok(console.unknown(order, NAME)),
    }
    Ok(Next::Stay)
}

async fn reload(console: &Console, loader: &mut Loader) -> Result<(), Failure> {
    *loader = console.call(console.api.loader(loader.id)).await?;
    console.say("reloaded");
    Ok(())
}

/// What to put into a loader's configuration; never remembered.
pub(crate) fn key_line(loader: &Loader) -> String {
    let key = printable(&format!("{}{}", loader.prefix, loader.key));
    format!("Loader key including prefix to supply to client will be \"{key}\"")
}

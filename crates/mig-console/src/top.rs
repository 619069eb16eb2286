//! The first mode: where everything begins.

use mig_terminal::failure::Failure;
use mig_terminal::orders;
use mig_terminal::output::Paint;

use crate::banner::{GOODBYE, HELLO};
use crate::completion::Scope;
use crate::console::{Console, Mode, Next, settle};
use crate::flags::Flags;
use crate::order::Order;
use crate::{create, dashboard, launcher, reader, search};

const MODE: Mode<'_> = Mode { prompt: "mig>", paint: Paint::BoldGreen, scope: Scope::Top };

pub(crate) async fn run(console: &mut Console, flags: &Flags) -> Result<(), Failure> {
    if !flags.quiet {
        console.say(&console.screen.paint(Paint::BoldGreen, HELLO.trim_end()));
        dashboard::show(console).await?;
        let green = |text| console.screen.paint(Paint::BoldGreen, text);
        console.say(&format!(
            "\nConnected to {}. Exit with {}. Type {} for help.",
            console.api.base(),
            green("ctrl+d"),
            green("help")
        ));
    }
    while let Some(order) = console.order(MODE).await? {
        let outcome = obey(console, &order).await;
        settle(outcome)?;
    }
    if !flags.quiet {
        console.say(GOODBYE);
    }
    Ok(())
}

async fn obey(console: &mut Console, order: &Order) -> Result<Next, Failure> {
    match order.verb() {
        "action" => reader::action::run(console, order.id()?).await?,
        "agent" => reader::agent::run(console, order.id()?).await?,
        "command" => reader::command::run(console, order.id()?).await?,
        "investigator" => reader::investigator::run(console, order.id()?).await?,
        "manifest" => reader::manifest::run(console, order.id()?).await?,
        "loader" => reader::loader::run(console, order.id()?).await?,
        "create" => create(console, order).await?,
        "search" => search::run(console, order).await?,
        "status" => {
            order.alone()?;
            dashboard::show(console).await?;
        }
        "history" => {
            let count = order.count(10)?;
            for entry in console.editor.history.entries().iter().rev().take(count) {
                console.say(&mig_module::text::printable(entry));
            }
        }
        "query" => query(console, order).await?,
        "showcfg" => showcfg(console),
        "help" => console.say(orders::TOP),
        verb => {
            let verb = mig_module::text::printable(verb);
            console.say(&format!("Unknown order '{verb}'"));
        }
    }
    Ok(Next::Stay)
}

async fn create(console: &mut Console, order: &Order) -> Result<(), Failure> {
    match order.rest()[..] {
        ["action"] => launcher::run(console, None).await,
        ["investigator"] => create::investigator::run(console).await,
        ["loader"] => create::loader::run(console).await,
        ["manifest"] => create::manifest::run(console).await,
        [] => Err(Failure::usage(
            "missing order, must be 'create <action|investigator|loader|manifest>'",
        )),
        [what, ..] => Err(Failure::usage(format!("unknown order 'create {what}'"))),
    }
}

async fn query(console: &Console, order: &Order) -> Result<(), Failure> {
    let address = order.text();
    if address.is_empty() {
        return Err(Failure::usage("missing address, must be 'query <uri>'")
            .hint("such as query dashboard"));
    }
    let path = address.strip_prefix(console.api.base().as_str()).unwrap_or(&address);
    console.say(&format!("querying {}{path}", console.api.base()));
    let answer = console.call(console.api.get_text(path)).await?;
    // Numbers of identifiers stay as they are written.
    match serde_json::from_str::<serde_json::Value>(&answer) {
        Ok(value) => console.say(&json(&value)?),
        Err(_) => answer.lines().for_each(|line| console.say(&mig_module::text::printable(line))),
    }
    Ok(())
}

/// JSON indented by two, safe to show.
pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, Failure> {
    mig_terminal::text::pretty(value, "  ")
        .map_err(|error| Failure::other(format!("cannot write JSON: {error}")))
}

fn showcfg(console: &Console) {
    let config = &console.session.config;
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map_or(String::new(), |path| path.display().to_string())
    };
    let mut lines = vec![
        format!("homedir = {}", path(&config.home)),
        format!("configuration = {}", console.session.path.display()),
        "[api]".to_owned(),
        format!("    url = {}", config.url),
        format!("    skipverifycert = {}", if config.skipverifycert { "on" } else { "off" }),
        "[gpg]".to_owned(),
        format!("    home = {}", path(&config.gpg_home)),
        format!("    keyid = {}", config.keyid.as_deref().unwrap_or_default()),
    ];
    let caller = match (&config.apikey, &config.signing_key) {
        (Some(_), _) => "an API key (not shown)".to_owned(),
        (None, Some(key)) => format!("tokens signed with {}", key.display()),
        (None, None) => format!("tokens signed by {}", config.gpg_program),
    };
    lines.push(format!("authentication = {caller}"));
    lines.push("[targets]".to_owned());
    lines.extend(config.macros.iter().map(|(name, body)| format!("    macro = {name}:{body}")));
    for line in lines {
        console.say(&mig_module::text::printable(&line));
    }
}

//! Building an action, signing it, and sending it off.

mod draft;
mod edit;
mod times;

use mig_client::search::Kind;
use mig_module::text::printable;
use mig_terminal::failure::{Failure, sentence};
use mig_terminal::orders;
use mig_terminal::output::Paint;
use mig_terminal::text::{compact, right};
use mig_types::{Action, Operation, wire};

use self::draft::Draft;
use crate::completion::Scope;
use crate::console::{Console, Mode, Next, settle};
use crate::order::Order;
use crate::reader::action::{shown, times as show_times};
use crate::screen::complain;
use crate::top::json;
use crate::{dialog, follow, reader};

const NAME: &str = "action launcher";

/// Largest action file read, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

pub(crate) async fn run(console: &mut Console, template: Option<&Action>) -> Result<(), Failure> {
    let mut draft = if let Some(action) = template {
        let name = printable(&action.name);
        console.say(&format!("Entering action launcher using template '{name}'"));
        Draft::like(action)
    } else {
        console.say("Entering action launcher with empty template");
        Draft::default()
    };
    let green = |text| console.screen.paint(Paint::BoldGreen, text);
    console.say(&format!(
        "Type {} or press {} to leave. {} may help.",
        green("exit"),
        green("ctrl+d"),
        green("help")
    ));
    let mode = Mode { prompt: "launcher>", paint: Paint::BoldYellow, scope: Scope::Launcher };
    while let Some(order) = console.order(mode).await? {
        let outcome = obey(console, &order, &mut draft).await;
        if settle(outcome)? == Next::Leave {
            break;
        }
    }
    Ok(())
}

async fn obey(console: &mut Console, order: &Order, draft: &mut Draft) -> Result<Next, Failure> {
    match order.verb() {
        "addoperation" => add_operation(console, order, draft).await?,
        "check" => {
            order.alone()?;
            draft.check(console.now())?;
            console.say("The action can be sent");
        }
        "compress" => {
            let on = match order.only() {
                Some("true") => true,
                Some("false") => false,
                _ => return Err(Failure::usage("must be 'compress <true|false>'")),
            };
            told(console, draft.set_compression(on)?);
        }
        "deloperation" => {
            let number = order.only().and_then(|word| word.parse().ok());
            told(console, draft.remove(number)?);
        }
        "details" => console.say(&draft.details()),
        "edit" => {
            order.alone()?;
            let dropped = edit::run(console, draft).await?;
            told(console, dropped);
        }
        "json" => match order.rest()[..] {
            [] => console.say(&json(&shown(&draft.action))?),
            ["pack"] => console.say(
                &compact(&draft.action)
                    .map_err(|error| Failure::other(format!("cannot write JSON: {error}")))?,
            ),
            _ => return Err(Failure::usage("must be 'json [pack]'")),
        },
        "launch" => return launch(console, order, draft).await,
        "listagents" => list_agents(console, draft).await?,
        "load" => load(console, order, draft).await?,
        "save" => {
            let path = order.only().ok_or_else(|| Failure::usage("must be 'save <path>'"))?;
            save(path, &draft.action)?;
            console.say(&format!("Saved to {path}"));
        }
        "setdescription" | "setthreat" => {
            let text = order.text();
            let (key, value) = text.split_once(' ').unwrap_or((text.as_str(), ""));
            told(console, draft.describe(order.verb(), key, value)?);
        }
        "setname" => {
            let name = order.text();
            if name.is_empty() {
                return Err(Failure::usage("Wrong arguments. Must be 'setname <some_name>'"));
            }
            told(console, draft.set_name(name));
        }
        "settarget" => set_target(console, order, draft).await?,
        "settimes" => {
            let (from, until) = times::parse(&order.rest(), console.now())?;
            told(console, draft.set_times(from, until));
        }
        "sign" => {
            order.alone()?;
            if !draft.has_times() {
                return Err(Failure::usage("Times must be set prior to signing")
                    .hint("such as settimes now 30m"));
            }
            sign(console, draft).await?;
        }
        "times" => console.say(&show_times(&draft.action)),
        "help" => console.say(orders::LAUNCHER),
        _ => return Ok(console.unknown(order, NAME)),
    }
    Ok(Next::Stay)
}

/// Says what a change cost.
fn told(console: &Console, dropped: usize) {
    if dropped > 0 {
        console.say(&format!(
            "[notice] the action changed: {dropped} signatures that no longer fit were dropped"
        ));
    }
}

async fn add_operation(
    console: &mut Console,
    order: &Order,
    draft: &mut Draft,
) -> Result<(), Failure> {
    let name = order
        .only()
        .ok_or_else(|| Failure::usage("Wrong arguments. Expects 'addoperation <module_name>'"))?
        .to_owned();
    if console.registry.get(&name).is_none() {
        let message = format!("Module {name} is not available in this console...");
        return Err(Failure::usage(message)
            .hint("you can create your action by hand and use 'load <file>'"));
    }
    let Some(parameters) = dialog::parameters(console, &name).await? else {
        console.say("abort");
        return Ok(());
    };
    let operation = Operation { module: name, parameters, ..Operation::default() };
    console.say(&format!("Inserting {} operation with parameters:", operation.module));
    console.say(&json(&operation)?);
    told(console, draft.add(operation));
    Ok(())
}

async fn set_target(
    console: &mut Console,
    order: &Order,
    draft: &mut Draft,
) -> Result<(), Failure> {
    // As it was written: quotes are the condition's own.
    let text = order.line.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim());
    if text.is_empty() {
        return Err(Failure::usage("Wrong arguments. Must be 'settarget <some_target_string>'"));
    }
    let target = console.session.config.macros.expand(text);
    told(console, draft.set_target(target.clone()));
    let agents = console.call(console.api.evaluate_target(&target)).await?;
    console.say(&format!(
        "{} agents will be targetted. To get the list, use 'listagents'",
        agents.len()
    ));
    draft.evaluated = Some(agents);
    Ok(())
}

async fn evaluate(console: &Console, draft: &mut Draft) -> Result<usize, Failure> {
    if draft.evaluated.is_none() {
        let agents = console.call(console.api.evaluate_target(&draft.action.target)).await?;
        draft.evaluated = Some(agents);
    }
    Ok(draft.evaluated.as_ref().map_or(0, Vec::len))
}

async fn list_agents(console: &mut Console, draft: &mut Draft) -> Result<(), Failure> {
    if draft.action.target.is_empty() {
        let message = "A target string has not been set, use settarget first";
        return Err(Failure::usage(message));
    }
    evaluate(console, draft).await?;
    console.screen.row("----    ID      ---- + ----         Name         -------");
    for agent in draft.evaluated.iter().flatten() {
        console.screen.row(&format!(
            "{}   {}",
            right(&agent.id.to_string(), 20),
            printable(&agent.name)
        ));
        console.saw(Kind::Agent, &agent.id);
    }
    Ok(())
}

async fn load(console: &mut Console, order: &Order, draft: &mut Draft) -> Result<(), Failure> {
    use std::io::Read as _;
    let path = order.only().ok_or_else(|| Failure::usage("must be 'load <path>'"))?.to_owned();
    let unreadable = |error: std::io::Error| Failure::other(format!("cannot read {path}: {error}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&path).map_err(unreadable)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Failure::other(format!("{path} is larger than {MAX_FILE} bytes")));
    }
    let action: Action = wire::from_slice(&bytes)
        .map_err(|error| Failure::other(format!("{path} holds no action: {}", sentence(&error))))?;
    if !draft.action.operations().is_empty()
        && !console.confirm("this replaces the action. continue?").await?
    {
        console.say("abort");
        return Ok(());
    }
    *draft = Draft::loaded(action);
    let name = printable(&draft.action.name);
    console.say(&format!("Loaded action '{name}' from {path}"));
    let signed = draft.action.pgpsignatures.len();
    if signed > 0 {
        console
            .say(&format!("[notice] it has {signed} signatures; its times are left as they are"));
    }
    Ok(())
}

fn save(path: &str, action: &Action) -> Result<(), Failure> {
    let unwritten = |error: std::io::Error| Failure::other(format!("cannot write {path}: {error}"));
    let text = mig_terminal::text::pretty(action, "    ")
        .map_err(|error| Failure::other(format!("cannot write JSON: {error}")))?;
    std::fs::write(path, text + "\n").map_err(unwritten)
}

async fn sign(console: &Console, draft: &mut Draft) -> Result<(), Failure> {
    let signer = console.signer()?;
    let now = console.now();
    let fingerprint = console.unless_interrupted(draft.sign(signer.as_ref(), now)).await?;
    console.say(&format!("Signed by {fingerprint}"));
    Ok(())
}

async fn launch(console: &mut Console, order: &Order, draft: &mut Draft) -> Result<Next, Failure> {
    let follow = match order.rest()[..] {
        [] => true,
        ["nofollow"] => false,
        _ => return Err(Failure::usage("must be 'launch [nofollow]'")),
    };
    if draft.action.name.is_empty() {
        return Err(Failure::usage("Action has no name. Define one using 'setname <name>'"));
    }
    if draft.action.target.is_empty() {
        let message = "Action has no target. Define one using 'settarget <target>'";
        return Err(Failure::usage(message));
    }
    if draft.action.operations().is_empty() {
        let message = "Action has no operation. Add one using 'addoperation <module>'";
        return Err(Failure::usage(message));
    }
    let agents = evaluate(console, draft).await?;
    let target = printable(&draft.action.target);
    console.say(&format!("{agents} agents will be targeted by search \"{target}\""));
    if !console.confirm("continue?").await? {
        console.say("launch aborted");
        return Ok(Next::Stay);
    }
    if !draft.has_times() {
        console.say("Times are not defined. Setting validity from now until +300s");
        let (from, until) = times::parse(&["now", "300s"], console.now())?;
        draft.set_times(from, until);
    }
    if draft.action.pgpsignatures.is_empty() {
        sign(console, draft).await?;
    }
    draft.check(console.now())?;
    let posted = console.call(console.api.post_action(&draft.action)).await?;
    console.say(&format!(
        "Action '{}' successfully launched with ID '{}' on target '{target}'",
        printable(&posted.name),
        posted.id
    ));
    console.saw(Kind::Action, &posted.id);
    if follow {
        let followed = follow::action(console, posted.id, agents as u64).await;
        if let Err(failure) = followed {
            complain(&failure);
        }
    }
    console.say("");
    Box::pin(reader::action::run(console, posted.id)).await?;
    Ok(Next::Leave)
}

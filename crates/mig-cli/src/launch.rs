//! From a question to an action on its way.

use std::sync::Arc;

use mig_client::launch::{self, LaunchError};
use mig_client::target::{Macros, among_results};
use mig_client::{ApiClient, ClientError, Found, Signer};
use mig_module::{Registry, compress};
use mig_runtime::Shutdown;
use mig_sign::canonical;
use mig_sign::keyring::Keyring;
use mig_sign::verify::verify_detached;
use mig_types::action::{ActionFault, SYNTAX_VERSION};
use mig_types::{Action, Agent, Fingerprint, Operation, Target, Timestamp, wire};
use serde_json::Value;
use tokio::time::Instant;

use crate::follow;
use crate::globals::Globals;
use crate::guard::{self, cancelled};
use mig_terminal::failure::{Failure, code, sentence};
use mig_terminal::format::{Form, Format};
use mig_terminal::output::Output;
use mig_terminal::{Session, files, listing, locate, recent, text, wizard};

/// Agents asked when nothing says otherwise.
pub(crate) const DEFAULT_TARGET: &str = "status='online'";

/// Largest action file read, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Launches one module.
pub(crate) async fn module(
    registry: &Registry,
    module: &str,
    parameters: Value,
    globals: &Globals,
    name: String,
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<u8, Failure> {
    let operation = Operation {
        module: module.to_owned(),
        parameters,
        want_compressed: globals.compress,
        ..Operation::default()
    };
    let mut action = Action { name, operations: Some(vec![operation]), ..Action::default() };
    if globals.print {
        // Needs no configuration, unless a macro is used.
        let macros =
            open_existing(globals, output).map(|session| session.config.macros).unwrap_or_default();
        action.target = target(globals, &macros, output)?;
        return print(&action, output);
    }
    let session = open(globals, output).await?;
    action.target = target(globals, &session.config.macros, output)?;
    prepare(registry, action, globals, &session, output, shutdown).await
}

/// Launches an action from a file, or adds a signature to it.
pub(crate) async fn file(
    registry: &Registry,
    path: &str,
    globals: &Globals,
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<u8, Failure> {
    let action = read(path)?;
    for operation in action.operations() {
        let Some(module) = registry.get(&operation.module) else { continue };
        if !operation.is_compressed {
            module.validate_json(&operation.parameters).map_err(|error| {
                Failure::other(format!("module {}: {}", operation.module, error.one_line()))
            })?;
        }
    }
    if globals.print {
        return print(&action, output);
    }
    let session = open(globals, output).await?;
    prepare(registry, action, globals, &session, output, shutdown).await
}

pub(crate) fn read(path: &str) -> Result<Action, Failure> {
    let bytes = files::read(path, MAX_FILE, code::OTHER)?;
    parsed(&bytes).map_err(|reason| {
        Failure::other(format!("{} holds no action: {reason}", files::name(path)))
    })
}

/// An action in JSON, or in the YAML that people write by hand.
fn parsed(bytes: &[u8]) -> Result<Action, String> {
    let start = bytes.trim_ascii_start();
    if start.is_empty() || start.starts_with(b"{") {
        return wire::from_slice(bytes).map_err(|error| sentence(&error));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let options = serde_saphyr::options! { with_snippet: false };
    let value: Value =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    if !value.is_object() {
        return Err("it is neither JSON nor YAML with the members of one".to_owned());
    }
    wire::from_value(value).map_err(|error| sentence(&error))
}

/// The target with macros expanded.
fn target(globals: &Globals, macros: &Macros, output: &mut Output) -> Result<String, Failure> {
    let target = if let Some(given) = &globals.target {
        let expanded = macros.expand(given);
        // The printed action shows it anyway.
        if expanded != *given && !globals.print {
            output.say(&format!("[notice] target: {}", mig_module::text::printable(&expanded)));
        }
        expanded
    } else {
        if globals.among.is_none() {
            output.say("[notice] no target specified, defaulting to all online agents");
        }
        DEFAULT_TARGET.to_owned()
    };
    let target = match globals.among {
        Some((id, found)) => among_results(id, found, &target),
        None => target,
    };
    target
        .parse::<Target>()
        .map_err(|error| Failure::other(format!("the target is refused at {error}: {target}")))?;
    Ok(target)
}

/// The configuration the options name.
async fn open(globals: &Globals, output: &mut Output) -> Result<Session, Failure> {
    let path = locate(globals.config.as_deref(), globals.context.as_deref());
    wizard::offer(path.as_deref(), output).await?;
    open_existing(globals, output)
}

/// The configuration the options name, if it is there.
fn open_existing(globals: &Globals, output: &mut Output) -> Result<Session, Failure> {
    let (mut session, warnings) =
        Session::open(globals.config.as_deref(), globals.context.as_deref())?;
    for warning in warnings {
        output.say(&format!("[warning] {warning}"));
    }
    globals.equip(&mut session);
    Ok(session)
}

/// Everything from the finished question to its end.
async fn prepare(
    registry: &Registry,
    mut action: Action,
    globals: &Globals,
    session: &Session,
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<u8, Failure> {
    let signer = session.signer()?;
    let api = session.api("cmd", Some(Arc::clone(&signer)))?;
    let now = session.clock.now();
    let fresh = launch::set_missing_times(&mut action, now, globals.validity);
    if !fresh {
        let text = "[notice] action already had validity time period, which was left as is";
        output.say(text);
    }
    let breadth = guard::breadth(&action);
    squeeze(&mut action)?;
    launch::check(&action, now).map_err(refused)?;
    if globals.sign {
        let signing = sign(&mut action, signer.as_ref(), &api, session, output);
        unless_interrupted(shutdown, signing).await?;
        return print(&action, output);
    }
    // Before signing: a typing error must not cost a passphrase.
    let agents = unless_interrupted(shutdown, names(&api, &action.target)).await?;
    let evaluated = Instant::now();
    if let Some(warning) = breadth {
        output.say(&warning);
    }
    let plain = matches!(globals.form.format, Format::Text | Format::Name);
    if globals.explain {
        for line in explained(registry, &action, agents.len()) {
            output.say(&mig_module::text::printable(&line));
        }
    }
    if globals.dry_run && plain && globals.form.sort.is_none() {
        agents.iter().try_for_each(|agent| output.line(agent))?;
        return Ok(0);
    }
    if globals.dry_run {
        let agents = unless_interrupted(shutdown, evaluate(&api, &action.target)).await?;
        let format = if plain { Format::Name } else { globals.form.format };
        let form = Form { format, ..globals.form.clone() };
        listing::found(Found::Agents(agents), &form, output)?;
        return Ok(0);
    }
    let signing = sign(&mut action, signer.as_ref(), &api, session, output);
    unless_interrupted(shutdown, signing).await?;
    if let Some(path) = &globals.save {
        save(&action, path, output)?;
    }
    if !globals.yes && std::env::var_os("MIG_YES").is_none_or(|yes| yes != "1") {
        guard::confirm(agents.len(), output).await?;
        if let Some(age) = guard::age(evaluated.elapsed()) {
            output.say(&age);
        }
        guard::countdown(agents.len(), globals.countdown, output, shutdown).await?;
    }
    let posted = api.post_action(&action).await.map_err(|error| match error {
        ClientError::Api { status: 400..=499, message } if !message.is_empty() => {
            let failure = Failure::other(format!("the API refused the action: {message}"));
            if message.contains("in the past") { failure.hint(LATE) } else { failure }
        }
        other => other.into(),
    })?;
    recent::remember([(posted.id, posted.name.clone())]);
    if globals.saves_to_output() {
        // Standard output has the action, and nothing else.
        output.say(&format!("action {}", posted.id));
        return Ok(0);
    }
    if globals.no_follow {
        let format = if plain { Format::Name } else { globals.form.format };
        listing::print_one(&posted, &Form { format, ..globals.form.clone() }, output)?;
        return Ok(0);
    }
    follow::action(registry, &api, &posted, agents.len() as u64, globals, output, shutdown).await
}

/// Compresses operations that want it and are not yet.
pub(crate) fn squeeze(action: &mut Action) -> Result<(), Failure> {
    for operation in action.operations.iter_mut().flatten() {
        if operation.want_compressed && !operation.is_compressed {
            compress::compress_parameters(operation)
                .map_err(|error| Failure::of(code::OTHER, &error))?;
        }
    }
    Ok(())
}

/// The way out when an action's time is over.
const LATE: &str = "sign it anew, with a longer -e";

pub(crate) fn refused(error: LaunchError) -> Failure {
    match error {
        LaunchError::Signer(error) => error.into(),
        LaunchError::Fault(ActionFault::Expired(_)) => Failure::of(code::OTHER, &error).hint(LATE),
        other => Failure::of(code::OTHER, &other),
    }
}

/// Adds the investigator's signature, unless it is there already.
async fn sign(
    action: &mut Action,
    signer: &dyn Signer,
    api: &ApiClient,
    session: &Session,
    output: &mut Output,
) -> Result<(), Failure> {
    let now = session.clock.now();
    if !action.pgpsignatures.is_empty() {
        let mine = signer.fingerprint().await?;
        if has_signed(action, &mine, api, now).await {
            output.say(&format!("[notice] the action carries a signature of {mine} already"));
            action.syntaxversion = SYNTAX_VERSION;
            return Ok(());
        }
    }
    launch::sign_action(action, signer, now).await.map_err(refused)
}

/// Whether one of the signatures is by that key, or a subkey of it. When the
/// key cannot be had, the platform will say so in its own words.
async fn has_signed(action: &Action, key: &Fingerprint, api: &ApiClient, now: Timestamp) -> bool {
    let Ok(armored) = api.public_key(key).await else { return false };
    let (keyring, _) = Keyring::from_armored([armored]);
    let Ok(text) = canonical::action_string(action) else { return false };
    let by_it = |signature: &String| verify_detached(&keyring, &text, signature, now).is_ok();
    action.pgpsignatures.iter().any(by_it)
}

/// Agents of a target, which must be some.
pub(crate) async fn evaluate(api: &ApiClient, target: &str) -> Result<Vec<Agent>, Failure> {
    let agents = api.evaluate_target(target).await.map_err(rejected)?;
    if agents.is_empty() { Err(nobody(target)) } else { Ok(agents) }
}

/// Only the names of [`evaluate`], made printable: agents are many, and each has
/// a lot to say about itself.
async fn names(api: &ApiClient, target: &str) -> Result<Vec<String>, Failure> {
    let mut agents = api.agents_of_target(target).await.map_err(rejected)?;
    let mut names = Vec::new();
    while let Some(agent) = agents.next().await? {
        names.push(mig_module::text::printable(&agent.name));
    }
    if names.is_empty() { Err(nobody(target)) } else { Ok(names) }
}

pub(crate) fn rejected(error: ClientError) -> Failure {
    match error {
        ClientError::Api { status: 400..=499, message } if !message.is_empty() => {
            Failure::other(format!("the API rejected the target: {message}"))
        }
        other => other.into(),
    }
}

fn nobody(target: &str) -> Failure {
    let failure = Failure::new(code::NO_AGENT, format!("no agent matches {target}"));
    failure.hint("only online and idle agents can be asked")
}

/// Waits for what comes before a launch, unless ctrl-c ends the waiting.
async fn unless_interrupted<T>(
    shutdown: &Shutdown,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        // A program that was asked for something had the same ctrl-c.
        done = work => match done {
            Err(_) if shutdown.is_requested() => Err(cancelled()),
            done => done,
        },
        () = shutdown.requested() => Err(cancelled()),
    }
}

/// What will happen, as prose.
fn explained(registry: &Registry, action: &Action, agents: usize) -> Vec<String> {
    let mut lines = vec![format!(
        "{agents} agents match the target {} now. Each of them checks the signatures and the \
         target itself, and then runs:",
        action.target
    )];
    for operation in action.operations() {
        let about = registry.get(&operation.module).map_or("unknown here", |one| one.summary());
        let parameters = if operation.is_compressed {
            "compressed parameters".to_owned()
        } else {
            text::compact(&operation.parameters).unwrap_or_default()
        };
        lines.push(format!("  module {} ({about}) with {parameters}", operation.module));
    }
    lines.push(format!(
        "They may begin from {} on and have to be done by {}.",
        text::seconds(action.validfrom),
        text::seconds(action.expireafter)
    ));
    lines
}

/// Keeps an action as it was signed. What is there stays.
fn save(action: &Action, path: &str, output: &mut Output) -> Result<(), Failure> {
    let text = text::pretty(action, "    ")
        .map_err(|error| Failure::other(format!("cannot write the action: {error}")))?;
    files::create(path, (text + "\n").as_bytes(), output).map_err(|failure| {
        // A reader that went away is a failure here.
        Failure::new(failure.code, format!("{}; nothing was sent", failure.message))
    })
}

/// Prints an action indented by four, escaped as the original does.
pub(crate) fn print(action: &Action, output: &mut Output) -> Result<u8, Failure> {
    let text = text::pretty(action, "    ")
        .map_err(|error| Failure::other(format!("cannot write the action: {error}")))?;
    output.line(&text)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_says_what_json_says() {
        let json = r#"{"name":"all of it","target":"name='a'","operations":[
            {"module":"file","parameters":{"searches":{"s1":{"paths":["/etc"],"names":["^a: b$"],
            "options":{"matchall":true,"maxdepth":3}}}}}]}"#;
        let yaml = "# by hand\nname: all of it\ntarget: name='a'\noperations:\n- module: file\n  \
                    parameters:\n    searches:\n      s1:\n        paths: [/etc]\n        names:\n        \
                    - '^a: b$'\n        options: {matchall: true, maxdepth: 3}\n";
        assert_eq!(parsed(yaml.as_bytes()), parsed(json.as_bytes()));
        assert!(parsed(json.as_bytes()).is_ok());
        for text in ["", "{\"name\":", "just words", "- a\n- b", "name: [", "\u{0}", "a: *b"] {
            assert!(parsed(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parsed(b"name: \xff").is_err());
    }
}

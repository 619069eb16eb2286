//! `mig investigator`.

use mig_client::search::Kind as What;
use mig_client::{InvestigatorChange, NewInvestigator, armored_key};
use mig_module::args::{Flag, Kind};
use mig_module::text::printable;
use mig_sign::keyring;
use mig_terminal::failure::{Failure, code};
use mig_terminal::format::Format;
use mig_terminal::grid;
use mig_terminal::output::Output;
use mig_terminal::permissions::{self, GRANTABLE};
use mig_terminal::{files, publickey};
use mig_types::{Investigator, InvestigatorId, InvestigatorStatus, Permissions};

use crate::tasks::open;
use crate::tasks::order::{Order, of_lists_and_things};

pub(in crate::tasks) const USAGE: &str = "\
usage: mig investigator list [\"<conditions>\"] [-o <format>]
       mig investigator show <id> [-o <format>]
       mig investigator pubkey <id>
       mig investigator create -name <name> [-pubkey <file or fingerprint>]
                               [-permissions <set>,...] [-o <format>]
       mig investigator set <id> [-status active|disabled] [-permissions <set>,...]
                            [-apikey active|disabled]

Who may ask. An investigator may search, ask agents and read answers; PermAdmin,
PermLoader and PermManifest grant more (all: the three of them, none: only that).
-apikey active prints a new API key, once. Without -pubkey an investigator has only
an API key, and signs nothing; -pubkey - reads the key from standard input.

    mig investigator create -name \"Grace Field\" -pubkey grace.asc -permissions PermLoader
    mig investigator set 3 -status disabled";

const FLAGS: [Flag; 5] = [
    ("name", Kind::Text),
    ("pubkey", Kind::Text),
    ("permissions", Kind::Text),
    ("status", Kind::Text),
    ("apikey", Kind::Text),
];

pub(in crate::tasks) async fn run(line: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(order) = Order::read(line, &FLAGS, USAGE, formats, output)? else { return Ok(0) };
    match order.verb() {
        "list" => {
            let session = open(&order.options, output).await?;
            order.list(What::Investigator, &session, output).await
        }
        "show" | "pubkey" => show(&order, output).await,
        "create" => create(&order, output).await,
        "set" => set(&order, output).await,
        _ => Err(order.unknown()),
    }
}

fn formats(verb: &str) -> &'static [Format] {
    if verb == "create" { &Format::ALL } else { of_lists_and_things(verb) }
}

async fn show(order: &Order, output: &mut Output) -> Result<u8, Failure> {
    let id: InvestigatorId = order.id("an investigator")?;
    let api = open(&order.options, output).await?.api_with_any_key("cmd")?;
    let one = api.investigator(id).await?;
    if order.verb() == "pubkey" {
        if one.publickey.is_empty() {
            return Err(Failure::other(format!("investigator {id} has no public key")));
        }
        // As our own armor: what is stored may hold anything.
        let key = keyring::reencode(&armored_key(&one));
        output.line(key.map_err(|error| Failure::of(code::OTHER, &error))?.trim_end())?;
    } else {
        order.print(&one, || Ok(mig_terminal::investigator::details(&one)), output)?;
    }
    Ok(0)
}

async fn create(order: &Order, output: &mut Output) -> Result<u8, Failure> {
    order.at_most(0)?;
    grid::check::<Investigator>(&order.form)?;
    let name = order.needed("name")?;
    if name.chars().count() < 3 {
        return Err(Failure::usage("a name has three characters at least"));
    }
    let granted = match order.options.text("permissions") {
        Some(list) => granted(list)?,
        None => Permissions::DEFAULT,
    };
    let session = open(&order.options, output).await?;
    let key = match order.options.text("pubkey") {
        Some(answer) => {
            let now = session.clock.now();
            let key = if answer == files::STANDARD {
                publickey::from_input(now)?
            } else {
                publickey::read(&session.config, answer, now, |text| output.say(text)).await?
            };
            output.say(&publickey::describe(&key.info));
            if let Some(warning) = publickey::warning(&key.info) {
                output.say(&warning);
            }
            Some(key)
        }
        None => None,
    };
    let publickey = key.as_ref().map(|key| key.armored.as_str());
    let new = NewInvestigator { name, permissions: granted, publickey };
    let created = session.api_with_any_key("cmd")?.create_investigator(&new).await?;
    let (name, id) = (printable(name), created.id);
    let text = || Ok(format!("Investigator '{name}' successfully created with ID {id}"));
    order.print(&created, text, output)?;
    Ok(0)
}

/// `PermAdmin,PermLoader`, `all` or `none`.
fn granted(list: &str) -> Result<Permissions, Failure> {
    let mut granted = Permissions::DEFAULT;
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let set = match word {
            "all" => Permissions::ALL,
            "none" | "Default" => Permissions::DEFAULT,
            word => {
                let known = GRANTABLE.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
                let names = || GRANTABLE.map(|(name, _)| name).join(", ");
                let unknown = || format!("unknown permission {word:?}, must be of {}", names());
                known.map(|(_, set)| *set).ok_or_else(|| Failure::usage(unknown()))?
            }
        };
        granted = granted.with(set);
    }
    Ok(granted)
}

async fn set(order: &Order, output: &mut Output) -> Result<u8, Failure> {
    let id: InvestigatorId = order.id("an investigator")?;
    let mut changes = Vec::new();
    if let Some(status) = order.options.text("status") {
        let status = InvestigatorStatus::parse(status)
            .ok_or_else(|| Failure::usage("-status must be active or disabled"))?;
        changes.push(InvestigatorChange::Status(status));
    }
    if let Some(list) = order.options.text("permissions") {
        changes.push(InvestigatorChange::Permissions(granted(list)?));
    }
    match order.options.text("apikey") {
        Some("active") => changes.push(InvestigatorChange::ApiKey(true)),
        Some("disabled") => changes.push(InvestigatorChange::ApiKey(false)),
        Some(_) => return Err(Failure::usage("-apikey must be active or disabled")),
        None => {}
    }
    if changes.is_empty() {
        return Err(order.misused("nothing to set"));
    }
    let api = open(&order.options, output).await?.api_with_any_key("cmd")?;
    for change in changes {
        let answer = api.update_investigator(id, change).await?;
        told(change, &answer, output)?;
    }
    Ok(0)
}

fn told(
    change: InvestigatorChange,
    answer: &Investigator,
    output: &mut Output,
) -> Result<(), Failure> {
    match change {
        InvestigatorChange::Status(status) => {
            output.say(&format!("Investigator status set to {}", status.as_str()));
        }
        InvestigatorChange::Permissions(set) => {
            output.say(&format!("Investigator permissions set to {}", permissions::text(set)));
        }
        InvestigatorChange::ApiKey(true) => {
            // Shown this once; the platform keeps a hash.
            output.say("API key of the investigator, which is not shown again:");
            output.line(&printable(&answer.apikey))?;
        }
        InvestigatorChange::ApiKey(false) => {
            output.say("API key for investigator disabled");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_named_in_any_case_and_never_guessed() {
        let default = Permissions::DEFAULT;
        for (list, expected) in [
            ("", default),
            ("none", default),
            ("all", Permissions::ALL),
            ("PermLoader", default.with(Permissions::LOADER)),
            (
                "permadmin, permmanifest",
                default.with(Permissions::ADMIN).with(Permissions::MANIFEST),
            ),
        ] {
            assert_eq!(granted(list).unwrap(), expected, "{list}");
        }
        assert!(granted("admin").unwrap_err().message.contains("PermAdmin"));
    }
}

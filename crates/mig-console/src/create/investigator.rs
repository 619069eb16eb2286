//! `create investigator`.

use mig_client::NewInvestigator;
use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_terminal::publickey::{self, PublicKey, describe, warning};
use mig_types::Permissions;

use super::{ask_name, ask_yes};
use crate::completion::Scope;
use crate::console::Console;
use crate::screen::complain;
use mig_terminal::permissions;

pub(crate) async fn run(console: &mut Console) -> Result<(), Failure> {
    console.say("Entering investigator creation mode.\n");
    console.say("Please provide the full name for the new investigator.");
    let Some(name) = ask_name(console).await? else { return abort(console) };
    console.say(&format!("Name: \"{}\"\n", printable(&name)));
    let Some(permissions) = ask_permissions(console).await? else { return abort(console) };
    console.say(
        "\nPlease provide a public key: the path of an armored public key file, or a\n\
         fingerprint or address in your own key ring. A fingerprint that is not there is\n\
         looked up on the key server. Leave it empty for none: then the investigator can\n\
         only use an API key, and nothing can be signed.",
    );
    let Some(key) = ask_key(console).await? else { return abort(console) };
    if let Some(PublicKey { info, .. }) = &key {
        console.say(&describe(info));
        if let Some(warning) = warning(info) {
            console.say(&warning);
        }
    }
    console.say(&format!(
        "Investigator \"{}\" with permissions {}",
        printable(&name),
        permissions::text(permissions)
    ));
    if !console.confirm("create investigator?").await? {
        return abort(console);
    }
    let publickey = key.as_ref().map(|key| key.armored.as_str());
    let new = NewInvestigator { name: &name, permissions, publickey };
    let created = console.call(console.api.create_investigator(&new)).await?;
    console.say(&format!(
        "Investigator '{}' successfully created with ID {}",
        printable(&name),
        created.id
    ));
    console.saw(mig_client::search::Kind::Investigator, &created.id);
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "the end of a dialog, whatever it returns")]
fn abort(console: &Console) -> Result<(), Failure> {
    console.say("abort");
    Ok(())
}

/// An administrator manages everything; others are asked for one by one.
async fn ask_permissions(console: &mut Console) -> Result<Option<Permissions>, Failure> {
    console.say(
        "An investigator may search, ask agents and read answers. Answer yes to grant more.\n\
         If this is the first investigator, make it an administrator.",
    );
    let mut granted = Permissions::DEFAULT;
    for (question, word, set) in [
        ("manage users (admin)", "administrative", Permissions::ALL),
        ("manage loaders", "loader management", Permissions::LOADER),
        ("manage manifests", "manifest management", Permissions::MANIFEST),
    ] {
        let question = format!("Allow investigator to {question}?");
        let Some(yes) = ask_yes(console, &question).await? else { return Ok(None) };
        let not = if yes { "" } else { "not " };
        console.say(&format!("Investigator will {not}have {word} permissions"));
        if yes {
            granted = granted.with(set);
        }
        if granted.is_admin() {
            console.say("An administrator manages loaders and manifests, too");
            break;
        }
    }
    Ok(Some(granted))
}

/// Asks until there is a usable key, or none is wanted; `None` when the dialog
/// is left.
async fn ask_key(console: &mut Console) -> Result<Option<Option<PublicKey>>, Failure> {
    loop {
        let Some(answer) = console.ask("pubkey>", Scope::File).await? else { return Ok(None) };
        if answer.is_empty() {
            // The API cannot add one later.
            let question = "create it without a key, which cannot be added later?";
            match ask_yes(console, question).await? {
                Some(true) => return Ok(Some(None)),
                Some(false) => continue,
                None => return Ok(None),
            }
        }
        // Scripts of older consoles answer more questions before this one.
        if ["yes", "no"].contains(&answer.as_str()) && !std::path::Path::new(&answer).exists() {
            console.say("the path of the public key is asked for here");
            continue;
        }
        let config = &console.session.config;
        let say = |text: &str| console.say(text);
        match publickey::read(config, &answer, console.now(), say).await {
            Ok(key) => return Ok(Some(Some(key))),
            Err(failure) => {
                complain(&failure);
                // Nobody would answer again.
                if !console.editor.has_terminal() {
                    return Ok(None);
                }
            }
        }
    }
}

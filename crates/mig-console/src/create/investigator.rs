//! `create investigator`.

use std::io::Read as _;

use mig_client::{GpgSigner, NewInvestigator, SignerError, keyserver};
use mig_module::text::printable;
use mig_sign::keyring::{self, PublicKeyInfo};
use mig_terminal::failure::{Failure, chain};
use mig_types::{Fingerprint, Permissions, Timestamp};

use super::{ask_name, ask_yes};
use crate::completion::Scope;
use crate::console::Console;
use crate::screen::complain;
use mig_terminal::permissions;

/// Largest key file read, in bytes.
const MAX_KEY: u64 = 1024 * 1024;

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
    if let Some((_, info)) = &key {
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
    let publickey = key.as_ref().map(|(armored, _)| armored.as_str());
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

type Key = (String, PublicKeyInfo);

/// Asks until there is a usable key, or none is wanted; `None` when the dialog
/// is left.
async fn ask_key(console: &mut Console) -> Result<Option<Option<Key>>, Failure> {
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
        match read_key(console, &answer).await {
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

async fn read_key(console: &Console, answer: &str) -> Result<Key, Failure> {
    let is_file = std::path::Path::new(answer).is_file();
    let wanted = answer.parse::<Fingerprint>().ok().filter(|_| !is_file);
    let armored = if is_file || (wanted.is_none() && !answer.contains('@')) {
        console.say(&format!("retrieving public key from {}", printable(answer)));
        from_file(answer)?
    } else {
        console.say("retrieving public key from your GnuPG key ring");
        let user = wanted.as_ref().map_or(answer, Fingerprint::as_str);
        match (GpgSigner::export(&console.session.config, user).await, &wanted) {
            (Err(SignerError::NoPublicKey { .. }), Some(wanted)) => {
                from_server(console, wanted).await?
            }
            (exported, _) => exported?,
        }
    };
    let info = check(&armored, wanted.as_ref(), console.now())?;
    // Only what was understood leaves this machine.
    let armored = keyring::reencode(&armored).map_err(|error| Failure::other(chain(&error)))?;
    Ok((armored, info))
}

async fn from_server(console: &Console, key: &Fingerprint) -> Result<String, Failure> {
    let config = &console.session.config;
    let server = config.keyserver.as_deref().unwrap_or(keyserver::DEFAULT);
    console.say(&format!("it is not there; retrieving public key from {}", printable(server)));
    keyserver::fetch(config, key).await.map_err(|error| {
        Failure::other(format!("no public key {key} in the GnuPG key ring: {}", chain(&error)))
            .hint("give the path of an armored file, or set gpg.keyserver in .migrc")
    })
}

fn from_file(path: &str) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| Failure::other(format!("cannot read {path}: {error}"));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_KEY + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_KEY {
        return Err(Failure::other(format!("{path} is larger than {MAX_KEY} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Exactly one public key that can sign now, and the one that was asked for.
fn check(
    armored: &str,
    wanted: Option<&Fingerprint>,
    now: Timestamp,
) -> Result<PublicKeyInfo, Failure> {
    if armored.contains("PRIVATE KEY BLOCK") {
        return Err(Failure::other("that is a secret key: it must not leave your machine")
            .hint("export the public one: gpg --export -a <address>"));
    }
    let info = keyring::inspect(armored).map_err(|error| {
        Failure::other(chain(&error)).hint("export it with gpg --export -a <address>")
    })?;
    if wanted.is_some_and(|wanted| *wanted != info.fingerprint) {
        let message = format!("the key found is {}, not the one asked for", info.fingerprint);
        return Err(Failure::other(message));
    }
    if info.revoked {
        return Err(Failure::other(format!("key {} is revoked", info.fingerprint)));
    }
    if info.expires.is_some_and(|expires| expires <= now) {
        return Err(Failure::other(format!("key {} has expired", info.fingerprint)));
    }
    Ok(info)
}

/// `  RSA 4096  9F2C 03D1 …  Grace Field <grace@example.net>`.
fn describe(info: &PublicKeyInfo) -> String {
    let digits = info.fingerprint.as_str().as_bytes();
    let groups: Vec<String> =
        digits.chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    let (first, second) = groups.split_at(groups.len() / 2);
    format!(
        "  {}  {}  {}  {}",
        info.algorithm,
        first.join(" "),
        second.join(" "),
        printable(&info.user_id)
    )
}

fn warning(info: &PublicKeyInfo) -> Option<String> {
    (!info.go_loadable).then(|| {
        format!("  note: agents and servers written in Go cannot use {} keys", info.algorithm)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_usable_public_key_is_refused() {
        let secret = "-----BEGIN PGP PRIVATE KEY BLOCK-----";
        assert!(check(secret, None, Timestamp::ZERO).unwrap_err().message.contains("secret key"));
        assert!(check("", None, Timestamp::ZERO).is_err());
        assert!(check("-----BEGIN PGP PUBLIC KEY BLOCK-----", None, Timestamp::ZERO).is_err());
    }

    #[test]
    fn a_key_is_shown_as_gnupg_shows_it() {
        let info = PublicKeyInfo {
            fingerprint: "9F2C03D177AA4E5B8D106C2E51B7F3A904DD7E66".parse().unwrap(),
            user_id: "Grace Field <grace@example.net>".into(),
            algorithm: "RSA 4096".into(),
            go_loadable: true,
            expires: None,
            revoked: false,
        };
        let shown = "  RSA 4096  9F2C 03D1 77AA 4E5B 8D10  6C2E 51B7 F3A9 04DD 7E66  \
                     Grace Field <grace@example.net>";
        assert_eq!(describe(&info), shown);
        assert!(warning(&info).is_none());
    }
}

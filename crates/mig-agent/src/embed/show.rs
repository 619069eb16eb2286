//! What an agent carries, for people and without secrets.

use std::fmt::Write as _;
use std::path::Path;

use mig_sign::keyring::inspect;
use sha2::{Digest as _, Sha256};

use super::{Carried, EmbedError, binary};

/// Describes what the agent in `path` carries; `self` is this program.
///
/// # Errors
///
/// [`EmbedError`] when it cannot be read or is damaged.
pub fn show(path: &Path) -> Result<String, EmbedError> {
    let path = if path == Path::new("self") { super::own_path() } else { path.to_owned() };
    let carried = binary::read_block(&binary::load(&path)?, &path)?;
    let Some(carried) = carried else {
        return Ok("This agent carries no configuration.\n".to_owned());
    };
    Ok(describe(&carried))
}

fn describe(carried: &Carried) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "This agent carries {}", plain(&carried.name));
    match carried.to_block() {
        Ok(block) => drop(writeln!(text, "checksum sha256:{:x}", Sha256::digest(block))),
        Err(error) => drop(writeln!(text, "checksum unknown: {error}")),
    }
    match carried.settings() {
        Ok(settings) => text.push_str(&settings.describe()),
        Err(error) => drop(writeln!(text, "the configuration is not valid: {error}")),
    }
    for (what, pem) in [("CACERT", &carried.ca), ("AGENTCERT", &carried.cert)] {
        if let Some(pem) = pem {
            let _ = writeln!(text, "{what} sha256:{:x}", Sha256::digest(pem));
        }
    }
    let (trust, warnings) = carried.trust();
    match &carried.acl {
        None => text.push_str("no access list\n"),
        Some(_) => {
            for (name, entry) in trust.acl.iter() {
                let _ = writeln!(
                    text,
                    "permission '{}': minimum weight {}",
                    plain(name),
                    entry.minimumweight
                );
                for (name, investigator) in &entry.investigators {
                    let _ = writeln!(
                        text,
                        "    {} weight {} {}",
                        investigator.fingerprint,
                        investigator.weight,
                        plain(name)
                    );
                }
            }
        }
    }
    match &carried.keys {
        None => text.push_str("no public keys\n"),
        Some(keys) => {
            for key in keys {
                if let Ok(info) = inspect(&key.armored) {
                    let revoked = if info.revoked { ", revoked" } else { "" };
                    let _ = writeln!(
                        text,
                        "public key {} {} {}{revoked}",
                        info.fingerprint,
                        info.algorithm,
                        plain(&info.user_id)
                    );
                }
            }
        }
    }
    for warning in warnings {
        let _ = writeln!(text, "warning: {}", plain(&warning));
    }
    text
}

/// Names come from files: nothing in them moves the cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_control_characters_are_left_out() {
        let relay = "[agent]\nrelay = \"amqps://agent:hunter2@relay.example.net:5671/mig\"\n";
        let carried = Carried {
            key: Some("-----BEGIN PRIVATE KEY-----\nabc".into()),
            cert: Some("-----BEGIN CERTIFICATE-----\nxyz".into()),
            acl: Some(r#"{"a\u001b[2J":{"minimumweight":2,"investigators":{}}}"#.into()),
            ..Carried::new("a\x1b.cfg", relay)
        };
        let text = describe(&carried);
        for secret in ["hunter2", "PRIVATE", "abc", "xyz", "\x1b"] {
            assert!(!text.contains(secret), "{secret:?}: {text}");
        }
        assert!(text.contains("amqps://agent:***@relay.example.net:5671/mig"), "{text}");
        assert!(text.contains("minimum weight 2") && text.contains("no public keys"), "{text}");
    }
}

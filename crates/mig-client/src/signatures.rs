//! Who has signed an action, as far as the keys at hand can tell.

use std::path::Path;

use mig_sign::keyring::{self, Keyring};
use mig_sign::verify::{self, Signer as Signature, VerifyError};
use mig_types::{Action, Fingerprint, Timestamp};

use crate::api::ApiClient;
use crate::config::ClientConfig;
use crate::signer::GpgSigner;

/// Keys tried that share one key id, of which there are two at most by accident.
const MAX_SAME_ID: usize = 4;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Where public keys are looked for, in this order.
#[derive(Default)]
pub struct Keys<'a> {
    /// Armored keys that were given.
    pub given: Vec<String>,
    /// The user's own key ring.
    pub gnupg: Option<&'a ClientConfig>,
    /// What the platform says. Whoever owns it chooses.
    pub api: Option<&'a ApiClient>,
}

/// Where a key was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Given,
    GnuPg,
    Api,
}

/// One signature of an action.
#[derive(Debug)]
pub struct Verdict {
    /// Who it claims to be by, in hexadecimal digits; empty when it says
    /// nothing.
    pub issuer: String,
    /// Main user id of the key, when the key is known.
    pub user_id: Option<String>,
    pub source: Option<Source>,
    pub result: Result<Signature, VerifyError>,
}

/// Largest file of keys read, in bytes.
pub const MAX_KEYS: u64 = 16 * 1024 * 1024;

/// Armored keys of a file, which may hold several one after the other.
///
/// # Errors
///
/// When it cannot be read, or is larger than 16 MB.
pub fn read_keys(path: &Path) -> std::io::Result<Vec<String>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_KEYS + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_KEYS {
        return Err(std::io::Error::other(format!("it is larger than {MAX_KEYS} bytes")));
    }
    Ok(keys_in(&bytes))
}

/// [`read_keys`] of what was read already.
pub fn keys_in(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.split(BEGIN).skip(1).map(|rest| format!("{BEGIN}{rest}")).collect()
}

/// Judges each signature of an action by itself.
pub async fn judge(action: &Action, keys: &Keys<'_>, now: Timestamp) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = Vec::new();
    for one_line in &action.pgpsignatures {
        let issuer = verify::issuer(one_line).unwrap_or_default();
        let single = Action { pgpsignatures: vec![one_line.clone()], ..action.clone() };
        let mut verdict = Verdict {
            issuer: issuer.clone(),
            user_id: None,
            source: None,
            result: check(&Keyring::default(), &single, now),
        };
        for source in [Source::Given, Source::GnuPg, Source::Api] {
            if !matches!(verdict.result, Err(VerifyError::UnknownKey { .. })) {
                break;
            }
            for armored in keys.find(source, &issuer).await {
                let mut keyring = Keyring::default();
                let Ok(fingerprint) = keyring.add_armored(&armored) else { continue };
                let result = check(&keyring, &single, now);
                if matches!(result, Err(VerifyError::UnknownKey { .. })) {
                    continue;
                }
                verdict.user_id = keyring::inspect(&armored).ok().map(|info| info.user_id);
                verdict.source = Some(source);
                verdict.result = unless_repeated(result, &fingerprint, &verdicts);
                break;
            }
        }
        verdicts.push(verdict);
    }
    verdicts
}

/// Agents count a key once and refuse an action it has signed twice.
fn unless_repeated(
    result: Result<Signature, VerifyError>,
    fingerprint: &Fingerprint,
    others: &[Verdict],
) -> Result<Signature, VerifyError> {
    let signer = |other: &Verdict| other.result.as_ref().ok().map(|one| one.fingerprint.clone());
    if result.is_ok() && others.iter().any(|other| signer(other).as_ref() == Some(fingerprint)) {
        return Err(VerifyError::Duplicate { fingerprint: fingerprint.clone() });
    }
    result
}

fn check(keyring: &Keyring, single: &Action, now: Timestamp) -> Result<Signature, VerifyError> {
    let mut signers = verify::verify_action(keyring, single, now)?;
    signers.pop().ok_or(VerifyError::Unsigned)
}

impl Keys<'_> {
    /// Keys from one place that may have made a signature by `issuer`. What
    /// cannot be asked has no key.
    async fn find(&self, source: Source, issuer: &str) -> Vec<String> {
        match source {
            Source::Given => self.given.clone(),
            Source::GnuPg => match self.gnupg {
                Some(config) if !issuer.is_empty() => {
                    let user = format!("0x{issuer}");
                    GpgSigner::export_whole(config, &user).await.into_iter().collect()
                }
                _ => Vec::new(),
            },
            Source::Api => match self.api {
                Some(api) if !issuer.is_empty() => from_api(api, issuer).await,
                _ => Vec::new(),
            },
        }
    }
}

/// The platform gives keys by fingerprint; for a key id, which is the end of
/// one, its investigators are looked through.
async fn from_api(api: &ApiClient, issuer: &str) -> Vec<String> {
    let fingerprints: Vec<Fingerprint> = if let Ok(fingerprint) = issuer.parse() {
        vec![fingerprint]
    } else {
        let all = api.investigators().await.unwrap_or_default();
        let ending = all.iter().filter(|one| one.pgpfingerprint.ends_with(issuer));
        ending.filter_map(|one| one.pgpfingerprint.parse().ok()).take(MAX_SAME_ID).collect()
    };
    let mut keys = Vec::new();
    for fingerprint in &fingerprints {
        keys.extend(api.public_key(fingerprint).await);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_sign::canonical;
    use mig_sign::sign::SecretKey;
    use mig_types::Operation;

    fn now() -> Timestamp {
        Timestamp::parse("2026-06-01T12:00:00Z").unwrap()
    }

    fn key(name: &str) -> SecretKey {
        let made = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        SecretKey::generate_ed25519(&format!("{name} <{name}@example.net>"), made).unwrap()
    }

    fn signed(by: &[&SecretKey]) -> Action {
        let operation = Operation { module: "file".into(), ..Operation::default() };
        let mut action = Action {
            name: "n".into(),
            target: "status='online'".into(),
            operations: Some(vec![operation]),
            ..Action::default()
        };
        let data = canonical::action_string(&action).unwrap();
        for key in by {
            action.pgpsignatures.push(key.sign(&data, now()).unwrap());
        }
        action
    }

    #[tokio::test]
    async fn each_signature_is_judged_by_itself() {
        let (ada, bob, eve) = (key("ada"), key("bob"), key("eve"));
        let mut action = signed(&[&ada, &eve, &bob, &ada]);
        action.pgpsignatures.push("AAAA=AAAA".into());
        let given = vec![ada.public_armored().unwrap(), bob.public_armored().unwrap()];
        let keys = Keys { given, ..Keys::default() };
        let verdicts = judge(&action, &keys, now()).await;
        let told: Vec<String> = verdicts
            .iter()
            .map(|verdict| match &verdict.result {
                Ok(signer) => format!("good {}", signer.fingerprint == *bob.fingerprint()),
                Err(error) => error.to_string().chars().take(26).collect(),
            })
            .collect();
        assert_eq!(told[0], "good false");
        assert!(told[1].starts_with("signature made by unknown"), "{told:?}");
        assert_eq!(told[2], "good true");
        assert!(told[3].starts_with("action is signed more than"), "{told:?}");
        assert!(verdicts[4].result.is_err() && verdicts[4].issuer.is_empty());
        assert_eq!(verdicts[0].user_id.as_deref(), Some("ada <ada@example.net>"));
        assert!(eve.fingerprint().as_str().ends_with(&verdicts[1].issuer));
        assert_eq!(verdicts[1].issuer.len(), 16);
        action.target = "status='idle'".into();
        let verdicts = judge(&action, &keys, now()).await;
        assert!(matches!(verdicts[0].result, Err(VerifyError::Mismatch { .. })));
    }

    #[test]
    fn a_file_may_hold_several_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.asc");
        let text = [key("ada"), key("bob")].map(|key| key.public_armored().unwrap()).concat();
        std::fs::write(&path, format!("# keys\n{text}")).unwrap();
        let (keyring, faults) = Keyring::from_armored(read_keys(&path).unwrap());
        assert_eq!((keyring.len(), faults.len()), (2, 0));
        assert!(read_keys(folder.path()).is_err());
    }
}

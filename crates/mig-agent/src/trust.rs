//! The keys and the access list this agent carries.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mig_sign::keyring::Keyring;
use mig_types::{Acl, AclEntry, wire};
use serde_json::Value;

use crate::embed::Carried;

/// The access list, in the configuration directory.
pub const ACL_FILE: &str = "acl.cfg";
/// The folder of public keys, in the configuration directory.
pub const KEYS_DIR: &str = "agentkeys";

/// A public key is a few kilobytes.
const MAX_KEY_BYTES: u64 = 1 << 20;

/// What the agent trusts.
#[derive(Default)]
pub struct Trust {
    pub keyring: Keyring,
    pub acl: Acl,
}

/// Why keys or access list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("access list {path} is not valid")]
    Acl { path: PathBuf, source: wire::WireError },
}

impl Trust {
    /// Reads `acl.cfg` and `agentkeys/` below `confdir`.
    ///
    /// Each takes the place of what the program carries. Where there is neither,
    /// there is no key, and nobody may run anything. A key that cannot be used
    /// is left out and reported.
    ///
    /// # Errors
    ///
    /// [`TrustError`] when something is there that cannot be read.
    pub fn load(
        confdir: &Path,
        carried: Option<&Carried>,
    ) -> Result<(Self, Vec<String>), TrustError> {
        let (builtin, mut warnings) =
            carried.map_or_else(|| (Self::nobody(), Vec::new()), Carried::trust);
        let acl = load_acl(&confdir.join(ACL_FILE), &mut warnings)?;
        let keyring = load_keys(&confdir.join(KEYS_DIR), &mut warnings)?;
        let trust =
            Self { keyring: keyring.unwrap_or(builtin.keyring), acl: acl.unwrap_or(builtin.acl) };
        Ok((trust, warnings))
    }

    /// No key, and an access list that lets nobody in.
    pub(crate) fn nobody() -> Self {
        Self { keyring: Keyring::default(), acl: builtin_acl() }
    }

    /// Reads an access list: one document, or a list of them.
    pub(crate) fn parse_acl(text: &[u8], warnings: &mut Vec<String>) -> Result<Acl, TrustError> {
        parse_acl(text, Path::new(ACL_FILE), warnings)
    }
}

/// Nothing may run: the entry for all modules has no investigator.
fn builtin_acl() -> Acl {
    let mut acl = Acl::default();
    let nobody = AclEntry { minimumweight: 1, ..AclEntry::default() };
    acl.insert(mig_types::acl::DEFAULT_ENTRY, nobody);
    acl
}

fn load_acl(path: &Path, warnings: &mut Vec<String>) -> Result<Option<Acl>, TrustError> {
    match fs::read(path) {
        Ok(text) => parse_acl(&text, path, warnings).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TrustError::Read { path: path.to_owned(), source }),
    }
}

fn parse_acl(text: &[u8], path: &Path, warnings: &mut Vec<String>) -> Result<Acl, TrustError> {
    let invalid = |source| TrustError::Acl { path: path.to_owned(), source };
    let documents: Vec<Acl> = match wire::value_from_slice(text).map_err(invalid)? {
        Value::Array(list) => {
            list.into_iter().map(wire::from_value).collect::<Result<_, _>>().map_err(invalid)?
        }
        document => vec![wire::from_value(document).map_err(invalid)?],
    };
    let (acl, repeated) = Acl::merge(documents);
    for name in repeated {
        warnings.push(format!("access list: permission '{name}' occurs twice, the first counts"));
    }
    for (name, entry) in acl.iter() {
        if entry.minimumweight < 1 {
            warnings.push(format!("access list: permission '{name}' can never be granted"));
        }
        let mut seen = std::collections::BTreeSet::new();
        for investigator in entry.investigators.values() {
            if !seen.insert(&investigator.fingerprint) {
                let key = &investigator.fingerprint;
                warnings.push(format!("access list: {key} is listed twice in '{name}'"));
            }
        }
    }
    Ok(acl)
}

fn load_keys(folder: &Path, warnings: &mut Vec<String>) -> Result<Option<Keyring>, TrustError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| TrustError::Read { path, source }
    };
    let mut keyring = Keyring::default();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(read(folder)(source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(read(folder))?.path());
    }
    paths.sort();
    for path in paths {
        let text = match fs::metadata(&path) {
            Ok(data) if data.is_file() && data.len() <= MAX_KEY_BYTES => fs::read_to_string(&path),
            Ok(_) => Err(std::io::Error::other("not a key file")),
            Err(error) => Err(error),
        };
        let outcome = match text {
            Ok(text) => keyring.add_armored(&text).map(drop).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = outcome {
            warnings.push(format!("key {} is left out: {reason}", path.display()));
        }
    }
    Ok(Some(keyring))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_files_nobody_may_run_anything() {
        let dir = tempfile::tempdir().unwrap();
        let (trust, warnings) = Trust::load(dir.path(), None).unwrap();
        assert!(trust.keyring.is_empty() && warnings.is_empty());
        let entry = trust.acl.entry("file").unwrap();
        assert_eq!(entry.minimumweight, 1);
        assert!(entry.investigators.is_empty());
    }

    #[test]
    fn files_take_the_place_of_what_is_carried() {
        let carried = Carried {
            acl: Some(r#"{"ping":{"minimumweight":7,"investigators":{}}}"#.into()),
            ..Carried::new("x", "")
        };
        let dir = tempfile::tempdir().unwrap();
        let load = || Trust::load(dir.path(), Some(&carried)).unwrap().0;
        assert_eq!(load().acl.entry("ping").unwrap().minimumweight, 7);
        assert!(load().acl.entry("file").is_none());
        fs::write(dir.path().join(ACL_FILE), r#"{"file":{"minimumweight":1,"investigators":{}}}"#)
            .unwrap();
        assert!(load().acl.entry("ping").is_none());
        assert!(load().acl.entry("file").is_some());
    }

    #[test]
    fn a_broken_access_list_is_fatal() {
        for text in ["", "{", "[1]", "{\"default\":{\"minimumweight\":\"1\"}}"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(ACL_FILE), text).unwrap();
            assert!(Trust::load(dir.path(), None).is_err(), "{text:?}");
        }
    }

    #[test]
    fn reads_both_forms_of_an_access_list() {
        let key = "2466BA175C45F967CD20A06B09C0241F854718C7";
        let one = |name: &str, weight: u32| {
            format!(
                r#"{{"{name}":{{"minimumweight":{weight},"investigators":{{"Bob":{{"fingerprint":"{key}","weight":1}}}}}}}}"#
            )
        };
        let dir = tempfile::tempdir().unwrap();
        let list = format!("[{},{},{}]", one("default", 2), one("file", 1), one("file", 0));
        fs::write(dir.path().join(ACL_FILE), list).unwrap();
        let (trust, warnings) = Trust::load(dir.path(), None).unwrap();
        assert_eq!(trust.acl.entry("file").unwrap().minimumweight, 1);
        assert_eq!(trust.acl.entry("netstat").unwrap().minimumweight, 2);
        assert_eq!(warnings, ["access list: permission 'file' occurs twice, the first counts"]);
    }

    #[test]
    fn a_bad_key_is_left_out_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join(KEYS_DIR);
        fs::create_dir_all(keys.join("folder")).unwrap();
        fs::write(keys.join("bad.asc"), "not a key").unwrap();
        let now = mig_types::Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let good =
            mig_sign::sign::SecretKey::generate_ed25519("Bob <bob@example.net>", now).unwrap();
        fs::write(keys.join("good.asc"), good.public_armored().unwrap()).unwrap();
        let (trust, warnings) = Trust::load(dir.path(), None).unwrap();
        assert_eq!(trust.keyring.len(), 1);
        assert!(trust.keyring.contains(good.fingerprint()));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings.iter().any(|text| text.contains("bad.asc")));
    }
}

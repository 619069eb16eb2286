//! From a configuration file to what an agent shall carry.

use std::fs;
use std::path::Path;

use super::{Carried, EmbedError, Key};
use crate::config::AgentConfig;

/// Largest file taken in.
const MAX_FILE: u64 = 1 << 20;
/// Most keys taken in.
const MAX_KEYS: usize = 1000;

/// Reads a configuration file for agents, and every file it names: keys, access
/// list, certificates. Their paths are relative to the configuration file.
///
/// The second value is what is odd, but not wrong.
///
/// # Errors
///
/// [`EmbedError::Invalid`] with everything that is wrong.
pub fn gather(file: &Path) -> Result<(Carried, Vec<String>), EmbedError> {
    let mut faults = Vec::new();
    let shown = file.display().to_string();
    let text = match read(file) {
        Ok(text) => text,
        Err(reason) => return Err(EmbedError::Invalid(vec![format!("{shown}: {reason}")])),
    };
    let config = match AgentConfig::parse(&text, &shown) {
        Ok(config) => config,
        Err(error) => return Err(EmbedError::Invalid(vec![error.to_string()])),
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut carried = Carried::new(name, text);
    let mut take = |key: &str, path: Option<&Path>, must: &str| {
        let path = file.parent().unwrap_or(Path::new("")).join(path?);
        match read(&path) {
            Ok(text) if text.contains(must) => return Some(text),
            Ok(_) => faults.push(format!("{key}: {} is not PEM: no {must}", path.display())),
            Err(reason) => faults.push(format!("{key}: {}: {reason}", path.display())),
        }
        None
    };
    carried.ca = take("certs.ca", config.ca.path(), "-----BEGIN CERTIFICATE-----");
    carried.cert = take("certs.cert", config.cert.path(), "-----BEGIN CERTIFICATE-----");
    carried.key = take("certs.key", config.key.path(), "PRIVATE KEY-----");
    carried.acl = take("embed.acl", config.embed_acl.as_deref(), "");
    if let Some(folder) = &config.embed_keys {
        let folder = file.parent().unwrap_or(Path::new("")).join(folder);
        match keys(&folder, &mut faults) {
            Ok(keys) => carried.keys = Some(keys),
            Err(reason) => faults.push(format!("embed.keys: {}: {reason}", folder.display())),
        }
    }
    let (trust, wrong) = carried.trust();
    // What a running agent leaves out, and says so, is a mistake here.
    let (mut odd, wrong): (Vec<_>, Vec<_>) = wrong
        .into_iter()
        .partition(|text| text.starts_with("access list: ") && text.contains("permission"));
    faults.extend(wrong);
    if !faults.is_empty() {
        return Err(EmbedError::Invalid(faults));
    }
    if carried.keys.is_some() && carried.acl.is_some() {
        for (entry, permission) in trust.acl.iter() {
            for (name, investigator) in &permission.investigators {
                if !trust.keyring.contains(&investigator.fingerprint) {
                    odd.push(format!("permission '{entry}': the key of {name} is not embedded"));
                }
            }
        }
    }
    if let Err(error) = carried.settings() {
        return Err(EmbedError::Invalid(vec![error.to_string()]));
    }
    carried.to_block()?;
    Ok((carried, odd))
}

fn keys(folder: &Path, faults: &mut Vec<String>) -> Result<Vec<Key>, String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| error.to_string())?.path());
    }
    if paths.len() > MAX_KEYS {
        return Err(format!("more than {MAX_KEYS} files"));
    }
    paths.sort();
    let mut keys = Vec::new();
    for path in paths {
        match read(&path) {
            Ok(armored) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                keys.push(Key { name, armored });
            }
            Err(reason) => faults.push(format!("embed.keys: {}: {reason}", path.display())),
        }
    }
    Ok(keys)
}

fn read(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?;
    if !size.is_file() || size.len() > MAX_FILE {
        return Err(format!("is not a file of at most {MAX_FILE} bytes"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.cfg");
        let errors = |text: &str| {
            fs::write(&file, text).unwrap();
            gather(&file).unwrap_err().to_string()
        };
        fs::create_dir(dir.path().join("keys")).unwrap();
        fs::write(dir.path().join("keys/bad.asc"), "no key").unwrap();
        fs::write(dir.path().join("acl"), "{").unwrap();
        let text = errors(
            "[certs]\nca = ca.crt\ncert = acl\nkey = acl\n[embed]\nacl = acl\nkeys = keys\n",
        );
        for part in ["certs.ca: ", "certs.cert: ", "certs.key: ", "access list: ", "bad.asc"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(errors("[agent]\nrelais = x\n").contains("a.cfg:2"));
        assert!(errors("[agent]\nheartbeatfreq = \"1ms\"\n").contains("heartbeatfreq"));
        assert!(gather(&dir.path().join("none.cfg")).is_err());
    }

    #[test]
    fn files_are_taken_from_beside_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.cfg");
        fs::create_dir(dir.path().join("keys")).unwrap();
        let now = mig_types::Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let key = mig_sign::sign::SecretKey::generate_ed25519("Bob <b@example.net>", now).unwrap();
        fs::write(dir.path().join("keys/bob.asc"), key.public_armored().unwrap()).unwrap();
        let other = "2466BA175C45F967CD20A06B09C0241F854718C7";
        let acl = format!(
            r#"{{"default":{{"minimumweight":1,"investigators":{{"Eve":{{"fingerprint":"{other}","weight":1}}}}}}}}"#
        );
        fs::write(dir.path().join("acl"), acl).unwrap();
        fs::write(&file, "[embed]\nacl = acl\nkeys = keys\n").unwrap();
        let (carried, odd) = gather(&file).unwrap();
        assert_eq!(carried.keys.as_ref().unwrap().len(), 1);
        assert!(carried.trust().0.keyring.contains(key.fingerprint()));
        assert_eq!(odd, ["permission 'default': the key of Eve is not embedded"]);
    }
}

//! `.migrc` and the environment.
//!
//! The file is shared with the Go clients, which refuse unknown keys, so it
//! holds what they know and nothing more; the rest comes from the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mig_runtime::Secret;
use mig_runtime::config::{self, ConfigError};
use mig_types::Fingerprint;
use serde::Deserialize;
use url::Url;

use crate::target::Macros;

/// Looks up environment variables; a parameter so that tests need no real
/// environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process; without `HOME`, the home directory of its
/// account.
pub fn process_environment(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() && name == "HOME" {
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        return home.and_then(|home| home.into_os_string().into_string().ok());
    }
    value
}

/// What a client needs to know, from file and environment.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Base of all requests, with a final slash.
    pub url: Url,
    /// Accept any server certificate.
    pub skipverifycert: bool,
    /// Trust only the certificates of this PEM file. From `MIG_CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// Home directory of `gpg`, if the file names one.
    pub gpg_home: Option<PathBuf>,
    /// Whom to sign as: a fingerprint in 40 upper-case digits, or any user id
    /// `gpg` understands.
    pub keyid: Option<String>,
    /// Base URL of an HKP key server.
    pub keyserver: Option<String>,
    /// Identifies the caller instead of tokens. Signing still needs a key.
    /// `MIG_API_KEY` comes before the file.
    pub apikey: Option<Secret<String>>,
    /// Named targets.
    pub macros: Macros,
    /// The program to sign with. From `MIG_GPG`.
    pub gpg_program: String,
    /// Passphrase for automation. From `MIGPGPPASSPHRASE`, or the first line of
    /// the file that `MIGPGPPASSPHRASE_FILE` names.
    pub passphrase: Option<Secret<String>>,
    /// Armored secret key to sign with in process, without `gpg`. From
    /// `MIG_SIGNING_KEY`.
    pub signing_key: Option<PathBuf>,
    /// How long a connection may take to be made; `None` is the usual time. Set
    /// by whoever has an option for it.
    pub connect_timeout: Option<Duration>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    api: Api,
    gpg: Gpg,
    targets: Targets,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Api {
    url: String,
    skipverifycert: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Gpg {
    home: String,
    keyid: String,
    keyserver: String,
    useapikeyauth: Secret<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Targets {
    r#macro: Vec<String>,
}

impl ClientConfig {
    /// Where the file is when no flag says otherwise: `MIG_CONFIG`, else
    /// `~/.migrc-<MIG_CONTEXT>`, else `~/.migrc`. `None` without a home.
    pub fn default_path(environment: Lookup<'_>) -> Option<PathBuf> {
        let set = |name| environment(name).filter(|value| !value.is_empty());
        if let Some(path) = set("MIG_CONFIG") {
            return Some(path.into());
        }
        let name =
            set("MIG_CONTEXT").map_or(".migrc".into(), |context| format!(".migrc-{context}"));
        Some(PathBuf::from(set("HOME")?).join(name))
    }

    /// Loads the file at `path`. Unknown keys and suspicious values come back
    /// as warnings to show.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the file cannot be read or a value is unusable.
    pub fn load(path: &Path, environment: Lookup<'_>) -> Result<(Self, Vec<String>), ConfigError> {
        let (file, warnings) = config::load_lenient(path)?;
        Ok((Self::new(file, environment)?, warnings))
    }

    /// [`ClientConfig::load`] on text; `name` is the file's name in messages.
    ///
    /// # Errors
    ///
    /// As [`ClientConfig::load`].
    ///
    /// ```
    /// # use mig_client::ClientConfig;
    /// let text = "[api]\n url = http://mig.example.net/api/v1\n[gpg]\n keyid = 0xe60892bb9bd89a69f759a1a0a3d652173b763e8f";
    /// let (config, warnings) = ClientConfig::parse(text, ".migrc", &|_| None).unwrap();
    /// assert_eq!(config.url.as_str(), "http://mig.example.net/api/v1/");
    /// assert_eq!(config.keyid.as_deref(), Some("E60892BB9BD89A69F759A1A0A3D652173B763E8F"));
    /// assert!(warnings.is_empty());
    /// ```
    pub fn parse(
        text: &str,
        name: &str,
        environment: Lookup<'_>,
    ) -> Result<(Self, Vec<String>), ConfigError> {
        let (file, warnings) = config::parse_lenient(text, name)?;
        let config = Self::new(file, environment);
        Ok((config.map_err(|error| config::locate(error, text, name))?, warnings))
    }

    fn new(file: File, environment: Lookup<'_>) -> Result<Self, ConfigError> {
        let set = |name| environment(name).filter(|value| !value.is_empty());
        let given = |value: String| Some(value).filter(|value| !value.trim().is_empty());
        let home = set("HOME").map(PathBuf::from);
        let expand = |path: String| expand(&path, environment);
        Ok(Self {
            url: base_url(&file.api.url)?,
            skipverifycert: file.api.skipverifycert,
            ca_file: set("MIG_CA_FILE").map(expand),
            gpg_home: given(file.gpg.home).map(expand),
            keyid: given(file.gpg.keyid).map(|keyid| normalise_key(&keyid)),
            keyserver: given(file.gpg.keyserver),
            apikey: set("MIG_API_KEY")
                .map(Secret::new)
                .or_else(|| Some(file.gpg.useapikeyauth).filter(|key| !key.expose().is_empty())),
            macros: Macros::parse(&file.targets.r#macro)?,
            gpg_program: set("MIG_GPG").unwrap_or_else(|| "gpg".into()),
            passphrase: match set("MIGPGPPASSPHRASE") {
                Some(passphrase) => Some(Secret::new(passphrase)),
                None => set("MIGPGPPASSPHRASE_FILE").map(|path| first_line(&path)).transpose()?,
            },
            signing_key: set("MIG_SIGNING_KEY").map(expand),
            connect_timeout: None,
            home,
        })
    }
}

/// A base URL with a final slash: paths are appended to it as they are.
fn base_url(text: &str) -> Result<Url, ConfigError> {
    let invalid = |reason: String| ConfigError::invalid("api.url", reason);
    if text.len() < 2 {
        return Err(invalid("is missing or too short".into()));
    }
    let slash = if text.ends_with('/') { "" } else { "/" };
    let url = Url::parse(&format!("{text}{slash}"))
        .map_err(|error| invalid(format!("{text:?} is not a URL: {error}")))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(invalid(format!("{text:?} does not begin with http:// or https://")));
    }
    Ok(url)
}

/// A passphrase from a file.
fn first_line(path: &str) -> Result<Secret<String>, ConfigError> {
    let text = std::fs::read_to_string(path).map(Secret::new).map_err(|error| {
        ConfigError::invalid("MIGPGPPASSPHRASE_FILE", format!("cannot read {path}: {error}"))
    })?;
    Ok(Secret::new(text.expose().lines().next().unwrap_or_default().to_owned()))
}

/// Fingerprints as people paste them become the form everybody compares.
fn normalise_key(keyid: &str) -> String {
    let keyid = keyid.trim();
    keyid.parse::<Fingerprint>().map_or_else(|_| keyid.to_owned(), |key| key.to_string())
}

/// Replaces a leading `~` and `$NAME` at the start of a path component.
fn expand(path: &str, environment: Lookup<'_>) -> PathBuf {
    let component = |(index, part): (usize, &str)| {
        let variable = match part.strip_prefix('$') {
            Some(name) => Some(name),
            None if index == 0 && part == "~" => Some("HOME"),
            None => None,
        };
        variable.and_then(environment).unwrap_or_else(|| part.to_owned())
    };
    path.split('/').enumerate().map(component).collect::<Vec<_>>().join("/").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        let value = match name {
            "HOME" => "/home/myuser",
            "MIGPGPPASSPHRASE" => "hunter2",
            "MIG_SIGNING_KEY" => "~/key.asc",
            "KEYS" => "/keys",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn parse(text: &str) -> Result<ClientConfig, ConfigError> {
        ClientConfig::parse(text, ".migrc", &environment).map(|(config, _)| config)
    }

    #[test]
    fn refuses_what_cannot_work_and_says_where() {
        for (text, reason) in [
            ("", "api.url: is missing"),
            ("[api]\nurl =", ".migrc:2:"),
            ("[api]\nurl = x", "too short"),
            ("[api]\nurl = ftp://h/", "http://"),
            ("[api]\nurl = not a url", "is not a URL"),
            ("[api]\nurl = http://h/\n[targets]\nmacro = foo", "name:target"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn reads_the_guides_sample() {
        let config = parse(
            "[api]\n    url = \"https://api.mig.example.net/api/v1/\"\n[gpg]\n    \
             home = \"/home/myuser/.gnupg/\"\n    \
             keyid = \"E60892BB9BD89A69F759A1A0A3D652173B763E8F\"\n[targets]\n    \
             macro = allonline:status='online'\n    \
             macro = idleandonline:status='online' OR status='idle'\n",
        )
        .unwrap();
        assert_eq!(config.url.as_str(), "https://api.mig.example.net/api/v1/");
        assert_eq!(config.gpg_home, Some("/home/myuser/.gnupg/".into()));
        assert_eq!(config.keyid.as_deref(), Some("E60892BB9BD89A69F759A1A0A3D652173B763E8F"));
        assert_eq!(config.macros.get("allonline"), Some("status='online'"));
        assert_eq!(config.macros.get("idleandonline"), Some("status='online' OR status='idle'"));
        assert!(!config.skipverifycert && config.apikey.is_none());
    }

    #[test]
    fn reads_what_the_go_clients_read() {
        let config = parse("[API]\nSkipVerifyCert\n[api]\nURL = http://h/api/v1").unwrap();
        assert!(config.skipverifycert);
        assert_eq!(config.url.as_str(), "http://h/api/v1/");
        let head = "[api]\nurl = http://h/\n[targets]\n";
        let config = parse(&format!("{head}macro = a:x\nmacro\nmacro = b:y ; note")).unwrap();
        assert_eq!(config.macros.iter().collect::<Vec<_>>(), [("b", "y")]);
    }

    #[test]
    fn unknown_keys_are_warnings() {
        let text = "[api]\nurl = http://h/\nproxy = x\n[other]\ny = 1";
        let (_, warnings) = ClientConfig::parse(text, ".migrc", &environment).unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings.iter().any(|text| text.starts_with(".migrc:3:")), "{warnings:?}");
    }

    #[test]
    fn paths_and_keys_are_normalised() {
        let text = "[api]\nurl = http://h/\n[gpg]\nhome = ~/.gnupg-mig\nkeyid = \
                    \"0x2466 ba17 5c45 f967 cd20  a06b 09c0 241f 8547 18c7\"\nuseapikeyauth = abc";
        let config = parse(text).unwrap();
        assert_eq!(config.gpg_home, Some("/home/myuser/.gnupg-mig".into()));
        assert_eq!(config.keyid.as_deref(), Some("2466BA175C45F967CD20A06B09C0241F854718C7"));
        assert_eq!(config.signing_key, Some("/home/myuser/key.asc".into()));
        assert_eq!(config.apikey.as_ref().map(|key| key.expose().as_str()), Some("abc"));
        assert!(!format!("{config:?}").contains("abc"));
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(expand("$KEYS/a~b/$NONE", &environment), PathBuf::from("/keys/a~b/$NONE"));
        let by_mail = parse("[api]\nurl = http://h/\n[gpg]\nkeyid = bob@example.net").unwrap();
        assert_eq!(by_mail.keyid.as_deref(), Some("bob@example.net"));
    }

    #[test]
    fn secrets_come_from_the_environment_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase").display().to_string();
        let named = |name: &str| match name {
            "MIG_API_KEY" => Some("key of the environment".to_owned()),
            "MIGPGPPASSPHRASE_FILE" => Some(path.clone()),
            _ => None,
        };
        let text = "[api]\nurl = http://h/\n[gpg]\nuseapikeyauth = abc";
        let error = ClientConfig::parse(text, ".migrc", &named).unwrap_err().to_string();
        assert!(error.contains("MIGPGPPASSPHRASE_FILE"), "{error}");
        std::fs::write(&path, "hunter2\nnot this\n").unwrap();
        let (config, _) = ClientConfig::parse(text, ".migrc", &named).unwrap();
        let exposed = |secret: &Option<Secret<String>>| secret.as_ref().map(|s| s.expose().clone());
        assert_eq!(exposed(&config.apikey).as_deref(), Some("key of the environment"));
        assert_eq!(exposed(&config.passphrase).as_deref(), Some("hunter2"));
    }

    #[test]
    fn the_environment_chooses_the_file() {
        let path = |pairs: &'static [(&str, &str)]| {
            ClientConfig::default_path(&move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(path(&[]), None);
        assert_eq!(path(&[("HOME", "/h")]), Some("/h/.migrc".into()));
        assert_eq!(path(&[("HOME", "/h"), ("MIG_CONTEXT", "lab")]), Some("/h/.migrc-lab".into()));
        assert_eq!(path(&[("HOME", "/h"), ("MIG_CONFIG", "/x")]), Some("/x".into()));
    }
}

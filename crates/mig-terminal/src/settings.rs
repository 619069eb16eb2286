//! `config.toml`: what an investigator wants of every run, beside `.migrc`, which is
//! shared with the original's clients and has no room for it.
//!
//! A key has the name of a variable of the environment without `MIG_`, in lower case; an
//! option comes before the variable, the variable before the file, the file before the
//! default.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mig_client::config::process_environment;
use mig_types::duration;
use toml::de::{DeTable, DeValue};
use url::Url;

use crate::failure::Failure;
use crate::format::Format;
use crate::output::{Color, Progress};

/// Largest file read, in bytes: more is a mistake.
const MAX_FILE: u64 = 64 * 1024;

/// Most repetitions that make sense.
pub const MOST_RETRIES: u32 = 100;

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// A leading `~` is the home directory.
    Path,
    Url,
    Format,
    Color,
    Progress,
    Number {
        most: u64,
    },
    Period,
}

/// A key, and the variable that comes before it.
struct Key {
    name: &'static str,
    variable: &'static str,
    kind: Kind,
}

const fn key(name: &'static str, variable: &'static str, kind: Kind) -> Key {
    Key { name, variable, kind }
}

/// All there are, in the order in which they are listed.
const KEYS: [Key; 11] = [
    key("ca_file", "MIG_CA_FILE", Kind::Path),
    // Its variables are NO_COLOR, CLICOLOR and CLICOLOR_FORCE.
    key("color", "", Kind::Color),
    key("confirm_above", "MIG_CONFIRM_ABOVE", Kind::Number { most: 4_294_967_295 }),
    key("connect_timeout", "MIG_CONNECT_TIMEOUT", Kind::Period),
    key("context", "MIG_CONTEXT", Kind::Text),
    key("geoip_db", "MIG_GEOIP_DB", Kind::Path),
    key("gpg", "MIG_GPG", Kind::Path),
    key("output", "MIG_OUTPUT", Kind::Format),
    key("progress", "MIG_PROGRESS", Kind::Progress),
    key("retry", "MIG_RETRY", Kind::Number { most: 100 }),
    key("web_url", "MIG_WEB_URL", Kind::Url),
];

/// What the file says, by key.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings(Vec<(&'static str, String)>);

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Where the file is, whether it exists or not: `$XDG_CONFIG_HOME/mig/config.toml`, or
/// where that is by default. `None` without a home.
pub fn path() -> Option<PathBuf> {
    let config = process_environment("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.filter(|config| config.is_absolute());
    let home = || process_environment("HOME").map(|home| PathBuf::from(home).join(".config"));
    Some(config.or_else(home)?.join("mig").join("config.toml"))
}

/// Reads the file, for everybody who asks from then on.
///
/// # Errors
///
/// [`Failure`] with the code for wrong usage: the file cannot be read, is no TOML, has a
/// key that is not known or a value that is of no use.
pub fn load() -> Result<(), Failure> {
    let Some(path) = path() else { return Ok(()) };
    if let Some(settings) = read(&path)? {
        // Only the first one counts; it was the same file.
        let _ = SETTINGS.set(settings);
    }
    Ok(())
}

/// A variable of the environment, or what the file says in its place.
pub fn environment(name: &str) -> Option<String> {
    process_environment(name).or_else(|| {
        let key = KEYS.iter().find(|key| key.variable == name && !name.is_empty())?;
        SETTINGS.get()?.get(key.name)
    })
}

/// When colours are wanted, as far as the file says.
pub(crate) fn color() -> Option<Color> {
    Color::parse(&SETTINGS.get()?.get("color")?)
}

/// What is in force and who said so: the name of a variable, or that of the file.
pub fn in_force() -> Vec<(&'static str, String, String)> {
    let all = KEYS.iter().filter_map(|key| {
        let variable = Some(key.variable).filter(|name| !name.is_empty());
        if let Some(value) = variable.and_then(process_environment) {
            return Some((key.name, value, key.variable.to_owned()));
        }
        Some((key.name, SETTINGS.get()?.get(key.name)?, "config.toml".to_owned()))
    });
    all.collect()
}

impl Settings {
    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }
}

/// What a file says; `None` when there is none.
fn read(path: &Path) -> Result<Option<Settings>, Failure> {
    use std::io::Read as _;
    let shown = mig_module::text::printable(&path.display().to_string());
    let unreadable =
        |error: std::io::Error| Failure::usage(format!("cannot read {shown}: {error}"));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Failure::usage(format!("{shown} is larger than {MAX_FILE} bytes")));
    }
    let home = process_environment("HOME");
    parse(&text, home.as_deref())
        .map(Some)
        .map_err(|(line, reason)| Failure::usage(format!("{shown}:{line}: {reason}")))
}

/// A line and what is wrong there.
type Fault = (usize, String);

fn parse(text: &str, home: Option<&str>) -> Result<Settings, Fault> {
    let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        (line(at), format!("this is no TOML: {}", error.message()))
    })?;
    let mut settings = Settings::default();
    for (name, value) in table.get_ref() {
        let Some(key) = KEYS.iter().find(|key| key.name == name.get_ref()) else {
            let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            let (at, name) = (name.span().start, name.get_ref());
            let reason = format!("unknown key {name:?}; known are {}", known.join(", "));
            return Err((line(at), reason));
        };
        let checked = checked(key.kind, value.get_ref(), home);
        let value = checked.map_err(|wanted| {
            let at = line(value.span().start);
            (at, format!("{} must be {wanted}", key.name))
        })?;
        settings.0.push((key.name, value));
    }
    Ok(settings)
}

/// A value as a variable would have it, or what it must be.
fn checked(kind: Kind, value: &DeValue<'_>, home: Option<&str>) -> Result<String, String> {
    let text = value.as_str();
    let filled = text.filter(|text| !text.is_empty());
    let one_of = |known: bool| filled.filter(|_| known).map(str::to_owned);
    let text = text.unwrap_or_default();
    match kind {
        Kind::Text => filled.map(str::to_owned).ok_or_else(|| "a text".to_owned()),
        Kind::Path => match (filled, home) {
            (Some(path), Some(home)) if path == "~" || path.starts_with("~/") => {
                Ok(format!("{home}{}", path.strip_prefix('~').unwrap_or_default()))
            }
            (Some(path), _) => Ok(path.to_owned()),
            (None, _) => Err("a path, as a text".to_owned()),
        },
        Kind::Url => {
            let is_web =
                Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()));
            one_of(is_web).ok_or_else(|| "an address that begins with https://".to_owned())
        }
        Kind::Format => one_of(Format::parse(text).is_some()).ok_or_else(|| {
            "\"text\", \"table\", \"json\", \"ndjson\", \"csv\" or \"name\"".to_owned()
        }),
        Kind::Color => one_of(Color::parse(text).is_some())
            .ok_or_else(|| "\"auto\", \"always\" or \"never\"".to_owned()),
        Kind::Progress => one_of(Progress::parse(text).is_some())
            .ok_or_else(|| "\"auto\", \"plain\" or \"none\"".to_owned()),
        Kind::Number { most } => {
            let number = value.as_integer().filter(|number| number.radix() == 10);
            let number = number.and_then(|number| number.as_str().parse::<u64>().ok());
            let number = number.filter(|number| *number <= most).map(|number| number.to_string());
            number.ok_or_else(|| format!("a number up to {most}"))
        }
        Kind::Period => {
            let is_period = duration::parse_period(text).is_ok_and(|period| !period.is_zero());
            one_of(is_period).ok_or_else(|| "a duration such as \"10s\"".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_no_use_is_told_with_its_line() {
        for (text, line, reason) in [
            ("\n\ncolour = \"never\"\n", 3, "unknown key \"colour\"; known are ca_file, color,"),
            ("retry = 1\n[api]\nurl = \"x\"\n", 2, "unknown key \"api\""),
            ("output = 7\n", 1, "output must be \"text\""),
            ("# x\noutput = \"yaml\"\n", 2, "output must be \"text\""),
            ("color = \"pink\"", 1, "color must be \"auto\""),
            ("progress = \"bar\"", 1, "progress must be"),
            ("retry = 101", 1, "retry must be a number up to 100"),
            ("retry = -1", 1, "retry must be a number up to 100"),
            ("retry = \"3\"", 1, "retry must be a number up to 100"),
            ("confirm_above = 1.5", 1, "confirm_above must be a number"),
            ("connect_timeout = \"5\"", 1, "connect_timeout must be a duration"),
            ("connect_timeout = \"0s\"", 1, "connect_timeout must be a duration"),
            ("context = \"\"", 1, "context must be a text"),
            ("web_url = \"javascript:x\"", 1, "web_url must be an address"),
            ("gpg = []", 1, "gpg must be a path"),
            ("retry = 1\nretry = 2\n", 2, "no TOML"),
            ("retry", 1, "no TOML"),
            ("retry = 1\nx = \"\n", 2, "no TOML"),
        ] {
            let (at, told) = parse(text, None).unwrap_err();
            assert_eq!(at, line, "{text:?}: {told}");
            assert!(told.contains(reason), "{text:?}: {told}");
        }
    }

    #[test]
    fn every_key_is_read() {
        let text = "ca_file = \"~/ca.pem\"\ncolor = \"never\"\nconfirm_above = 1_0\n\
                    connect_timeout = \"5s\"\ncontext = 'lab'\ngeoip_db = \"/geo.mmdb\"\n\
                    gpg = \"gpg2\"\noutput = \"table\"\nprogress = \"plain\"\nretry = 3\n\
                    web_url = \"https://mig.example.net/{id}\"\n";
        let settings = parse(text, Some("/home/ada")).unwrap();
        assert_eq!(settings.0.len(), KEYS.len());
        for (key, value) in [
            ("ca_file", "/home/ada/ca.pem"),
            ("confirm_above", "10"),
            ("context", "lab"),
            ("gpg", "gpg2"),
            ("retry", "3"),
        ] {
            assert_eq!(settings.get(key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(parse("", None).unwrap(), Settings::default());
        let most = KEYS.iter().find(|key| key.name == "retry").map(|key| key.kind);
        assert_eq!(most, Some(Kind::Number { most: u64::from(MOST_RETRIES) }));
        for key in &KEYS {
            let variable = format!("MIG_{}", key.name.to_uppercase());
            assert!(key.variable.is_empty() || key.variable == variable, "{variable}");
        }
    }
}

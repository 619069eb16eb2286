//! Configuration files in MIG's git-config dialect.
//!
//! One struct stands for a file, one field for a section, one struct with
//! `#[serde(default)]` for the keys of a section. Names are compared without
//! regard to case. A repeated key: the last value wins, a `Vec` collects. A
//! bare name is `true` for a boolean and empties a list. Durations are text:
//! `#[serde(with = "mig_types::duration::serde_text")]`.

mod de;
mod document;
mod error;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::de::DeserializeOwned;

use de::{FileDeserializer, Unknown};
pub use error::{ConfigError, Position};

/// Reads `text`; `file` is its name in messages. An unknown section or key is
/// an error.
///
/// # Errors
///
/// [`ConfigError`] with the place of the first fault.
pub fn parse_strict<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, ConfigError> {
    parse(text, Unknown::Refuse).map_err(|error| error.in_file(file))
}

/// Reads `text`; an unknown section or key becomes a warning, as does a value
/// that an unquoted `#` probably cut short.
///
/// # Errors
///
/// [`ConfigError`] with the place of the first fault.
pub fn parse_lenient<T: DeserializeOwned>(
    text: &str,
    file: &str,
) -> Result<(T, Vec<String>), ConfigError> {
    let mut warnings = Vec::new();
    let value = parse(text, Unknown::Collect(&mut warnings));
    let value = value.map_err(|error| error.in_file(file))?;
    // They begin with their position, which belongs behind the name.
    let warnings = warnings.into_iter().map(|warning| format!("{file}:{warning}")).collect();
    Ok((value, warnings))
}

/// [`parse_strict`] on a file.
///
/// # Errors
///
/// [`ConfigError`] when the file cannot be read, and as [`parse_strict`].
pub fn load_strict<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    parse_strict(&read(path)?, &path.display().to_string())
}

/// [`parse_lenient`] on a file.
///
/// # Errors
///
/// [`ConfigError`] when the file cannot be read, and as [`parse_lenient`].
pub fn load_lenient<T: DeserializeOwned>(path: &Path) -> Result<(T, Vec<String>), ConfigError> {
    parse_lenient(&read(path)?, &path.display().to_string())
}

/// Gives a fault found by a program's own checks the file and the line of its
/// key, when `text` has that key.
#[must_use]
pub fn locate(error: ConfigError, text: &str, file: &str) -> ConfigError {
    let position = error.key().and_then(|key| {
        let (section, name) = key.split_once('.')?;
        let document = document::parse(text).ok()?;
        let sections = document.sections.iter().rev();
        let named = sections.filter(|found| found.name.eq_ignore_ascii_case(section));
        let mut variables = named.flat_map(|section| section.variables.iter().rev());
        let found = variables.find(|variable| variable.name.eq_ignore_ascii_case(name))?;
        Some(found.position)
    });
    error.or_position(position).in_file(file)
}

/// [`load_strict`], then the program's own checks; a fault that they find
/// carries the place of its key.
///
/// # Errors
///
/// As [`load_strict`], and what `check` says.
pub fn load_checked<T: DeserializeOwned>(
    path: &Path,
    check: impl FnOnce(&T) -> Result<(), ConfigError>,
) -> Result<T, ConfigError> {
    let (text, file) = (read(path)?, path.display().to_string());
    let value = parse_strict(&text, &file)?;
    check(&value).map_err(|error| locate(error, &text, &file))?;
    Ok(value)
}

fn parse<T: DeserializeOwned>(text: &str, mut unknown: Unknown<'_>) -> Result<T, ConfigError> {
    let document = document::parse(text)?;
    if let Unknown::Collect(warnings) = &mut unknown {
        warnings.extend(cut_values(&document));
    }
    T::deserialize(FileDeserializer { document: &document, unknown })
}

fn cut_values(document: &document::Document) -> Vec<String> {
    let mut warnings = Vec::new();
    for section in &document.sections {
        for variable in &section.variables {
            if let (Some(value), Some(cut)) = (&variable.value, &variable.cut) {
                let whole = format!("{value}{cut}").replace('\\', "\\\\").replace('"', "\\\"");
                let name = &variable.name;
                let message = format!(
                    "{}.{name}: the value ends at '#'; to keep the rest write {name} = \"{whole}\"",
                    section.name
                );
                warnings.push(ConfigError::at(variable.position, message).to_string());
            }
        }
    }
    warnings
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    // One byte more than allowed: enough for the parser to see the excess.
    let limit = document::MAX_BYTES as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| ConfigError::new(format!("cannot be read: {error}")).in_file(&name))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default());
        let line = text.matches('\n').count() + 1;
        let column = text.chars().rev().take_while(|c| *c != '\n').count() + 1;
        ConfigError::at(Position { line, column }, "is not UTF-8").in_file(&name)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::time::Duration;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::Secret;

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(default)]
    struct Migrc {
        api: Api,
        gpg: Gpg,
        targets: Targets,
    }

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(default)]
    struct Api {
        url: String,
        skipverifycert: bool,
    }

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(default)]
    struct Gpg {
        home: Option<String>,
        keyid: String,
    }

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(default)]
    struct Targets {
        r#macro: Vec<String>,
    }

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Service {
        agent: Agent,
        postgres: Postgres,
    }

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Agent {
        #[serde(with = "mig_types::duration::serde_text")]
        timeout: Duration,
        detectmultiagents: bool,
        mode: Mode,
    }

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Quiet,
        Loud,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Postgres {
        port: u16,
        password: Secret<String>,
        #[serde(default)]
        max_conn: i64,
    }

    impl Default for Postgres {
        fn default() -> Self {
            Self { port: 5432, password: Secret::default(), max_conn: 10 }
        }
    }

    #[test]
    fn faults_name_file_place_and_key() {
        for (text, message) in [
            ("x = 1", "f:1:1: a variable must stand below a [section] line"),
            ("[nope]", "f:1:1: unknown section [nope]"),
            ("[agent \"x\"]", "f:1:1: unknown section [agent \"x\"]"),
            ("[agent]\n nope = 1", "f:2:2: unknown key agent.nope"),
            (
                "[agent]\ntimeout = soon",
                "f:2:1: agent.timeout: \"soon\" is not a duration such as \"300s\", \"5m\" or \"1h30m\"",
            ),
            ("[agent]\ntimeout", "f:2:1: agent.timeout: needs a value"),
            (
                "[agent]\nmode = x",
                "f:2:1: agent.mode: unknown variant `x`, expected `quiet` or `loud`",
            ),
            (
                "[agent]\ndetectmultiagents = maybe\ndetectmultiagents = on",
                "f:2:1: agent.detectmultiagents: \"maybe\" is not a boolean: true, yes, on, 1, false, no, off or 0",
            ),
            (
                "[postgres]\npassword = x\nport = 70000",
                "f:3:1: postgres.port: \"70000\" is not an integer that fits u16",
            ),
            (
                "[postgres]\npassword = x\nport = -1",
                "f:3:1: postgres.port: \"-1\" is not an integer that fits u16",
            ),
            ("[postgres]\nport = 1\n[agent]", "f:1:1: postgres.password: is missing"),
        ] {
            let error = parse_strict::<Service>(text, "f").unwrap_err();
            assert_eq!(error.to_string(), message, "{text:?}");
        }
    }

    #[test]
    fn reads_every_kind_of_value() {
        let text = "[Agent]\nTimeOut = 1h30m\ndetectMultiAgents\nmode = LOUD\n\
                    [postgres]\nport=0x1F90\npassword=\"a;b\"\n[POSTGRES]\nmax-conn = -3 ; c\nport = 7\n";
        let service: Service = parse_strict(text, "f").unwrap();
        let agent =
            Agent { timeout: Duration::from_mins(90), detectmultiagents: true, mode: Mode::Loud };
        let postgres = Postgres { port: 7, password: "a;b".to_owned().into(), max_conn: -3 };
        assert_eq!(service, Service { agent, postgres });
        assert_eq!(parse_strict::<Service>("", "f").unwrap(), Service::default());
    }

    #[test]
    fn lenient_reading_warns_and_goes_on() {
        let text =
            "[api]\nurl = u\nextra = 1\n[other]\nx = 1\n[targets]\nmacro = it:tags#>>'{a}'=\"b\"\n";
        let (migrc, warnings) = parse_lenient::<Migrc>(text, "f").unwrap();
        assert_eq!(
            (migrc.api.url.as_str(), migrc.targets.r#macro.as_slice()),
            ("u", &["it:tags".to_owned()][..])
        );
        assert_eq!(
            warnings,
            [
                "f:7:1: targets.macro: the value ends at '#'; to keep the rest write \
                 macro = \"it:tags#>>'{a}'=\\\"b\\\"\"",
                "f:4:1: unknown section [other]",
                "f:3:1: unknown key api.extra",
            ]
        );
        assert!(parse_lenient::<Migrc>("[api]\nskipverifycert = x\n", "f").is_err());
    }

    #[test]
    fn the_investigators_sample_loads() {
        let text = "[api]\n    url = \"https://api.mig.example.net/api/v1/\"\n[gpg]\n    \
            home = \"/home/myuser/.gnupg/\"\n    \
            keyid = \"E60892BB9BD89A69F759A1A0A3D652173B763E8F\"\n[targets]\n    \
            macro = allonline:status='online'\n    \
            macro = idleandonline:status='online' OR status='idle'\n";
        let migrc: Migrc = parse_strict(text, ".migrc").unwrap();
        assert_eq!(migrc.api.url, "https://api.mig.example.net/api/v1/");
        assert_eq!(migrc.gpg.home.as_deref(), Some("/home/myuser/.gnupg/"));
        assert_eq!(
            migrc.targets.r#macro,
            ["allonline:status='online'", "idleandonline:status='online' OR status='idle'"]
        );
    }

    #[test]
    fn names_ignore_case_and_a_bare_name_is_true_or_resets() {
        let text = "[API]\nSkipVerifyCert\n[api]\nURL = http://h/api/v1\n";
        let migrc: Migrc = parse_strict(text, "f").unwrap();
        assert_eq!(migrc.api, Api { url: "http://h/api/v1".to_owned(), skipverifycert: true });

        let macros = |text: &str| parse_strict::<Migrc>(text, "f").unwrap().targets.r#macro;
        assert_eq!(macros("[targets]\nmacro = a:x\nmacro\nmacro = b:y\n"), ["b:y"]);
        assert_eq!(macros("[targets]\nmacro = a:x ; note\n"), ["a:x"]);
        assert!(macros("[targets]\nmacro = a:x\nmacro\n").is_empty());

        let url = |text: &str| parse_strict::<Migrc>(text, "f").unwrap().api.url;
        assert_eq!(url("[api]\nurl = \"http://h/#frag\""), "http://h/#frag");
        assert_eq!(url("[api]\nurl = http://h/#frag"), "http://h/");
        assert_eq!(url("[api]\nurl ="), "");
    }

    #[test]
    fn a_map_takes_any_section_and_key() {
        type Any = BTreeMap<String, BTreeMap<String, Vec<String>>>;
        let any: Any = parse_strict("[B]\nX=1\nx=2\n[a]\n", "f").unwrap();
        assert_eq!(any["b"]["x"], ["1", "2"]);
        assert!(any["a"].is_empty());
    }

    #[test]
    fn checks_of_the_program_get_a_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.cfg");
        std::fs::write(&path, "[agent]\ntimeout = 1s\n\n Timeout = 0s\n").unwrap();
        let check = |_: &Service| Err(ConfigError::invalid("agent.timeout", "must not be zero"));
        let error = load_checked::<Service>(&path, check).unwrap_err();
        let expected = format!("{}:4:2: agent.timeout: must not be zero", path.display());
        assert_eq!(error.to_string(), expected);
        let error = ConfigError::invalid("postgres.port", "must be set");
        assert_eq!(locate(error, "[agent]", "f").to_string(), "f: postgres.port: must be set");
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.cfg");
        let error = load_strict::<Service>(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: cannot be read: ", path.display())), "{error}");
        std::fs::write(&path, b"[agent]\n\xc3\xa9\xff").unwrap();
        let error = load_lenient::<Service>(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}:2:2: is not UTF-8", path.display()));
        std::fs::write(&path, vec![b'\n'; document::MAX_BYTES + 10]).unwrap();
        assert!(load_strict::<Service>(&path).unwrap_err().to_string().contains("1 MiB"));
    }

    type Document = BTreeMap<String, BTreeMap<String, Vec<String>>>;

    fn quoted(value: &str) -> String {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("\"{escaped}\"")
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s)[\\[\\]a-z=\"\\\\;# \r\n\t\\PC]{0,200}") {
            let _ = parse_lenient::<Migrc>(&text, "f");
            let _ = parse_strict::<Document>(&text, "f");
        }

        #[test]
        fn quoted_values_come_back(
            document in prop::collection::btree_map(
                "[a-z][a-z0-9-]{0,8}",
                prop::collection::btree_map(
                    "[a-z][a-z0-9-]{0,8}",
                    prop::collection::vec("[^\0\r]{0,20}", 1..4),
                    0..4,
                ),
                0..4,
            )
        ) {
            let mut text = String::new();
            for (section, variables) in &document {
                let _ = writeln!(text, "[{section}]");
                for (name, values) in variables {
                    for value in values {
                        let _ = writeln!(text, "  {name} = {} ; c", quoted(value));
                    }
                }
            }
            prop_assert_eq!(parse_strict::<Document>(&text, "f").unwrap(), document);
        }
    }
}

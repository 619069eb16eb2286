//! A persistent module's own configuration file.

use std::collections::BTreeMap;
use std::path::Path;

use mig_module::persist::{Kind, Setting};
use mig_runtime::config;
use serde_json::{Map, Value};

type Sections = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Reads `path`, the configuration of a module with these `settings`: one object
/// per section. What is not there is left out; what makes no sense as well, and
/// named in the second value.
pub fn read_configuration(path: &Path, settings: &[Setting]) -> (Value, Vec<String>) {
    let mut warnings = Vec::new();
    let mut sections = Sections::new();
    if path.exists() {
        match config::load_lenient::<Sections>(path) {
            Ok((found, odd)) => {
                sections = found;
                warnings.extend(odd);
            }
            Err(error) => warnings.push(error.to_string()),
        }
    }
    let shown = path.display();
    for (section, keys) in &sections {
        for key in keys.keys() {
            if !settings.iter().any(|setting| is(setting, section, key)) {
                warnings.push(format!("{shown}: [{section}] {key} is not known"));
            }
        }
    }
    let mut document = Map::new();
    for setting in settings {
        let section = document.entry(setting.section).or_insert_with(|| Value::Object(Map::new()));
        let found = sections.iter().flat_map(|(section, keys)| {
            keys.iter().filter(move |(key, _)| is(setting, section, key)).map(|(_, values)| values)
        });
        let values: Vec<String> = found.flatten().cloned().collect();
        if values.is_empty() {
            continue;
        }
        match (value(setting.kind, values), section) {
            (Some(value), Value::Object(section)) => {
                section.insert(setting.key.to_owned(), value);
            }
            _ => warnings.push(format!(
                "{shown}: the value of [{}] {} makes no sense",
                setting.section, setting.key
            )),
        }
    }
    (Value::Object(document), warnings)
}

fn is(setting: &Setting, section: &str, key: &str) -> bool {
    setting.section.eq_ignore_ascii_case(section) && setting.key.eq_ignore_ascii_case(key)
}

fn value(kind: Kind, mut values: Vec<String>) -> Option<Value> {
    if kind == Kind::Texts {
        return Some(Value::from(values));
    }
    let last = values.pop()?;
    match kind {
        Kind::Text | Kind::Texts => Some(Value::from(last)),
        Kind::Number => last.trim().parse::<i64>().ok().map(Value::from),
        Kind::Switch => match last.trim().to_ascii_lowercase().as_str() {
            "" | "yes" | "true" | "on" | "1" => Some(Value::from(true)),
            "no" | "false" | "off" | "0" => Some(Value::from(false)),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SETTINGS: &[Setting] = &[
        Setting { section: "Dispatch", key: "channelsize", kind: Kind::Number },
        Setting { section: "Dispatch", key: "outputmozdef", kind: Kind::Switch },
        Setting { section: "Dispatch", key: "httpurl", kind: Kind::Text },
        Setting { section: "Watch", key: "path", kind: Kind::Texts },
    ];

    fn read(text: &str) -> (Value, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.cfg");
        std::fs::write(&path, text).unwrap();
        read_configuration(&path, SETTINGS)
    }

    #[test]
    fn what_makes_no_sense_is_named_and_the_rest_counts() {
        let text = "[dispatch]\nchannelsize = many\noutputmozdef = maybe\nhttpurl = \"http://x\"\n\
                    nosuchkey = 1\n[nosuch]\na = b\n";
        let (document, warnings) = read(text);
        assert_eq!(document, json!({ "Dispatch": { "httpurl": "http://x" }, "Watch": {} }));
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        let (document, warnings) = read("[dispatch\nhttpurl = \"x\n");
        assert_eq!(document, json!({ "Dispatch": {}, "Watch": {} }));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }

    #[test]
    fn reads_every_kind_and_a_missing_file() {
        let text = "[DISPATCH]\nChannelSize = 10\noutputmozdef = yes\n\
                    [watch]\npath = /etc\npath = /bin\n";
        let (document, warnings) = read(text);
        assert_eq!(
            document,
            json!({ "Dispatch": { "channelsize": 10, "outputmozdef": true },
                    "Watch": { "path": ["/etc", "/bin"] } })
        );
        assert!(warnings.is_empty(), "{warnings:?}");
        let (document, warnings) = read_configuration(Path::new("/nonexistent.cfg"), SETTINGS);
        assert_eq!(document, json!({ "Dispatch": {}, "Watch": {} }));
        assert!(warnings.is_empty());
    }
}

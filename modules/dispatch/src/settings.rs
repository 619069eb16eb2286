//! The configuration of the module.

use mig_module::persist::Briefing;

use crate::queue::DEFAULT_SIZE;

/// Largest queue that is accepted.
const LARGEST: i64 = 1_000_000;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) httpurl: String,
    pub(crate) outputmozdef: bool,
    pub(crate) channelsize: usize,
}

impl Settings {
    /// What the configuration says; the second value is for the log.
    pub(crate) fn read(briefing: &Briefing) -> (Self, Vec<String>) {
        let mut remarks = Vec::new();
        let setting = |key: &str| briefing.setting("dispatch", key);
        let text = |key: &str| setting(key).and_then(|value| value.as_str()).unwrap_or_default();
        let size = setting("channelsize").and_then(serde_json::Value::as_i64).unwrap_or(0);
        let channelsize = match usize::try_from(size.min(LARGEST)) {
            Ok(size) if size > 0 => size,
            _ => {
                remarks.push(format!("channel size not specified, defaulting to {DEFAULT_SIZE}"));
                DEFAULT_SIZE
            }
        };
        if !text("snstopic").is_empty() {
            remarks.push("snstopic is set, but this program does not speak to SNS".to_owned());
        }
        let outputmozdef = setting("outputmozdef").and_then(serde_json::Value::as_bool);
        let settings = Self {
            httpurl: text("httpurl").to_owned(),
            outputmozdef: outputmozdef.unwrap_or(false),
            channelsize,
        };
        (settings, remarks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(config: Value) -> (Settings, Vec<String>) {
        Settings::read(&Briefing { config, ..Briefing::default() })
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        for config in [
            json!({}),
            json!({ "dispatch": {} }),
            json!({ "dispatch": { "channelsize": 0, "httpurl": "" } }),
            json!({ "dispatch": { "channelsize": -5, "httpurl": 7, "outputmozdef": "x" } }),
        ] {
            let (settings, remarks) = read(config);
            assert_eq!(settings, Settings { channelsize: 1024, ..Settings::default() });
            assert_eq!(remarks, ["channel size not specified, defaulting to 1024"]);
        }
        let (settings, remarks) = read(json!({ "Dispatch": { "HttpUrl": "http://x/",
            "outputmozdef": true, "channelsize": 10, "snstopic": "t" } }));
        let expected =
            Settings { httpurl: "http://x/".into(), outputmozdef: true, channelsize: 10 };
        assert_eq!(settings, expected);
        assert_eq!(remarks.len(), 1);
        assert_eq!(
            read(json!({ "dispatch": { "channelsize": i64::MAX } })).0.channelsize,
            1_000_000
        );
    }
}

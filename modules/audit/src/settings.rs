//! The configuration of the module.

use mig_module::persist::Briefing;
use serde_json::Value;

/// Records a second, unless the configuration says otherwise.
const RATE_LIMIT: u32 = 500;
/// Records that wait inside the kernel, unless the configuration says otherwise.
const BACKLOG_LIMIT: u32 = 16_384;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) rulespath: String,
    pub(crate) ratelimit: u32,
    pub(crate) backloglimit: u32,
    pub(crate) includeraw: bool,
}

impl Settings {
    /// # Errors
    ///
    /// What has to be said and is not, or makes no sense.
    pub(crate) fn read(briefing: &Briefing) -> Result<Self, String> {
        let setting = |key: &str| briefing.setting("audit", key);
        let number = |key: &str, default: u32| match setting(key).and_then(Value::as_i64) {
            None | Some(0) => Ok(default),
            Some(number) => u32::try_from(number)
                .map_err(|_| format!("audit.{key} is {number}, and has to be a positive number")),
        };
        let rulespath = setting("rulespath").and_then(Value::as_str).unwrap_or_default();
        if rulespath.is_empty() {
            return Err("audit.rulespath, the file of rules, is not set in audit.cfg".to_owned());
        }
        if !rulespath.starts_with('/') {
            return Err(format!("audit.rulespath is {rulespath}, and has to be absolute"));
        }
        Ok(Self {
            rulespath: rulespath.to_owned(),
            ratelimit: number("ratelimit", RATE_LIMIT)?,
            backloglimit: number("backloglimit", BACKLOG_LIMIT)?,
            includeraw: setting("includeraw").and_then(Value::as_bool).unwrap_or(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(config: Value) -> Result<Settings, String> {
        Settings::read(&Briefing { config, ..Briefing::default() })
    }

    #[test]
    fn what_has_to_be_said_is_asked_for() {
        for (config, reason) in [
            (json!({}), "is not set"),
            (json!({ "audit": { "rulespath": "" } }), "is not set"),
            (json!({ "audit": { "rulespath": 7 } }), "is not set"),
            (json!({ "audit": { "rulespath": "rules.json" } }), "absolute"),
            (json!({ "audit": { "rulespath": "/r", "ratelimit": -1 } }), "audit.ratelimit is -1"),
            (json!({ "audit": { "rulespath": "/r", "backloglimit": 1_i64 << 33 } }), "positive"),
        ] {
            let told = read(config.clone()).unwrap_err();
            assert!(told.contains(reason), "{config}: {told}");
        }
    }

    #[test]
    fn the_rest_has_defaults() {
        let settings = read(json!({ "audit": { "rulespath": "/r", "ratelimit": 0 } })).unwrap();
        let expected = Settings {
            rulespath: "/r".into(),
            ratelimit: 500,
            backloglimit: 16_384,
            includeraw: false,
        };
        assert_eq!(settings, expected);
        let config = json!({ "Audit": { "RulesPath": "/r", "ratelimit": 7, "backloglimit": 8,
            "includeraw": true } });
        let expected = Settings { ratelimit: 7, backloglimit: 8, includeraw: true, ..expected };
        assert_eq!(read(config), Ok(expected));
    }
}

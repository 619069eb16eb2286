//! What is delivered: an alert with its host around it.

use mig_host::{Host as _, LocalHost};
use mig_module::persist::Briefing;
use mig_types::{Timestamp, wire};
use serde::Serialize;
use serde_json::Value;

/// The host, as every record carries it.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    hostname: String,
    environment: Value,
    tags: Value,
    mozdef: Option<MozDef>,
}

/// What an event of `MozDef` says of its sender.
#[derive(Debug, Clone)]
struct MozDef {
    hostname: String,
    processid: u32,
    processname: String,
}

#[derive(Debug, Serialize)]
struct Record<'a> {
    hostname: &'a str,
    environment: &'a Value,
    tags: &'a Value,
    event: Value,
}

#[derive(Debug, Serialize)]
struct Event<'a> {
    timestamp: String,
    category: &'static str,
    hostname: &'a str,
    processid: u32,
    processname: &'a str,
    severity: &'static str,
    source: &'static str,
    summary: &'static str,
    tags: [&'static str; 1],
    details: Record<'a>,
}

impl Frame {
    pub(crate) fn new(briefing: &Briefing, as_mozdef: bool) -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        let mozdef = MozDef {
            hostname: LocalHost::default().name(),
            processid: std::process::id(),
            processname: program.display().to_string(),
        };
        Self {
            hostname: briefing.hostname.clone(),
            environment: briefing.environment.clone(),
            tags: briefing.tags.clone(),
            mozdef: as_mozdef.then_some(mozdef),
        }
    }

    /// The document for an alert. One that is no JSON is carried as a text.
    pub(crate) fn around(&self, alert: &str, now: Timestamp) -> Vec<u8> {
        let event = wire::value_from_slice(alert.as_bytes());
        let record = Record {
            hostname: &self.hostname,
            environment: &self.environment,
            tags: &self.tags,
            event: event.unwrap_or_else(|_| Value::from(alert)),
        };
        let document = match &self.mozdef {
            None => wire::to_vec(&record),
            Some(mozdef) => wire::to_vec(&Event {
                timestamp: now.to_string(),
                category: "mig",
                hostname: &mozdef.hostname,
                processid: mozdef.processid,
                processname: &mozdef.processname,
                severity: "INFO",
                source: "",
                summary: "mig dispatch event",
                tags: ["mig-dispatch"],
                details: record,
            }),
        };
        // Values and texts: this cannot fail.
        document.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn frame(as_mozdef: bool) -> Frame {
        let briefing = Briefing {
            hostname: "web1".into(),
            environment: json!({ "os": "linux" }),
            tags: Value::Null,
            ..Briefing::default()
        };
        Frame::new(&briefing, as_mozdef)
    }

    #[test]
    fn an_alert_is_carried_as_it_is() {
        let now = Timestamp::from_unix(1_441_037_705, 0).unwrap();
        for (alert, event) in [
            ("{\"a\":1}", json!({ "a": 1 })),
            ("not json", json!("not json")),
            ("100% %s", json!("100% %s")),
            ("{\"a\":", json!("{\"a\":")),
            ("", json!("")),
            ("\"text\"", json!("text")),
        ] {
            let document: Value = serde_json::from_slice(&frame(false).around(alert, now)).unwrap();
            let expected = json!({ "hostname": "web1", "environment": { "os": "linux" },
                "tags": null, "event": event });
            assert_eq!(document, expected, "{alert:?}");
            let event: Value = serde_json::from_slice(&frame(true).around(alert, now)).unwrap();
            assert_eq!(event["details"], expected);
            assert_eq!(event["timestamp"], "2015-08-31T16:15:05Z");
            assert_eq!(event["processid"], std::process::id());
            assert_eq!((&event["severity"], &event["source"]), (&json!("INFO"), &json!("")));
            assert_eq!(event["tags"], json!(["mig-dispatch"]));
        }
    }
}

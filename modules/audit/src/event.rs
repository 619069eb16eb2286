//! Events: what an alert says.

use std::collections::BTreeMap;

use mig_module::text::lossy_bytewise;
use mig_types::{Timestamp, wire};
use serde::Serialize;

use crate::interpret::{Scene, interpret};
use crate::record;
use crate::tables::record_name;
use crate::users::Users;

/// The end of the records of one event.
pub(crate) const END: u16 = 1320;
/// Longest alert; longer ones would be cut in the middle.
const MAX_ALERT: usize = 60 << 10;
/// Longest value of an event that has to be shortened.
const MAX_VALUE: usize = 512;

type Fields = BTreeMap<String, String>;

/// Why a record says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Odd {
    /// It does not begin as a record does.
    NotUnderstood,
    /// Its type has no name.
    UnknownType,
}

/// One record, interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) kind: u16,
    pub(crate) name: &'static str,
    pub(crate) timestamp: String,
    pub(crate) serial: u64,
    pub(crate) fields: Fields,
    pub(crate) text: String,
}

/// What an alert carries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    #[serde(rename = "Serial")]
    serial: String,
    #[serde(rename = "Timestamp")]
    timestamp: String,
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Data")]
    data: Fields,
    #[serde(rename = "Raw")]
    raw: String,
    /// The records of an event that has several, each with its own fields.
    #[serde(rename = "Records", skip_serializing_if = "Vec::is_empty")]
    records: Vec<Part>,
    /// Something is missing: the end never came, or it was too much.
    #[serde(rename = "Incomplete", skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Part {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Data")]
    data: Fields,
}

/// Reads and interprets a record.
///
/// **Source** the kernel, which passes on what programs say. Never panics.
///
/// # Errors
///
/// Why it says nothing.
pub(crate) fn decode(kind: u16, text: &[u8], users: &Users) -> Result<Decoded, Odd> {
    let text = lossy_bytewise(text);
    let text = text.trim_end_matches(['\0', '\n', ' ']);
    let parsed = record::parse(text).ok_or(Odd::NotUnderstood)?;
    let name = record_name(kind).ok_or(Odd::UnknownType)?;
    let scene = Scene::of(name, &parsed.fields, users);
    let fields = parsed.fields.iter();
    let fields = fields.map(|(key, value)| (key.clone(), interpret(key, value, &scene))).collect();
    let record::Parsed { timestamp, serial, .. } = parsed;
    Ok(Decoded { kind, name, timestamp, serial, fields, text: text.to_owned() })
}

impl Event {
    /// An event of one record.
    pub(crate) fn single(record: Decoded, include_raw: bool) -> Self {
        Self {
            serial: record.serial.to_string(),
            timestamp: record.timestamp,
            kind: record.name.to_owned(),
            data: record.fields,
            raw: if include_raw { record.text } else { String::new() },
            ..Self::default()
        }
    }

    /// An event of several records: their union, in which later records count,
    /// and each of them.
    pub(crate) fn joined(records: Vec<Decoded>, incomplete: bool, include_raw: bool) -> Self {
        let mut event = Self { kind: "EOE".to_owned(), incomplete, ..Self::default() };
        for record in records {
            if event.serial.is_empty() {
                event.serial = record.serial.to_string();
                event.timestamp = record.timestamp;
                if include_raw {
                    event.raw.clone_from(&record.text);
                }
            } else if include_raw && record.kind != END {
                event.raw.push(' ');
                event.raw.push_str(record::body(&record.text));
            }
            for (key, value) in &record.fields {
                event.data.insert(key.clone(), value.clone());
            }
            if record.kind != END {
                event.records.push(Part { kind: record.name.to_owned(), data: record.fields });
            }
        }
        event
    }

    /// Something is missing from here on, or was until now.
    pub(crate) fn gap(reason: &str, count: u64, now: Timestamp) -> Self {
        let data = [("reason", reason.to_owned()), ("lost", count.to_string())];
        Self {
            timestamp: format!("{}.{:03}", now.unix(), now.datetime().timestamp_subsec_millis()),
            kind: "GAP".to_owned(),
            data: data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            incomplete: true,
            ..Self::default()
        }
    }

    /// As it is sent. What is too long is left out, from the raw text on.
    pub(crate) fn to_text(&self) -> String {
        // Plain texts: this cannot fail.
        let text = wire::to_string(self).unwrap_or_default();
        if text.len() <= MAX_ALERT {
            return text;
        }
        let mut less = Self { raw: String::new(), incomplete: true, ..self.clone() };
        let text = wire::to_string(&less).unwrap_or_default();
        if text.len() <= MAX_ALERT {
            return text;
        }
        less.records.clear();
        let mut data = Fields::new();
        let mut left = MAX_ALERT / 8;
        for (key, value) in &less.data {
            let value: String = value.chars().take(MAX_VALUE).collect();
            // A character takes up to six bytes in JSON.
            let Some(rest) = left.checked_sub(key.len() + value.len() + 8) else { break };
            left = rest;
            data.insert(key.clone(), value);
        }
        less.data = data;
        wire::to_string(&less).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn users() -> Users {
        Users::read("root:x:0:0::/:\n")
    }

    fn decoded(kind: u16, text: &str) -> Decoded {
        decode(kind, text.as_bytes(), &users()).unwrap()
    }

    fn document(event: &Event) -> Value {
        serde_json::from_str(&event.to_text()).unwrap()
    }

    #[test]
    fn a_record_of_a_program_is_an_event() {
        let text = "audit(1464093935.845:993): pid=4148 uid=0 auid=4294967295 ses=4294967295 \
                    msg='op=PAM:setcred acct=\"root\" exe=\"/usr/bin/sudo\" hostname=? addr=? \
                    terminal=/dev/pts/18 res=success'\0";
        let event = Event::single(decoded(1103, text), false);
        let expected = json!({ "Serial": "993", "Timestamp": "1464093935.845", "Type": "CRED_ACQ",
            "Data": { "pid": "4148", "uid": "root", "auid": "unknown(4294967295)", "ses": "unset",
                "op": "PAM:setcred", "acct": "root", "exe": "/usr/bin/sudo", "hostname": "?",
                "addr": "?", "terminal": "/dev/pts/18", "res": "success" },
            "Raw": "" });
        assert_eq!(document(&event), expected);
        let event = Event::single(decoded(1103, text), true);
        assert!(document(&event)["Raw"].as_str().unwrap().ends_with("res=success'"));
    }

    #[test]
    fn no_path_of_an_event_is_lost() {
        let records = vec![
            decoded(1300, "audit(1.2:3): arch=c000003e syscall=82 success=yes exit=0 uid=0"),
            decoded(1302, "audit(1.2:3): item=0 name=\"/a\" saddr=02"),
            decoded(1302, "audit(1.2:3): item=1 name=\"/b\""),
            decoded(1320, "audit(1.2:3): "),
        ];
        let document = document(&Event::joined(records, false, true));
        assert_eq!(document["Type"], "EOE");
        assert_eq!(document["Data"]["name"], "/b");
        assert_eq!(document["Data"]["syscall"], "rename");
        let types: Vec<&Value> =
            document["Records"].as_array().unwrap().iter().map(|part| &part["Type"]).collect();
        assert_eq!(types, ["SYSCALL", "PATH", "PATH"]);
        // Its address is too short: kept as it is.
        let data = json!({ "item": "0", "name": "/a", "saddr": "02" });
        assert_eq!(document["Records"][1]["Data"], data);
        assert_eq!(document["Incomplete"], Value::Null);
        let raw = "audit(1.2:3): arch=c000003e syscall=82 success=yes exit=0 uid=0 item=0 \
                   name=\"/a\" saddr=02 item=1 name=\"/b\"";
        assert_eq!(document["Raw"], raw);
    }

    #[test]
    fn what_says_nothing_says_why() {
        let odd = |kind, text: &str| decode(kind, text.as_bytes(), &users()).err();
        assert_eq!(odd(1300, "type=SYSCALL a=b"), Some(Odd::NotUnderstood));
        assert_eq!(odd(9999, "audit(1.2:3): a=b"), Some(Odd::UnknownType));
        assert!(decode(1300, b"audit(1.2:3): a=\xff\xfe", &users()).is_ok());
    }

    #[test]
    fn an_alert_is_never_too_long_and_always_a_document() {
        let long = "\u{1}".repeat(MAX_ALERT / 6);
        let records: Vec<Decoded> = (0..12)
            .map(|number| decoded(1309, &format!("audit(1.2:3): a{number}=\"{long}\"")))
            .collect();
        let event = Event::joined(records, false, true);
        let text = event.to_text();
        assert!(text.len() <= MAX_ALERT, "{}", text.len());
        assert_eq!(document(&event)["Incomplete"], true);
        let raw = Event::single(decoded(1100, &format!("audit(1.2:3): a={long}")), true);
        assert!(raw.to_text().len() <= MAX_ALERT);
    }

    #[test]
    fn a_gap_is_an_event() {
        let now = Timestamp::parse("2026-01-02T03:04:05.678Z").unwrap();
        let document = document(&Event::gap("the kernel dropped records", 12, now));
        let expected = json!({ "Serial": "", "Timestamp": "1767323045.678", "Type": "GAP",
            "Data": { "reason": "the kernel dropped records", "lost": "12" }, "Raw": "",
            "Incomplete": true });
        assert_eq!(document, expected);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_decoded_or_refused(kind in 1000..2600_u16, bytes: Vec<u8>, text in "\\PC{0,200}") {
            let _ = decode(kind, &bytes, &users());
            let record = format!("audit(1.2:3): {text}");
            if let Ok(record) = decode(kind, record.as_bytes(), &users()) {
                let event = Event::joined(vec![record.clone(), record], false, true);
                prop_assert!(serde_json::from_str::<Value>(&event.to_text()).is_ok());
            }
        }
    }
}

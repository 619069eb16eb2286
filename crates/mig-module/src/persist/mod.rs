//! Modules that live as long as the agent.
//!
//! Their process talks to the agent on standard input and output, one JSON
//! message a line, and answers investigators on a local socket, one request and
//! one result a connection.

mod outlet;
mod query;
mod session;
#[cfg(test)]
mod tests_support;

use mig_types::wire;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::module::Needs;

pub use outlet::Outlet;
pub use query::query;
pub use session::{Connection, session};

/// Longest line on either channel, in bytes.
pub const MAX_LINE: usize = 4 << 20;

/// One line between the agent and a persistent module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    pub class: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub parameters: Value,
}

/// What a message says, as far as both sides know it.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Ping,
    /// From the module: for the agent's log.
    Log(String),
    /// From the module, and from the agent to the one that delivers alerts.
    Alert(String),
    /// From the module: where it answers.
    Register(String),
    /// To the module.
    Config(Box<Briefing>),
    /// Anything else.
    Unknown(String),
}

/// What a module is told once, before it starts to work.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Briefing {
    /// Its own configuration: one object per section of its file.
    pub config: Value,
    pub hostname: String,
    pub environment: Value,
    pub tags: Value,
}

impl Briefing {
    /// A setting, by section and key in any case.
    pub fn setting(&self, section: &str, key: &str) -> Option<&Value> {
        let find = |value: &'_ Value, name: &str| -> Option<String> {
            let mut names = value.as_object()?.keys();
            names.find(|other| other.eq_ignore_ascii_case(name)).cloned()
        };
        let section = self.config.get(find(&self.config, section)?)?;
        section.get(find(section, key)?)
    }
}

/// What the value of a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Switch,
    /// A key that can be repeated.
    Texts,
}

/// One key of a module's configuration file, `<module>.cfg` beside the agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// As the agent writes it; files may use any case.
    pub section: &'static str,
    pub key: &'static str,
    pub kind: Kind,
}

/// What a module adds that lives as long as the agent. Its
/// [`Module::run`](crate::Module::run) then answers investigators, inside the
/// process that lives.
pub trait Persistent: Send + Sync {
    /// What its configuration file may say.
    fn settings(&self) -> &'static [Setting];

    /// What the process that lives needs of its host.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Files that its configuration names, which it reads beyond its needs:
    /// absolute paths.
    fn reads(&self, _briefing: &Briefing) -> Vec<String> {
        Vec::new()
    }

    /// Does the work, on a thread of its own, until the process ends.
    ///
    /// # Errors
    ///
    /// What went wrong. The agent then reads it in its log, and starts the
    /// module again later.
    fn work(&self, briefing: &Briefing, outlet: &Outlet) -> Result<(), String>;

    /// Whether it delivers the alerts of other modules.
    fn takes_alerts(&self) -> bool {
        false
    }

    /// An alert of another module. Must not block for long.
    fn alerted(&self, _text: &str, _outlet: &Outlet) {}

    /// Whether it changes the host while it lives, so that [`Persistent::tidy`]
    /// has something to do. Its process is then asked to end and not killed when
    /// the agent is gone.
    fn leaves_traces(&self) -> bool {
        false
    }

    /// Puts back what the work changed; the process ends after that. It has about
    /// a second.
    fn tidy(&self) {}
}

impl Message {
    /// Reads a line.
    ///
    /// **Source** the other end of a pipe; what a module writes may be as
    /// hostile as what it reads. Never panics.
    ///
    /// # Errors
    ///
    /// When it is no message.
    pub fn read(line: &[u8]) -> Result<Self, wire::WireError> {
        wire::from_slice(line.trim_ascii_end())
    }

    /// The line, its end included.
    pub fn to_line(&self) -> Vec<u8> {
        // Text keys and plain values: this cannot fail.
        let mut line = wire::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    pub fn said(self) -> Said {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Text {
            message: String,
            sockpath: String,
        }
        let text = |value: Value| wire::from_value::<Text>(value).unwrap_or_default();
        match self.class.as_str() {
            "ping" => Said::Ping,
            "log" => Said::Log(text(self.parameters).message),
            "alert" => Said::Alert(text(self.parameters).message),
            "register" => Said::Register(text(self.parameters).sockpath),
            "config" => {
                Said::Config(Box::new(wire::from_value(self.parameters).unwrap_or_default()))
            }
            _ => Said::Unknown(self.class),
        }
    }
}

impl From<Said> for Message {
    fn from(said: Said) -> Self {
        let (class, parameters) = match said {
            Said::Ping => ("ping", Value::Null),
            Said::Log(text) => ("log", serde_json::json!({ "message": text })),
            Said::Alert(text) => ("alert", serde_json::json!({ "message": text })),
            Said::Register(path) => ("register", serde_json::json!({ "sockpath": path })),
            Said::Config(briefing) => {
                ("config", serde_json::to_value(briefing).unwrap_or_default())
            }
            Said::Unknown(class) => return Self { class, parameters: Value::Null },
        };
        Self { class: class.to_owned(), parameters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_written_as_peers_expect_them() {
        for (said, line) in [
            (Said::Ping, r#"{"class":"ping"}"#),
            (Said::Log("a \"b\"".into()), r#"{"class":"log","parameters":{"message":"a \"b\""}}"#),
            (
                Said::Register("unix:/r/s".into()),
                r#"{"class":"register","parameters":{"sockpath":"unix:/r/s"}}"#,
            ),
        ] {
            let written = Message::from(said.clone()).to_line();
            assert_eq!(written, format!("{line}\n").as_bytes());
            assert_eq!(Message::read(&written).unwrap().said(), said);
        }
    }

    #[test]
    fn odd_messages_are_read_as_far_as_they_go() {
        for (line, said) in [
            (r#"{"class":"log"}"#, Said::Log(String::new())),
            (r#"{"class":"log","parameters":7}"#, Said::Log(String::new())),
            (r#"{"Class":"ping","more":1}"#, Said::Ping),
            (r"{}", Said::Unknown(String::new())),
            (r#"{"class":"PING"}"#, Said::Unknown("PING".into())),
        ] {
            assert_eq!(Message::read(line.as_bytes()).unwrap().said(), said, "{line}");
        }
        for line in ["", "junk", "[]", "{\"class\":1}"] {
            assert!(Message::read(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn settings_are_found_in_any_case() {
        let config = serde_json::json!({ "ExamplePersist": { "interval": 3 }, "x": 1 });
        let briefing = Briefing { config, ..Briefing::default() };
        assert_eq!(briefing.setting("examplepersist", "Interval"), Some(&3.into()));
        assert_eq!(briefing.setting("examplepersist", "other"), None);
        assert_eq!(briefing.setting("x", "y"), None);
        assert_eq!(Briefing::default().setting("x", "y"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic(bytes: Vec<u8>, text in "\\PC*") {
            let _ = Message::read(&bytes).map(Message::said);
            for said in [Said::Log(text.clone()), Said::Alert(text.clone()), Said::Register(text)] {
                let line = Message::from(said.clone()).to_line();
                prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
                prop_assert_eq!(Message::read(&line).unwrap().said(), said);
            }
        }
    }
}

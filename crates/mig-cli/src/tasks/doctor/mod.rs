//! Which step between an investigator and the agents fails, and the way out.

mod own;
mod platform;

use std::time::Duration;

use mig_module::args::{Flag, Kind};
use mig_module::text::printable;
use mig_terminal::failure::{Failure, code};
use mig_terminal::format::Format;
use mig_terminal::grid::{self, Field, Row};
use mig_terminal::listing;
use mig_terminal::output::Output;
use mig_terminal::settings;
use mig_types::duration;
use serde::Serialize;

use super::{open_existing, words};

pub(super) const USAGE: &str = "\
usage: mig doctor [-c <file>] [--timeout <duration>] [-o <format>]

Checks, one after the other, what an investigation needs, and says what to do about
what is broken: config, key, gpg, network, tls, clock, token, permission, database,
broker, agents.

    --timeout <duration>  how long the platform may take for an answer [default: 15s]
    -o <format>           json: one document, findings and which hops are broken; name:
                          the broken hops

It signs once and asks the platform a few questions; it launches nothing.

exit status: 0 nothing is broken; else what an investigation would end with at the
first broken hop: 2 config; 3 key, gpg, clock, token, permission; 4 network, tls,
database, broker; 5 agents";

const FLAGS: [Flag; 1] = [("timeout", Kind::Text)];

const TIMEOUT: Duration = Duration::from_secs(15);

/// A step between an investigator and the agents, in the order of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Hop {
    Config,
    Key,
    Gpg,
    Network,
    Tls,
    Clock,
    Token,
    Permission,
    Database,
    Broker,
    Agents,
}

impl Hop {
    const ALL: [Self; 11] = [
        Self::Config,
        Self::Key,
        Self::Gpg,
        Self::Network,
        Self::Tls,
        Self::Clock,
        Self::Token,
        Self::Permission,
        Self::Database,
        Self::Broker,
        Self::Agents,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "key",
            Self::Gpg => "gpg",
            Self::Network => "network",
            Self::Tls => "tls",
            Self::Clock => "clock",
            Self::Token => "token",
            Self::Permission => "permission",
            Self::Database => "database",
            Self::Broker => "broker",
            Self::Agents => "agents",
        }
    }

    /// What an investigation would end with.
    const fn code(self) -> u8 {
        match self {
            Self::Config => code::USAGE,
            Self::Key | Self::Gpg | Self::Clock | Self::Token | Self::Permission => code::SIGNING,
            Self::Network | Self::Tls | Self::Database | Self::Broker => code::API,
            Self::Agents => code::NO_AGENT,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Odd, and no obstacle.
    Note,
    Broken,
    /// Something before it is broken, or it does not apply.
    Unchecked,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Broken => "broken",
            Self::Unchecked => "unchecked",
        }
    }
}

#[derive(Debug, Serialize)]
struct Finding {
    hop: Hop,
    state: State,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Row for Finding {
    const FIELDS: &'static [Field] = &[
        Field::new("hop"),
        Field::new("state"),
        Field::new("text"),
        Field::new("hint").expendable(1),
    ];

    fn cell(&self, field: &str) -> String {
        match field {
            "hop" => self.hop.name().to_owned(),
            "state" => self.state.name().to_owned(),
            "text" => self.text.clone(),
            _ => self.hint.clone().unwrap_or_default(),
        }
    }

    fn name(&self) -> String {
        self.hop.name().to_owned()
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, hop: Hop, text: impl Into<String>) {
        self.add(hop, State::Ok, text.into(), None);
    }

    fn note(&mut self, hop: Hop, text: impl Into<String>) {
        self.add(hop, State::Note, text.into(), None);
    }

    /// With the way out.
    fn broken(&mut self, hop: Hop, text: impl Into<String>, hint: impl Into<String>) {
        self.add(hop, State::Broken, text.into(), Some(hint.into()));
    }

    /// A failure of a step, in the words it has everywhere.
    fn failure(&mut self, hop: Hop, failure: Failure, hint: &str) {
        let hint = failure.hint.unwrap_or_else(|| hint.to_owned());
        self.add(hop, State::Broken, failure.message, Some(hint));
    }

    fn add(&mut self, hop: Hop, state: State, text: String, hint: Option<String>) {
        self.0.push(Finding { hop, state, text, hint });
    }

    fn is_broken(&self, hop: Hop) -> bool {
        self.0.iter().any(|one| one.hop == hop && one.state == State::Broken)
    }

    /// The broken hops, each once, in the order of the way.
    fn broken_hops(&self) -> Vec<Hop> {
        Hop::ALL.into_iter().filter(|hop| self.is_broken(*hop)).collect()
    }

    /// Puts them in the order of the way, with a word about hops that were not
    /// reached.
    fn complete(mut self) -> Self {
        for hop in Hop::ALL {
            if self.0.iter().all(|one| one.hop != hop) {
                self.add(hop, State::Unchecked, "not checked".to_owned(), None);
            }
        }
        self.0.sort_by_key(|one| one.hop);
        self
    }
}

pub(super) async fn run(line: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(words) = words(line, &FLAGS, USAGE, &Format::ALL, output)? else { return Ok(0) };
    grid::check::<Finding>(&words.form)?;
    let patience = match words.options.text("timeout") {
        Some(text) => duration::parse_period(text)
            .map_err(|error| Failure::usage(format!("--timeout: {error}")))?,
        None => TIMEOUT,
    };
    let mut findings = Findings::default();
    match settings::load().and_then(|()| open_existing(&words.options, output)) {
        Ok(session) => {
            own::file(&session, &mut findings);
            own::key(&session, &mut findings).await;
            platform::check(&session, patience, &mut findings).await;
        }
        Err(failure) => {
            findings.failure(Hop::Config, failure, "mig config check tells more about the file");
        }
    }
    let findings = findings.complete();
    let broken = findings.broken_hops();
    match words.form.format {
        Format::Text => print(&findings, &broken, output)?,
        Format::Json | Format::NdJson => {
            let document = serde_json::json!({ "broken": broken, "findings": findings.0 });
            output.line(&document.to_string())?;
        }
        Format::Name => broken.iter().try_for_each(|hop| output.line(hop.name()))?,
        Format::Table | Format::Csv => {
            let mut rows = findings.0;
            grid::sort(&mut rows, &words.form)?;
            listing::print(&rows, &words.form, output)?;
        }
    }
    Ok(broken.first().map_or(0, |hop| hop.code()))
}

fn print(findings: &Findings, broken: &[Hop], output: &mut Output) -> Result<(), Failure> {
    for Finding { hop, state, text, hint } in &findings.0 {
        let word = match state {
            State::Ok => "ok",
            State::Note => "note",
            State::Broken => "BROKEN",
            State::Unchecked => "-",
        };
        output.line(&format!("{word:<7} {}: {}", hop.name(), printable(text)))?;
        if let Some(hint) = hint {
            output.line(&format!("        hint: {}", printable(hint)))?;
        }
    }
    let names: Vec<&str> = broken.iter().map(|hop| hop.name()).collect();
    output.line(&match names.as_slice() {
        [] => "everything is in place".to_owned(),
        names => format!("broken: {}", names.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_that_were_not_reached_are_named_in_the_order_of_the_way() {
        let mut findings = Findings::default();
        findings.ok(Hop::Gpg, "2.2");
        findings.broken(Hop::Network, "refused", "start it");
        findings.broken(Hop::Config, "odd", "mend it");
        let findings = findings.complete();
        assert_eq!(findings.broken_hops(), [Hop::Config, Hop::Network]);
        let hops: Vec<Hop> = findings.0.iter().map(|one| one.hop).collect();
        assert_eq!(hops, Hop::ALL);
        let states: Vec<State> = findings.0.iter().map(|one| one.state).take(4).collect();
        assert_eq!(states, [State::Broken, State::Unchecked, State::Ok, State::Broken]);
    }
}

#![doc = include_str!("../README.md")]

mod arguments;
mod collect;
mod daemon;
mod ending;
mod event;
mod inbox;
mod interpret;
mod record;
mod rules;
mod serials;
mod settings;
mod tables;
mod users;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mig_module::args::{self, Outcome};
use mig_module::persist::{Briefing, Kind, Outlet, Persistent, Setting};
use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};
use serde::{Deserialize, Serialize};

use crate::collect::{Collector, PATIENCE};
use crate::daemon::{Office, Refusal};
use crate::ending::Ending;
use crate::event::{Event, Odd, decode};
use crate::inbox::{Found, Inbox};
use crate::serials::Serials;
use crate::settings::Settings;
use crate::users::Users;

const HELP: &str = "\
audit lives as long as the agent and raises an alert for every event that the kernel
reports by its rules. It takes no options; the answer says that it is alive.
";

/// Between two looks whether another audit daemon is still there.
const LOOK_AGAIN: Duration = Duration::from_mins(5);
/// Between two lines about records that were lost or not understood.
const REPORT_EVERY: Duration = Duration::from_secs(30);
/// What giving back may take; the agent waits for two seconds.
const TIDY_WITHIN: Duration = Duration::from_millis(1500);

/// There is nothing to ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {}

/// The module is alive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    pub ok: bool,
}

/// The `audit` module.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    ending: Arc<Ending>,
}

impl Module for Audit {
    const NAME: &'static str = "audit";
    const SUMMARY: &'static str = "raises alerts for what the kernel audits";
    type Params = Params;
    type Elements = Elements;
    type Statistics = ();

    fn needs(&self) -> Needs {
        Needs { reads: &[], ..Needs::default() }
    }

    fn persistent(&self) -> Option<&dyn Persistent> {
        Some(self)
    }

    fn validate(&self, _params: &Params) -> Result<(), ModuleError> {
        Ok(())
    }

    fn run(
        &self,
        _host: &dyn Host,
        _params: &Params,
        _budget: &Budget,
    ) -> Result<Report<Elements, ()>, ModuleError> {
        Ok(Report {
            foundanything: true,
            success: true,
            elements: Some(Elements { ok: true }),
            ..Report::default()
        })
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        if args.first().is_some_and(|word| word == "help") {
            return Ok(Parsed::Help);
        }
        match args::parse_or_empty(&[], args)? {
            Outcome::Help => Ok(Parsed::Help),
            Outcome::Options(_) => Ok(Parsed::Params(Params {})),
        }
    }

    fn print(&self, report: &Report<Elements, ()>, found_only: bool) -> Vec<String> {
        let line = |elements: &Elements| format!("ok:{}", elements.ok);
        let mut lines: Vec<String> = report.elements.iter().map(line).collect();
        if !found_only {
            lines.extend(report.errors.iter().cloned());
        }
        lines
    }

    fn help(&self) -> String {
        HELP.to_owned()
    }
}

impl Persistent for Audit {
    fn settings(&self) -> &'static [Setting] {
        &[
            Setting { section: "audit", key: "rulespath", kind: Kind::Text },
            Setting { section: "audit", key: "ratelimit", kind: Kind::Number },
            Setting { section: "audit", key: "backloglimit", kind: Kind::Number },
            Setting { section: "audit", key: "includeraw", kind: Kind::Switch },
        ]
    }

    /// Names of users, and the file of rules that the configuration names.
    fn needs(&self) -> Needs {
        Needs { reads: &[users::FILE], audit: true, ..Needs::default() }
    }

    fn reads(&self, briefing: &Briefing) -> Vec<String> {
        Settings::read(briefing).map(|settings| settings.rulespath).into_iter().collect()
    }

    fn work(&self, briefing: &Briefing, outlet: &Outlet) -> Result<(), String> {
        let settings = Settings::read(briefing)?;
        let waker = self.ending.begin().map_err(|error| daemon::no_link(&error))?;
        let worked = self.hold(&settings, outlet, &waker);
        self.ending.finish();
        worked
    }

    fn leaves_traces(&self) -> bool {
        true
    }

    fn tidy(&self) {
        self.ending.ask(TIDY_WITHIN);
    }
}

impl Audit {
    /// Becomes the audit daemon, as soon as nobody else is, and stays it.
    fn hold(
        &self,
        settings: &Settings,
        outlet: &Outlet,
        waker: &mig_host::audit::Waker,
    ) -> Result<(), String> {
        let users = Users::of_this_system().unwrap_or_else(|error| {
            let reason = mig_host::fs::reason(&error);
            outlet.log(&format!("users are not known by name: {}: {reason}", users::FILE));
            Users::default()
        });
        let mut office = loop {
            // Read each time: what is wrong with them is said before the kernel is
            // touched.
            let rules = rules::load(&settings.rulespath, &users).map_err(|error| chain(&error))?;
            match Office::take(settings, &rules, outlet) {
                Ok(office) => break office,
                Err(Refusal::Failed(reason)) => return Err(reason),
                Err(Refusal::Taken(pid)) => {
                    let minutes = LOOK_AGAIN.as_secs() / 60;
                    outlet.log(&format!(
                        "another audit daemon is registered (process {pid}): nothing is changed, \
                         next look in {minutes} minutes"
                    ));
                }
            }
            if self.ending.wait(LOOK_AGAIN) {
                return Ok(());
            }
        };
        outlet.log("listening for audit events");
        let inbox = Inbox::default();
        let ended = std::thread::scope(|scope| {
            let receive = || {
                office.receive(&inbox, waker, &|| self.ending.is_asked());
                // Before what still waits is read: there may be no time for that.
                office.give_back(outlet);
            };
            // The kernel must not wait for what is done with its records.
            let started = std::thread::Builder::new().spawn_scoped(scope, receive);
            match started {
                Ok(_) => {
                    let mut reader =
                        Reader::new(outlet, &users, Collector::new(settings.includeraw));
                    let ended = reader.read(&inbox);
                    reader.report(&inbox);
                    ended
                }
                Err(error) => Err(format!("cannot start a thread: {error}")),
            }
        });
        // Once more where the thread did not start; otherwise nothing is left to do.
        office.give_back(outlet);
        ended
    }
}

/// Turns records into alerts.
struct Reader<'r> {
    outlet: &'r Outlet,
    users: &'r Users,
    collector: Collector,
    serials: Serials,
    not_understood: u64,
    unknown_types: u64,
    reported: Instant,
}

impl<'r> Reader<'r> {
    fn new(outlet: &'r Outlet, users: &'r Users, collector: Collector) -> Self {
        Self {
            outlet,
            users,
            collector,
            serials: Serials::default(),
            not_understood: 0,
            unknown_types: 0,
            reported: Instant::now(),
        }
    }

    /// Until nothing comes any more; why, unless that was asked for.
    fn read(&mut self, inbox: &Inbox) -> Result<(), String> {
        loop {
            let longest = if self.collector.is_empty() { REPORT_EVERY } else { PATIENCE / 4 };
            let now = match inbox.take(longest) {
                Found::Records(records) => {
                    let now = Instant::now();
                    for record in records {
                        match decode(record.kind, &record.text, self.users) {
                            Ok(record) => {
                                self.serials.saw(record.serial, now);
                                for event in self.collector.add(record, now) {
                                    self.raise(&event);
                                }
                            }
                            Err(Odd::NotUnderstood) => self.not_understood += 1,
                            Err(Odd::UnknownType) => self.unknown_types += 1,
                        }
                    }
                    now
                }
                Found::Nothing => Instant::now(),
                Found::Closed(why) => {
                    for event in self.collector.flush() {
                        self.raise(&event);
                    }
                    return why;
                }
            };
            for event in self.collector.expire(now) {
                self.raise(&event);
            }
            if now.saturating_duration_since(self.reported) >= REPORT_EVERY {
                self.report(inbox);
                self.reported = now;
            }
        }
    }

    /// Says what is missing, to the log and to whoever reads the alerts.
    fn report(&mut self, inbox: &Inbox) {
        let lost = inbox.take_lost();
        let missing = self.serials.take_missing(Instant::now());
        for (count, reason) in [
            (lost.kernel, "the kernel dropped records"),
            (lost.socket, "the socket was full, and records were dropped"),
            (lost.inbox, "records came faster than they could be read"),
            (missing, "numbers of events were passed over"),
        ] {
            if count > 0 {
                self.outlet.log(&format!("events are missing: {reason} ({count})"));
                self.raise(&Event::gap(reason, count, self.outlet.now()));
            }
        }
        for (count, what) in [
            (&mut self.not_understood, "records were not understood"),
            (&mut self.unknown_types, "records of types without a name were left out"),
        ] {
            if *count > 0 {
                self.outlet.log(&format!("{count} {what}"));
                *count = 0;
            }
        }
    }

    fn raise(&self, event: &Event) {
        self.outlet.alert(&event.to_text());
    }
}

/// The chain of reasons on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line = format!("{line}: {error}");
        source = error.source();
    }
    line
}

/// Reads one record as the module does; for tests with foreign bytes. The event
/// it is alone, as an alert has it.
pub fn read_record(kind: u16, text: &[u8]) -> Option<String> {
    let record = decode(kind, text, &Users::default()).ok()?;
    Some(Event::single(record, true).to_text())
}

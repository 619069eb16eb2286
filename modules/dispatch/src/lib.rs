#![doc = include_str!("../README.md")]

pub mod http;
mod queue;
mod record;
mod settings;
mod trust;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mig_module::args::{self, Outcome};
use mig_module::persist::{Briefing, Kind, Outlet, Persistent, Setting};
use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};
use serde::{Deserialize, Serialize};

use crate::http::{Endpoint, PostError};
use crate::queue::Queue;
use crate::record::Frame;
use crate::settings::Settings;

const HELP: &str = "\
dispatch lives as long as the agent and delivers the alerts of other modules. It takes
no options; the answer says that it is alive.
";

/// Pauses before a delivery is tried again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// Between two complaints about deliveries that failed.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

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

/// The `dispatch` module. It holds the alerts that wait in its process.
#[derive(Debug, Clone, Default)]
pub struct Dispatch {
    queue: Arc<Queue>,
}

impl Module for Dispatch {
    const NAME: &'static str = "dispatch";
    const SUMMARY: &'static str = "delivers alerts of other modules over HTTP";
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

impl Persistent for Dispatch {
    fn settings(&self) -> &'static [Setting] {
        &[
            Setting { section: "dispatch", key: "httpurl", kind: Kind::Text },
            Setting { section: "dispatch", key: "snstopic", kind: Kind::Text },
            Setting { section: "dispatch", key: "outputmozdef", kind: Kind::Switch },
            Setting { section: "dispatch", key: "channelsize", kind: Kind::Number },
        ]
    }

    /// Looks up names, opens connections, and knows whom the system trusts.
    fn needs(&self) -> Needs {
        Needs { reads: Needs::NETWORK_FILES, network: true, ..Needs::default() }
    }

    fn work(&self, briefing: &Briefing, outlet: &Outlet) -> Result<(), String> {
        let (settings, remarks) = Settings::read(briefing);
        for remark in remarks {
            outlet.log(&remark);
        }
        self.queue.bound(settings.channelsize);
        let frame = Frame::new(briefing, settings.outputmozdef);
        let endpoint = if settings.httpurl.is_empty() {
            Err("neither httpurl nor a topic that can be reached is set".to_owned())
        } else {
            Endpoint::parse(&settings.httpurl).map_err(|error| error.to_string())
        };
        let mut log = SparseLog::new(outlet);
        loop {
            let alert = self.queue.take();
            let document = frame.around(&alert, outlet.now());
            let delivered = match &endpoint {
                Ok(endpoint) => deliver(endpoint, &document),
                Err(reason) => Err(reason.clone()),
            };
            if let Err(reason) = delivered {
                log.say(&format!("http post: {reason}"));
            }
        }
    }

    fn takes_alerts(&self) -> bool {
        true
    }

    fn alerted(&self, text: &str, outlet: &Outlet) {
        if let Some(dropped) = self.queue.put(text) {
            outlet.log(&format!(
                "warning, dispatch module dropping messages (buffer full, {dropped} dropped since \
                 last warning)"
            ));
        }
    }
}

fn deliver(endpoint: &Endpoint, document: &[u8]) -> Result<(), String> {
    let mut pauses = PAUSES.iter();
    loop {
        match endpoint.post(document) {
            Ok(()) => return Ok(()),
            Err(error) => match pauses.next() {
                Some(pause) if error.is_worth_another_try() => std::thread::sleep(*pause),
                _ => return Err(one_line(&error)),
            },
        }
    }
}

fn one_line(error: &PostError) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        line = format!("{line}: {error}");
        source = error.source();
    }
    line
}

/// Says the same kind of thing now and then, and how often it was not said.
struct SparseLog<'o> {
    outlet: &'o Outlet,
    last: Option<Instant>,
    unsaid: u64,
}

impl<'o> SparseLog<'o> {
    fn new(outlet: &'o Outlet) -> Self {
        Self { outlet, last: None, unsaid: 0 }
    }

    fn say(&mut self, text: &str) {
        if self.last.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY) {
            self.unsaid += 1;
            return;
        }
        let more = match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            unsaid => format!(" ({unsaid} more failed since the last message)"),
        };
        self.outlet.log(&format!("{text}{more}"));
        self.last = Some(Instant::now());
    }
}

#![doc = include_str!("../README.md")]

mod elements;
mod print;
mod query;
pub mod servers;
pub mod sntp;

pub use elements::{Elements, Params, ServerStatistics, Statistics};

use std::time::{Duration, Instant};

use mig_module::args::{self, Flag, Kind, Outcome};
use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};
use mig_types::{Timestamp, duration};

use crate::query::Answer;

/// Where time servers listen.
const PORT: u16 = 123;
/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Asked after the host's own servers.
const PUBLIC: [&str; 5] =
    ["time.nist.gov", "0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org", "3.pool.ntp.org"];

const FLAGS: [Flag; 1] = [("drift", Kind::Text)];

const HELP: &str = "\
timedrift reports the local time of endpoints and compares it with network time.

  -drift <duration>  largest difference that is no finding, such as 5s or 10ms;
                     without it no server is asked

Example: timedrift -drift 20s
";

/// The `timedrift` module. Stateless: one value serves every run.
#[derive(Debug, Clone)]
pub struct TimeDrift {
    port: u16,
    patience: Duration,
    public: Vec<String>,
}

impl Default for TimeDrift {
    fn default() -> Self {
        Self { port: PORT, patience: PATIENCE, public: PUBLIC.map(str::to_owned).into() }
    }
}

impl TimeDrift {
    /// Asks other servers than the public ones, on another port, and gives
    /// each so much time.
    pub fn asking(public: Vec<String>, port: u16, patience: Duration) -> Self {
        Self { port, patience, public }
    }

    /// Asks one server after the other until one answers.
    fn compare(
        &self,
        host: &dyn Host,
        budget: &Budget,
        report: &mut Report<Elements, Statistics>,
    ) -> Result<Option<Answer>, ModuleError> {
        let mut list = servers::configured(host);
        list.extend(self.public.iter().cloned());
        let mut seen = Vec::new();
        for server in list {
            if seen.contains(&server) {
                continue;
            }
            budget.check()?;
            let patience = budget.remaining().map_or(self.patience, |left| left.min(self.patience));
            let asked = query::ask(host, &server, self.port, patience);
            let statistics = report.statistics.get_or_insert_default();
            match asked {
                Ok(answer) => {
                    statistics.ntpstats.push(ServerStatistics {
                        time: answer.time,
                        latency: duration::format(answer.latency),
                        drift: duration::format_signed(answer.drift_nanos),
                        reachable: true,
                        host: server,
                    });
                    return Ok(Some(answer));
                }
                Err(error) => {
                    report.errors.push(format!("cannot ask time server {server}: {error}"));
                    statistics.ntpstats.push(ServerStatistics {
                        host: server.clone(),
                        time: Timestamp::ZERO,
                        ..ServerStatistics::default()
                    });
                    seen.push(server);
                }
            }
        }
        Ok(None)
    }
}

impl Module for TimeDrift {
    const NAME: &'static str = "timedrift";
    const SUMMARY: &'static str = "compares the local time with network time";
    type Params = Params;
    type Elements = Elements;
    type Statistics = Statistics;

    fn needs(&self) -> Needs {
        Needs { reads: Needs::NETWORK_FILES, network: true, ..Needs::default() }
    }

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        limit(params).map(|_| ())
    }

    fn run(
        &self,
        host: &dyn Host,
        params: &Params,
        budget: &Budget,
    ) -> Result<Report<Elements, Statistics>, ModuleError> {
        let begun = Instant::now();
        let mut elements =
            Elements { localtime: elements::local_text(host.now()), ..Elements::default() };
        let mut report = Report { success: true, ..Report::default() };
        match limit(params)? {
            None => report.foundanything = true,
            Some(limit) => {
                let answer = self.compare(host, budget, &mut report)?;
                judge(answer, limit, &mut elements, &mut report);
            }
        }
        report.statistics.get_or_insert_default().exectime = duration::format(begun.elapsed());
        report.elements = Some(elements);
        Ok(report)
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        if args.first().is_some_and(|word| word == "help") {
            return Ok(Parsed::Help);
        }
        let given = match args::parse_or_empty(&FLAGS, args)? {
            Outcome::Help => return Ok(Parsed::Help),
            Outcome::Options(given) => given,
        };
        let params = Params { drift: given.text("drift").unwrap_or_default().to_owned() };
        if given.has("drift") && !matches!(limit(&params), Ok(Some(_))) {
            return Err(UsageError::new("invalid drift duration. try help."));
        }
        Ok(Parsed::Params(params))
    }

    fn print(&self, report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
        print::lines(report, found_only)
    }

    fn help(&self) -> String {
        HELP.to_owned()
    }
}

/// What an answer, or none, means.
fn judge(
    answer: Option<Answer>,
    limit: u64,
    elements: &mut Elements,
    report: &mut Report<Elements, Statistics>,
) {
    let Some(answer) = answer else {
        report.success = false;
        elements.iswithindrift = true;
        return;
    };
    // That others were silent before is in the statistics.
    report.errors.clear();
    elements.hascheckeddrift = true;
    elements.iswithindrift = answer.drift_nanos.unsigned_abs() <= limit;
    report.foundanything = !elements.iswithindrift;
    let asked = report.statistics.as_ref().and_then(|all| all.ntpstats.last());
    if report.foundanything
        && let Some(asked) = asked
    {
        elements.drifts.push(answer.text(&asked.host));
    }
}

/// The largest drift that is no finding, in nanoseconds.
fn limit(params: &Params) -> Result<Option<u64>, ModuleError> {
    if params.drift.is_empty() {
        return Ok(None);
    }
    let limit = duration::parse(&params.drift).map_err(|error| {
        ModuleError::invalid(format!("parameter 'drift' must be a duration from 0s: {error}"))
    })?;
    Ok(Some(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)))
}

#![doc = include_str!("../README.md")]

mod elements;
mod plan;
mod print;
mod probe;

pub use elements::{Elements, FAILED, Params, REFUSED, Statistics, TIMED_OUT};

use std::net::{IpAddr, ToSocketAddrs as _};
use std::time::Duration;

use mig_module::args::{self, Flag, Kind, Outcome};
use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};

use crate::plan::{Plan, Protocol};

/// Between two probes.
const PAUSE: Duration = Duration::from_millis(100);

const FLAGS: [Flag; 5] = [
    ("d", Kind::Text),
    ("dp", Kind::Number),
    ("p", Kind::Text),
    ("c", Kind::Number),
    ("t", Kind::Number),
];

const HELP: &str = "\
ping tells whether endpoints reach a destination.

  -d <address>   address or name, looked up on the endpoint [default: www.google.com]
  -dp <port>     port, for tcp and udp
  -p <protocol>  icmp, tcp or udp [default: icmp]
  -c <count>     number of probes, up to 1000 [default: 3]
  -t <seconds>   how long each may take, up to 300 [default: 5]

-p, -c and -t are options of mig as well: write -d or -dp first. A UDP service that
says nothing counts as reached. Examples:
  ping -d 192.0.2.1
  ping -d db.example.net -dp 5432 -p tcp -t 0.5
";

/// The `ping` module. Stateless: one value serves every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ping;

impl Module for Ping {
    const NAME: &'static str = "ping";
    const SUMMARY: &'static str = "tells whether endpoints reach a destination";
    type Params = Params;
    type Elements = Elements;
    type Statistics = Statistics;

    fn needs(&self) -> Needs {
        Needs { reads: Needs::NETWORK_FILES, network: true, ..Needs::default() }
    }

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        Plan::of(params).map(|_| ())
    }

    fn run(
        &self,
        _host: &dyn Host,
        params: &Params,
        budget: &Budget,
    ) -> Result<Report<Elements, Statistics>, ModuleError> {
        let plan = Plan::of(params)?;
        let to = look_up(&params.destination, budget)?;
        let port = match plan.protocol {
            Protocol::Icmp => String::new(),
            Protocol::Tcp | Protocol::Udp => format!(":{}", plan.port),
        };
        let mut elements = Elements {
            protocol: params.protocol.clone(),
            resolvedhost: format!("{}{port} ({to})", params.destination),
            ..Elements::default()
        };
        let mut report = Report { success: true, ..Report::default() };
        for number in 1..=plan.count {
            let probe_plan = plan.clone();
            let outcome = match budget.aside(move || probe::probe(&probe_plan, to, number)) {
                Ok(outcome) => outcome,
                // What was learnt until then is an answer, too.
                Err(error) => {
                    report.errors.push(error.one_line());
                    break;
                }
            };
            report.foundanything |= outcome.is_found(plan.protocol);
            elements.latencies.push(outcome.latency());
            if let probe::Outcome::Failed(error) = &outcome {
                let reason = mig_host::fs::reason(error);
                elements.failures.push(format!("ping #{number} failed with error: {reason}"));
            }
            std::thread::sleep(PAUSE);
        }
        report.elements = Some(elements);
        Ok(report)
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        let given = match args::parse(&FLAGS, args)? {
            Outcome::Help => return Ok(Parsed::Help),
            Outcome::Options(given) => given,
        };
        let text = |name, default: &str| given.text(name).unwrap_or(default).to_owned();
        Ok(Parsed::Params(Params {
            destination: text("d", "www.google.com"),
            destinationport: given.number("dp", -1.0),
            protocol: text("p", "icmp"),
            count: given.number("c", 3.0),
            timeout: given.number("t", 5.0),
        }))
    }

    fn print(&self, report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
        print::lines(report, found_only)
    }

    fn help(&self) -> String {
        HELP.to_owned()
    }
}

/// The address of a destination: the first one, in the order of the resolver.
fn look_up(destination: &str, budget: &Budget) -> Result<IpAddr, ModuleError> {
    // An address that is written with brackets, as in a URL.
    let plain = destination.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = plain.unwrap_or(destination).parse() {
        return Ok(address);
    }
    let name = destination.to_owned();
    let found = budget.aside(move || (name, 0).to_socket_addrs().map(|mut all| all.next()))?;
    let invalid = |reason: String| {
        ModuleError::Failed(format!("destination IP is invalid: {destination}: {reason}"))
    };
    let found = found.map_err(|error| invalid(mig_host::fs::reason(&error)))?;
    found.map(|address| address.ip()).ok_or_else(|| invalid("it has no address".to_owned()))
}

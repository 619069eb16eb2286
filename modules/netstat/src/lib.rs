#![doc = include_str!("../README.md")]

mod elements;
mod print;
mod query;
mod run;

pub use elements::{Element, Elements, Found, Params, Statistics};

use std::time::Instant;

use mig_module::args::{self, Flag, Kind, Outcome};
use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};
use mig_types::duration;

use crate::query::Network;

/// The `netstat` module. Stateless: one value serves every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Netstat;

const FLAGS: [Flag; 7] = [
    ("lm", Kind::List),
    ("nm", Kind::List),
    ("li", Kind::List),
    ("ni", Kind::List),
    ("ci", Kind::List),
    ("lp", Kind::List),
    ("namespaces", Kind::Bool),
];

const HELP: &str = "\
netstat looks for addresses, neighbours, connections and open ports.

  -lm <regex>      hardware address of an own interface, in any case
  -nm <regex>      hardware address of a neighbour, lower case
  -li <ip|cidr>    own address
  -ni <ip|cidr>    address of a neighbour
  -ci <ip|cidr>    remote address of a socket in any state
  -lp <port>       local port of a socket in any state
  -namespaces      look into all network namespaces (linux)

All but the last are repeatable. Examples:
  netstat -ci 192.0.2.0/24 -lp 22
  netstat -lm '^8c:70:5a' -li fe80::/10
";

impl Module for Netstat {
    const NAME: &'static str = "netstat";
    const SUMMARY: &'static str = "looks for addresses, neighbours, connections and open ports";
    type Params = Params;
    type Elements = Elements;
    type Statistics = Statistics;

    fn needs(&self) -> Needs {
        Needs { reads: &["/proc", "/sys"], kernel_sockets: true, ..Needs::default() }
    }

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        for text in params.localmac.iter().chain(&params.neighbormac) {
            query::mac(text, false)?;
        }
        let networks = params.localip.iter().chain(&params.neighborip).chain(&params.connectedip);
        for text in networks {
            Network::parse(text)?;
        }
        for text in &params.listeningport {
            query::port(text)?;
        }
        Ok(())
    }

    fn run(
        &self,
        host: &dyn Host,
        params: &Params,
        budget: &Budget,
    ) -> Result<Report<Elements, Statistics>, ModuleError> {
        let begun = Instant::now();
        let outcome = run::run(host, params, budget)?;
        Ok(Report {
            foundanything: outcome.hits > 0,
            success: true,
            elements: Some(outcome.elements),
            statistics: Some(Statistics {
                examined: outcome.examined,
                exectime: duration::format(begun.elapsed()),
                totalhits: outcome.hits,
            }),
            errors: outcome.errors,
        })
    }

    fn mask(&self, report: &mut Report<Elements, Statistics>) {
        let connected = report.elements.iter_mut().flat_map(|e| e.connectedip.values_mut());
        for element in connected.flatten().flatten() {
            if !element.remoteaddr.is_empty() {
                "masked".clone_into(&mut element.remoteaddr);
            }
        }
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        let given = match args::parse(&FLAGS, args)? {
            Outcome::Help => return Ok(Parsed::Help),
            Outcome::Options(given) => given,
        };
        Ok(Parsed::Params(Params {
            localmac: given.list("lm"),
            neighbormac: given.list("nm"),
            localip: given.list("li"),
            neighborip: given.list("ni"),
            connectedip: given.list("ci"),
            listeningport: given.list("lp"),
            namespaces: given.boolean("namespaces", false),
        }))
    }

    fn print(&self, report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
        print::lines(report, found_only)
    }

    fn help(&self) -> String {
        HELP.to_owned()
    }
}

#![doc = include_str!("../README.md")]

use std::collections::BTreeMap;
use std::net::ToSocketAddrs as _;

use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};
use mig_types::wire;
use serde::{Deserialize, Serialize};

/// Longest part of a name between two dots.
const MAX_LABEL: usize = 63;

/// Addresses that every host has and nobody asks for.
const LOOPBACK: [&str; 2] = ["127.0.0.1/8", "::1/128"];

/// Parameters as they travel in an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    /// Report the host's name.
    pub gethostname: bool,
    /// Report the addresses of its interfaces.
    pub getaddresses: bool,
    /// Look up these names.
    #[serde(serialize_with = "wire::null_if_empty")]
    pub lookuphost: Vec<String>,
}

/// What was found; what nobody asked for is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Address and length of the network's prefix: `192.0.2.2/24`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Addresses by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lookeduphost: BTreeMap<String, Vec<String>>,
}

/// Counters of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// The name and the addresses, but not what was looked up.
    #[serde(deserialize_with = "wire::unsigned")]
    pub stufffound: u64,
}

/// The `example` module. Stateless: one value serves every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Example;

impl Module for Example {
    const NAME: &'static str = "example";
    const SUMMARY: &'static str = "a template for authors of modules";
    type Params = Params;
    type Elements = Elements;
    type Statistics = Statistics;

    fn needs(&self) -> Needs {
        Needs { reads: Needs::NETWORK_FILES, network: true, ..Needs::default() }
    }

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        match params.lookuphost.iter().find(|name| !is_name(name)) {
            None => Ok(()),
            Some(name) => Err(ModuleError::invalid(format!(
                "ValidateParameters: LookupHost parameter is not a valid FQDN. Got {name:?}"
            ))),
        }
    }

    fn run(
        &self,
        host: &dyn Host,
        params: &Params,
        budget: &Budget,
    ) -> Result<Report<Elements, Statistics>, ModuleError> {
        let mut elements = Elements::default();
        let mut errors = Vec::new();
        if params.gethostname {
            elements.hostname = host.name();
            if elements.hostname.is_empty() {
                errors.push("the host has no name".to_owned());
            }
        }
        if params.getaddresses {
            match host.interfaces() {
                Ok(interfaces) => {
                    let all = interfaces.iter().flat_map(|interface| &interface.addresses);
                    let texts = all.map(ToString::to_string);
                    elements.addresses =
                        texts.filter(|text| !LOOPBACK.contains(&text.as_str())).collect();
                }
                Err(error) => errors.push(error.one_line()),
            }
        }
        for name in &params.lookuphost {
            let asked = name.clone();
            let found = budget.aside(move || {
                let found = (asked.as_str(), 0).to_socket_addrs()?;
                Ok::<_, std::io::Error>(found.map(|address| address.ip().to_string()).collect())
            })?;
            match found {
                Ok(mut addresses) => {
                    Vec::dedup(&mut addresses);
                    elements.lookeduphost.insert(name.clone(), addresses);
                }
                Err(error) => errors.push(format!("cannot look up {name}: {error}")),
            }
        }
        let found = usize::from(!elements.hostname.is_empty()) + elements.addresses.len();
        Ok(Report {
            foundanything: found > 0,
            success: errors.is_empty(),
            elements: Some(elements),
            statistics: Some(Statistics { stufffound: found as u64 }),
            errors,
        })
    }

    fn parse_args(&self, _args: &[String]) -> Result<Parsed<Params>, UsageError> {
        Err(UsageError::new("module 'example' does not support command line invocation"))
    }

    fn print(&self, report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
        let elements = report.elements.clone().unwrap_or_default();
        let mut lines = Vec::new();
        if !elements.hostname.is_empty() {
            lines.push(format!("hostname is {}", elements.hostname));
        }
        lines.extend(elements.addresses.iter().map(|address| format!("address is {address}")));
        for (name, addresses) in &elements.lookeduphost {
            lines.extend(addresses.iter().map(|ip| format!("lookedup host {name} has IP {ip}")));
        }
        if !found_only {
            lines.extend(report.errors.iter().map(|error| format!("error: {error}")));
            let found = report.statistics.as_ref().map_or(0, |all| all.stufffound);
            lines.push(format!("stat: {found} stuff found"));
        }
        lines
    }

    fn help(&self) -> String {
        "example is a template for authors of modules. There are no options.\n".to_owned()
    }
}

/// Whether a text is a name of the DNS: parts of letters, digits and dashes
/// inside, with dots between them.
fn is_name(text: &str) -> bool {
    let is_part = |part: &str| {
        (1..=MAX_LABEL).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.split('.').all(is_part)
}

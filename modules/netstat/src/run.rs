//! One look at the host, and every query against it.

use std::net::IpAddr;

use mig_host::HostError;
use mig_host::net::{Interface, Namespace, Neighbour, RowError, Socket, Wanted};
use mig_module::{Budget, Host, ModuleError};

use crate::elements::{Element, Elements, Found, Params};
use crate::query::{self, Network};

/// Most findings returned for one query.
const MAX_FINDINGS: usize = 10_000;
/// Most malformed rows reported one by one.
const MAX_ROW_ERRORS: usize = 20;

/// What a run found and could not read.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) elements: Elements,
    pub(crate) errors: Vec<String>,
    pub(crate) examined: u64,
    pub(crate) hits: u64,
}

/// What the queries are about in the host's tables, read once, so that all of them see
/// the same moment.
#[derive(Debug, Default)]
struct Snapshot {
    interfaces: Vec<Interface>,
    neighbours: Vec<(String, Neighbour)>,
    sockets: Vec<(String, Socket)>,
}

pub(crate) fn run(
    host: &dyn Host,
    params: &Params,
    budget: &Budget,
) -> Result<Outcome, ModuleError> {
    let mut outcome = Outcome::default();
    let snapshot = look(host, params, &mut outcome)?;
    budget.check()?;
    let mut elements = Elements::default();
    for text in &params.localmac {
        let regex = query::mac(text, true)?;
        let macs = snapshot.interfaces.iter().map(|interface| &interface.mac);
        let found = macs.filter(|mac| !mac.is_empty() && regex.is_match(mac.as_bytes()));
        let found = found.map(|mac| Element { localmacaddr: mac.clone(), ..Element::default() });
        outcome.record(&mut elements.localmac, text, found);
    }
    for text in &params.neighbormac {
        let regex = query::mac(text, false)?;
        let found = snapshot.neighbours.iter().filter(|(_, n)| regex.is_match(n.mac.as_bytes()));
        outcome.record(&mut elements.neighbormac, text, found.map(neighbour));
    }
    for text in &params.neighborip {
        let network = Network::parse(text)?;
        let found = snapshot.neighbours.iter().filter(|(_, n)| network.contains(n.ip));
        outcome.record(&mut elements.neighborip, text, found.map(neighbour));
    }
    for text in &params.localip {
        let network = Network::parse(text)?;
        let all = snapshot.interfaces.iter().flat_map(|interface| &interface.addresses);
        let found = all.filter(|address| network.contains(address.ip));
        let found = found
            .map(|address| Element { localaddr: address.ip.to_string(), ..Element::default() });
        outcome.record(&mut elements.localip, text, found);
    }
    for text in &params.connectedip {
        budget.check()?;
        let network = Network::parse(text)?;
        let found = snapshot.sockets.iter().filter(|(_, socket)| network.contains(socket.remote));
        let found = found.map(|(namespace, socket)| {
            // A mapped address is what an IPv4 query is about: dotted.
            let ip = |ip: IpAddr| if network.is_ipv6() { ip } else { ip.to_canonical() };
            Element {
                localaddr: ip(socket.local).to_string(),
                localport: u64::from(socket.local_port),
                remoteaddr: ip(socket.remote).to_string(),
                remoteport: u64::from(socket.remote_port),
                namespace: namespace.clone(),
                ..Element::default()
            }
        });
        outcome.record(&mut elements.connectedip, text, found);
    }
    for text in &params.listeningport {
        let port = query::port(text)?;
        let found = snapshot.sockets.iter().filter(|(_, socket)| socket.local_port == port);
        let found = found.map(|(namespace, socket)| Element {
            localaddr: socket.local.to_string(),
            localport: u64::from(port),
            namespace: namespace.clone(),
            ..Element::default()
        });
        outcome.record(&mut elements.listeningport, text, found);
    }
    outcome.elements = elements;
    Ok(outcome)
}

impl Outcome {
    fn record(&mut self, kind: &mut Found, query: &str, found: impl Iterator<Item = Element>) {
        let mut found: Vec<Element> = found.collect();
        found.sort();
        if kind.contains_key(query) {
            return;
        }
        self.hits += found.len() as u64;
        let left_out = found.len().saturating_sub(MAX_FINDINGS);
        found.truncate(MAX_FINDINGS);
        if left_out > 0 {
            self.errors.push(format!(
                "{left_out} findings of '{query}' were not returned (limit = {MAX_FINDINGS})"
            ));
        }
        kind.insert(query.to_owned(), (!found.is_empty()).then_some(found));
    }
}

/// Reads the tables the queries need. What cannot be read is an error entry;
/// the other tables still answer.
///
/// # Errors
///
/// On a query that is none.
fn look(host: &dyn Host, params: &Params, outcome: &mut Outcome) -> Result<Snapshot, ModuleError> {
    let mut snapshot = Snapshot::default();
    if !(params.localmac.is_empty() && params.localip.is_empty()) {
        match host.interfaces() {
            Ok(interfaces) => {
                let addresses: usize = interfaces.iter().map(|i| 1 + i.addresses.len()).sum();
                outcome.examined += addresses as u64;
                snapshot.interfaces = interfaces;
            }
            Err(error) => outcome.errors.push(error.one_line()),
        }
    }
    let neighbours = !(params.neighbormac.is_empty() && params.neighborip.is_empty());
    let remotes = params.connectedip.iter().map(|text| Ok(Network::parse(text)?.wanted()));
    let ports = params.listeningport.iter().map(|text| query::port(text).map(Wanted::LocalPort));
    let sockets = remotes.chain(ports).collect::<Result<Vec<Wanted>, ModuleError>>()?;
    if !neighbours && sockets.is_empty() {
        return Ok(snapshot);
    }
    let namespaces = host.namespaces(params.namespaces).unwrap_or_else(|error| {
        outcome.errors.push(error.one_line());
        Vec::new()
    });
    let mut bad_rows = 0;
    for namespace in &namespaces {
        if neighbours {
            let rows = host.neighbours(namespace).unwrap_or_else(|error| {
                outcome.errors.push(error.one_line());
                Vec::new()
            });
            outcome.examined += rows.len() as u64;
            snapshot.neighbours.extend(take(rows, namespace, outcome, &mut bad_rows));
        }
        if !sockets.is_empty() {
            let found = host.sockets(namespace, &sockets);
            outcome.errors.extend(found.failures.iter().map(HostError::one_line));
            outcome.examined += found.examined;
            snapshot.sockets.extend(take(found.rows, namespace, outcome, &mut bad_rows));
        }
    }
    if bad_rows > MAX_ROW_ERRORS {
        let more = bad_rows - MAX_ROW_ERRORS;
        outcome.errors.push(format!("{more} more rows are malformed"));
    }
    Ok(snapshot)
}

fn take<T>(
    rows: Vec<Result<T, RowError>>,
    namespace: &Namespace,
    outcome: &mut Outcome,
    bad_rows: &mut usize,
) -> Vec<(String, T)> {
    let mut good = Vec::with_capacity(rows.len());
    for row in rows {
        match row {
            Ok(row) => good.push((namespace.label.clone(), row)),
            Err(error) => {
                *bad_rows += 1;
                if *bad_rows <= MAX_ROW_ERRORS {
                    outcome.errors.push(error.to_string());
                }
            }
        }
    }
    good
}

fn neighbour((namespace, neighbour): &(String, Neighbour)) -> Element {
    Element {
        remotemacaddr: neighbour.mac.clone(),
        remoteaddr: neighbour.ip.to_string(),
        namespace: namespace.clone(),
        ..Element::default()
    }
}

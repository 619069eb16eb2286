//! Lines for investigators.

use mig_module::Report;

use crate::elements::{Element, Elements, Found, Statistics};

pub(crate) fn lines(report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let none = Elements::default();
    let all = report.elements.as_ref().unwrap_or(&none);
    print(&mut lines, &all.localmac, "localmac", true, |e| {
        format!("found local mac {}", e.localmacaddr)
    });
    print(&mut lines, &all.neighbormac, "neighbormac", found_only, |e| {
        format!("found neighbor mac {} {}", e.remotemacaddr, e.remoteaddr)
    });
    print(&mut lines, &all.neighborip, "neighborIP", found_only, |e| {
        format!("found neighbor IP {} {}", e.remoteaddr, e.remotemacaddr)
    });
    print(&mut lines, &all.localip, "localip", found_only, |e| {
        format!("found local ip {}", e.localaddr)
    });
    print(&mut lines, &all.connectedip, "connectedip", found_only, |e| {
        format!(
            "found connected tuple {}:{} with local tuple {}:{}",
            e.remoteaddr, e.remoteport, e.localaddr, e.localport
        )
    });
    print(&mut lines, &all.listeningport, "listeningport", found_only, |e| {
        format!("found listening port {}", e.localport)
    });
    if !found_only {
        lines.extend(report.errors.iter().map(|error| format!("error: {error}")));
        let statistics = report.statistics.clone().unwrap_or_default();
        lines.push(format!(
            "Statistics: total hits {} examined {} items exectime {}",
            statistics.totalhits, statistics.examined, statistics.exectime
        ));
    }
    lines
}

fn print(
    lines: &mut Vec<String>,
    found: &Found,
    kind: &str,
    found_only: bool,
    text: impl Fn(&Element) -> String,
) {
    for (query, elements) in found {
        let elements = elements.as_deref().unwrap_or_default();
        if elements.is_empty() && !found_only {
            lines.push(format!("did not find anything for netstat {kind}:'{query}'"));
        }
        for element in elements {
            let namespace = match element.namespace.as_str() {
                "" | "default" => String::new(),
                namespace => format!(" namespace:[{namespace}]"),
            };
            lines.push(format!("{} for netstat {kind}:'{query}'{namespace}", text(element)));
        }
    }
}

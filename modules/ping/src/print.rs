//! Lines for an investigator.

use mig_module::Report;

use crate::elements::{Elements, FAILED, REFUSED, Statistics, TIMED_OUT};

pub(crate) fn lines(report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
    let elements = report.elements.clone().unwrap_or_default();
    let (protocol, host) = (&elements.protocol, &elements.resolvedhost);
    let mut lines = Vec::new();
    if report.foundanything {
        lines.push(format!("{protocol} ping of {host} succeeded. Target is reachable."));
    } else if !found_only {
        // Scripts know the line with this spelling.
        lines.push(format!("{protocol} ping of {host} failed. Target is no reachable."));
    }
    if found_only {
        return lines;
    }
    for (index, latency) in elements.latencies.iter().enumerate() {
        let number = index + 1;
        lines.push(match *latency {
            REFUSED => format!("ping #{number} failed, target was unreachable"),
            FAILED => format!("ping #{number} failed, reason unknown"),
            TIMED_OUT if protocol == "udp" => {
                format!("ping #{number} may have succeeded (no udp response)")
            }
            TIMED_OUT => format!("ping #{number} failed, connection timed out"),
            latency => format!("ping #{number} succeeded in {latency:.0}ms"),
        });
    }
    lines.extend(elements.failures);
    lines.extend(report.errors.iter().cloned());
    lines
}

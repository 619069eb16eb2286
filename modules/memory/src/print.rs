//! Lines for an investigator.

use mig_module::Report;

use crate::elements::{Elements, Search, Statistics};

pub(crate) fn lines(report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (label, found) in report.elements.iter().flatten() {
        for element in found.iter().flatten() {
            let checks = checks(&element.search);
            let process = &element.process;
            if process.pid == 0 {
                if !found_only {
                    lines.push(format!("0 match found in search '{label}'{checks}"));
                }
                continue;
            }
            let (name, pid) = (&process.name, process.pid);
            lines.push(format!("{name} [pid:{pid}] in search '{label}'{checks}"));
        }
    }
    if found_only {
        return lines;
    }
    let statistics = report.statistics.clone().unwrap_or_default();
    lines.extend(statistics.failures.iter().map(|failure| format!("Failure: {failure}")));
    lines.extend(report.errors.iter().cloned());
    lines.push(format!(
        "Statistics: {} processes checked, {} matched, {} failures, ran in {}.",
        statistics.processcount,
        statistics.totalhits,
        statistics.failures.len(),
        statistics.exectime
    ));
    lines
}

/// The checks of a search that reports them one by one.
fn checks(search: &Search) -> String {
    if search.options.matchall {
        return String::new();
    }
    let kinds = [
        ("name", &search.names),
        ("library", &search.libraries),
        ("content", &search.contents),
        ("byte", &search.bytes),
    ];
    let texts = kinds
        .into_iter()
        .flat_map(|(kind, list)| list.iter().map(move |text| format!(" {kind}='{text}'")));
    format!(" on checks{}", texts.collect::<String>())
}

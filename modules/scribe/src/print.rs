//! Lines for an investigator.

use mig_module::Report;
use mig_types::wire;

use crate::{Elements, Statistics, TestResult};

pub(crate) fn lines(report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(elements) = &report.elements {
        for test in &elements.results {
            match (elements.humanoutput, elements.jsonoutput) {
                (true, _) => human(test, &mut lines),
                (false, true) => lines.push(wire::to_string(test).unwrap_or_default()),
                (false, false) => plain(test, &mut lines),
            }
        }
    }
    if !found_only {
        lines.extend(report.errors.iter().cloned());
        let statistics = report.statistics.clone().unwrap_or_default();
        lines.push(format!("Statistics: runtime {}", statistics.execruntime));
    }
    lines
}

fn plain(test: &TestResult, lines: &mut Vec<String>) {
    let id = &test.testid;
    let name = if test.name.is_empty() { id } else { &test.name };
    let master = if test.iserror { "error".to_owned() } else { test.masterresult.to_string() };
    lines.push(format!(
        "master [{master}] name:\"{name}\" id:\"{id}\" hastrue:{} error:\"{}\"",
        test.hastrueresults, test.error
    ));
    lines.extend(test.results.iter().map(|sub| {
        let identifier = &sub.identifier;
        format!("sub [{}] name:\"{name}\" id:\"{id}\" identifier:\"{identifier}\"", sub.result)
    }));
}

fn human(test: &TestResult, lines: &mut Vec<String>) {
    let id = &test.testid;
    lines.push(match test.name.as_str() {
        "" => format!("result for \"{id}\""),
        name => format!("result for \"{name}\" ({id})"),
    });
    if !test.description.is_empty() {
        lines.push(format!("\tdescription: {}", test.description));
    }
    let by_dependency = test.hastrueresults && !test.masterresult;
    let reason =
        if by_dependency { ", has true results, failure caused by dependency" } else { "" };
    lines.push(format!("\tmaster result: {}{reason}", test.masterresult));
    lines.extend(test.tags.iter().map(|tag| format!("\ttag: {}: {}", tag.key, tag.value)));
    if test.iserror {
        lines.push(format!("\t[error] error: {}", test.error));
    }
    let sub = test.results.iter();
    lines.extend(sub.map(|sub| format!("\t[{}] identifier: \"{}\"", sub.result, sub.identifier)));
}

//! Lines for investigators.

use mig_module::Report;

use crate::elements::{Element, Elements, Statistics};
use crate::plan::Kind;

/// The order of checks in a line.
const ORDER: [Kind; 9] = [
    Kind::Name,
    Kind::Size,
    Kind::Mode,
    Kind::Mtime,
    Kind::Content,
    Kind::Md5,
    Kind::Sha1,
    Kind::Sha2,
    Kind::Sha3,
];

pub(crate) fn lines(report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (label, elements) in report.elements.iter().flatten() {
        for element in elements.iter().flatten() {
            if element.file.is_empty() {
                missing.push(format!("0 match found in search '{label}'{}", checks(element)));
            } else {
                found.push(line(label, element));
            }
        }
    }
    if found_only {
        return found;
    }
    found.append(&mut missing);
    found.extend(report.errors.iter().cloned());
    let statistics = report.statistics.clone().unwrap_or_default();
    found.push(format!(
        "Statistics: {} files checked, {} failed to open, {} matched, ran in {}.",
        statistics.filescount, statistics.openfailed, statistics.totalhits, statistics.exectime
    ));
    found
}

fn line(label: &str, element: &Element) -> String {
    let info = &element.fileinfo;
    let sha256 = if info.sha256.is_empty() {
        String::new()
    } else {
        format!(", sha256:{}", info.sha256.to_ascii_lowercase())
    };
    let container = match element.container.as_str() {
        "" => String::new(),
        id => format!(" container={id}"),
    };
    format!(
        "{} [lastmodified:{}, mode:{}, size:{}{sha256}] in search '{label}'{}{container}",
        element.file,
        info.lastmodified,
        info.mode,
        info.size,
        checks(element)
    )
}

fn checks(element: &Element) -> String {
    if element.search.options.matchall {
        return String::new();
    }
    let values = ORDER.into_iter().flat_map(|kind| {
        let values = kind.values(&element.search).iter();
        values.map(move |value| format!("{}='{value}'", kind.as_str()))
    });
    format!(" on checks {}", values.collect::<Vec<_>>().join(", "))
}

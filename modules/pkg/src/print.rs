//! Lines for an investigator.

use mig_module::Report;

use crate::{Elements, Statistics};

pub(crate) fn lines(report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
    let packages = report.elements.iter().flat_map(|elements| &elements.packages);
    let mut lines: Vec<String> = packages
        .map(|package| {
            let mut line = format!(
                "pkgmatch name={} version={} type={} arch={}",
                package.name, package.version, package.kind, package.arch
            );
            if !package.container.is_empty() {
                line.push_str(" container=");
                line.push_str(&package.container);
            }
            line
        })
        .collect();
    if !found_only {
        lines.extend(report.errors.iter().cloned());
        let statistics = report.statistics.clone().unwrap_or_default();
        lines.push(format!("Statistics: runtime {}", statistics.execruntime));
    }
    lines
}

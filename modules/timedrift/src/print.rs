//! Lines for an investigator.

use mig_module::{Report, text};

use crate::{Elements, Statistics};

pub(crate) fn lines(report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
    let elements = report.elements.clone().unwrap_or_default();
    let mut lines = vec![format!("local time is {}", elements.localtime)];
    if elements.hascheckeddrift {
        if elements.iswithindrift {
            lines.push("local time is within acceptable drift from NTP servers".to_owned());
        } else {
            lines.push("local time is out of sync from NTP servers".to_owned());
            lines.extend(elements.drifts);
        }
    }
    if found_only {
        return lines;
    }
    for error in &report.errors {
        lines.extend(["error:".to_owned(), error.clone()]);
    }
    let statistics = report.statistics.clone().unwrap_or_default();
    lines.push(format!("stat: execution time was {}", statistics.exectime));
    for server in statistics.ntpstats {
        lines.push(if server.reachable {
            let time = server.time.datetime();
            format!(
                "stat: {} responded in {} with time {}. local time drifts by {}",
                server.host,
                server.latency,
                text::utc_text(time.timestamp(), time.timestamp_subsec_nanos()),
                server.drift
            )
        } else {
            format!("stat: {} was unreachable", server.host)
        });
    }
    let end = if report.success { "succeeded" } else { "failed" };
    lines.push(format!("timedrift module has {end}"));
    lines
}

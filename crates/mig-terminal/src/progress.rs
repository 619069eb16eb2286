//! The progress line.

use std::time::Duration;

use mig_types::Counters;

/// Widest line drawn.
const MAX_WIDTH: usize = 80;

/// ` 3 / 10 [=====>-----]  30.00% 1/s 7s`, as wide as allowed.
pub fn bar(done: u64, total: u64, elapsed: Duration, over: bool, width: usize) -> String {
    let width = width.clamp(20, MAX_WIDTH);
    if total == 0 {
        return format!(" {done} / ? ");
    }
    let done = done.min(total);
    let head = format!(" {done} / {total} ");
    let mut tail = format!(" {:6.2}%", percent(done, total));
    let seconds = elapsed.as_secs().max(1);
    // While it runs, what is left at this pace; at the end, what it took.
    if let Some(left) = (seconds * (total - done)).checked_div(done) {
        let shown = if over { elapsed.as_secs() } else { left };
        tail = format!("{tail} {}/s {shown}s", done / seconds);
    }
    let room = width.saturating_sub(head.len() + tail.len() + 2);
    if room < 3 {
        return format!("{head}{tail}");
    }
    let filled = usize::try_from(done * room as u64 / total).unwrap_or(room);
    let mut body = "=".repeat(filled);
    if filled < room {
        body.push('>');
        body.push_str(&"-".repeat(room - filled - 1));
    }
    format!("{head}[{body}]{tail}")
}

/// Percentage of the commands that are done; 0 of 0 is 0.
#[expect(clippy::cast_precision_loss, reason = "counts of agents are far below 2^52")]
pub fn percent(done: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { done as f64 * 100.0 / total as f64 }
}

/// `3 sent, 3 done, 2 succeeded, 1 timed out`.
pub fn counters(counters: &Counters) -> String {
    let mut text = format!("{} sent, {} done", counters.sent, counters.done);
    for (count, word) in [
        (counters.inflight, "in flight"),
        (counters.success, "succeeded"),
        (counters.cancelled, "cancelled"),
        (counters.expired, "expired"),
        (counters.failed, "failed"),
        (counters.timeout, "timed out"),
    ] {
        if count > 0 {
            text = format!("{text}, {count} {word}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_layout_people_know() {
        let line = bar(3, 10, Duration::from_secs(3), false, 80);
        assert!(line.starts_with(" 3 / 10 [=="), "{line}");
        assert!(line.ends_with("-]  30.00% 1/s 7s"), "{line}");
        assert_eq!(line.chars().count(), 80);
        let line = bar(10, 10, Duration::from_secs(4), true, 200);
        assert!(line.ends_with("=] 100.00% 2/s 4s"), "{line}");
        assert_eq!(bar(0, 0, Duration::ZERO, false, 80), " 0 / ? ");
        assert!(bar(1, 3, Duration::ZERO, false, 20).chars().count() <= 40);
    }

    #[test]
    fn counters_name_what_is_not_zero() {
        let some = Counters { sent: 3, done: 3, success: 2, timeout: 1, ..Counters::default() };
        assert_eq!(counters(&some), "3 sent, 3 done, 2 succeeded, 1 timed out");
        assert_eq!(counters(&Counters::default()), "0 sent, 0 done");
    }
}

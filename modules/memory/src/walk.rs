//! The memory of one process, once, for all searches.

use std::io;

use mig_host::memory::{Mapping, Memory, PAGE, SHARED};
use mig_module::Budget;

use crate::matcher::Edges;
use crate::plan::{Compiled, Plan};

/// Bytes read at a time.
const PIECE: usize = 1 << 20;
/// Unreadable places of one region after which the rest of it is given up.
const MAX_RETRIES: u32 = 5;

/// What one process is known to fulfil; `None` for a search that is out.
pub(crate) type Hits = Vec<Option<Vec<bool>>>;

/// Counters of a walk.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) bytes: u64,
    pub(crate) skipped: u64,
    /// The process ended meanwhile.
    pub(crate) has_ended: bool,
    pub(crate) failures: Vec<String>,
}

/// Memory that a thread reads into, used for one process after the other.
#[derive(Debug)]
pub(crate) struct Window {
    buffer: Vec<u8>,
    overlap: usize,
}

impl Window {
    pub(crate) fn new(plan: &Plan) -> Self {
        let overlap = plan.overlap();
        Self { buffer: vec![0; overlap + PIECE], overlap }
    }
}

/// A search and how much of the process it has seen.
struct Interest<'p> {
    search: &'p Compiled,
    index: usize,
    left: u64,
}

/// Looks for the content and byte checks of all searches that are still in.
pub(crate) fn walk(
    plan: &Plan,
    hits: &mut Hits,
    mappings: &[Mapping],
    memory: &Memory,
    window: &mut Window,
    budget: &Budget,
) -> Walked {
    let mut interests: Vec<Interest<'_>> = plan
        .searches
        .iter()
        .enumerate()
        .filter(|(index, search)| {
            let is_in = hits.get(*index).is_some_and(Option::is_some);
            is_in && search.checks.iter().any(|check| check.matcher().is_some())
        })
        .map(|(index, search)| Interest { search, index, left: search.length })
        .collect();
    let mut walked = Walked::default();
    // Bytes at the start of the buffer that were read before, and the address
    // right behind them.
    let (mut kept, mut joint) = (0, 0);
    for mapping in mappings.iter().filter(|mapping| mapping.is_readable) {
        let end = mapping.end;
        if is_special(&mapping.path) {
            walked.skipped += end - mapping.start;
            continue;
        }
        let mut at = mapping.start;
        let mut retries = 0;
        while at < end {
            interests.retain(|interest| !is_done(interest, hits));
            if interests.is_empty() || budget.is_over() {
                return walked;
            }
            // Nobody wants what lies below.
            let first = interests.iter().map(|interest| interest.search.offset).min().unwrap_or(0);
            if first > at {
                at = first.min(end);
                continue;
            }
            let mut until = end;
            if mapping.is_anonymous {
                let touched = memory.touched(at, end);
                let (from, to) = touched.used.unwrap_or((touched.next, touched.next));
                walked.skipped += from - at;
                (at, until) = (from, to);
                if at == until {
                    continue;
                }
            }
            if at != joint {
                kept = 0;
            }
            let wanted = usize::try_from(until - at).unwrap_or(PIECE).min(PIECE);
            let place = window.buffer.get_mut(kept..kept + wanted).unwrap_or_default();
            match memory.read(at, place) {
                Ok(0) => {
                    walked.has_ended = true;
                    return walked;
                }
                Ok(count) => {
                    walked.bytes += count as u64;
                    let length = kept + count;
                    let piece = window.buffer.get(..length).unwrap_or_default();
                    let edges = Edges {
                        is_continued: kept > 0 && kept == window.overlap,
                        goes_on: at + (count as u64) < until,
                    };
                    look(piece, at - kept as u64, kept, edges, &mut interests, hits);
                    at += count as u64;
                    joint = at;
                    kept = length.min(window.overlap);
                    window.buffer.copy_within(length - kept..length, 0);
                }
                Err(error) => {
                    walked.failures.push(unreadable(at, &error));
                    retries += 1;
                    if retries > MAX_RETRIES {
                        break;
                    }
                    at = (at / PAGE + 1) * PAGE;
                }
            }
        }
    }
    walked
}

fn unreadable(address: u64, error: &io::Error) -> String {
    format!("cannot read memory at {address:#x}: {}", mig_host::fs::reason(error))
}

/// Whether a search has found or seen everything.
fn is_done(interest: &Interest<'_>, hits: &Hits) -> bool {
    let Some(Some(hits)) = hits.get(interest.index) else { return true };
    let mut checks = interest.search.checks.iter().zip(hits);
    interest.left == 0 || checks.all(|(check, hit)| *hit || check.matcher().is_none())
}

/// Tests a piece of memory that begins at `base`, and of which the first `kept`
/// bytes have been tested before.
fn look(
    piece: &[u8],
    base: u64,
    kept: usize,
    edges: Edges,
    interests: &mut [Interest<'_>],
    hits: &mut Hits,
) {
    let new = base + kept as u64;
    let end = base + piece.len() as u64;
    for interest in interests {
        let search = interest.search;
        let from = search.offset.max(base);
        // Where this search's share begins among the new bytes, and ends.
        let begin = search.offset.max(new);
        if begin >= end {
            continue;
        }
        let to = begin.saturating_add(interest.left).min(end);
        interest.left = interest.left.saturating_sub(to - begin);
        let slice = usize::try_from(from - base).ok().zip(usize::try_from(to - base).ok());
        let slice = slice.and_then(|(from, to)| piece.get(from..to)).unwrap_or_default();
        // Where the search itself begins or ends, so does its memory.
        let edges = Edges {
            is_continued: edges.is_continued && from == base,
            goes_on: edges.goes_on && to == end,
        };
        let Some(Some(hits)) = hits.get_mut(interest.index) else { continue };
        for (check, hit) in search.checks.iter().zip(hits) {
            if !*hit && let Some(matcher) = check.matcher() {
                *hit = matcher.is_match(slice, edges);
            }
        }
    }
}

/// Memory of the kernel and of devices: reading it may fail, or do something. And what is
/// the same in all processes, gigabytes of it.
fn is_special(path: &str) -> bool {
    let is_device = path.starts_with("/dev/") && !path.starts_with("/dev/shm/");
    let is_zero = path.strip_suffix(" (deleted)").unwrap_or(path) == "/dev/zero";
    let is_kernel = path.starts_with("[vvar") || path == "[vsyscall]";
    (is_device && !is_zero) || is_kernel || path == SHARED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_devices_and_of_everybody_is_not_touched() {
        for path in ["/dev/mem", "/dev/dri/card0", "[vvar]", "[vvar_vclock]", "[vsyscall]", SHARED]
        {
            assert!(is_special(path), "{path}");
        }
        for path in ["", "[heap]", "/dev/shm/x", "/dev/zero", "/dev/zero (deleted)", "/usr/bin/x"] {
            assert!(!is_special(path), "{path}");
        }
    }
}

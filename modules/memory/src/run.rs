//! All processes, by several threads, and what they fulfil.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use mig_host::memory::{Listed, Mapping, Name, Process, libraries, own_processes, processes};
use mig_module::{Budget, Host, ModuleError};

use crate::elements::{Element, Elements, Process as Found, Statistics};
use crate::plan::{Compiled, Kind, Plan};
use crate::walk::{Hits, Walked, Window, walk};

/// Most failures reported one by one.
const MAX_FAILURES: usize = 1000;
/// Bytes of an element's member names, quotes and commas.
const ELEMENT_BYTES: usize = 120;

#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) elements: Elements,
    pub(crate) statistics: Statistics,
    pub(crate) errors: Vec<String>,
}

/// What was learnt about one process.
struct Seen {
    pid: u32,
    name: String,
    hits: Hits,
    walked: Walked,
    failures: Vec<String>,
    is_left_out: bool,
}

pub(crate) fn run(host: &dyn Host, plan: &Plan, budget: &Budget) -> Result<Outcome, ModuleError> {
    let listed = processes(host).map_err(|error| ModuleError::Failed(error.one_line()))?;
    // Both hold what is searched for.
    let own = own_processes();
    let next = AtomicUsize::new(0);
    let seen = Mutex::new(Vec::new());
    let work = || {
        let mut window = Window::new(plan);
        while let Some(listed) = listed.get(next.fetch_add(1, Ordering::Relaxed)) {
            if budget.is_over() {
                return;
            }
            if let Some(found) = examine(host, listed, &own, plan, &mut window, budget) {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(found);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..budget.threads() {
            scope.spawn(work);
        }
        work();
    });
    let mut seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    seen.sort_by_key(|seen| seen.pid);
    let mut outcome = Outcome::default();
    outcome.count(&mut seen, plan.logs_failures());
    let mut bytes_left = budget.result_bytes();
    let mut left_out = 0;
    for (index, search) in plan.searches.iter().enumerate() {
        let elements = collect(search, index, &seen, &mut bytes_left, &mut left_out);
        let hits = elements.iter().flatten().filter(|element| element.process.pid != 0).count();
        outcome.statistics.totalhits += hits as u64;
        outcome.elements.insert(search.label.clone(), elements);
    }
    if left_out > 0 {
        let text = format!("{left_out} findings were not returned: the result is too large");
        outcome.errors.push(text);
    }
    if budget.is_over() {
        outcome.errors.push(ModuleError::Deadline.one_line());
    }
    Ok(outcome)
}

/// Looks at one process; `None` when it is gone.
fn examine(
    host: &dyn Host,
    listed: &Listed,
    own: &[u32],
    plan: &Plan,
    window: &mut Window,
    budget: &Budget,
) -> Option<Seen> {
    let pid = listed.pid;
    let process = Process::new(host, listed);
    let name = process.name().ok()?;
    let mut seen = Seen {
        pid,
        hits: vec![None; plan.searches.len()],
        walked: Walked::default(),
        failures: Vec::new(),
        is_left_out: false,
        name: name.shown.clone(),
    };
    let mut mappings = None;
    if plan.needs_libraries() {
        mappings = seen.mappings(&process);
    }
    let paths = mappings.as_deref().map(|all| libraries(all, &name)).unwrap_or_default();
    for (search, hits) in plan.searches.iter().zip(&mut seen.hits) {
        *hits = by_name(search, &name, &paths);
    }
    if !plan.needs_memory() || !wants_memory(plan, &seen.hits) {
        return Some(seen);
    }
    if own.contains(&pid) {
        seen.is_left_out = true;
        return Some(seen);
    }
    if mappings.is_none() {
        mappings = seen.mappings(&process);
    }
    let Some(mappings) = mappings else { return Some(seen) };
    // Threads of the kernel have no memory that could be closed to us.
    if mappings.is_empty() {
        return Some(seen);
    }
    match process.memory() {
        Ok(memory) => {
            seen.walked = walk(plan, &mut seen.hits, &mappings, &memory, window, budget);
            if seen.walked.has_ended {
                seen.failures.push(format!("process {pid} ended while its memory was read"));
            }
        }
        Err(_) => {
            seen.failures.push(format!("Permission denied to access memory of process {pid}"));
        }
    }
    Some(seen)
}

impl Seen {
    fn mappings(&mut self, process: &Process<'_>) -> Option<Vec<Mapping>> {
        match process.mappings() {
            Ok(mappings) => Some(mappings),
            Err(error) => {
                let (pid, reason) = (self.pid, mig_host::fs::reason(&error));
                self.failures.push(format!("cannot read the mappings of process {pid}: {reason}"));
                None
            }
        }
    }
}

/// The name and library checks. `None` when a search with `matchall` is out.
fn by_name(search: &Compiled, name: &Name, paths: &[&str]) -> Option<Vec<bool>> {
    let hit = |kind: &Kind| match kind {
        Kind::Name(regex) => {
            regex.is_match(name.shown.as_bytes()) || regex.is_match(name.link.as_bytes())
        }
        Kind::Library(regex) => paths.iter().any(|path| regex.is_match(path.as_bytes())),
        Kind::Content(_) | Kind::Bytes(_) => false,
    };
    let hits: Vec<bool> = search.checks.iter().map(|check| hit(&check.kind)).collect();
    let is_out = search.is_matchall()
        && search.checks.iter().zip(&hits).any(|(check, hit)| !hit && check.matcher().is_none());
    (!is_out).then_some(hits)
}

/// Whether any search that is still in looks at memory.
fn wants_memory(plan: &Plan, hits: &Hits) -> bool {
    plan.searches.iter().zip(hits).any(|(search, hits)| {
        hits.is_some() && search.checks.iter().any(|check| check.matcher().is_some())
    })
}

impl Outcome {
    fn count(&mut self, seen: &mut [Seen], logs_failures: bool) {
        let statistics = &mut self.statistics;
        let mut failures = Vec::new();
        for process in seen.iter_mut() {
            statistics.processcount += 1;
            statistics.memoryread += process.walked.bytes;
            statistics.memoryskipped += process.walked.skipped;
            if process.is_left_out {
                statistics.leftout.push(process.pid.into());
            }
            failures.append(&mut process.failures);
            if logs_failures {
                let texts = process.walked.failures.drain(..);
                failures.extend(texts.map(|text| format!("process {}: {text}", process.pid)));
            }
        }
        if failures.len() > MAX_FAILURES {
            let more = failures.len() - MAX_FAILURES;
            failures.truncate(MAX_FAILURES);
            failures.push(format!("{more} more failures"));
        }
        statistics.failures = failures;
    }
}

/// What a search has found; `None` for one without checks.
fn collect(
    search: &Compiled,
    index: usize,
    seen: &[Seen],
    bytes_left: &mut usize,
    left_out: &mut u64,
) -> Option<Vec<Element>> {
    let echo_bytes = |echo: &crate::Search| {
        let lists = [&echo.names, &echo.libraries, &echo.bytes, &echo.contents];
        lists.into_iter().flatten().map(String::len).sum::<usize>() + echo.description.len()
    };
    let mut elements = Vec::new();
    let mut add = |echo: &crate::Search, found: &mut dyn Iterator<Item = &Seen>| {
        let before = elements.len();
        for process in found {
            let bytes = ELEMENT_BYTES + process.name.len() + echo_bytes(echo);
            let Some(left) = bytes_left.checked_sub(bytes) else {
                *left_out += 1;
                continue;
            };
            *bytes_left = left;
            let process = Found { name: process.name.clone(), pid: process.pid.into() };
            elements.push(Element { process, search: echo.clone() });
        }
        if elements.len() == before {
            elements.push(Element { process: Found::default(), search: echo.clone() });
        }
    };
    let hits = |process: &Seen| process.hits.get(index).cloned().flatten();
    if search.is_matchall() {
        let is_hit = |hits: Vec<bool>| !hits.is_empty() && hits.iter().all(|hit| *hit);
        add(&search.echo, &mut seen.iter().filter(|process| hits(process).is_some_and(is_hit)));
        return Some(elements);
    }
    for (place, check) in search.checks.iter().enumerate() {
        let is_hit = |hits: Vec<bool>| hits.get(place).copied().unwrap_or(false);
        add(&check.echo(), &mut seen.iter().filter(|process| hits(process).is_some_and(is_hit)));
    }
    (!search.checks.is_empty()).then_some(elements)
}

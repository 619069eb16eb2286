//! What the walk has found so far, shared by its threads.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mig_host::fs::Metadata;

use crate::plan::Plan;

/// A file that was found.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) path: PathBuf,
    /// Id of the container the path is in.
    pub(crate) container: Option<Arc<str>>,
    pub(crate) metadata: Metadata,
    pub(crate) sha256: Option<Vec<u8>>,
    /// Numbers of the checks it hits; empty when all of them together count.
    pub(crate) checks: Vec<u32>,
}

#[derive(Debug, Default)]
struct Found {
    hits: u64,
    findings: Vec<Finding>,
}

#[derive(Debug, Default)]
struct Errors {
    kept: Vec<String>,
    bytes: usize,
    left_out: u64,
}

/// Shared state of one run.
#[derive(Debug)]
pub(crate) struct Collector {
    found: Vec<Mutex<Found>>,
    done: Vec<AtomicBool>,
    limits: Vec<u64>,
    open: AtomicUsize,
    errors: Mutex<Errors>,
    max_errors: u64,
    pub(crate) files: AtomicU64,
    pub(crate) open_failed: AtomicU64,
    /// Bytes of result document left.
    room: Mutex<usize>,
    unreported: AtomicU64,
    /// Bytes an entry of each search takes beside its path.
    overhead: Vec<usize>,
    result_bytes: usize,
}

/// What a run ends with.
#[derive(Debug)]
pub(crate) struct Collected {
    /// Per search, those of the host first, sorted by path.
    pub(crate) findings: Vec<Vec<Finding>>,
    /// Per search, what was found and what was counted only.
    pub(crate) hits_of: Vec<u64>,
    pub(crate) hits: u64,
    pub(crate) errors: Vec<String>,
    pub(crate) files: u64,
    pub(crate) open_failed: u64,
}

impl Collector {
    pub(crate) fn new(plan: &Plan, result_bytes: usize) -> Self {
        let overhead = |search: &crate::plan::Compiled| {
            let echo = mig_types::wire::to_vec(&*search.echo).map_or(0, |json| json.len());
            // File information and punctuation; without matchall the echo is short.
            170 + if search.matchall { echo } else { 200 }
        };
        let done: Vec<bool> = plan.searches.iter().map(|search| search.limit == 0).collect();
        Self {
            found: plan.searches.iter().map(|_| Mutex::default()).collect(),
            open: AtomicUsize::new(done.iter().filter(|done| !**done).count()),
            done: done.into_iter().map(AtomicBool::new).collect(),
            limits: plan.searches.iter().map(|search| search.limit).collect(),
            errors: Mutex::default(),
            max_errors: if plan.max_errors == 0 { u64::MAX } else { plan.max_errors },
            files: AtomicU64::new(0),
            open_failed: AtomicU64::new(0),
            room: Mutex::new(result_bytes),
            unreported: AtomicU64::new(0),
            overhead: plan.searches.iter().map(overhead).collect(),
            result_bytes,
        }
    }

    /// Whether a search wants no more files.
    pub(crate) fn is_done(&self, search: usize) -> bool {
        self.done.get(search).is_none_or(|done| done.load(Ordering::Relaxed))
    }

    /// Whether no search wants more files.
    pub(crate) fn all_done(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0
    }

    /// Records a file with all its hits; whatever comes after the limit is not
    /// taken any more.
    pub(crate) fn add(&self, search: usize, finding: Finding) {
        let (Some(found), Some(limit)) = (self.found.get(search), self.limits.get(search)) else {
            return;
        };
        let mut found = lock(found);
        if found.hits >= *limit {
            return;
        }
        let hits = finding.checks.len().max(1);
        found.hits += hits as u64;
        if found.hits >= *limit {
            self.finish_search(search);
        }
        let overhead = self.overhead.get(search).copied().unwrap_or(0);
        let container = finding.container.as_ref().map_or(0, |id| id.len() + 16);
        let size = hits * (overhead + container + 2 * finding.path.as_os_str().len());
        let mut room = lock(&self.room);
        match room.checked_sub(size) {
            Some(left) => *room = left,
            // Once it is full it stays so, or short paths would be favoured.
            None => *room = 0,
        }
        if *room == 0 {
            self.unreported.fetch_add(hits as u64, Ordering::Relaxed);
            return;
        }
        drop(room);
        found.findings.push(finding);
    }

    /// Counts a file that is looked at here and now instead of being recorded.
    /// Whether it is within the limit of its search.
    pub(crate) fn claim(&self, search: usize) -> bool {
        let (Some(found), Some(limit)) = (self.found.get(search), self.limits.get(search)) else {
            return false;
        };
        let mut found = lock(found);
        if found.hits >= *limit {
            return false;
        }
        found.hits += 1;
        if found.hits >= *limit {
            self.finish_search(search);
        }
        true
    }

    fn finish_search(&self, search: usize) {
        if let Some(done) = self.done.get(search)
            && !done.swap(true, Ordering::Relaxed)
        {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn error(&self, text: String) {
        let mut errors = lock(&self.errors);
        let full = errors.kept.len() as u64 >= self.max_errors
            || errors.bytes + text.len() > self.result_bytes / 4;
        if full {
            errors.left_out += 1;
        } else {
            errors.bytes += text.len();
            errors.kept.push(text);
        }
    }

    pub(crate) fn open_failed(&self, text: String) {
        self.open_failed.fetch_add(1, Ordering::Relaxed);
        self.error(text);
    }

    /// `late` are errors about the run itself; no limit leaves them out.
    pub(crate) fn finish(self, late: Vec<String>) -> Collected {
        let mut hits_of = Vec::new();
        let mut findings = Vec::new();
        for found in self.found {
            let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
            hits_of.push(found.hits);
            found.findings.sort_by(|a, b| (&a.container, &a.path).cmp(&(&b.container, &b.path)));
            findings.push(found.findings);
        }
        let Errors { kept: mut errors, left_out, .. } =
            self.errors.into_inner().unwrap_or_else(PoisonError::into_inner);
        errors.sort();
        if left_out > 0 {
            let limit = if self.max_errors == u64::MAX {
                "result size".to_owned()
            } else {
                format!("max errors = {}", self.max_errors)
            };
            errors.push(format!("{left_out} errors were not returned ({limit})"));
        }
        let unreported = self.unreported.into_inner();
        if unreported > 0 {
            errors.push(format!(
                "{unreported} findings were not returned (result limit = {} bytes)",
                self.result_bytes
            ));
        }
        errors.extend(late);
        Collected {
            findings,
            hits: hits_of.iter().sum(),
            hits_of,
            errors,
            files: self.files.into_inner(),
            open_failed: self.open_failed.into_inner(),
        }
    }
}

/// The data is whole even if another thread died with the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

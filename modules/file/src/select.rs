//! Files that a search finds, handed to who looks into them its own way.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use mig_host::Host;
use mig_host::fs::{self, Metadata};
use mig_module::{Budget, ModuleError};

use crate::collect::Collector;
use crate::evaluate::{Closed, Context, Place};
use crate::params::{Params, Search};
use crate::plan::Plan;
use crate::realm::Realm;
use crate::walk::Walk;

/// Looks at files, one after the other, on one thread.
pub type Visitor<'a> = Box<dyn FnMut(&Selected<'_>) + 'a>;

/// A file that a search found.
pub struct Selected<'a> {
    place: Place<'a>,
    metadata: &'a Metadata,
    collector: &'a Collector,
}

impl<'a> Selected<'a> {
    pub(crate) fn new(place: Place<'a>, metadata: &'a Metadata, collector: &'a Collector) -> Self {
        Self { place, metadata, collector }
    }

    /// Where it is, as results name it.
    pub fn path(&self) -> PathBuf {
        self.place.path()
    }

    /// The size it had when it was found.
    pub fn size_bytes(&self) -> u64 {
        self.metadata.size_bytes
    }

    /// Opens the file without waiting for a device or a writer.
    ///
    /// # Errors
    ///
    /// The reason, without the path.
    pub fn open(&self) -> Result<File, String> {
        self.place.open(self.metadata).map_err(|closed| match closed {
            Closed::Unfit(text) => text.to_owned(),
            Closed::Failed(error) => format!("could not open file: {}", fs::reason(&error)),
            Closed::Changed => "changed while it was opened".to_owned(),
        })
    }

    /// Adds an error about this file to those of the walk, whose limit counts for
    /// both.
    pub fn failed(&self, reason: &str) {
        self.collector.error(format!("{}: {reason}", self.place.shown()));
    }
}

/// How a selection ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Files handed to visitors.
    pub files: u64,
    /// The search's `matchlimit` left files out.
    pub was_limited: bool,
    /// Time was over: there may be more.
    pub was_cut: bool,
    /// What could not be looked at, by the walk and by visitors.
    pub errors: Vec<String>,
}

/// Walks as [`crate::File`] does and hands every file that the search finds to a
/// visitor, up to the search's `matchlimit`. `visitors` is called on each thread
/// that has found one; the files come in no order, and each comes once.
///
/// # Errors
///
/// [`ModuleError::Invalid`] for a search that `file` refuses.
pub fn select<'a>(
    host: &dyn Host,
    search: &Search,
    budget: &Budget,
    visitors: &'a (dyn Fn() -> Visitor<'a> + Sync),
) -> Result<Selection, ModuleError> {
    let params = Params { searches: [("s1".to_owned(), Some(search.clone()))].into() };
    if search.options.containers {
        return Err(ModuleError::Invalid("containers are for the module file only".to_owned()));
    }
    let mut plan = Plan::new(&params)?;
    let mut limit = 0;
    for search in &mut plan.searches {
        limit = search.limit;
        // One more tells a limit that was reached from one that cut something off.
        search.limit = if limit == 0 { 0 } else { limit.saturating_add(1) };
        // Nobody would see it.
        search.returnsha256 = false;
    }
    let seen = AtomicU64::new(0);
    let counted = || -> Visitor<'_> {
        let mut visit = visitors();
        let seen = &seen;
        Box::new(move |file| {
            if seen.fetch_add(1, Ordering::Relaxed) < limit {
                visit(file);
            }
        })
    };
    let collector = Collector::new(&plan, budget.result_bytes());
    let context = Context {
        plan: &plan,
        collector: &collector,
        budget,
        now: host.now(),
        visitors: Some(&counted),
    };
    let realm = Realm::Host(host);
    let was_cut = Walk::new(context, &realm).run();
    let errors = collector.finish(Vec::new()).errors;
    let seen = seen.into_inner();
    Ok(Selection { files: seen.min(limit), was_limited: seen > limit, was_cut, errors })
}

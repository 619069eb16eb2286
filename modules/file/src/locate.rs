//! Files by name only, for modules that look into them their own way.

use std::io;
use std::path::{Path, PathBuf};

use mig_host::{Host, fs};
use mig_module::{Budget, ModuleError};

use crate::collect::Collector;
use crate::evaluate::Context;
use crate::params::{Options, Params, Search};
use crate::plan::Plan;
use crate::realm::Realm;
use crate::walk::Walk;

/// Most errors named one by one.
const MAX_ERRORS: u32 = 30;

/// Files whose names match, below a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    /// A directory or a file. One that is missing has no files.
    pub path: String,
    /// Expression tried on the base name; a leading `!` inverts.
    pub name: String,
}

/// What a walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Located {
    /// Per wish, sorted; `None` when there are more files than were allowed.
    pub files: Vec<Option<Vec<PathBuf>>>,
    /// Directories and links that could not be looked at.
    pub errors: Vec<String>,
    /// Time was over: there may be more.
    pub was_cut: bool,
}

/// Finds files in one walk for all wishes. A place is the first of `depth`
/// levels. More than `limit` files are too many for one wish; all of them
/// together are bounded by `budget.result_bytes()`.
///
/// # Errors
///
/// For an expression that is none.
pub fn locate(
    host: &dyn Host,
    wanted: &[Wanted],
    depth: u32,
    limit: u32,
    budget: &Budget,
) -> Result<Located, ModuleError> {
    let mut params = Params::default();
    let mut places = Vec::new();
    for (index, wish) in wanted.iter().enumerate() {
        if is_missing(host, &wish.path) {
            continue;
        }
        let options = Options {
            maxdepth: f64::from(depth),
            maxerrors: f64::from(MAX_ERRORS),
            matchlimit: f64::from(limit) + 1.0,
            matchall: true,
            ..Options::default()
        };
        let search = Search {
            paths: vec![wish.path.clone()],
            names: vec![wish.name.clone()],
            options,
            ..Search::default()
        };
        // Labels are sorted, and the plan keeps their order.
        params.searches.insert(format!("{index:020}"), Some(search));
        places.push(index);
    }
    let plan = Plan::new(&params)?;
    let collector = Collector::new(&plan, budget.result_bytes());
    let context =
        Context { plan: &plan, collector: &collector, budget, now: host.now(), visitors: None };
    let realm = Realm::Host(host);
    let was_cut = !places.is_empty() && Walk::new(context, &realm).run();
    let collected = collector.finish(Vec::new());
    let mut files = vec![Some(Vec::new()); wanted.len()];
    for ((place, findings), hits) in places.iter().zip(collected.findings).zip(collected.hits_of) {
        let complete = hits <= u64::from(limit) && hits == findings.len() as u64;
        let paths = findings.into_iter().map(|finding| finding.path).collect();
        if let Some(slot) = files.get_mut(*place) {
            *slot = complete.then_some(paths);
        }
    }
    Ok(Located { files, errors: collected.errors, was_cut })
}

fn is_missing(host: &dyn Host, path: &str) -> bool {
    let found = fs::metadata(&host.path(Path::new(path)), true);
    found.is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    })
}

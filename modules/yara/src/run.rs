//! One run: rules compiled once, every selected file scanned where it was found.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mig_host::content::Content;
use mig_host::fs;
use mig_module::text::lossy_bytewise;
use mig_module::{Budget, Host, ModuleError, Report};
use mig_module_file::{Search, Selected, Visitor, select};

use crate::elements::{Elements, Match};
use crate::engine::{Engine, ScanError, Scanner};

/// Longest time one file may take.
const FILE_TIME: Duration = Duration::from_secs(10);

/// Beginnings of the errors that name no file.
const LIMITED: &str = "the selection ended at ";
const CUT: &str = "ERROR: the run was cut short";
const LEFT_OUT: &str = "matches left out: ";

/// Bytes of a match in a result beside its texts.
const MATCH_BYTES: usize = 36;

pub(crate) fn is_note(error: &str) -> bool {
    [LIMITED, CUT, LEFT_OUT].iter().any(|beginning| error.starts_with(beginning))
}

pub(crate) fn run(
    engine: &dyn Engine,
    host: &dyn Host,
    rules: &str,
    search: Option<&Search>,
    budget: &Budget,
) -> Result<Report<Elements, ()>, ModuleError> {
    let rules = match engine.compile(rules) {
        Ok(rules) => rules,
        Err(faults) => {
            let errors = faults.into_iter().map(|fault| format!("cannot compile rules: {fault}"));
            return Ok(Report {
                elements: Some(Elements::default()),
                errors: errors.collect(),
                ..Report::default()
            });
        }
    };
    let found = Mutex::new(Found { room: budget.result_bytes(), ..Found::default() });
    let mut errors = Vec::new();
    if let Some(search) = search {
        let visitors = || -> Visitor<'_> {
            let mut scanner = rules.scanner();
            let mut buffer = Vec::new();
            let found = &found;
            Box::new(move |file| match scan(file, scanner.as_mut(), &mut buffer, budget) {
                Ok(names) if names.is_empty() => {}
                Ok(names) => lock(found).add(&file.path(), names),
                Err(reason) => file.failed(&reason),
            })
        };
        let selection = select(host, search, budget, &visitors)?;
        errors = selection.errors;
        if selection.was_limited {
            errors.push(format!(
                "{LIMITED}{} files, the others were not scanned (raise it with -matchlimit, 0 is \
                 all of them)",
                selection.files
            ));
        }
        if selection.was_cut {
            errors.push(format!(
                "ERROR: {}, the result is partial",
                ModuleError::Deadline.one_line()
            ));
        }
    }
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if found.left_out > 0 {
        errors.push(format!("{LEFT_OUT}{}, the result is too large", found.left_out));
    }
    found.matches.sort();
    Ok(Report {
        foundanything: !found.matches.is_empty() || found.left_out > 0,
        success: true,
        elements: Some(Elements { matches: found.matches }),
        statistics: None,
        errors,
    })
}

#[derive(Default)]
struct Found {
    matches: Vec<Match>,
    /// Bytes of the result that are left.
    room: usize,
    left_out: u64,
}

impl Found {
    fn add(&mut self, path: &Path, matched_rules: Vec<String>) {
        let object = lossy_bytewise(path.as_os_str().as_encoded_bytes());
        let names: usize = matched_rules.iter().map(|name| name.len() + 3).sum();
        // Text that has to be escaped takes more than itself.
        if let Some(left) = self.room.checked_sub(MATCH_BYTES + 2 * object.len() + names) {
            self.room = left;
            self.matches.push(Match { object, matched_rules });
        } else {
            // Once it is full it stays so, or short paths would be favoured.
            self.room = 0;
            self.left_out += 1;
        }
    }
}

/// The data is whole even if another thread died with the lock.
fn lock(found: &Mutex<Found>) -> std::sync::MutexGuard<'_, Found> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

fn scan(
    file: &Selected<'_>,
    scanner: &mut dyn Scanner,
    buffer: &mut Vec<u8>,
    budget: &Budget,
) -> Result<Vec<String>, String> {
    let opened = file.open()?;
    let content = Content::of(&opened, file.size_bytes(), buffer)
        .map_err(|error| format!("could not map file: {}", fs::reason(&error)))?;
    let limit = budget.remaining().map_or(FILE_TIME, |left| left.min(FILE_TIME));
    let names = scanner.scan(&content, limit);
    if !content.is_whole() {
        return Err("was truncated, or could not be read, while it was scanned".to_owned());
    }
    names.map_err(|error: ScanError| error.to_string())
}

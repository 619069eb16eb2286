//! Facts from files: found in one walk, read once each.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mig_host::fs;
use mig_module::regex::GoRegex;
use mig_module::text::lossy_bytewise;
use mig_module::{Budget, Host, ModuleError};
use mig_module_file::{Wanted, locate};

use crate::bounds::{FILES_BYTES, MAX_DEPTH, MAX_FILE, MAX_FILES, MAX_LINE, VALUES_BYTES};
use crate::notes::Notes;

/// Something a test can look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    /// Path or package.
    pub(crate) identifier: Arc<str>,
    pub(crate) value: String,
}

/// Bytes a fact takes beside its texts.
pub(crate) const FACT_BYTES: usize = 64;

/// What an object wants of its files.
#[derive(Debug, Clone)]
pub(crate) enum Look {
    /// The groups of each line that matches.
    Content(Arc<GoRegex>),
    /// Whether any line matches.
    Line(Arc<GoRegex>),
    /// The first group of the name.
    Name(Arc<GoRegex>),
}

/// The files of an object.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) wanted: Wanted,
    pub(crate) look: Look,
}

/// What one object found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) facts: Vec<Fact>,
    /// Files with a line that matched.
    pub(crate) matched: Vec<PathBuf>,
}

/// How much may still be collected, shared by everything in a run.
#[derive(Debug)]
pub(crate) struct Room(AtomicUsize);

impl Default for Room {
    fn default() -> Self {
        Self(AtomicUsize::new(VALUES_BYTES))
    }
}

impl Room {
    /// # Errors
    ///
    /// A sentence when there is no room left; it stays so.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), String> {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        if taken.is_ok() {
            return Ok(());
        }
        self.0.store(0, Ordering::Relaxed);
        Err("the values of the document are too large together".to_owned())
    }

    fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// One file, to be read for several jobs.
struct Task {
    path: PathBuf,
    jobs: Vec<usize>,
}

/// What a job got out of one file; `None` when it could not be read.
type Reading = Option<Lines>;

#[derive(Debug, Default)]
struct Lines {
    values: Vec<String>,
    has_match: bool,
}

/// Does all jobs, in one walk and with one reading of each file.
pub(crate) fn gather(
    host: &dyn Host,
    budget: &Budget,
    jobs: &[Job],
    room: &Room,
    notes: &Notes,
) -> Vec<Result<Found, String>> {
    let mut wanted: Vec<Wanted> = jobs.iter().map(|job| job.wanted.clone()).collect();
    wanted.sort();
    wanted.dedup();
    let walk = budget.clone().with_result_bytes(FILES_BYTES);
    let located = match locate(host, &wanted, MAX_DEPTH, MAX_FILES, &walk) {
        Ok(located) => located,
        Err(error) => return vec![Err(error.one_line()); jobs.len()],
    };
    for error in located.errors {
        notes.say(error);
    }
    if located.was_cut {
        return vec![Err(ModuleError::Deadline.one_line()); jobs.len()];
    }
    let none = Vec::new();
    let files = |job: &Job| {
        let place = wanted.binary_search(&job.wanted).ok();
        match place.and_then(|place| located.files.get(place)) {
            Some(Some(files)) => Ok(files),
            Some(None) => Err(format!("more than {MAX_FILES} files, or too many with others")),
            None => Ok(&none),
        }
    };
    let mut tasks: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
    for (index, job) in jobs.iter().enumerate() {
        if let (Ok(files), Look::Content(_) | Look::Line(_)) = (files(job), &job.look) {
            for path in files {
                tasks.entry(path).or_default().push(index);
            }
        }
    }
    let tasks: Vec<Task> =
        tasks.into_iter().map(|(path, jobs)| Task { path: path.to_owned(), jobs }).collect();
    let mut readings = read_all(host, budget, jobs, &tasks, room, notes);
    jobs.iter()
        .enumerate()
        .map(|(index, job)| match &job.look {
            Look::Name(regex) => names(files(job)?, regex, room),
            look => {
                let own = readings.get_mut(index).map(std::mem::take).unwrap_or_default();
                assemble(&tasks, files(job)?.len(), own, matches!(look, Look::Line(_)), room)
            }
        })
        .collect()
}

/// The first group of an expression in names of files.
fn names(files: &[PathBuf], regex: &GoRegex, room: &Room) -> Result<Found, String> {
    let mut found = Found::default();
    for path in files {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let groups = regex.groups(name.as_encoded_bytes());
        if let Some(value) = groups.and_then(|groups| groups.into_iter().next()) {
            let identifier: Arc<str> = text(path).into();
            room.take(FACT_BYTES + identifier.len() + value.len())?;
            found.facts.push(Fact { identifier, value });
        }
    }
    Ok(found)
}

/// The facts of a job from its readings, file by file.
fn assemble(
    tasks: &[Task],
    expected: usize,
    mut readings: Vec<(usize, Reading)>,
    by_line: bool,
    room: &Room,
) -> Result<Found, String> {
    if readings.len() < expected {
        // Some files were not reached.
        room.take(1)?;
        return Err(ModuleError::Deadline.one_line());
    }
    readings.sort_unstable_by_key(|(task, _)| *task);
    let mut found = Found::default();
    for (task, reading) in readings {
        let (Some(task), Some(lines)) = (tasks.get(task), reading) else { continue };
        let identifier: Arc<str> = text(&task.path).into();
        if lines.has_match && !by_line {
            found.matched.push(task.path.clone());
        }
        let values = if by_line { vec![lines.has_match.to_string()] } else { lines.values };
        room.take(identifier.len() + values.len() * FACT_BYTES)?;
        let fact = |value| Fact { identifier: Arc::clone(&identifier), value };
        found.facts.extend(values.into_iter().map(fact));
    }
    Ok(found)
}

/// Reads every file once, on as many threads as allowed: per job its readings,
/// in no order.
fn read_all(
    host: &dyn Host,
    budget: &Budget,
    jobs: &[Job],
    tasks: &[Task],
    room: &Room,
    notes: &Notes,
) -> Vec<Vec<(usize, Reading)>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut own: Vec<(usize, usize, Reading)> = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(index) else { return own };
            if budget.is_over() || !room.is_left() {
                return own;
            }
            let looks: Vec<&Look> =
                task.jobs.iter().filter_map(|job| jobs.get(*job)).map(|job| &job.look).collect();
            let read = read(host, budget, &task.path, &looks, room);
            let mut lines: Vec<Reading> = match read {
                Ok(lines) => lines.into_iter().map(Some).collect(),
                Err(Fault::Over) => continue,
                Err(Fault::File(reason)) => {
                    notes.say(format!("cannot read {}: {reason}", text(&task.path)));
                    Vec::new()
                }
            };
            lines.resize_with(task.jobs.len(), || None);
            own.extend(task.jobs.iter().zip(lines).map(|(job, lines)| (*job, index, lines)));
        }
    };
    let threads = budget.threads().min(tasks.len()).max(1);
    let all: Vec<_> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        // What a thread that died had read is missing, and counts as not reached.
        all.extend(others.into_iter().filter_map(|thread| thread.join().ok()).flatten());
        all
    });
    let mut readings: Vec<Vec<(usize, Reading)>> = Vec::new();
    readings.resize_with(jobs.len(), Vec::new);
    for (job, task, reading) in all {
        if let Some(own) = readings.get_mut(job) {
            own.push((task, reading));
        }
    }
    readings
}

/// Why a file gave nothing.
#[derive(Debug)]
enum Fault {
    /// Time or room ended.
    Over,
    File(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::File(fs::reason(&error))
    }
}

fn read(
    host: &dyn Host,
    budget: &Budget,
    path: &Path,
    looks: &[&Look],
    room: &Room,
) -> Result<Vec<Lines>, Fault> {
    let file = fs::open_file(&host.path(path))?;
    // It may be something else by now.
    if !file.metadata()?.is_file() {
        return Err(Fault::File("it is no file any more".to_owned()));
    }
    let mut input = BufReader::with_capacity(64 << 10, file.take(MAX_FILE + 1));
    let mut found: Vec<Lines> = looks.iter().map(|_| Lines::default()).collect();
    let (mut line, mut seen, mut lines) = (Vec::new(), 0, 0_u32);
    loop {
        if lines.is_multiple_of(1024) && (budget.is_over() || !room.is_left()) {
            return Err(Fault::Over);
        }
        lines = lines.wrapping_add(1);
        line.clear();
        let count = (&mut input).take(MAX_LINE + 1).read_until(b'\n', &mut line)? as u64;
        seen += count;
        if count == 0 {
            return Ok(found);
        }
        if count > MAX_LINE {
            return Err(Fault::File(format!("a line is longer than {MAX_LINE} bytes")));
        }
        if seen > MAX_FILE {
            return Err(Fault::File(format!("it is larger than {MAX_FILE} bytes")));
        }
        let whole = line.strip_suffix(b"\n").unwrap_or(&line);
        let whole = whole.strip_suffix(b"\r").unwrap_or(whole);
        look_at(whole, looks, &mut found, room)?;
    }
}

fn look_at(line: &[u8], looks: &[&Look], found: &mut [Lines], room: &Room) -> Result<(), Fault> {
    for (look, own) in looks.iter().zip(found) {
        match look {
            Look::Content(regex) => {
                let Some(groups) = regex.groups(line) else { continue };
                own.has_match = true;
                let bytes: usize = groups.iter().map(String::len).sum();
                room.take(bytes).map_err(|_| Fault::Over)?;
                own.values.extend(groups);
            }
            Look::Line(regex) => own.has_match = own.has_match || regex.is_match(line),
            Look::Name(_) => {}
        }
    }
    Ok(())
}

/// A path as it travels.
pub(crate) fn text(path: &Path) -> String {
    lossy_bytewise(path.as_os_str().as_encoded_bytes())
}

//! Watches, compares and says so.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mig_host::fs::{self, Directory, Kind};
use mig_host::watch::{Change, Place, Watcher, What};
use mig_module::persist::Outlet;

use crate::alert::{Alert, Severity};
use crate::digest::digest;
use crate::paths::Entry;
use crate::state::{MAX_FILES, State, text};

/// How soon a path that is missing is looked for again.
const RETRY: Duration = Duration::from_secs(5);
/// Pauses between looks that follow each other closely.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// Looks further apart than this do not follow closely.
const CLOSE: Duration = Duration::from_secs(1);
/// Files of a first examination between two looks at what happened meanwhile.
const STRIDE: usize = 64;
/// Changes kept while files are examined for the first time.
const MAX_KEPT: usize = 200_000;
/// Most directories that are watched.
const MAX_DIRECTORIES: usize = 100_000;

/// How a configured path stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Watched,
    /// Looked for again and again; said once.
    Missing {
        is_said: bool,
    },
    /// Nothing that can be watched.
    Refused,
}

/// A directory the kernel reports on.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// Every entry counts, not only those in `names`.
    wants_all: bool,
    is_recursive: bool,
    names: BTreeSet<OsString>,
}

/// Everything that is watched.
pub(crate) struct Guard<'o> {
    watcher: Watcher,
    outlet: &'o Outlet,
    entries: Vec<(Entry, Standing)>,
    directories: HashMap<Place, Watched>,
    state: State,
    /// Changes that wait.
    kept: Vec<Change>,
    last_look: Option<Instant>,
    pause: Duration,
    /// Limits that have been complained about.
    said_full: bool,
    said_limit: bool,
}

impl<'o> Guard<'o> {
    /// # Errors
    ///
    /// When the system cannot report changes.
    pub(crate) fn new(entries: Vec<Entry>, outlet: &'o Outlet) -> Result<Self, String> {
        let watcher = Watcher::open()
            .map_err(|error| format!("cannot watch files: {}", fs::reason(&error)))?;
        let missing = |entry| (entry, Standing::Missing { is_said: false });
        Ok(Self {
            watcher,
            outlet,
            entries: entries.into_iter().map(missing).collect(),
            directories: HashMap::new(),
            state: State::default(),
            kept: Vec::new(),
            last_look: None,
            pause: Duration::ZERO,
            said_full: false,
            said_limit: false,
        })
    }

    /// Never ends by itself.
    ///
    /// # Errors
    ///
    /// When the system stops reporting changes.
    pub(crate) fn keep(mut self) -> Result<(), String> {
        let mut retried = None;
        loop {
            let now = Instant::now();
            if retried.is_none_or(|at| now.saturating_duration_since(at) >= RETRY) {
                retried = Some(now);
                self.attach_missing();
            }
            let wait = self.next_look(now).saturating_duration_since(now).min(RETRY);
            let mut changes = std::mem::take(&mut self.kept);
            let wait = if changes.is_empty() { wait } else { Duration::ZERO };
            let more = self.watcher.wait(wait);
            changes.extend(more.map_err(|e| format!("cannot watch files: {}", fs::reason(&e)))?);
            self.apply_all(changes);
            self.look();
            for alert in self.state.summaries(Instant::now()) {
                self.say(&alert);
            }
        }
    }

    /// When the next file may be looked at.
    fn next_look(&self, now: Instant) -> Instant {
        let due = self.state.next_look().unwrap_or(now + RETRY);
        let free = self.last_look.map_or(now, |at| at + self.pause);
        due.max(free)
    }

    fn say(&self, alert: &Alert) {
        self.outlet.alert(&alert.to_text());
    }

    fn low(&self, path: &Path, what: &str) {
        self.say(&Alert::new(Severity::Low, format!("path {} {what}", text(path))));
    }

    /// Looks at one file whose time has come.
    fn look(&mut self) {
        let now = Instant::now();
        if self.next_look(now) > now {
            return;
        }
        let Some(path) = self.state.next_due(now) else { return };
        let is_close = self.last_look.is_some_and(|at| now.saturating_duration_since(at) < CLOSE);
        self.pause = if is_close {
            (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
        } else {
            Duration::ZERO
        };
        self.last_look = Some(now);
        let found = match digest(&path) {
            Ok(found) => found,
            // Its removal is reported by itself.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(_) => String::new(),
        };
        if let Some(alert) = self.state.seen(&path, found, now) {
            self.say(&alert);
        }
    }

    /// Looks for configured paths that are not watched.
    fn attach_missing(&mut self) {
        for place in 0..self.entries.len() {
            let Some((entry, Standing::Missing { is_said })) = self.entries.get(place).cloned()
            else {
                continue;
            };
            let standing = self.attach(&entry, is_said);
            if let Some((_, slot)) = self.entries.get_mut(place) {
                *slot = standing;
            }
        }
    }

    fn attach(&mut self, entry: &Entry, is_said: bool) -> Standing {
        let path = &entry.path;
        let kind = match fs::metadata(path, true) {
            Ok(found) => found.kind,
            Err(error) => return self.missing(path, &error, is_said),
        };
        let (directory, name) = match (kind, path.parent(), path.file_name()) {
            (Kind::Directory, ..) => (path.as_path(), None),
            // Its directory is watched, or a file put in its place would be missed.
            (Kind::File, Some(parent), Some(name)) => (parent, Some(name)),
            _ => {
                let path = text(path);
                self.outlet.log(&format!("{path} is neither a file nor a directory, not watched"));
                return Standing::Refused;
            }
        };
        let added = match name {
            None => self.add_tree(directory, entry.is_recursive, false),
            Some(name) => self.add_name(directory, name),
        };
        match added {
            Ok(files) => {
                self.outlet.log(&format!("adding monitoring for object {}", text(path)));
                let count = files.len();
                self.examine(files);
                self.outlet.log(&format!("{count} files examined of {}", text(path)));
                Standing::Watched
            }
            Err(error) => self.missing(path, &error, is_said),
        }
    }

    fn missing(&self, path: &Path, error: &io::Error, is_said: bool) -> Standing {
        if !is_said {
            self.outlet.log(&format!("stat {}: {}", text(path), fs::reason(error)));
        }
        Standing::Missing { is_said: true }
    }

    /// Watches a directory for one file.
    fn add_name(&mut self, directory: &Path, name: &OsStr) -> io::Result<Vec<PathBuf>> {
        let place = self.watch(directory)?;
        if let Some(watched) = self.directories.get_mut(&place) {
            watched.names.insert(name.to_owned());
        }
        Ok(vec![directory.join(name)])
    }

    /// Asks the kernel to report on a directory.
    fn watch(&mut self, path: &Path) -> io::Result<Place> {
        let place = self.watcher.add(path)?;
        self.directories.entry(place).or_insert_with(|| Watched {
            path: path.to_owned(),
            wants_all: false,
            is_recursive: false,
            names: BTreeSet::new(),
        });
        Ok(place)
    }

    /// Watches a directory, and those below when asked to; the regular files in
    /// them. `is_news` says of what is not known that it appeared.
    ///
    /// # Errors
    ///
    /// When the first directory cannot be watched.
    fn add_tree(
        &mut self,
        root: &Path,
        is_recursive: bool,
        is_news: bool,
    ) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut waiting = vec![root.to_owned()];
        while let Some(path) = waiting.pop() {
            if self.directories.len() >= MAX_DIRECTORIES {
                self.complain_about_limit(&path, "too many directories");
                break;
            }
            let listed = self.watch(&path).and_then(|place| self.list(place, is_recursive));
            let found = match listed {
                Ok(found) => found,
                Err(error) if path == root => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    self.complain_about_limit(
                        &path,
                        "the kernel's limit fs.inotify.max_user_watches is reached",
                    );
                    break;
                }
                Err(error) => {
                    let path = text(&path);
                    self.outlet.log(&format!("cannot watch {path}: {}", fs::reason(&error)));
                    continue;
                }
            };
            for (path, kind) in found {
                match kind {
                    Kind::Directory if is_recursive => {
                        if is_news && !self.is_watched(&path) {
                            self.low(&path, "created");
                        }
                        waiting.push(path);
                    }
                    Kind::File => files.push(path),
                    _ => {}
                }
            }
        }
        if is_news {
            for path in std::mem::take(&mut files) {
                self.appear(&path);
            }
        }
        Ok(files)
    }

    /// The entries of a directory that is watched, as the kernel calls it first.
    fn list(&mut self, place: Place, is_recursive: bool) -> io::Result<Vec<(PathBuf, Kind)>> {
        let Some(watched) = self.directories.get_mut(&place) else { return Ok(Vec::new()) };
        watched.wants_all = true;
        watched.is_recursive |= is_recursive;
        let path = watched.path.clone();
        let directory = Directory::open(&path, true)?;
        let mut found = Vec::new();
        directory.for_each(|name, kind| {
            let kind = kind.or_else(|| directory.metadata(name, false).ok().map(|m| m.kind));
            found.extend(kind.map(|kind| (path.join(name), kind)));
            if found.len() > MAX_FILES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }

    fn is_watched(&self, path: &Path) -> bool {
        self.directories.values().any(|watched| watched.path == path)
    }

    fn complain_about_limit(&mut self, path: &Path, reason: &str) {
        if !std::mem::replace(&mut self.said_limit, true) {
            self.outlet.log(&format!("cannot watch {} and more: {reason}", text(path)));
        }
    }

    /// Takes what files hold as the state to compare with. What happens
    /// meanwhile is kept.
    fn examine(&mut self, files: Vec<PathBuf>) {
        for (index, path) in files.into_iter().enumerate() {
            if !self.state.knows(&path) && self.make_room(&path) {
                let now = Instant::now();
                self.state.appear(&path, now);
                match digest(&path) {
                    Ok(found) => drop(self.state.seen(&path, found, now)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(_) => drop(self.state.seen(&path, String::new(), now)),
                }
            }
            if index % STRIDE == STRIDE - 1
                && let Ok(changes) = self.watcher.wait(Duration::ZERO)
            {
                self.kept.extend(changes);
                if self.kept.len() > MAX_KEPT {
                    self.kept = vec![Change::Lost];
                }
            }
        }
    }

    fn make_room(&mut self, path: &Path) -> bool {
        let has_room = self.state.has_room();
        if !has_room && !std::mem::replace(&mut self.said_full, true) {
            let path = text(path);
            self.outlet
                .log(&format!("{path} and more are not watched: more than {MAX_FILES} files"));
        }
        has_room
    }

    /// A file that was not there before, or was replaced.
    fn appear(&mut self, path: &Path) {
        let now = Instant::now();
        if self.state.knows(path) {
            self.state.touch(path, now);
        } else {
            self.low(path, "created");
            if self.make_room(path) {
                self.state.appear(path, now);
            }
        }
    }

    fn apply_all(&mut self, changes: Vec<Change>) {
        let mut is_lost = false;
        for change in changes {
            match change {
                Change::Entry { place, name, what, is_directory } => {
                    self.entry(place, &name, what, is_directory);
                }
                Change::Gone(place) => self.gone(place),
                Change::Ended(place) => drop(self.directories.remove(&place)),
                Change::Lost => is_lost = true,
            }
        }
        if is_lost {
            self.examine_again();
        }
    }

    fn entry(&mut self, place: Place, name: &OsStr, what: What, is_directory: bool) {
        let Some(watched) = self.directories.get(&place) else { return };
        let (all, is_recursive) = (watched.wants_all, watched.is_recursive);
        if !all && !watched.names.contains(name) {
            return;
        }
        let path = watched.path.join(name);
        match (what, is_directory) {
            (What::Written, _) => self.state.touch(&path, Instant::now()),
            (What::Created | What::MovedIn, true) => {
                self.low(&path, "created");
                if all
                    && is_recursive
                    && let Err(error) = self.add_tree(&path, true, true)
                {
                    let gone = error.kind() == io::ErrorKind::NotFound;
                    if !gone {
                        let path = text(&path);
                        self.outlet.log(&format!("cannot watch {path}: {}", fs::reason(&error)));
                    }
                }
            }
            (What::Created | What::MovedIn, false) => match fs::metadata(&path, false) {
                Ok(found) if found.kind == Kind::File || self.state.knows(&path) => {
                    self.appear(&path);
                }
                Ok(_) => self.low(&path, "created"),
                Err(_) => {
                    let reason = format!("unable to stat new path {}", text(&path));
                    self.say(&Alert::new(Severity::Medium, reason));
                }
            },
            (What::Removed | What::MovedOut, true) => {
                self.forget_tree(&path);
                self.low(&path, "removed");
            }
            (What::Removed | What::MovedOut, false) => {
                if self.state.forget(&path) {
                    self.low(&path, "removed");
                }
            }
        }
    }

    /// Forgets a directory with everything below.
    fn forget_tree(&mut self, path: &Path) {
        for known in self.state.below(path) {
            self.state.forget(&known);
        }
        let below =
            |(place, watched): (&Place, &Watched)| watched.path.starts_with(path).then_some(*place);
        let places: Vec<Place> = self.directories.iter().filter_map(below).collect();
        for place in places {
            self.watcher.remove(place);
            self.directories.remove(&place);
        }
    }

    /// A directory went away under its own name. Its parent says so when that is
    /// watched; a configured path is looked for again.
    fn gone(&mut self, place: Place) {
        let Some(watched) = self.directories.get(&place) else { return };
        let path = watched.path.clone();
        let mut lost = Vec::new();
        for (entry, standing) in &mut self.entries {
            // A file goes with its directory.
            let is_lost = *standing == Standing::Watched
                && (entry.path == path || entry.path.parent() == Some(&path))
                && (entry.path == path || self.state.knows(&entry.path) || !entry.path.exists());
            if is_lost {
                *standing = Standing::Missing { is_said: true };
                lost.push(entry.path.clone());
            }
        }
        self.forget_tree(&path);
        for path in lost {
            self.low(&path, "removed");
        }
    }

    /// Some changes are not known: everything is examined again.
    fn examine_again(&mut self) {
        let reason = "events were lost, everything that is watched is examined again";
        self.say(&Alert::new(Severity::Medium, reason.to_owned()));
        self.outlet.log(reason);
        let vanished: Vec<PathBuf> = self
            .state
            .files()
            .filter(|path| {
                fs::metadata(path, false)
                    .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            })
            .cloned()
            .collect();
        for path in vanished {
            self.state.forget(&path);
            self.low(&path, "removed");
        }
        self.state.touch_all(Instant::now());
        for place in 0..self.entries.len() {
            let Some((entry, Standing::Watched)) = self.entries.get(place).cloned() else {
                continue;
            };
            let is_there =
                if fs::metadata(&entry.path, true).is_ok_and(|m| m.kind == Kind::Directory) {
                    self.add_tree(&entry.path, entry.is_recursive, true).is_ok()
                } else {
                    self.state.knows(&entry.path)
                };
            if !is_there && let Some((_, standing)) = self.entries.get_mut(place) {
                *standing = Standing::Missing { is_said: true };
            }
        }
    }
}

//! One parallel walk for all searches.
//!
//! Directories wait on a shared stack, so that the walk goes deep before it goes
//! wide and the stack stays small. While a thread has nothing to do, the files
//! of large directories are shared out as well.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use mig_host::fs::{self, Directory, Kind};

use crate::evaluate::{Context, Place, Worker};
use crate::realm::Realm;
use crate::scope::{OUTSIDE, Roots};

/// Files handed to another thread at a time.
const BATCH: usize = 64;
/// The same for files that each take a visitor's time.
const VISITED_BATCH: usize = 4;

/// Device and inode of the directories above, to notice a cycle.
#[derive(Debug)]
struct Branch {
    identity: (u64, u64),
    above: Option<Arc<Branch>>,
}

impl Branch {
    fn contains(&self, identity: (u64, u64)) -> bool {
        let mut at = Some(self);
        while let Some(branch) = at {
            if branch.identity == identity {
                return true;
            }
            at = branch.above.as_deref();
        }
        false
    }
}

impl Drop for Branch {
    // A loop instead of the recursion the compiler would write: trees can be
    // deeper than the stack.
    fn drop(&mut self) {
        let mut above = self.above.take();
        while let Some(branch) = above.and_then(Arc::into_inner) {
            let mut branch = branch;
            above = branch.above.take();
        }
    }
}

#[derive(Debug)]
enum Task {
    Directory {
        path: PathBuf,
        /// Level per search, [`OUTSIDE`] for those that do not cover it.
        levels: Vec<u32>,
        branch: Option<Arc<Branch>>,
        root: bool,
    },
    Files {
        directory: Arc<Directory>,
        path: Arc<PathBuf>,
        /// Indexes of the searches that cover the directory.
        interested: Arc<Vec<usize>>,
        names: Vec<(OsString, Kind)>,
    },
}

#[derive(Debug, Default)]
struct Queue {
    tasks: Mutex<(Vec<Task>, usize)>,
    wake: Condvar,
    idle: AtomicUsize,
    stop: AtomicBool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, (Vec<Task>, usize)> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, tasks: impl IntoIterator<Item = Task>) {
        let mut queue = self.lock();
        let before = queue.0.len();
        queue.0.extend(tasks);
        match queue.0.len() - before {
            0 => {}
            1 => self.wake.notify_one(),
            _ => self.wake.notify_all(),
        }
    }

    /// The next task; `None` when there is none and nobody can make one.
    fn pop(&self) -> Option<Task> {
        let mut queue = self.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                queue.0.clear();
            }
            if let Some(task) = queue.0.pop() {
                queue.1 += 1;
                return Some(task);
            }
            if queue.1 == 0 {
                self.wake.notify_all();
                return None;
            }
            self.idle.fetch_add(1, Ordering::Relaxed);
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Ends a task even when it panics: the others must not wait for it.
struct Working<'q>(&'q Queue);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.1 -= 1;
        if queue.1 == 0 {
            self.0.wake.notify_all();
        }
    }
}

/// A walk over the roots of a plan.
pub(crate) struct Walk<'a> {
    pub(crate) context: Context<'a>,
    realm: &'a Realm<'a>,
    roots: Roots,
    queue: Queue,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(context: Context<'a>, realm: &'a Realm<'a>) -> Self {
        let mut walk = Self { context, realm, roots: Roots::default(), queue: Queue::default() };
        walk.find_roots();
        walk
    }

    /// Walks until everything has been looked at, nobody wants more, or time is
    /// over. Returns whether it was cut short.
    pub(crate) fn run(&self) -> bool {
        // Roots below other roots are usually reached on the way; what is left
        // over, behind a link or too deep, starts on its own afterwards.
        loop {
            let roots = self.roots.next();
            if roots.is_empty() || self.is_stopped() {
                break;
            }
            let mut worker = Worker::default();
            for (path, searches) in roots.into_iter().rev() {
                let mut levels = vec![OUTSIDE; self.context.plan.searches.len()];
                for search in searches {
                    self.enter(&mut levels, search);
                }
                self.start(path, levels, &mut worker);
            }
            std::thread::scope(|scope| {
                for _ in 1..self.context.budget.threads() {
                    scope.spawn(|| self.work());
                }
                self.work();
            });
        }
        self.queue.stop.load(Ordering::Relaxed)
    }

    fn is_stopped(&self) -> bool {
        if self.context.budget.is_over() {
            self.queue.stop.store(true, Ordering::Relaxed);
        }
        self.queue.stop.load(Ordering::Relaxed) || self.context.collector.all_done()
    }

    fn enter(&self, levels: &mut [u32], search: usize) {
        let depth = self.context.plan.searches.get(search).map_or(0, |search| search.depth);
        if let Some(level) = levels.get_mut(search).filter(|_| depth >= 1) {
            *level = 1;
        }
    }

    fn find_roots(&mut self) {
        let mut links_reported = Vec::new();
        for (index, search) in self.context.plan.searches.iter().enumerate() {
            if self.realm.id().is_some() && !search.echo.options.containers {
                continue;
            }
            for path in &search.echo.paths {
                let path = PathBuf::from(path);
                match self.realm.start(&path) {
                    Ok(path) => self.roots.add(path, index),
                    // Not every container has every path of the host.
                    Err(error)
                        if self.realm.id().is_some() && error.kind() == ErrorKind::NotFound => {}
                    Err(error) if !links_reported.contains(&path) => {
                        self.cannot_open(&path, &error);
                        links_reported.push(path);
                    }
                    Err(_) => {}
                }
            }
        }
        self.roots.seal();
    }

    fn start(&self, path: PathBuf, levels: Vec<u32>, worker: &mut Worker<'a>) {
        match self.realm.metadata(&path) {
            Ok(found) if found.kind == Kind::Directory => {
                self.queue.push([Task::Directory { path, levels, branch: None, root: true }]);
            }
            Ok(found) if found.kind == Kind::Socket => {
                let name = self.realm.name(&path);
                let text = format!("ERROR: open {name}: no such device or address");
                self.context.collector.open_failed(text);
            }
            Ok(found) => {
                self.context.collector.files.fetch_add(1, Ordering::Relaxed);
                let place = Place::Alone { realm: self.realm, path: &path };
                self.context.evaluate(place, &interested(&levels), Some(found), worker);
            }
            Err(error) => self.cannot_open(&path, &error),
        }
    }

    fn cannot_open(&self, path: &Path, error: &std::io::Error) {
        let text = format!("ERROR: open {}: {}", self.realm.name(path), fs::reason(error));
        self.context.collector.open_failed(text);
    }

    fn work(&self) {
        let mut worker = Worker::default();
        while let Some(task) = self.queue.pop() {
            let _working = Working(&self.queue);
            if self.is_stopped() {
                continue;
            }
            match task {
                Task::Directory { path, levels, branch, root } => {
                    self.directory(&path, &levels, branch, root, &mut worker);
                }
                Task::Files { directory, path, interested, names } => {
                    let entries =
                        Entries { directory: &directory, path: &path, interested: &interested };
                    self.files(entries, &names, &mut worker);
                }
            }
        }
    }

    fn directory(
        &self,
        path: &Path,
        levels: &[u32],
        branch: Option<Arc<Branch>>,
        root: bool,
        worker: &mut Worker<'a>,
    ) {
        let directory = match self.realm.open_directory(path, root) {
            Ok(directory) => Arc::new(directory),
            Err(error) => return self.cannot_open(path, &error),
        };
        let identity = directory.identity().unwrap_or_default();
        // File systems without inode numbers say zero.
        if identity.1 != 0 && branch.as_ref().is_some_and(|branch| branch.contains(identity)) {
            let path = self.realm.name(path);
            self.context
                .collector
                .error(format!("ERROR: {path} contains itself, not entered again"));
            return;
        }
        let branch = Arc::new(Branch { identity, above: branch });
        let (shared_path, interested) = (Arc::new(path.to_owned()), Arc::new(interested(levels)));
        let entries = Entries { directory: &directory, path, interested: &interested };
        let below = self.below(levels);
        let (mut batch, mut directories) = (Vec::new(), Vec::new());
        let batch_size = if self.context.visitors.is_some() { VISITED_BATCH } else { BATCH };
        let share = |names| {
            self.queue.push([Task::Files {
                directory: Arc::clone(&directory),
                path: Arc::clone(&shared_path),
                interested: Arc::clone(&interested),
                names,
            }]);
        };
        let listed = directory.for_each(|name, kind| {
            if self.is_stopped() {
                return ControlFlow::Break(());
            }
            let kind = kind.or_else(|| directory.metadata(name, false).ok().map(|m| m.kind));
            match kind {
                Some(kind @ (Kind::File | Kind::Link)) => {
                    // Somebody has nothing to do: share the files out.
                    if self.queue.idle.load(Ordering::Relaxed) == 0 {
                        self.file(entries, name, kind, worker);
                        return ControlFlow::Continue(());
                    }
                    batch.push((name.to_owned(), kind));
                    if batch.len() == batch_size {
                        share(std::mem::take(&mut batch));
                    }
                }
                Some(Kind::Directory) => {
                    let child = path.join(name);
                    let mut levels = below.clone();
                    if self.roots.any_nested() {
                        for search in self.roots.claim(&child) {
                            self.enter(&mut levels, *search);
                        }
                    }
                    if levels.iter().any(|level| *level != OUTSIDE) {
                        let branch = Some(Arc::clone(&branch));
                        directories.push(Task::Directory {
                            path: child,
                            levels,
                            branch,
                            root: false,
                        });
                    }
                }
                // FIFOs, sockets and devices are no files.
                _ => {}
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = listed {
            self.cannot_open(path, &error);
        }
        directories.reverse();
        self.queue.push(directories);
        self.files(entries, &batch, worker);
    }

    fn files(&self, entries: Entries<'_>, names: &[(OsString, Kind)], worker: &mut Worker<'a>) {
        for (name, kind) in names {
            if self.is_stopped() {
                break;
            }
            self.file(entries, name, *kind, worker);
        }
    }

    /// The levels of a directory's children.
    fn below(&self, levels: &[u32]) -> Vec<u32> {
        let searches = self.context.plan.searches.iter().enumerate();
        let pairs = searches.zip(levels);
        pairs
            .map(|((index, search), level)| {
                let enters = *level != OUTSIDE
                    && *level < search.depth
                    && !self.context.collector.is_done(index);
                if enters { level + 1 } else { OUTSIDE }
            })
            .collect()
    }

    /// A file, or a link that may lead to one.
    fn file(&self, entries: Entries<'_>, name: &OsStr, kind: Kind, worker: &mut Worker<'a>) {
        let Entries { directory, path, interested } = entries;
        let mut metadata = None;
        if kind == Kind::Link {
            match self.realm.entry(directory, path, name) {
                Ok(found) if found.kind == Kind::File => metadata = Some(found),
                // Links to directories are not followed, other kinds are no files.
                Ok(_) => return,
                Err(error) => {
                    let path = self.realm.name(&path.join(name));
                    let reason = fs::reason(&error);
                    let text = format!("ERROR: followSymLink() -> {path}: {reason}");
                    return self.context.collector.open_failed(text);
                }
            }
        }
        self.context.collector.files.fetch_add(1, Ordering::Relaxed);
        let is_file = kind == Kind::File;
        let place = Place::Entry { realm: self.realm, directory, path, name, is_file };
        let own = if self.roots.any_nested() { self.roots.claim(&place.path()) } else { &[] };
        if own.is_empty() {
            return self.context.evaluate(place, interested, metadata, worker);
        }
        let mut interested = interested.to_vec();
        interested.extend(own.iter().filter(|search| !entries.interested.contains(search)));
        self.context.evaluate(place, &interested, metadata, worker);
    }
}

/// The entries of one directory and who is interested in them.
#[derive(Debug, Clone, Copy)]
struct Entries<'a> {
    directory: &'a Directory,
    path: &'a Path,
    interested: &'a [usize],
}

fn interested(levels: &[u32]) -> Vec<usize> {
    let covered = levels.iter().enumerate().filter(|(_, level)| **level != OUTSIDE);
    covered.map(|(index, _)| index).collect()
}

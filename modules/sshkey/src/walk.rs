//! A walk over directories; files are read by several threads.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use mig_host::Host;
use mig_host::fs::{self, Directory, Kind};
use mig_module::Budget;
use mig_module::text::lossy_bytewise;

use crate::Statistics;
use crate::keys::{Found, MAX_FILE, classify};

/// Most errors reported one by one.
const MAX_ERRORS: usize = 30;
/// Files that may wait for a thread; few, because each holds its directory open.
const WAITING: usize = 32;

/// What a walk found and could not read.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// By path, so that a file below two of the roots counts once.
    pub(crate) files: BTreeMap<PathBuf, Vec<Found>>,
    pub(crate) statistics: Statistics,
    pub(crate) errors: Vec<String>,
    pub(crate) was_cut: bool,
}

/// A file to be read.
struct Task {
    /// Its directory; the root itself may be a file.
    directory: Option<Arc<Directory>>,
    path: PathBuf,
}

struct Walk<'a> {
    host: &'a dyn Host,
    budget: &'a Budget,
    files: Mutex<BTreeMap<PathBuf, Vec<Found>>>,
    errors: Mutex<Vec<String>>,
    looked_at: AtomicU64,
    failed: AtomicU64,
    unsaid: AtomicU64,
    too_large: AtomicU64,
}

/// Looks at every file below the roots. Directories deeper than `depth` levels
/// are not entered; a root is the first level. Of the roots that are not
/// `required`, those that are missing are passed over.
pub(crate) fn walk(
    host: &dyn Host,
    roots: &[String],
    required: bool,
    depth: i64,
    budget: &Budget,
) -> Outcome {
    let walk = Walk {
        host,
        budget,
        files: Mutex::default(),
        errors: Mutex::default(),
        looked_at: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        unsaid: AtomicU64::new(0),
        too_large: AtomicU64::new(0),
    };
    let (sender, receiver) = sync_channel(WAITING);
    let receiver = Arc::new(Mutex::new(receiver));
    std::thread::scope(|scope| {
        for _ in 0..budget.threads() {
            let (walk, receiver) = (&walk, Arc::clone(&receiver));
            scope.spawn(move || walk.read_files(&receiver));
        }
        // Only the readers hold it: when none of them is left, sending fails
        // instead of waiting for ever.
        drop(receiver);
        let sender = sender;
        for root in roots {
            walk.root(Path::new(root), required, depth, &sender);
        }
    });
    let unsaid = walk.unsaid.into_inner();
    let mut errors = walk.errors.into_inner().unwrap_or_else(PoisonError::into_inner);
    errors.sort();
    if unsaid > 0 {
        errors.push(format!("{unsaid} more errors are not listed"));
    }
    Outcome {
        files: walk.files.into_inner().unwrap_or_else(PoisonError::into_inner),
        statistics: Statistics {
            filescount: walk.looked_at.into_inner(),
            openfailed: walk.failed.into_inner(),
            toolarge: walk.too_large.into_inner(),
            ..Statistics::default()
        },
        errors,
        was_cut: budget.is_over(),
    }
}

impl Walk<'_> {
    fn fail(&self, path: &Path, error: &io::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.say(format!("cannot read {}: {}", text(path), fs::reason(error)));
    }

    /// An error for the result, while there are not too many.
    fn say(&self, error: String) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() < MAX_ERRORS {
            errors.push(error);
        } else {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn root(&self, path: &Path, required: bool, depth: i64, files: &SyncSender<Task>) {
        match fs::metadata(&self.host.path(path), true) {
            Ok(found) if found.kind == Kind::Directory => self.directories(path, depth, files),
            Ok(found) if found.kind == Kind::File => {
                let _ = files.send(Task { directory: None, path: path.to_owned() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {}
            Err(error) => self.fail(path, &error),
        }
    }

    fn directories(&self, root: &Path, depth: i64, files: &SyncSender<Task>) {
        // Paths and their levels, the next one last.
        let mut waiting = vec![(root.to_owned(), 1)];
        while let Some((path, level)) = waiting.pop() {
            if self.budget.is_over() {
                return;
            }
            // Links below the root are not followed.
            let opened = Directory::open(&self.host.path(&path), level == 1);
            let listed = opened.and_then(|directory| {
                let directory = Arc::new(directory);
                let mut below = Vec::new();
                directory.for_each(|name, kind| {
                    let kind =
                        kind.or_else(|| directory.metadata(name, false).ok().map(|m| m.kind));
                    match kind {
                        Some(Kind::Directory) if level < depth => {
                            below.push((path.join(name), level + 1));
                        }
                        Some(Kind::File | Kind::Link) => {
                            let directory = Some(Arc::clone(&directory));
                            let task = Task { directory, path: path.join(name) };
                            if self.budget.is_over() || files.send(task).is_err() {
                                return ControlFlow::Break(());
                            }
                        }
                        // FIFOs, sockets and devices are no files.
                        _ => {}
                    }
                    ControlFlow::Continue(())
                })?;
                Ok(below)
            });
            match listed {
                Ok(below) => waiting.extend(below.into_iter().rev()),
                Err(error) => self.fail(&path, &error),
            }
        }
    }

    fn read_files(&self, tasks: &Mutex<Receiver<Task>>) {
        let mut content = Vec::new();
        loop {
            let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(task) = next else { return };
            // The sender must not wait for nobody: tasks are taken to the end.
            if !self.budget.is_over()
                && let Err(error) = self.file(&task, &mut content)
            {
                self.fail(&task.path, &error);
            }
        }
    }

    fn file(&self, task: &Task, content: &mut Vec<u8>) -> io::Result<()> {
        let name = task.path.file_name().unwrap_or_default();
        let host_path = self.host.path(&task.path);
        let metadata = match &task.directory {
            Some(directory) => directory.metadata(name, true),
            None => fs::metadata(&host_path, true),
        };
        let metadata = match metadata {
            Ok(metadata) => metadata,
            // A link to nowhere, or a file that is gone by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // Links to directories are not followed; files without a size, as the
        // kernel's, hold no keys.
        if metadata.kind != Kind::File || metadata.size_bytes == 0 {
            return Ok(());
        }
        if metadata.size_bytes > MAX_FILE {
            self.too_large.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let file = match &task.directory {
            Some(directory) => directory.open_file(name),
            None => fs::open_file(&host_path),
        }?;
        content.clear();
        file.take(MAX_FILE).read_to_end(content)?;
        self.looked_at.fetch_add(1, Ordering::Relaxed);
        let keys = classify(&text_of(name), content);
        if keys.has_garbage {
            self.say(format!("{} contained unparsable data", text(&task.path)));
        }
        if !keys.found.is_empty() {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.insert(task.path.clone(), keys.found);
        }
        Ok(())
    }
}

/// A path as it travels.
pub(crate) fn text(path: &Path) -> String {
    text_of(path.as_os_str())
}

fn text_of(name: &OsStr) -> String {
    lossy_bytewise(name.as_encoded_bytes())
}

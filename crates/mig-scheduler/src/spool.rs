//! The operator's door: directories where action files come in and refused
//! ones come out. Work in progress lives in the store and the relay.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use mig_types::{Action, Timestamp, wire};

use crate::error::SchedulerError;

/// Where action files are dropped.
pub const NEW: &str = "action/new";
/// Where refused ones go, each with a `.reason` beside it.
pub const INVALID: &str = "action/invalid";
/// Where results go that the database refuses, as `<command id>.fail`.
pub const RETURNED: &str = "command/returned";

/// Where kill orders are seen while they are carried out.
pub const INFLIGHT: &str = "action/inflight";
/// Where they are seen afterwards.
pub const DONE: &str = "action/done";

const DIRECTORIES: [&str; 6] = [NEW, INFLIGHT, DONE, INVALID, "command/inflight", RETURNED];
/// Directories whose old files are deleted.
const CLEANED: [&str; 4] = [INFLIGHT, DONE, INVALID, RETURNED];
/// Largest action file read, in bytes.
const MAX_ACTION: u64 = 16 * 1024 * 1024;
/// Files taken in one pass.
const MAX_FILES: usize = 1000;

/// A spool below one directory.
#[derive(Debug, Clone)]
pub struct Spool {
    root: PathBuf,
}

/// Size and modification time, in seconds and nanoseconds.
pub(crate) type Stamp = (u64, i64, i64);

/// A file found in `action/new`.
#[derive(Debug)]
pub(crate) struct NewFile {
    pub(crate) path: PathBuf,
    /// Changes when somebody is still writing.
    pub(crate) stamp: Stamp,
    /// The content, or why it cannot be read.
    pub(crate) content: io::Result<Vec<u8>>,
}

impl Spool {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Creates what is missing, for the owner and the group only.
    ///
    /// # Errors
    ///
    /// [`SchedulerError::Spool`] with the directory that cannot be made.
    pub fn create(&self) -> Result<(), SchedulerError> {
        for directory in DIRECTORIES {
            let path = self.root.join(directory);
            DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(&path)
                .map_err(|source| SchedulerError::Spool { path, source })?;
        }
        Ok(())
    }

    pub fn path(&self, directory: &str) -> PathBuf {
        self.root.join(directory)
    }

    /// Files waiting in `action/new`, by name. Hidden ones are being written.
    pub(crate) async fn new_files(&self) -> Result<Vec<NewFile>, SchedulerError> {
        let directory = self.path(NEW);
        blocking(directory, |directory| {
            let mut paths = Vec::new();
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                if entry.file_type()?.is_file() && !is_hidden(&entry.path()) {
                    paths.push(entry.path());
                }
            }
            paths.sort();
            paths.truncate(MAX_FILES);
            Ok(paths.into_iter().filter_map(read_new).collect())
        })
        .await
    }

    /// Deletes a file that was taken in.
    pub(crate) async fn remove(&self, path: &Path) -> Result<(), SchedulerError> {
        blocking(path.to_owned(), |path| {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            sync_directory(path.parent())
        })
        .await
    }

    /// Gives a file of `action/new` another name in the same directory.
    pub(crate) async fn rename(&self, path: &Path, name: String) -> Result<(), SchedulerError> {
        blocking(path.to_owned(), move |path| {
            let to = path.with_file_name(name);
            if to.exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(path, to)?;
            sync_directory(path.parent())
        })
        .await
    }

    /// Moves a file to `action/invalid`, its reason beside it. `unique` tells
    /// two files of one name apart.
    pub(crate) async fn refuse(
        &self,
        path: &Path,
        reason: String,
        unique: u64,
    ) -> Result<(), SchedulerError> {
        let directory = self.path(INVALID);
        blocking(path.to_owned(), move |path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let taken = directory.join(&name).exists();
            let name = if taken { format!("{unique}-{name}") } else { name };
            // The reason first: a file without one would puzzle.
            write(&directory, &format!("{name}.reason"), format!("{reason}\n").as_bytes())?;
            fs::rename(path, directory.join(name))?;
            sync_directory(Some(&directory))?;
            sync_directory(path.parent())
        })
        .await
    }

    /// Shows an action that this scheduler launched in `action/inflight`. It
    /// is a copy for the operator's eyes: nothing reads it.
    pub(crate) async fn show(&self, action: &Action) -> Result<(), SchedulerError> {
        let path = self.path(INFLIGHT);
        let body = wire::to_vec(action).map_err(|error| SchedulerError::Spool {
            path: path.clone(),
            source: io::Error::other(error),
        })?;
        let name = format!("{}.json", action.id);
        blocking(path, move |directory| write(directory, &name, &body)).await
    }

    /// Moves the copy of an action that ended to `action/done`, if there is
    /// one here.
    pub(crate) async fn land(&self, action: &Action) -> Result<(), SchedulerError> {
        let name = format!("{}.json", action.id);
        let done = self.path(DONE);
        blocking(self.path(INFLIGHT), move |directory| {
            match fs::rename(directory.join(&name), done.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                outcome => outcome,
            }
        })
        .await
    }

    /// Keeps bytes in `command/returned`.
    pub(crate) async fn set_aside(&self, name: String, body: Bytes) -> Result<(), SchedulerError> {
        blocking(self.path(RETURNED), move |directory| write(directory, &name, &body)).await
    }

    /// Deletes files that are done with and older than `age`.
    pub(crate) async fn clean(&self, age: Duration, now: Timestamp) -> Result<(), SchedulerError> {
        for directory in CLEANED {
            blocking(self.path(directory), move |directory| {
                for entry in fs::read_dir(directory)? {
                    let entry = entry?;
                    let metadata = entry.metadata()?;
                    let modified = Timestamp::from_unix(metadata.mtime(), 0);
                    let is_old = modified.is_some_and(|modified| modified + age < now);
                    if metadata.is_file() && is_old {
                        fs::remove_file(entry.path())?;
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// `None` when the file is gone: another scheduler, or its owner, was faster.
fn read_new(path: PathBuf) -> Option<NewFile> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let read = || {
        let file = File::open(&path)?;
        let metadata = file.metadata()?;
        let stamp = (metadata.size(), metadata.mtime(), metadata.mtime_nsec());
        let mut content = Vec::new();
        file.take(MAX_ACTION + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_ACTION {
            let error = io::Error::other(format!("more than {MAX_ACTION} bytes"));
            return Ok((stamp, Err(error)));
        }
        Ok((stamp, Ok(content)))
    };
    match read() {
        Ok((stamp, content)) => Some(NewFile { path, stamp, content }),
        Err(error) if gone(&error) => None,
        Err(error) => Some(NewFile { path, stamp: (0, 0, 0), content: Err(error) }),
    }
}

/// Writes a file that is either there in full or not at all: a hidden
/// temporary beside it, flushed to the disk, then renamed.
fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!(".{name}.{}", mig_runtime::random::alphanumeric(12)));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o640).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, directory.join(name))
    })();
    if written.is_err() {
        // Best effort: the first error is the one that counts.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_directory(Some(directory))
}

fn sync_directory(directory: Option<&Path>) -> io::Result<()> {
    directory.map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

async fn blocking<T, F>(path: PathBuf, work: F) -> Result<T, SchedulerError>
where
    T: Send + 'static,
    F: FnOnce(&Path) -> io::Result<T> + Send + 'static,
{
    let worker = tokio::task::spawn_blocking(move || {
        work(&path).map_err(|source| SchedulerError::Spool { path, source })
    });
    worker.await.map_err(|source| SchedulerError::Task { source })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_file_has_its_reason_beside_it_and_ages_out() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path());
        spool.create().unwrap();
        spool.create().unwrap();
        for _ in 0..2 {
            fs::write(spool.path(NEW).join("1.json"), "x").unwrap();
            spool.refuse(&spool.path(NEW).join("1.json"), "no".to_owned(), 7).await.unwrap();
        }
        let invalid = spool.path(INVALID);
        assert_eq!(fs::read_to_string(invalid.join("1.json.reason")).unwrap(), "no\n");
        assert_eq!(fs::read_to_string(invalid.join("7-1.json.reason")).unwrap(), "no\n");
        assert!(!spool.path(NEW).join("1.json").exists());

        let written = fs::metadata(invalid.join("1.json")).unwrap().mtime();
        let written = Timestamp::from_unix(written, 0).unwrap();
        let age = Duration::from_hours(72);
        spool.clean(age, written + age).await.unwrap();
        assert_eq!(fs::read_dir(&invalid).unwrap().count(), 4);
        spool.clean(age, written + age + Duration::from_mins(1)).await.unwrap();
        assert_eq!(fs::read_dir(&invalid).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn finds_plain_visible_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path());
        spool.create().unwrap();
        let new = spool.path(NEW);
        fs::write(new.join(".hidden"), "x").unwrap();
        fs::write(new.join("b.json"), "x").unwrap();
        fs::write(new.join("a.json"), "x").unwrap();
        fs::create_dir(new.join("directory")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", new.join("link")).unwrap();
        let files = spool.new_files().await.unwrap();
        let names: Vec<_> = files.iter().map(|file| file.path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.json", "b.json"]);
    }

    #[tokio::test]
    async fn modes_keep_others_out() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path().join("spool"));
        spool.create().unwrap();
        spool.set_aside("7.fail".to_owned(), Bytes::from_static(b"x")).await.unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(spool.path(RETURNED)) & 0o027, 0);
        assert_eq!(mode(spool.path(RETURNED).join("7.fail")) & 0o137, 0);
        assert_eq!(fs::read_dir(spool.path(RETURNED)).unwrap().count(), 1);
    }
}

//! The face of systems without `openat`: plain paths.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{Kind, Metadata};

/// A directory to read.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    pub fn open(path: &Path, follow: bool) -> io::Result<Self> {
        if metadata(path, follow)?.kind != Kind::Directory {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self { path: path.to_owned() })
    }

    pub fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((0, 0))
    }

    pub fn for_each(
        &self,
        mut visit: impl FnMut(&OsStr, Option<Kind>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let kind = entry.file_type().ok().map(kind_of);
            if visit(&entry.file_name(), kind).is_break() {
                break;
            }
        }
        Ok(())
    }

    pub fn metadata(&self, name: &OsStr, follow: bool) -> io::Result<Metadata> {
        metadata(&self.path.join(name), follow)
    }

    pub fn open_file(&self, name: &OsStr) -> io::Result<File> {
        open_file(&self.path.join(name))
    }

    pub fn open_own_file(&self, name: &OsStr) -> io::Result<File> {
        if self.metadata(name, false)?.kind == Kind::Link {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "is a link"));
        }
        self.open_file(name)
    }
}

pub fn metadata(path: &Path, follow: bool) -> io::Result<Metadata> {
    let found = if follow { std::fs::metadata(path)? } else { std::fs::symlink_metadata(path)? };
    from_system(&found)
}

pub fn metadata_of(file: &File) -> io::Result<Metadata> {
    from_system(&file.metadata()?)
}

fn from_system(found: &std::fs::Metadata) -> io::Result<Metadata> {
    let modified = found.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let directory = if found.is_dir() { 0o111 } else { 0 };
    Ok(Metadata {
        kind: kind_of(found.file_type()),
        // Owner bits do not exist; read-only is all that can be told.
        mode: directory | if found.permissions().readonly() { 0o444 } else { 0o666 },
        size_bytes: found.len(),
        modified: (i64::try_from(modified.as_secs()).unwrap_or(0), modified.subsec_nanos()),
        identity: (0, 0),
    })
}

pub fn open_file(path: &Path) -> io::Result<File> {
    File::open(path)
}

fn kind_of(file_type: std::fs::FileType) -> Kind {
    if file_type.is_symlink() {
        Kind::Link
    } else if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_file() {
        Kind::File
    } else {
        Kind::Other
    }
}

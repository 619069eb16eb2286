//! Systems without containers of their own: plain paths.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::MAX_ENTRIES;
use crate::fs::{Directory, Kind, Metadata, metadata};

/// A directory that stands for the root of a system.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
}

impl Root {
    pub fn open(path: &Path) -> io::Result<Self> {
        Directory::open(path, true)?;
        Ok(Self { path: path.to_owned() })
    }

    pub fn sub(&self, path: &Path) -> io::Result<Self> {
        Self::open(&self.below(path))
    }

    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let path = self.below(path);
        if metadata(&path, true)?.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        crate::fs::open_file(&path)
    }

    pub fn open_directory(&self, path: &Path) -> io::Result<Directory> {
        Directory::open(&self.below(path), true)
    }

    pub fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        metadata(&self.below(path), true)
    }

    pub fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        Directory::open(&self.below(path), true)?.for_each(|name, _| {
            names.push(name.to_owned());
            if names.len() < MAX_ENTRIES {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        names.sort();
        Ok(names)
    }

    fn below(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }
}

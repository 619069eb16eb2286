//! Systems whose facility is not known here.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Change, Place};

/// Never made: see [`Watcher::open`].
#[derive(Debug)]
pub struct Watcher(());

impl Watcher {
    /// # Errors
    ///
    /// Always: this system's facility is not known.
    pub fn open() -> io::Result<Self> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    pub fn add(&self, _path: &Path) -> io::Result<Place> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    pub fn remove(&self, _place: Place) {}

    pub fn wait(&self, _longest: Duration) -> io::Result<Vec<Change>> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

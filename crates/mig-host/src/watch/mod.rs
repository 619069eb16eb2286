//! Changes of files, told by the kernel as they happen.

use std::ffi::OsString;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
pub use linux::Watcher;
#[cfg(not(target_os = "linux"))]
pub use other::Watcher;

/// A directory that is watched, as a [`Watcher`] numbers it. One directory has one
/// number, by whatever path it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(i32);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// To an entry of a directory.
    Entry { place: Place, name: OsString, what: What, is_directory: bool },
    /// To the directory itself: it was removed, moved or unmounted.
    Gone(Place),
    /// It is not watched any more; its number may be used again.
    Ended(Place),
    /// More happened than could be kept: changes are missing from here on.
    Lost,
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Created,
    MovedIn,
    Written,
    Removed,
    MovedOut,
}

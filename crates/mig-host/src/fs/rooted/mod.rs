//! Paths below a directory that may belong to a hostile system.
//!
//! Inside a container, `/etc/issue` can be a link to `/etc/shadow`; what is
//! meant is the container's, never the host's.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

#[cfg(target_os = "linux")]
pub use linux::Root;
#[cfg(not(target_os = "linux"))]
pub use portable::Root;

/// Most entries of one directory that are listed.
pub const MAX_ENTRIES: usize = 100_000;

//! Directories and files, read without blocking.

use std::io;

#[cfg(not(unix))]
mod portable;
mod rooted;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
use portable as system;
#[cfg(unix)]
use unix as system;

pub use rooted::{MAX_ENTRIES, Root};
pub use system::{Directory, metadata, metadata_of, open_file};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    File,
    Directory,
    Link,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
    Other,
}

/// What the file system knows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    pub kind: Kind,
    /// The lower twelve bits of the Unix mode.
    pub mode: u32,
    pub size_bytes: u64,
    /// Modification time: seconds since the epoch, and nanoseconds.
    pub modified: (i64, u32),
    /// Device and inode; zeros where there is no such thing.
    pub identity: (u64, u64),
}

/// The reason of an error as the peers word it: lower case, without number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_errors_like_the_peers() {
        for (number, text) in [(2, "no such file or directory"), (13, "permission denied")] {
            assert_eq!(reason(&io::Error::from_raw_os_error(number)), text);
        }
        assert_eq!(reason(&io::Error::other("")), "");
    }
}

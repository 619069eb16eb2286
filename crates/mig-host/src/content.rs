//! The whole content of a file as one piece of memory, whatever somebody else does
//! to the file meanwhile.
//!
//! Small files are read, large ones are mapped. A mapped file that is truncated
//! loses pages, and the kernel ends the process that touches one of them with
//! `SIGBUS`. Here the signal puts zeros in the place of what is lost, and
//! [`Content::is_whole`] says so afterwards.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Deref;

#[cfg(unix)]
mod mapped;

/// Files up to this size, in bytes, are read: that is faster than mapping them.
pub const READ_BYTES: u64 = 4 << 20;
/// The most that is read where a file cannot be mapped or grows while it is read:
/// what the kernel makes up has no size beforehand.
const MOST_READ: u64 = 64 << 20;

/// Content of a file. A large one is no private memory of the process.
#[derive(Debug)]
pub struct Content<'b>(Kind<'b>);

#[derive(Debug)]
enum Kind<'b> {
    Read(&'b [u8]),
    #[cfg(unix)]
    Mapped(mapped::Mapped),
}

impl<'b> Content<'b> {
    /// Takes in a file of about `size_bytes`, from its beginning. `buffer` is
    /// scratch space, kept small between files.
    ///
    /// # Errors
    ///
    /// What the system says, and [`io::ErrorKind::FileTooLarge`] for a file that
    /// has to be read and is above 64 MiB.
    pub fn of(file: &File, size_bytes: u64, buffer: &'b mut Vec<u8>) -> io::Result<Self> {
        #[cfg(unix)]
        if size_bytes > READ_BYTES
            && let Ok(mapped) = mapped::Mapped::new(file, size_bytes)
        {
            return Ok(Self(Kind::Mapped(mapped)));
        }
        buffer.clear();
        if buffer.capacity() as u64 > 2 * READ_BYTES {
            buffer.shrink_to(0);
        }
        let size = usize::try_from(size_bytes.min(MOST_READ)).unwrap_or_default();
        // One more, or the end would be noticed by growing.
        buffer.reserve_exact(size + 1);
        let count = file.take(MOST_READ + 1).read_to_end(buffer)?;
        if count as u64 > MOST_READ {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Self(Kind::Read(buffer)))
    }

    /// Whether every byte was the file's. Asked after the content was looked at.
    pub fn is_whole(&self) -> bool {
        match &self.0 {
            Kind::Read(_) => true,
            #[cfg(unix)]
            Kind::Mapped(mapped) => mapped.is_whole(),
        }
    }
}

impl Deref for Content<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Read(bytes) => bytes,
            #[cfg(unix)]
            Kind::Mapped(mapped) => mapped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file_of(size: u64) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"begin").unwrap();
        file.set_len(size).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        file
    }

    #[test]
    fn what_is_there_is_taken_in_whatever_the_size_said() {
        let mut buffer = Vec::new();
        for size in [0, 5, 4096, READ_BYTES, READ_BYTES + 1, 3 * READ_BYTES + 7] {
            for told in [0, size] {
                let file = file_of(size);
                let content = Content::of(&file, told, &mut buffer).unwrap();
                assert_eq!(content.len() as u64, size, "told {told}");
                assert!(content.starts_with(b"begin".get(..size.min(5) as usize).unwrap()));
                assert!(content.is_whole());
            }
        }
        let file = file_of(MOST_READ + 1);
        let error = Content::of(&file, 0, &mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        // A large file read once does not stay in memory.
        let _ = Content::of(&file_of(10), 10, &mut buffer).unwrap();
        assert!(buffer.capacity() as u64 <= 2 * READ_BYTES);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_truncated_while_it_is_looked_at_ends_in_zeros() {
        let file = file_of(4 * READ_BYTES);
        let mut buffer = Vec::new();
        let content = Content::of(&file, 4 * READ_BYTES, &mut buffer).unwrap();
        assert!(content.starts_with(b"begin"));
        file.set_len(4096).unwrap();
        let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
        assert_eq!(sum, b"begin".iter().map(|byte| u64::from(*byte)).sum::<u64>());
        assert!(!content.is_whole());
        drop(content);
        // And again, in the same place.
        let file = file_of(4 * READ_BYTES);
        let content = Content::of(&file, 4 * READ_BYTES, &mut buffer).unwrap();
        assert!(content.iter().all(|byte| b"begin\0".contains(byte)) && content.is_whole());
    }

    #[cfg(unix)]
    #[test]
    fn threads_lose_only_their_own_files() {
        std::thread::scope(|scope| {
            for number in 0..8_u64 {
                scope.spawn(move || {
                    let file = file_of(2 * READ_BYTES);
                    let mut buffer = Vec::new();
                    let content = Content::of(&file, 2 * READ_BYTES, &mut buffer).unwrap();
                    let truncated = number % 2 == 1;
                    if truncated {
                        file.set_len(number * 4096).unwrap();
                    }
                    assert!(content.iter().all(|byte| b"begin\0".contains(byte)));
                    assert_eq!(content.is_whole(), !truncated);
                });
            }
        });
    }
}

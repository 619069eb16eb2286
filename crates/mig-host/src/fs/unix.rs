//! The Unix face: everything relative to an open directory where possible.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};

use super::{Kind, Metadata};

/// Longest path handed to the kernel in one piece; its own limit is 4096.
const CHUNK: usize = 2048;

/// Never waits for the other end of a FIFO or a line, never gets a terminal.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
}

impl From<OwnedFd> for Directory {
    /// A directory that is open for reading already.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl Directory {
    /// Opens a directory, however long its path is. A link in the last place is
    /// followed only when asked for.
    ///
    /// # Errors
    ///
    /// The system's, notably `NotADirectory` and, for a link, "too many levels".
    pub fn open(path: &Path, follow: bool) -> io::Result<Self> {
        let mut rest = path.as_os_str().as_bytes();
        let mut at: Option<OwnedFd> = None;
        loop {
            let (piece, tail) = split(rest);
            let last = tail.is_empty();
            let flags = if last && !follow { OFlags::NOFOLLOW } else { OFlags::empty() };
            let flags = READ | OFlags::DIRECTORY | flags;
            let piece = OsStr::from_bytes(piece);
            let fd = match &at {
                Some(parent) => rustix::fs::openat(parent.as_fd(), piece, flags, Mode::empty()),
                None => rustix::fs::openat(CWD, piece, flags, Mode::empty()),
            }?;
            if last {
                return Ok(Self { fd });
            }
            at = Some(fd);
            rest = tail;
        }
    }

    /// Device and inode of the directory itself.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        Ok(from_stat(&rustix::fs::fstat(&self.fd)?).identity)
    }

    /// Calls `visit` for each entry but `.` and `..`, in the system's order, with
    /// the kind if the directory knows it.
    pub fn for_each(
        &self,
        mut visit: impl FnMut(&OsStr, Option<Kind>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut step = |name: &[u8], file_type: FileType| {
            if name == b"." || name == b".." {
                return ControlFlow::Continue(());
            }
            let kind = (file_type != FileType::Unknown).then(|| kind_of(file_type));
            visit(OsStr::from_bytes(name), kind)
        };
        #[cfg(target_os = "linux")]
        {
            let mut buffer = Vec::with_capacity(32 * 1024);
            let mut entries = rustix::fs::RawDir::new(&self.fd, buffer.spare_capacity_mut());
            while let Some(entry) = entries.next() {
                let entry = entry?;
                if step(entry.file_name().to_bytes(), entry.file_type()).is_break() {
                    break;
                }
            }
        }
        #[cfg(not(target_os = "linux"))]
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            if step(entry.file_name().to_bytes(), entry.file_type()).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Metadata of an entry, or of what it links to.
    pub fn metadata(&self, name: &OsStr, follow: bool) -> io::Result<Metadata> {
        Ok(from_stat(&rustix::fs::statat(&self.fd, name, at_flags(follow))?))
    }

    /// Opens an entry for reading; never blocks, follows links.
    pub fn open_file(&self, name: &OsStr) -> io::Result<File> {
        Ok(File::from(rustix::fs::openat(&self.fd, name, READ, Mode::empty())?))
    }

    /// Opens an entry for reading that is no link; never blocks.
    ///
    /// # Errors
    ///
    /// The system's; for a link, "too many levels".
    pub fn open_own_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = READ | OFlags::NOFOLLOW;
        Ok(File::from(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?))
    }
}

/// Metadata of a path, or of what it links to.
pub fn metadata(path: &Path, follow: bool) -> io::Result<Metadata> {
    Ok(from_stat(&rustix::fs::statat(CWD, path, at_flags(follow))?))
}

/// Metadata of an open file.
///
/// # Errors
///
/// The system's.
pub fn metadata_of(file: &File) -> io::Result<Metadata> {
    Ok(from_stat(&rustix::fs::fstat(file)?))
}

/// Opens a file for reading; never blocks, follows links.
pub fn open_file(path: &Path) -> io::Result<File> {
    Ok(File::from(rustix::fs::openat(CWD, path, READ, Mode::empty())?))
}

fn at_flags(follow: bool) -> AtFlags {
    if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW }
}

/// Splits a long path after a separator; the tail is relative.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= CHUNK {
        return (path, &[]);
    }
    let head = path.get(..CHUNK).unwrap_or(path);
    let cut = head.iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0);
    cut.and_then(|at| path.split_at_checked(at)).map_or((path, &[]), |(head, tail)| {
        let start = tail.iter().position(|byte| *byte != b'/').unwrap_or(tail.len());
        (head, tail.get(start..).unwrap_or_default())
    })
}

fn kind_of(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Unknown => Kind::Other,
    }
}

// The fields of `stat` differ in width and sign between systems.
#[cfg_attr(
    target_os = "linux",
    expect(
        clippy::unnecessary_cast,
        clippy::cast_possible_truncation,
        reason = "widths and signs differ between systems; nanoseconds fit 32 bits"
    )
)]
#[cfg_attr(
    target_os = "macos",
    expect(
        clippy::unnecessary_cast,
        clippy::cast_lossless,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as above; numbers of devices are compared and nothing else"
    )
)]
pub(super) fn from_stat(stat: &Stat) -> Metadata {
    Metadata {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)),
        mode: (stat.st_mode as u32) & 0o7777,
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
        identity: (stat.st_dev as u64, stat.st_ino as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_cut_at_separators() {
        let part = "/abcdefghi".repeat(1000);
        let (head, tail) = split(part.as_bytes());
        assert_eq!(head.len() % 10, 0);
        assert!(head.len() <= CHUNK && !tail.starts_with(b"/"));
        assert_eq!(head.len() + 1 + tail.len(), part.len());
        let nameless = vec![b'x'; 5000];
        assert_eq!(split(&nameless), (nameless.as_slice(), &[][..]));
    }

    #[test]
    fn refuses_a_link_unless_told_to_follow() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::os::unix::fs::symlink("d", dir.path().join("l")).unwrap();
        assert!(Directory::open(&dir.path().join("l"), false).is_err());
        assert!(Directory::open(&dir.path().join("l"), true).is_ok());
        let open = Directory::open(dir.path(), false).unwrap();
        std::fs::write(dir.path().join("f"), "").unwrap();
        std::os::unix::fs::symlink("f", dir.path().join("lf")).unwrap();
        assert!(open.open_file("lf".as_ref()).is_ok());
        assert!(open.open_own_file("lf".as_ref()).is_err());
        let file = open.open_own_file("f".as_ref()).unwrap();
        assert_eq!(metadata_of(&file).unwrap(), open.metadata("f".as_ref(), false).unwrap());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "rustix makes no fifo on macOS")]
    fn a_fifo_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert_eq!(metadata(&fifo, true).unwrap().kind, Kind::Fifo);
        assert!(open_file(&fifo).is_ok());
    }

    #[test]
    fn lists_entries_with_their_kind() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "12345").unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        let open = Directory::open(dir.path(), false).unwrap();
        let mut seen = Vec::new();
        open.for_each(|name, _| {
            seen.push((name.to_owned(), open.metadata(name, false).unwrap().kind));
            ControlFlow::Continue(())
        })
        .unwrap();
        seen.sort();
        assert_eq!(seen, [("d".into(), Kind::Directory), ("f".into(), Kind::File)]);
        assert_eq!(open.metadata(OsStr::new("f"), true).unwrap().size_bytes, 5);
    }
}

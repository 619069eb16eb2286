//! inotify.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::{Change, Place, What};

/// Bytes read from the kernel at a time.
const BUFFER: usize = 64 << 10;
/// Changes handed out at a time, about.
const MAX_CHANGES: usize = 4_096;

/// What is asked for of every directory.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR);

/// Directories that are watched. The kernel keeps what happens until it is
/// asked for, up to its own limit.
#[derive(Debug)]
pub struct Watcher {
    fd: OwnedFd,
}

impl Watcher {
    /// # Errors
    ///
    /// The system's, notably when a user has too many of them.
    pub fn open() -> io::Result<Self> {
        Ok(Self { fd: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)? })
    }

    /// Watches the entries of a directory; links are followed.
    ///
    /// # Errors
    ///
    /// The system's, notably `NotADirectory`, and `StorageFull` when the limit
    /// `fs.inotify.max_user_watches` is reached.
    pub fn add(&self, path: &Path) -> io::Result<Place> {
        Ok(Place(inotify::add_watch(&self.fd, path, EVENTS)?))
    }

    /// Ends the watch of a directory. One that has ended already is no error.
    pub fn remove(&self, place: Place) {
        let _ = inotify::remove_watch(&self.fd, place.0);
    }

    /// What happened, in its order. Waits until something does, but no longer
    /// than `longest`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn wait(&self, longest: Duration) -> io::Result<Vec<Change>> {
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut reader = Reader::new(&self.fd, buffer.spare_capacity_mut());
        let mut changes = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map_or(&[][..], std::ffi::CStr::to_bytes);
                    add(event.wd(), event.events(), OsStr::from_bytes(name), &mut changes);
                }
                Err(Errno::AGAIN) => return Ok(changes),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if changes.len() >= MAX_CHANGES && reader.is_buffer_empty() {
                return Ok(changes);
            }
        }
    }
}

fn add(place: i32, events: ReadFlags, name: &OsStr, changes: &mut Vec<Change>) {
    if events.contains(ReadFlags::QUEUE_OVERFLOW) {
        changes.push(Change::Lost);
        return;
    }
    let place = Place(place);
    if events.contains(ReadFlags::IGNORED) {
        changes.push(Change::Ended(place));
    } else if events.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT)
    {
        changes.push(Change::Gone(place));
    }
    for (flag, what) in [
        (ReadFlags::CREATE, What::Created),
        (ReadFlags::MOVED_TO, What::MovedIn),
        (ReadFlags::MODIFY, What::Written),
        (ReadFlags::DELETE, What::Removed),
        (ReadFlags::MOVED_FROM, What::MovedOut),
    ] {
        // Without a name it is about the directory itself.
        if events.contains(flag) && !name.is_empty() {
            let is_directory = events.contains(ReadFlags::ISDIR);
            changes.push(Change::Entry { place, name: name.to_owned(), what, is_directory });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Instant;

    /// Waits until `count` changes have come.
    fn next(watcher: &Watcher, count: usize) -> Vec<Change> {
        let late = Instant::now() + Duration::from_secs(20);
        let mut changes = Vec::new();
        while changes.len() < count {
            assert!(Instant::now() < late, "{changes:?}");
            changes.extend(watcher.wait(Duration::from_millis(100)).unwrap());
        }
        changes
    }

    #[test]
    fn says_what_happens_in_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let watcher = Watcher::open().unwrap();
        assert!(watcher.wait(Duration::ZERO).unwrap().is_empty());
        let place = watcher.add(dir.path()).unwrap();
        assert_eq!(watcher.add(dir.path()).unwrap(), place);
        assert!(watcher.add(&dir.path().join("none")).is_err());
        fs::write(dir.path().join("f"), "text").unwrap();
        fs::rename(dir.path().join("f"), dir.path().join("g")).unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::remove_file(dir.path().join("g")).unwrap();
        let entry = |name: &str, what, is_directory| Change::Entry {
            place,
            name: name.into(),
            what,
            is_directory,
        };
        assert_eq!(
            next(&watcher, 6),
            [
                entry("f", What::Created, false),
                entry("f", What::Written, false),
                entry("f", What::MovedOut, false),
                entry("g", What::MovedIn, false),
                entry("d", What::Created, true),
                entry("g", What::Removed, false),
            ]
        );
        fs::remove_dir(dir.path().join("d")).unwrap();
        fs::remove_dir(dir.path()).unwrap();
        let changes = next(&watcher, 3);
        assert_eq!(changes[1..], [Change::Gone(place), Change::Ended(place)]);
    }

    #[test]
    fn a_file_is_no_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Watcher::open().unwrap().add(file.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}

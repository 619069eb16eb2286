//! Linux: one component at a time, links resolved by us.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::MAX_ENTRIES;
use crate::fs::unix::from_stat;
use crate::fs::{Directory, Metadata};

/// Links followed on the way to one file; the kernel's own number.
const MAX_LINKS: usize = 40;
/// Components of one path, those of links included.
const MAX_COMPONENTS: usize = 4096;

const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory that stands for the root of a system. No path and no link leads
/// out of it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

/// Where a path ends: the directories above it, and its last name.
struct Place {
    above: Vec<OwnedFd>,
    /// `None` when the last component is the last of `above`, or the root.
    name: Option<OsString>,
}

impl Root {
    /// Opens a directory of this machine; links on the way to it are followed.
    ///
    /// # Errors
    ///
    /// The system's, notably when it is no directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
        Ok(Self { fd: openat(CWD, path, flags, Mode::empty())? })
    }

    /// A directory below this one as a root of its own.
    ///
    /// # Errors
    ///
    /// The system's, notably when it is no directory.
    pub fn sub(&self, path: &Path) -> io::Result<Self> {
        Ok(Self { fd: self.directory(path, LOOK)? })
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    ///
    /// The system's, and `InvalidInput` for anything but a regular file.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let place = self.resolve(path)?;
        let name = place.name.as_deref().ok_or(io::ErrorKind::IsADirectory)?;
        // A link put here meanwhile is refused by the flags.
        let fd = openat(self.at(&place.above), name, READ, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(File::from(fd))
    }

    /// Opens a directory for reading.
    ///
    /// # Errors
    ///
    /// The system's, notably when it is no directory.
    pub fn open_directory(&self, path: &Path) -> io::Result<Directory> {
        let flags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
        Ok(Directory::from(self.directory(path, flags)?))
    }

    /// Metadata of what a path leads to.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let place = self.resolve(path)?;
        let at = self.at(&place.above);
        Ok(from_stat(&match place.name {
            Some(name) => statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?,
            None => fstat(at)?,
        }))
    }

    /// The names in a directory, sorted; at most [`MAX_ENTRIES`].
    ///
    /// # Errors
    ///
    /// The system's, notably when it is no directory.
    pub fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let directory = self.open_directory(path)?;
        let mut names = Vec::new();
        directory.for_each(|name, _| {
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

    fn directory(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let place = self.resolve(path)?;
        let name = place.name.as_deref().unwrap_or(OsStr::new("."));
        let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        Ok(openat(self.at(&place.above), name, flags, Mode::empty())?)
    }

    fn at<'a>(&'a self, above: &'a [OwnedFd]) -> BorrowedFd<'a> {
        above.last().unwrap_or(&self.fd).as_fd()
    }

    fn resolve(&self, path: &Path) -> io::Result<Place> {
        let mut above = Vec::new();
        // Components still to go, the next one last.
        let mut rest: Vec<OsString> = Vec::new();
        push(&mut rest, path)?;
        let mut links = 0;
        while let Some(name) = rest.pop() {
            match name.as_bytes() {
                b"/" => above.clear(),
                b".." => _ = above.pop(),
                _ => {
                    let fd = openat(self.at(&above), &name, LOOK, Mode::empty())?;
                    match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
                        FileType::Symlink => {
                            links += 1;
                            if links > MAX_LINKS {
                                return Err(Errno::LOOP.into());
                            }
                            let target = readlinkat(&fd, "", Vec::new())?.into_bytes();
                            push(&mut rest, Path::new(&OsString::from_vec(target)))?;
                        }
                        FileType::Directory => above.push(fd),
                        _ if rest.is_empty() => return Ok(Place { above, name: Some(name) }),
                        _ => return Err(Errno::NOTDIR.into()),
                    }
                }
            }
        }
        Ok(Place { above, name: None })
    }
}

/// Puts a path's components before those that are left.
fn push(rest: &mut Vec<OsString>, path: &Path) -> io::Result<()> {
    for component in path.components().rev() {
        match component {
            Component::RootDir => rest.push("/".into()),
            Component::ParentDir => rest.push("..".into()),
            Component::Normal(name) => rest.push(name.to_owned()),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if rest.len() > MAX_COMPONENTS { Err(Errno::NAMETOOLONG.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Kind;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    fn read(root: &Root, path: &str) -> io::Result<String> {
        let mut text = String::new();
        root.open_file(Path::new(path))?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// A tree with a secret beside the root.
    fn tree() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        std::fs::write(root.join("usr/lib/file"), "inside").unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        for (target, link) in [
            ("/usr/lib", "lib"),
            ("usr/../lib/file", "chain"),
            ("../../../../../secret", "out"),
            ("/secret", "absolute"),
            ("loop", "loop"),
            ("lib/file/", "slash"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        symlink(dir.path().join("secret"), root.join("usr/secret")).unwrap();
        let root = Root::open(&root).unwrap();
        (dir, root)
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        let (_dir, root) = tree();
        for path in ["out", "absolute", "usr/secret", "../secret", "/../secret", "lib/../../secret"]
        {
            assert!(read(&root, path).is_err(), "{path}");
            assert!(root.metadata(Path::new(path)).is_err(), "{path}");
        }
        let loop_ = root.open_file(Path::new("loop")).unwrap_err();
        assert_eq!(loop_.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }

    #[test]
    fn links_are_followed_inside() {
        let (_dir, root) = tree();
        for path in
            ["usr/lib/file", "/lib/file", "chain", "./usr/./lib/../lib/file", "/../lib/file"]
        {
            assert_eq!(read(&root, path).unwrap(), "inside", "{path}");
        }
        assert_eq!(root.names(Path::new("/lib")).unwrap(), ["file"]);
        assert_eq!(root.metadata(Path::new("chain")).unwrap().size_bytes, 6);
        assert_eq!(root.metadata(Path::new("/lib/..")).unwrap().kind, Kind::Directory);
        assert!(root.open_directory(Path::new("lib")).is_ok());
        let sub = root.sub(Path::new("/lib")).unwrap();
        assert_eq!(read(&sub, "/file").unwrap(), "inside");
        assert!(root.names(Path::new("lib/file")).is_err());
        assert!(root.sub(Path::new("lib/file")).is_err());
    }

    #[test]
    fn only_regular_files_are_opened() {
        let (dir, root) = tree();
        let fifo = dir.path().join("root/fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        for path in ["fifo", "usr", "/", "chain/x", "none"] {
            assert!(root.open_file(Path::new(path)).is_err(), "{path}");
        }
    }
}

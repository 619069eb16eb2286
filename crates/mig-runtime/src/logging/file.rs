//! A log file that is renamed when it has grown enough.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file opened for append, mode 0640.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    /// 0 for no limit.
    max_size: u64,
}

impl RotatingFile {
    pub(super) fn open(path: &Path, max_size: u64) -> io::Result<Self> {
        let file = open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, max_size })
    }

    /// Appends the line and a line end, in one call to the system so that two
    /// processes do not mix their lines.
    pub(super) fn write_line(&mut self, line: &str) -> io::Result<()> {
        let text = format!("{line}\n");
        let added = text.len() as u64;
        if self.max_size > 0 && self.size > 0 && self.size + added > self.max_size {
            self.rotate();
        }
        self.file.write_all(text.as_bytes())?;
        self.size += added;
        Ok(())
    }

    /// Opens the path anew.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path, self.max_size)?;
        Ok(())
    }

    /// Keeps one old file. When that fails, the current one grows on: a line
    /// too many is better than a line lost.
    fn rotate(&mut self) {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        if std::fs::rename(&self.path, old).is_err() || self.reopen().is_err() {
            self.size = 0;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotates_at_the_size_and_keeps_one_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        std::fs::write(&path, "before\n").unwrap();
        let mut file = RotatingFile::open(&path, 16).unwrap();
        file.write_line("12345678").unwrap();
        assert_eq!(read("x.log"), "before\n12345678\n");
        file.write_line("second").unwrap();
        assert_eq!(
            (read("x.log.1"), read("x.log")),
            ("before\n12345678\n".into(), "second\n".into())
        );
        file.write_line("a line longer than the limit").unwrap();
        file.write_line("third").unwrap();
        assert_eq!(read("x.log.1"), "a line longer than the limit\n");
        assert_eq!(read("x.log"), "third\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn reopens_after_a_move() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        let mut file = RotatingFile::open(&path, 0).unwrap();
        std::fs::rename(&path, directory.path().join("moved")).unwrap();
        file.write_line("still the old file").unwrap();
        file.reopen().unwrap();
        file.write_line("new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        let moved = std::fs::read_to_string(directory.path().join("moved")).unwrap();
        assert_eq!(moved, "still the old file\n");
    }

    #[cfg(unix)]
    #[test]
    fn others_cannot_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        RotatingFile::open(&path, 0).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    }
}

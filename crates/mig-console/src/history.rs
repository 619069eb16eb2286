//! Orders given before: `~/.mig_history`, one a line, oldest first, as the
//! original's line editor writes it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Most orders kept.
pub(crate) const MAX_ENTRIES: usize = 10_000;

/// Most of the file that is read, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Orders of this and earlier sessions.
pub(crate) struct History {
    entries: Vec<String>,
    file: Option<PathBuf>,
    /// What to say about the file.
    complaint: Option<String>,
}

impl History {
    /// Remembers for this session only.
    pub(crate) const fn none() -> Self {
        Self { entries: Vec::new(), file: None, complaint: None }
    }

    /// What the file in `home` holds; later orders are appended to it.
    pub(crate) fn load(home: Option<&Path>) -> Self {
        let Some(file) = home.map(|home| home.join(".mig_history")) else { return Self::none() };
        let (entries, complaint) = match read(&file) {
            Ok(entries) => (entries, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
            Err(error) => {
                let text = format!("failed to load history from {}: {error}", file.display());
                (Vec::new(), Some(text))
            }
        };
        let mut history = Self { entries, file: Some(file), complaint };
        history.shorten();
        history
    }

    /// What went wrong with the file, once.
    pub(crate) fn complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// Oldest first.
    pub(crate) fn entries(&self) -> &[String] {
        &self.entries
    }

    /// Adds an order, unless it is the last one again; says whether it did.
    pub(crate) fn add(&mut self, line: &str) -> bool {
        if self.entries.last().is_some_and(|last| last == line) {
            return false;
        }
        self.entries.push(line.to_owned());
        if let Some(file) = &self.file
            && let Err(error) = append(file, line)
        {
            self.complaint = Some(format!("failed to save history to {}: {error}", file.display()));
            self.file = None;
        }
        true
    }

    /// Keeps the newest; half of them, so that it is not done at every start.
    fn shorten(&mut self) {
        if self.entries.len() <= MAX_ENTRIES {
            return;
        }
        self.entries.drain(..self.entries.len() - MAX_ENTRIES / 2);
        let Some(file) = &self.file else { return };
        let mut text = self.entries.join("\n");
        text.push('\n');
        if let Err(error) = replace(file, &text) {
            self.complaint = Some(format!("failed to save history to {}: {error}", file.display()));
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

fn append(file: &Path, line: &str) -> io::Result<()> {
    let mut file = options().append(true).open(file)?;
    file.write_all(format!("{line}\n").as_bytes())
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    options().write(true).truncate(true).open(&beside)?.write_all(text.as_bytes())?;
    fs::rename(beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_appended_as_they_come_and_twice_is_once() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".mig_history");
        // As GNU readline writes it.
        fs::write(&file, "status\nsearch agent where name=%\n").unwrap();
        let mut history = History::load(Some(home.path()));
        assert_eq!(history.entries(), ["status", "search agent where name=%"]);
        assert!(history.add("action 1"));
        assert!(!history.add("action 1"));
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "status\nsearch agent where name=%\naction 1\n"
        );
        assert!(history.complaint().is_none());
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        assert!(History::load(Some(home.path())).add("status"));
        let mode = fs::metadata(home.path().join(".mig_history")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_long_file_is_shortened_to_its_newest_lines() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".mig_history");
        let lines: Vec<String> = (0..=MAX_ENTRIES).map(|n| format!("action {n}\n")).collect();
        fs::write(&file, lines.concat()).unwrap();
        let history = History::load(Some(home.path()));
        assert_eq!(history.entries().len(), MAX_ENTRIES / 2);
        assert_eq!(history.entries().last().unwrap(), &format!("action {MAX_ENTRIES}"));
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), MAX_ENTRIES / 2);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_once() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".mig_history")).unwrap();
        let mut history = History::load(Some(home.path()));
        assert!(history.complaint().unwrap().starts_with("failed to load history from"));
        assert!(history.add("status"));
        assert!(history.complaint().unwrap().starts_with("failed to save history to"));
        assert!(history.add("status 2"));
        assert!(history.complaint().is_none());
    }
}

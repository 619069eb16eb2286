//! The data directory: two databases, the certificates, the agents' password.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::authority::{self, AuthorityError};

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another server uses {}", path.display())]
    Locked { path: PathBuf },
    #[error("the relay's certificate failed")]
    Authority {
        #[from]
        source: AuthorityError,
    },
}

/// An open data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
}

/// Held while a server runs on the directory.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: fs::File,
}

impl DataDir {
    /// Opens the directory, making it and what belongs in it at the first call.
    pub fn open(path: &Path, relay_name: &str) -> Result<Self, DataError> {
        create_private_dir(path)?;
        let data = Self { path: path.to_owned() };
        if !data.file("relay.crt").exists() || !data.file("relay.key").exists() {
            let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
            if !names.iter().any(|name| name == relay_name) {
                names.push(relay_name.to_owned());
            }
            let made = authority::create(&names)?;
            data.write("ca.key", &made.ca_key)?;
            data.write("ca.crt", &made.ca)?;
            data.write("relay.key", &made.relay_key)?;
            // Last: its presence says that all four are complete.
            data.write("relay.crt", &made.relay)?;
        }
        if !data.file("agent.password").exists() {
            data.write("agent.password", &mig_runtime::random::alphanumeric(32))?;
        }
        Ok(data)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn store(&self) -> PathBuf {
        self.file("mig.db")
    }

    pub fn relay(&self) -> PathBuf {
        self.file("relay.db")
    }

    /// The authority's certificate, which agents need.
    pub fn ca(&self) -> PathBuf {
        self.file("ca.crt")
    }

    pub fn read(&self, name: &str) -> Result<String, DataError> {
        let path = self.file(name);
        fs::read_to_string(&path).map_err(|source| DataError::Io { action: "read", path, source })
    }

    /// Keeps a second server away. The lock ends with the process, however it
    /// ends.
    pub(crate) fn lock(&self) -> Result<DataLock, DataError> {
        let path = self.file("lock");
        let failed =
            |path: &Path, source| DataError::Io { action: "lock", path: path.to_owned(), source };
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| failed(&path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(DataLock { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(DataError::Locked { path: self.path.clone() }),
            Err(fs::TryLockError::Error(source)) => Err(failed(&path, source)),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file whole or not at all, readable by its owner alone.
    fn write(&self, name: &str, content: &str) -> Result<(), DataError> {
        let path = self.file(name);
        let failed = |source| DataError::Io { action: "write", path: path.clone(), source };
        let temporary = self.file(&format!(".{name}.new"));
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary).map_err(failed)?;
        file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&temporary, &path).map_err(failed)
    }
}

fn create_private_dir(path: &Path) -> Result<(), DataError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| DataError::Io {
        action: "create directory",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_open_keeps_what_the_first_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = DataDir::open(&path, "mig.example.net").unwrap();
        let (ca, password) = (first.read("ca.crt").unwrap(), first.read("agent.password").unwrap());
        let second = DataDir::open(&path, "mig.example.net").unwrap();
        assert_eq!(second.read("ca.crt").unwrap(), ca);
        assert_eq!(second.read("agent.password").unwrap(), password);
        assert_eq!(password.len(), 32);
    }

    #[test]
    fn secrets_are_the_owners_alone_and_the_lock_excludes() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(&dir.path().join("data"), "localhost").unwrap();
        for name in ["ca.key", "relay.key", "agent.password"] {
            let mode = fs::metadata(data.file(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let held = data.lock().unwrap();
        assert!(matches!(data.lock(), Err(DataError::Locked { .. })));
        drop(held);
        data.lock().unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        let error = DataDir::open(&path, "localhost").unwrap_err().to_string();
        assert!(error.contains("file"), "{error}");
    }
}

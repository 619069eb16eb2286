//! Installed packages, read from the package managers' own databases. No
//! package manager is started.

use std::io;
use std::path::Path;

use crate::fs::{Root, reason};

pub mod apk;
pub mod dpkg;
mod lines;
pub mod rpm;

/// Most packages of one database that are listed.
pub const MAX_PACKAGES: usize = 100_000;
/// Most errors reported one by one.
const MAX_ERRORS: usize = 20;

/// Which package manager knows a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Manager {
    Rpm,
    Dpkg,
    Apk,
}

impl Manager {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rpm => "rpm",
            Self::Dpkg => "dpkg",
            Self::Apk => "apk",
        }
    }
}

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// As its manager prints it; with dpkg, `:<architecture>` belongs to the
    /// name of a package that can be installed for several.
    pub name: String,
    /// As its manager prints it: `1:9.9.5-4`.
    pub version: String,
    pub arch: String,
    pub manager: Manager,
}

/// What is installed in one system, and what could not be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Packages of rpm, then dpkg, then apk.
    pub packages: Vec<Package>,
    /// Entries of a database that make no sense.
    pub damaged: u64,
    /// Databases that could not be read to their end, one sentence each.
    pub errors: Vec<String>,
}

impl Inventory {
    /// Takes a package while there is room.
    fn push(&mut self, package: Package) -> Result<(), ReadError> {
        // Managers come one after the other, in their order.
        let others = self.packages.partition_point(|known| known.manager < package.manager);
        let count = self.packages.len() - others;
        if count >= MAX_PACKAGES {
            return Err(ReadError::Full);
        }
        self.packages.push(package);
        Ok(())
    }

    fn fail(&mut self, what: &str, error: &ReadError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(format!("cannot read {what}: {}", error.one_line()));
        }
    }
}

/// Why a database was not read, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    #[error("input or output failed")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Malformed(&'static str),
    #[error("only the first {MAX_PACKAGES} packages are listed")]
    Full,
    #[error("the time was over")]
    Stopped,
}

impl ReadError {
    fn one_line(&self) -> String {
        match self {
            Self::Io(error) => reason(error),
            other => other.to_string(),
        }
    }

    fn is_missing(&self) -> bool {
        let Self::Io(error) = self else { return false };
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    }
}

/// Lists what is installed below `root`. `stop` is asked now and then and ends
/// the work. A manager that is not there has no packages; that is no error.
pub fn inventory(root: &Root, stop: &dyn Fn() -> bool) -> Inventory {
    let mut inventory = Inventory::default();
    rpm::read(root, stop, &mut inventory);
    dpkg::read(root, stop, &mut inventory);
    apk::read(root, stop, &mut inventory);
    inventory
}

/// Opens a text database, bounded.
fn open_text(root: &Root, path: &Path) -> Result<lines::Lines<std::fs::File>, ReadError> {
    let file = root.open_file(path)?;
    let size = file.metadata()?.len();
    Ok(lines::Lines::new(file, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, manager: Manager) -> Package {
        Package { name: name.into(), version: "1".into(), arch: "all".into(), manager }
    }

    #[test]
    fn each_manager_has_room_of_its_own() {
        let mut inventory = Inventory::default();
        for _ in 0..MAX_PACKAGES {
            inventory.push(package("a", Manager::Rpm)).unwrap();
        }
        assert!(matches!(inventory.push(package("a", Manager::Rpm)), Err(ReadError::Full)));
        inventory.push(package("b", Manager::Dpkg)).unwrap();
        assert!(inventory.push(package("b", Manager::Dpkg)).is_ok());
    }

    #[test]
    fn a_system_without_managers_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(inventory(&root, &|| false), Inventory::default());
    }
}

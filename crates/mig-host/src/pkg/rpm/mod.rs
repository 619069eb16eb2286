//! rpm: the headers of installed packages, in any of its three databases.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::{Inventory, ReadError};
use crate::fs::Root;

pub mod bdb;
pub mod header;
pub mod ndb;
pub mod sqlite;
mod wal;

/// Where systems keep the database, the older place first; on newer systems it
/// is a link to one of the others.
const DIRECTORIES: [&str; 3] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm"];
const SQLITE: &str = "rpmdb.sqlite";
const NDB: &str = "Packages.db";
const BDB: &str = "Packages";

/// Largest header of one package: file lists of kernels have some megabytes.
const MAX_HEADER: u64 = 32 << 20;
/// Most bytes of headers read from one database.
const MAX_TOTAL: u64 = 4 << 30;

/// What is done with each header found.
pub type Visit<'a> = dyn FnMut(&[u8]) -> Result<(), ReadError> + 'a;

pub(super) fn read(root: &Root, stop: &dyn Fn() -> bool, inventory: &mut Inventory) {
    for directory in DIRECTORIES {
        for name in [SQLITE, NDB, BDB] {
            let path = Path::new(directory).join(name);
            let read = root.open_file(&path).map_err(ReadError::from).and_then(|file| match name {
                SQLITE => {
                    // What a writer has not merged yet; there may be nothing.
                    let log = root.open_file(&path.with_extension("sqlite-wal")).ok();
                    headers(stop, inventory, |visit| sqlite::headers(file, log, visit))
                }
                NDB => headers(stop, inventory, |visit| ndb::headers(file, visit)),
                _ => headers(stop, inventory, |visit| bdb::headers(file, visit)),
            });
            match read {
                Ok(()) => return,
                Err(error) if error.is_missing() => {}
                Err(error) => {
                    inventory.fail(&path.display().to_string(), &error);
                    return;
                }
            }
        }
    }
}

/// Decodes every header that `read` finds.
fn headers(
    stop: &dyn Fn() -> bool,
    inventory: &mut Inventory,
    read: impl FnOnce(&mut Visit<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut total: u64 = 0;
    read(&mut |blob| {
        total += blob.len() as u64;
        if stop() || total > MAX_TOTAL {
            return Err(ReadError::Stopped);
        }
        match header::package(blob) {
            Ok(package) => inventory.push(package)?,
            Err(_) => inventory.damaged += 1,
        }
        Ok(())
    })
}

/// Bytes at a place of a database file.
pub(super) struct Source<F> {
    file: F,
    size: u64,
}

impl<F: Read + Seek> Source<F> {
    fn new(mut file: F) -> Result<Self, ReadError> {
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size })
    }

    /// Fills `buffer` from `offset` on.
    fn fill(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(ReadError::Malformed("the file ends too early"));
        }
        self.file.seek(SeekFrom::Start(offset))?;
        Ok(self.file.read_exact(buffer)?)
    }

    fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, ReadError> {
        // Before memory is taken for it.
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(ReadError::Malformed("the file ends too early"));
        }
        let length = usize::try_from(length).map_err(|_| ReadError::Malformed("too large"))?;
        let mut bytes = vec![0; length];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// The `N` bytes at a place, if there are so many.
fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    take(bytes, at).map(u16::from_be_bytes)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    take(bytes, at).map(u32::from_be_bytes)
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    take(bytes, at).map(u32::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;
    use std::path::PathBuf;

    use super::*;
    use crate::pkg::{Manager, Package};
    use proptest::prelude::*;

    pub(in crate::pkg::rpm) fn sample(name: &str) -> Vec<u8> {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/rpm");
        std::fs::read(dir.join(name)).unwrap()
    }

    /// `name EVR arch` of every header, sorted.
    pub(in crate::pkg::rpm) fn listed(
        read: impl FnOnce(&mut Visit<'_>) -> Result<(), ReadError>,
    ) -> Vec<String> {
        let mut inventory = Inventory::default();
        headers(&|| false, &mut inventory, read).unwrap();
        assert_eq!(inventory.damaged, 0);
        let text = |package: &Package| {
            assert_eq!(package.manager, Manager::Rpm);
            format!("{} {} {}", package.name, package.version, package.arch)
        };
        let mut lines: Vec<String> = inventory.packages.iter().map(text).collect();
        lines.sort();
        lines
    }

    pub(in crate::pkg::rpm) const ALL: [&str; 5] = [
        "alpha 1.2.3-4.el9 noarch",
        "beta-tools 1:9.9.5-4.el9 x86_64",
        "delta-large 1.2.3-4.el9 noarch",
        "gamma 0:2.0~rc1-4.el9 noarch",
        "gpg-pubkey 207c33d6-6b0beb1c (none)",
    ];

    /// A system with these files in its rpm directory.
    fn system(directory: &str, files: &[&str]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(directory);
        std::fs::create_dir_all(&path).unwrap();
        for file in files {
            std::fs::write(path.join(file), sample(file)).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn every_database_is_found_where_systems_keep_it() {
        for (directory, files, count) in [
            ("var/lib/rpm", &["Packages"][..], 5),
            ("var/lib/rpm", &["rpmdb.sqlite", "rpmdb.sqlite-wal"], 5),
            // Before the writer's log is merged, its last package is only there.
            ("usr/lib/sysimage/rpm", &["rpmdb.sqlite"], 4),
            ("usr/lib/sysimage/rpm", &["Packages.db"], 5),
            ("usr/share/rpm", &["rpmdb.sqlite", "Packages"], 4),
        ] {
            let (_dir, root) = system(directory, files);
            let mut inventory = Inventory::default();
            read(&root, &|| false, &mut inventory);
            assert_eq!(inventory.packages.len(), count, "{directory} {files:?}");
            assert_eq!((inventory.damaged, inventory.errors.len()), (0, 0));
        }
    }

    #[test]
    fn a_broken_database_is_an_error_that_names_it() {
        let (dir, root) = system("var/lib/rpm", &[]);
        std::fs::write(dir.path().join("var/lib/rpm/rpmdb.sqlite"), "no database").unwrap();
        let mut inventory = Inventory::default();
        read(&root, &|| false, &mut inventory);
        assert!(inventory.packages.is_empty());
        assert!(inventory.errors[0].starts_with("cannot read /var/lib/rpm/rpmdb.sqlite: "));
    }

    #[test]
    fn the_end_of_time_ends_the_reading() {
        let (_dir, root) = system("var/lib/rpm", &["Packages"]);
        let mut inventory = Inventory::default();
        read(&root, &|| true, &mut inventory);
        assert_eq!(inventory.errors, ["cannot read /var/lib/rpm/Packages: the time was over"]);
    }

    /// Any database with some bytes changed: no panic, no endless work.
    fn survive(bytes: &[u8]) {
        let mut visit = |blob: &[u8]| {
            let _ = header::package(blob);
            Ok(())
        };
        let _ = bdb::headers(Cursor::new(bytes), &mut visit);
        let _ = ndb::headers(Cursor::new(bytes), &mut visit);
        let _ = sqlite::headers(Cursor::new(bytes), None, &mut visit);
        let log = Some(Cursor::new(bytes));
        let _ = sqlite::headers(Cursor::new(sample(SQLITE).as_slice()), log, &mut visit);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn changed_databases_do_no_harm(
            which in 0..4_usize,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
            // Half of the changes where the structure is.
            low in proptest::collection::vec((0..600_usize, any::<u8>()), 0..10),
            end in any::<prop::sample::Index>(),
            cut: bool,
        ) {
            let mut bytes = sample(["Packages", "Packages.db", SQLITE, "rpmdb.sqlite-wal"][which]);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for (at, byte) in low {
                bytes[at] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            survive(&bytes);
        }

        #[test]
        fn any_bytes_are_no_database(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            survive(&bytes);
        }
    }
}

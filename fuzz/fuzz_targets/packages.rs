//! Databases of package managers.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use mig_host::pkg::{Inventory, apk, dpkg, rpm};

fuzz_target!(|data: &[u8]| {
    let size = data.len() as u64;
    for is_fragment in [false, true] {
        let mut database = dpkg::Database::default();
        let _ = database.add(data, size, is_fragment, &|| false);
        for package in database.installed(None) {
            assert!(!package.name.is_empty() && !package.version.is_empty());
        }
    }
    let _ = apk::installed(data, size, &|| false, &mut Inventory::default());
    let _ = rpm::header::package(data);
    let mut visit = |header: &[u8]| {
        let _ = rpm::header::package(header);
        Ok(())
    };
    let _ = rpm::bdb::headers(Cursor::new(data), &mut visit);
    let _ = rpm::ndb::headers(Cursor::new(data), &mut visit);
    let _ = rpm::sqlite::headers(Cursor::new(data), None, &mut visit);
    // The second half as the log of the first.
    let (file, log) = data.split_at(data.len() / 2);
    let _ = rpm::sqlite::headers(Cursor::new(file), Some(Cursor::new(log)), &mut visit);
});

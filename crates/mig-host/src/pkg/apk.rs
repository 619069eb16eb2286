//! apk: Alpine's `installed` file.

use std::io::Read;
use std::path::Path;

use mig_types::wire::lossy_bytewise;

use super::lines::Lines;
use super::{Inventory, Manager, Package, ReadError};
use crate::fs::Root;

/// Where older and newer systems keep it; where both exist, one is a link.
const INSTALLED: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];

pub(super) fn read(root: &Root, stop: &dyn Fn() -> bool, inventory: &mut Inventory) {
    for path in INSTALLED {
        let read = super::open_text(root, Path::new(path))
            .and_then(|lines| read_lines(lines, stop, inventory));
        match read {
            Ok(()) => return,
            Err(error) if error.is_missing() => {}
            Err(error) => {
                inventory.fail(path, &error);
                return;
            }
        }
    }
}

/// Reads the packages of an `installed` file.
///
/// **Shape** paragraphs of lines `<letter>:<value>`, of which `P` is the name,
/// `V` the version and `A` the architecture. **Source** apk-tools, `database.c`.
///
/// # Errors
///
/// When the input fails, is too large, or the time is over; what was read until
/// then stays.
pub fn installed(
    input: impl Read,
    size_bytes: u64,
    stop: &dyn Fn() -> bool,
    inventory: &mut Inventory,
) -> Result<(), ReadError> {
    read_lines(Lines::new(input, size_bytes), stop, inventory)
}

fn read_lines<R: Read>(
    mut lines: Lines<R>,
    stop: &dyn Fn() -> bool,
    inventory: &mut Inventory,
) -> Result<(), ReadError> {
    let mut paragraph = Paragraph::default();
    while let Some(line) = lines.next()? {
        if line.is_empty() {
            take(std::mem::take(&mut paragraph), inventory)?;
            if stop() {
                return Err(ReadError::Stopped);
            }
            continue;
        }
        paragraph.has_lines = true;
        match line {
            [b'P', b':', name @ ..] => paragraph.name = lossy_bytewise(name),
            [b'V', b':', version @ ..] => paragraph.version = lossy_bytewise(version),
            [b'A', b':', arch @ ..] => paragraph.arch = lossy_bytewise(arch),
            _ => {}
        }
    }
    take(paragraph, inventory)?;
    if lines.cut { Err(ReadError::Malformed("the file is too large")) } else { Ok(()) }
}

#[derive(Default)]
struct Paragraph {
    has_lines: bool,
    name: String,
    version: String,
    arch: String,
}

fn take(paragraph: Paragraph, inventory: &mut Inventory) -> Result<(), ReadError> {
    if !paragraph.has_lines {
        return Ok(());
    }
    let Paragraph { name, version, arch, .. } = paragraph;
    // A virtual package (`apk add -t`) has no architecture of its own.
    if name.is_empty() || version.is_empty() {
        inventory.damaged += 1;
        return Ok(());
    }
    inventory.push(Package { name, version, arch, manager: Manager::Apk })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_paragraphs_and_counts_damage() {
        let text = "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\nF:lib\nR:ld-musl-x86_64.so.1\n\n\
                    P:broken\nA:x86_64\n\n\nP:.build-deps\nV:20240101.000000\n";
        let mut inventory = Inventory::default();
        installed(text.as_bytes(), text.len() as u64, &|| false, &mut inventory).unwrap();
        let found: Vec<String> = inventory
            .packages
            .iter()
            .map(|package| format!("{} {} {}", package.name, package.version, package.arch))
            .collect();
        assert_eq!(found, ["musl 1.2.4-r2 x86_64", ".build-deps 20240101.000000 "]);
        assert_eq!(inventory.damaged, 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_packages_or_damage(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            text in "([PVAF]:[a-z]{0,3}\n|\n){0,12}",
        ) {
            let mut inventory = Inventory::default();
            for input in [bytes.as_slice(), text.as_bytes()] {
                prop_assert!(installed(input, 0, &|| false, &mut inventory).is_ok());
            }
            for package in inventory.packages {
                prop_assert!(!package.name.is_empty() && !package.version.is_empty());
            }
        }
    }
}

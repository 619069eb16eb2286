//! `Packages.db`: rpm's own database of the SUSE systems.

use std::io::{Read, Seek};

use super::{MAX_HEADER, Source, Visit, le32};
use crate::pkg::ReadError;

const PAGE: u64 = 4096;
/// Most pages of slots: sixteen million packages.
const MAX_SLOT_PAGES: u64 = 65_536;
const SLOT: usize = 16;
const BLOCK: u64 = 16;
const BLOB_HEAD: u64 = 16;
/// Slots the file's own header takes the place of.
const FIRST_SLOT: usize = 2;

/// Hands every package's header to `visit`.
///
/// **Shape** little-endian words. Pages of slots at the start of the file say
/// where each package lies, in blocks of 16 bytes; a blob has a head of four
/// words, the last of which is its length. **Source** rpm,
/// `lib/backend/ndb/rpmpkg.c`.
///
/// # Errors
///
/// When the file is no such database or ends too early, and those of `visit`.
pub fn headers(file: impl Read + Seek, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let mut source = Source::new(file)?;
    let head = source.read(0, 32)?;
    if !head.starts_with(b"RpmP") || le32(&head, 4) != Some(0) {
        return Err(ReadError::Malformed("not an ndb database"));
    }
    let pages = u64::from(le32(&head, 12).unwrap_or(0)).min(MAX_SLOT_PAGES);
    for page in 0..pages {
        let slots = source.read(page * PAGE, PAGE)?;
        let skip = if page == 0 { FIRST_SLOT } else { 0 };
        for slot in slots.chunks_exact(SLOT).skip(skip) {
            if !slot.starts_with(b"Slot") {
                return Err(ReadError::Malformed("a slot has no mark"));
            }
            let words = (le32(slot, 4), le32(slot, 8), le32(slot, 12));
            let (Some(package), Some(block), Some(blocks)) = words else { continue };
            // A free slot.
            if package == 0 || block == 0 {
                continue;
            }
            match blob(&mut source, package, block, blocks) {
                Ok(blob) => visit(&blob)?,
                // Counted as one damaged package.
                Err(ReadError::Malformed(_)) => visit(&[])?,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn blob<F: Read + Seek>(
    source: &mut Source<F>,
    package: u32,
    block: u32,
    blocks: u32,
) -> Result<Vec<u8>, ReadError> {
    let start = u64::from(block) * BLOCK;
    let head = source.read(start, BLOB_HEAD)?;
    let length = u64::from(le32(&head, 12).unwrap_or(0));
    let fits = length + BLOB_HEAD <= u64::from(blocks) * BLOCK && length <= MAX_HEADER;
    if !head.starts_with(b"BlbS") || le32(&head, 4) != Some(package) || !fits {
        return Err(ReadError::Malformed("a package does not lie where its slot says"));
    }
    source.read(start + BLOB_HEAD, length)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::tests::{ALL, listed, sample};
    use super::*;

    #[test]
    fn lists_what_rpm_lists() {
        let bytes = sample("Packages.db");
        assert_eq!(listed(|visit| headers(Cursor::new(bytes), visit)), ALL);
    }

    #[test]
    fn one_damaged_package_costs_one_package() {
        let mut bytes = sample("Packages.db");
        bytes[4096] = b'x';
        let mut sizes = Vec::new();
        headers(Cursor::new(&bytes), &mut |blob| {
            sizes.push(blob.len());
            Ok(())
        })
        .unwrap();
        assert_eq!(sizes.len(), 5);
        assert_eq!(sizes.iter().filter(|size| **size == 0).count(), 1);
        bytes[32] = b'x';
        assert!(headers(Cursor::new(&bytes), &mut |_| Ok(())).is_err());
    }
}

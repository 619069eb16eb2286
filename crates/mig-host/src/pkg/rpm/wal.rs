//! The log of a writer that has not merged its pages yet.

use std::collections::HashMap;
use std::io::{Read, Seek};

use super::{Source, be32};
use crate::pkg::ReadError;

const HEAD: u64 = 32;
const FRAME_HEAD: u64 = 24;
/// Longest log: writers merge theirs every few megabytes.
const MAX_LOG: u64 = 512 << 20;
/// The lowest bit says in which order checksums read their words.
const MAGIC: u32 = 0x377f_0682;

/// Committed pages: number, and where the page lies in the log.
pub(super) type Committed = HashMap<u32, u64>;

/// Reads a log up to its last commit. A log that is empty, of another page size
/// or damaged from the start adds nothing.
///
/// **Source** the SQLite file format, "The Write-Ahead Log".
pub(super) fn committed<F: Read + Seek>(
    source: &mut Source<F>,
    page_size: u32,
) -> Result<Committed, ReadError> {
    let mut pages = Committed::new();
    if source.size < HEAD {
        return Ok(pages);
    }
    if source.size > MAX_LOG {
        return Err(ReadError::Malformed("the log beside it is too large"));
    }
    let head = source.read(0, HEAD)?;
    let word = |at| be32(&head, at).unwrap_or(0);
    if word(0) & !1 != MAGIC || word(8) != page_size {
        return Ok(pages);
    }
    let is_big = word(0) & 1 == 1;
    let mut sums = checksum(head.get(..24).unwrap_or_default(), (0, 0), is_big);
    if sums != (word(24), word(28)) {
        return Ok(pages);
    }
    let salts = (word(16), word(20));
    let mut pending = Vec::new();
    let mut offset = HEAD;
    let frame_size = FRAME_HEAD + u64::from(page_size);
    while offset + frame_size <= source.size {
        let frame = source.read(offset, frame_size)?;
        let (frame_head, page) = frame.split_at(24);
        let word = |at| be32(frame_head, at).unwrap_or(0);
        sums = checksum(frame_head.get(..8).unwrap_or_default(), sums, is_big);
        sums = checksum(page, sums, is_big);
        // Frames of an earlier round follow the last one of this round.
        if (word(8), word(12)) != salts || (word(16), word(20)) != sums {
            break;
        }
        pending.push((word(0), offset + FRAME_HEAD));
        // The size of the database after a commit; zero within a transaction.
        if word(4) != 0 {
            pages.extend(pending.drain(..));
        }
        offset += frame_size;
    }
    Ok(pages)
}

fn checksum(bytes: &[u8], (mut first, mut second): (u32, u32), is_big: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at| {
            let bytes = super::take(pair, at).unwrap_or_default();
            if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        first = first.wrapping_add(word(0)).wrapping_add(second);
        second = second.wrapping_add(word(4)).wrapping_add(first);
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::tests::sample;
    use super::*;

    fn pages(bytes: &[u8]) -> usize {
        committed(&mut Source::new(Cursor::new(bytes)).unwrap(), 4096).unwrap().len()
    }

    #[test]
    fn only_committed_frames_count() {
        let bytes = sample("rpmdb.sqlite-wal");
        let whole = pages(&bytes);
        assert!(whole > 0);
        // Without its last frame, the transaction was never committed.
        assert_eq!(pages(&bytes[..bytes.len() - 1]), 0);
        for at in [0, 8, 17, 25, 32, 40, 50, 5000] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert_eq!(pages(&changed), 0, "{at}");
        }
        let mut longer = bytes.clone();
        longer.extend_from_slice(&bytes[32..]);
        assert_eq!(pages(&longer), whole);
    }
}

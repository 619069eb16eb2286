//! The place inside a program that tells where its data is.

use std::hint::black_box;
use std::io::{Read, Seek, SeekFrom};

use sha2::{Digest as _, Sha256};

use super::{EmbedError, MAX_BLOCK};

/// Size of a slot.
///
/// **Shape** 16 bytes of mark, then little-endian offset and length of the
/// block in 8 bytes each, then its SHA-256. Zeros behind the mark: nothing is
/// carried.
pub(super) const LEN: usize = 64;
pub(super) const MARK_LEN: usize = 16;

/// The mark, veiled: it must be in a program once only, where the slot is.
const VEILED: [u8; MARK_LEN] = [
    0x9d, 0x99, 0x97, 0xdd, 0x91, 0x97, 0x95, 0x9e, 0x84, 0xca, 0x83, 0x9c, 0x9f, 0x84, 0xf1, 0xfa,
];
const VEIL: u8 = 0xf0;

/// Filled in by [`super::embed`] in the file, never at run time.
#[used]
static SLOT: [u8; LEN] = empty();

const fn empty() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let mut at = 0;
    while at < MARK_LEN {
        bytes[at] = VEILED[at] ^ VEIL;
        at += 1;
    }
    bytes
}

/// What a slot begins with.
pub(super) fn mark() -> [u8; MARK_LEN] {
    // Unveiled where the compiler does not look, or the mark would be there
    // twice.
    black_box(VEILED).map(|byte| byte ^ VEIL)
}

/// Where a block is, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) digest: [u8; 32],
}

/// The slot of the running program.
///
/// # Errors
///
/// [`EmbedError::Damaged`] when it is no slot any more.
pub(super) fn own() -> Result<Option<Slot>, EmbedError> {
    // The compiler knows the bytes as they were before they were filled in.
    Slot::parse(black_box(&SLOT))
}

impl Slot {
    pub(super) fn of(offset: u64, block: &[u8]) -> Self {
        Self { offset, len: block.len() as u64, digest: Sha256::digest(block).into() }
    }

    /// Reads a slot; `None` when it is empty.
    ///
    /// # Errors
    ///
    /// [`EmbedError::Damaged`] on anything else.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, EmbedError> {
        let damaged = EmbedError::Damaged("its place in the program is overwritten");
        let Some(rest) = bytes.strip_prefix(mark().as_slice()) else { return Err(damaged) };
        if rest.len() == LEN - MARK_LEN && rest.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let number = |at: usize| -> Option<u64> {
            Some(u64::from_le_bytes(rest.get(at..at + 8)?.try_into().ok()?))
        };
        let digest = rest.get(16..48).and_then(|digest| digest.try_into().ok());
        match (number(0), number(8), digest) {
            (Some(offset), Some(len), Some(digest)) if len <= MAX_BLOCK => {
                Ok(Some(Self { offset, len, digest }))
            }
            _ => Err(damaged),
        }
    }

    pub(super) fn to_bytes(&self) -> [u8; LEN] {
        let fields =
            [mark().as_slice(), &self.offset.to_le_bytes(), &self.len.to_le_bytes(), &self.digest]
                .concat();
        let mut bytes = [0; LEN];
        bytes.copy_from_slice(&fields);
        bytes
    }

    /// Reads the block out of a program.
    ///
    /// # Errors
    ///
    /// [`EmbedError::Damaged`] when it is not there or not what it was.
    pub(super) fn block(&self, program: &mut (impl Read + Seek)) -> Result<Vec<u8>, EmbedError> {
        let cut = || EmbedError::Damaged("the program is cut short");
        program.seek(SeekFrom::Start(self.offset)).map_err(|_| cut())?;
        let mut block = Vec::new();
        let read = program.take(self.len).read_to_end(&mut block);
        if read.is_err() || block.len() as u64 != self.len {
            return Err(cut());
        }
        if Sha256::digest(&block).as_slice() != self.digest {
            return Err(EmbedError::Damaged("its checksum does not match"));
        }
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn refuses_what_is_no_slot() {
        let slot = Slot::of(100, b"block").to_bytes();
        let mut huge = slot;
        huge[24..32].copy_from_slice(&(MAX_BLOCK + 1).to_le_bytes());
        for bytes in [&b""[..], &[0; LEN], &slot[..LEN - 1], &slot[..MARK_LEN], &huge] {
            assert!(matches!(Slot::parse(bytes), Err(EmbedError::Damaged(_))), "{bytes:?}");
        }
    }

    #[test]
    fn a_block_that_was_cut_or_changed_is_refused() {
        let program = b"program, then block";
        let slot = Slot::of(14, b"block");
        assert_eq!(slot.block(&mut Cursor::new(program)).unwrap(), b"block");
        let cut = &program[..program.len() - 1];
        assert!(matches!(slot.block(&mut Cursor::new(cut)), Err(EmbedError::Damaged(_))));
        let changed = b"program, then bl0ck";
        assert!(matches!(slot.block(&mut Cursor::new(changed)), Err(EmbedError::Damaged(_))));
        let elsewhere = Slot { offset: u64::MAX, ..slot };
        assert!(matches!(elsewhere.block(&mut Cursor::new(program)), Err(EmbedError::Damaged(_))));
    }

    #[test]
    fn a_program_as_built_carries_nothing() {
        assert_eq!(own().unwrap(), None);
        assert_eq!(Slot::parse(&empty()).unwrap(), None);
        let slot = Slot::of(1 << 40, b"x");
        assert_eq!(Slot::parse(&slot.to_bytes()).unwrap(), Some(slot));
    }
}

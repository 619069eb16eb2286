//! As much of DER as private keys take.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_ID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]` and `[1]`, explicit.
pub(super) const CONTEXT_0: u8 = 0xa0;
pub(super) const CONTEXT_1: u8 = 0xa1;

/// Elements that follow each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The content of the next element, if it has this tag.
    pub(super) fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, rest) = self.rest.split_first()?;
        if *tag != wanted {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // Lengths of one to four bytes; more than a file can have.
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = digits.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
                (usize::try_from(length).ok()?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(content)
    }

    /// A positive number as it is written in a public key, too.
    pub(super) fn number(&mut self) -> Option<&'a [u8]> {
        let number = self.take(INTEGER)?;
        let is_positive = number.first().is_some_and(|byte| byte & 0x80 == 0);
        is_positive.then_some(number)
    }
}

/// The elements inside a sequence that begins the bytes.
pub(super) fn sequence(bytes: &[u8]) -> Option<Reader<'_>> {
    Reader::new(bytes).take(SEQUENCE).map(Reader::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_lengths_that_lie() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x05, 0x02],
            &[0x30, 0x80, 0x00, 0x00],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x31, 0x00],
        ] {
            assert!(sequence(bytes).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn reads_numbers_one_after_the_other() {
        let mut inside = sequence(&[0x30, 0x81, 0x07, 2, 1, 5, 2, 2, 0, 0x80]).unwrap();
        assert_eq!(inside.number(), Some(&[5][..]));
        assert_eq!(inside.number(), Some(&[0, 0x80][..]));
        assert_eq!(inside.number(), None);
        assert_eq!(sequence(&[0x30, 3, 2, 1, 0x80]).unwrap().number(), None);
    }
}

//! Lines of a text database, none of them longer than memory allows.

use std::io::{self, BufRead as _, BufReader, Read, Take};

/// Longest part of a line that is kept. Names and versions are far shorter.
const MAX_LINE: u64 = 64 << 10;
/// Largest text database that is read.
const MAX_FILE: u64 = 64 << 20;

/// Reads line after line.
pub(super) struct Lines<R> {
    input: Take<BufReader<R>>,
    line: Vec<u8>,
    /// The file has more than is read.
    pub(super) cut: bool,
}

impl<R: Read> Lines<R> {
    /// `size` is that of the whole input, in bytes.
    pub(super) fn new(input: R, size: u64) -> Self {
        let input = BufReader::with_capacity(64 << 10, input).take(MAX_FILE);
        Self { input, line: Vec::new(), cut: size > MAX_FILE }
    }

    /// The next line without its end; the end of a long one is dropped.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        if (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() as u64 == MAX_LINE {
            self.skip()?;
        }
        Ok(Some(self.line.trim_ascii_end()))
    }

    /// Passes over the rest of a line.
    fn skip(&mut self) -> io::Result<()> {
        let mut rest = Vec::new();
        loop {
            rest.clear();
            let count = (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut rest)?;
            if count == 0 || rest.last() == Some(&b'\n') {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_lose_their_end_and_nothing_else() {
        let mut text = b"first \r\n\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', 300_000));
        text.extend(b"\nlast");
        let mut lines = Lines::new(text.as_slice(), text.len() as u64);
        let mut lengths = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [5, 0, 65_536, 4]);
        assert!(!lines.cut);
    }

    #[test]
    fn a_huge_file_is_cut() {
        let endless = io::repeat(b'a');
        let mut lines = Lines::new(endless, MAX_FILE + 1);
        assert!(lines.cut);
        assert_eq!(lines.next().unwrap().unwrap().len() as u64, MAX_LINE);
        assert_eq!(lines.next().unwrap(), None);
    }
}

//! `rpmdb.sqlite`: as much of SQLite's file format as lists one table.

use std::io::{Read, Seek};

use super::wal::{self, Committed};
use super::{MAX_HEADER, MAX_TOTAL, Source, Visit, be16, be32};
use crate::pkg::ReadError;

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes of the file's header, on its first page.
const FILE_HEAD: usize = 100;
/// The table of tables.
const SCHEMA_PAGE: u32 = 1;
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// A tree of this depth has more pages than there are atoms.
const MAX_DEPTH: usize = 20;

/// Hands the `blob` of every row of `Packages` to `visit`, in the order of their
/// numbers.
///
/// `log` is the write-ahead log beside the file, if there is one.
///
/// **Source** the SQLite file format, "B-tree Pages" and "Record Format".
///
/// # Errors
///
/// When the file is no such database or ends too early, and those of `visit`.
pub fn headers<F: Read + Seek>(
    file: F,
    log: Option<F>,
    visit: &mut Visit<'_>,
) -> Result<(), ReadError> {
    let mut database = Database::open(file, log)?;
    let mut table = None;
    database.rows(SCHEMA_PAGE, &mut |row| {
        // type, name, tbl_name, rootpage, sql
        let column = |index| column(row, index);
        if column(0) == Some(b"table") && column(1) == Some(b"Packages") {
            table = column(3).and_then(integer);
        }
        Ok(())
    })?;
    let table = table.ok_or(ReadError::Malformed("there is no table Packages"))?;
    // hnum, which is the row's number and empty here, and blob
    database.rows(table, &mut |row| visit(column(row, 1).unwrap_or_default()))
}

struct Database<F> {
    file: Source<F>,
    log: Option<(Source<F>, Committed)>,
    page_size: u32,
    /// Bytes of a page that hold content.
    usable: usize,
    /// Pages still to be visited before the tree must be a circle.
    pages_left: u64,
}

impl<F: Read + Seek> Database<F> {
    fn open(file: F, log: Option<F>) -> Result<Self, ReadError> {
        let mut file = Source::new(file)?;
        let head = file.read(0, FILE_HEAD as u64)?;
        if !head.starts_with(MAGIC) {
            return Err(ReadError::Malformed("not an SQLite database"));
        }
        let page_size = match be16(&head, 16).unwrap_or(0) {
            1 => 65_536,
            size => u32::from(size),
        };
        let reserved = usize::from(head.get(20).copied().unwrap_or(0));
        let usable = (page_size as usize).saturating_sub(reserved);
        if !page_size.is_power_of_two() || page_size < 512 || usable < 480 {
            return Err(ReadError::Malformed("not an SQLite database"));
        }
        let log = match log {
            Some(log) => {
                let mut log = Source::new(log)?;
                let committed = wal::committed(&mut log, page_size)?;
                Some((log, committed))
            }
            None => None,
        };
        let logged = log.as_ref().map_or(0, |(_, committed)| committed.len() as u64);
        let pages = (file.size.min(MAX_TOTAL) / u64::from(page_size)) + logged;
        let pages_left = 2 * pages;
        Ok(Self { file, log, page_size, usable, pages_left })
    }

    fn page(&mut self, number: u32) -> Result<Vec<u8>, ReadError> {
        let size = u64::from(self.page_size);
        if let Some((log, committed)) = &mut self.log
            && let Some(offset) = committed.get(&number)
        {
            return log.read(*offset, size);
        }
        let index = number.checked_sub(1).ok_or(ReadError::Malformed("there is no page 0"))?;
        self.file.read(u64::from(index) * size, size)
    }

    /// Calls `visit` with every row of the table whose tree begins at `root`.
    fn rows(&mut self, root: u32, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        let broken = || ReadError::Malformed("a tree of pages is broken");
        // Pages to go at each depth, the next one last.
        let mut path: Vec<Vec<u32>> = vec![vec![root]];
        while let Some(level) = path.last_mut() {
            let Some(number) = level.pop() else {
                path.pop();
                continue;
            };
            self.pages_left = self.pages_left.checked_sub(1).ok_or_else(broken)?;
            let page = self.page(number)?;
            let start = if number == SCHEMA_PAGE { FILE_HEAD } else { 0 };
            let cells = usize::from(be16(&page, start + 3).ok_or_else(broken)?);
            match page.get(start) {
                Some(&LEAF) => {
                    for cell in places(&page, start + 8, cells) {
                        self.row(&page, cell.ok_or_else(broken)?, visit)?;
                    }
                }
                Some(&INTERIOR) if path.len() < MAX_DEPTH => {
                    let mut below: Vec<u32> = places(&page, start + 12, cells)
                        .map(|cell| be32(&page, cell?))
                        .collect::<Option<_>>()
                        .ok_or_else(broken)?;
                    below.push(be32(&page, start + 8).ok_or_else(broken)?);
                    below.reverse();
                    path.push(below);
                }
                _ => return Err(broken()),
            }
        }
        Ok(())
    }

    /// Reads one row, wherever its bytes are.
    fn row(&mut self, page: &[u8], cell: usize, visit: &mut Visit<'_>) -> Result<(), ReadError> {
        match self.payload(page, cell) {
            Ok(row) => visit(&row),
            // Handed on empty: one damaged package.
            Err(ReadError::Malformed(_)) => visit(&[]),
            Err(error) => Err(error),
        }
    }

    fn payload(&mut self, page: &[u8], cell: usize) -> Result<Vec<u8>, ReadError> {
        let broken = || ReadError::Malformed("a row is broken");
        let cell = page.get(cell..).ok_or_else(broken)?;
        let (length, used) = varint(cell).ok_or_else(broken)?;
        let cell = cell.get(used..).ok_or_else(broken)?;
        let (_, used) = varint(cell).ok_or_else(broken)?;
        let cell = cell.get(used..).ok_or_else(broken)?;
        // Some bytes for the record's own header.
        if length > MAX_HEADER + 64 {
            return Err(broken());
        }
        let length = usize::try_from(length).map_err(|_| broken())?;
        let local = local_bytes(length, self.usable);
        let mut payload = cell.get(..local).ok_or_else(broken)?.to_vec();
        if local == length {
            return Ok(payload);
        }
        payload.reserve_exact(length - local);
        let mut next = be32(cell, local).ok_or_else(broken)?;
        // Every page adds something, so that a circle has an end.
        while payload.len() < length {
            if next == 0 {
                return Err(broken());
            }
            let page = self.page(next)?;
            let part = page.get(4..self.usable).ok_or_else(broken)?;
            let wanted = part.len().min(length - payload.len());
            payload.extend_from_slice(part.get(..wanted).unwrap_or_default());
            next = be32(&page, 0).ok_or_else(broken)?;
        }
        Ok(payload)
    }
}

/// How many bytes of a row lie on the page of its cell.
fn local_bytes(length: usize, usable: usize) -> usize {
    let most = usable - 35;
    if length <= most {
        return length;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let even = least + (length - least) % (usable - 4);
    if even <= most { even } else { least }
}

/// Where the cells of a page begin.
fn places(page: &[u8], start: usize, cells: usize) -> impl Iterator<Item = Option<usize>> {
    (0..cells).map(move |index| be16(page, start + 2 * index).map(usize::from))
}

/// A number of up to nine bytes, and how many they were.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value: u64 = 0;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        if index == 8 {
            return Some(((value << 8) | u64::from(*byte), 9));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// The bytes of one column of a row.
fn column(row: &[u8], wanted: usize) -> Option<&[u8]> {
    let (head, mut at) = varint(row)?;
    let head = usize::try_from(head).ok()?;
    let mut offset = head;
    for index in 0.. {
        let (kind, used) = varint(row.get(at..head)?)?;
        at += used;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            other => usize::try_from((other - 12) / 2).ok()?,
        };
        let end = offset.checked_add(length)?;
        if index == wanted {
            return row.get(offset..end);
        }
        offset = end;
    }
    None
}

/// A page number in a column: big-endian, as short as it can be.
fn integer(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    let value = bytes.iter().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    u32::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::tests::{ALL, listed, sample};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_what_rpm_lists() {
        let file = Cursor::new(sample("rpmdb.sqlite"));
        let log = Some(Cursor::new(sample("rpmdb.sqlite-wal")));
        assert_eq!(listed(|visit| headers(file, log, visit)), ALL);
    }

    #[test]
    fn without_the_log_the_last_transaction_is_missing() {
        let file = Cursor::new(sample("rpmdb.sqlite"));
        let found = listed(|visit| headers(file, None, visit));
        assert_eq!(found, ALL[..4]);
    }

    #[test]
    fn a_circle_of_pages_has_an_end() {
        let mut bytes = sample("rpmdb.sqlite");
        // The root of the schema becomes an inner page that leads to itself.
        bytes[100] = INTERIOR;
        bytes[103..105].copy_from_slice(&[0, 0]);
        bytes[108..112].copy_from_slice(&[0, 0, 0, 1]);
        assert!(headers(Cursor::new(bytes), None, &mut |_| Ok(())).is_err());
    }

    #[test]
    fn numbers_have_up_to_nine_bytes() {
        for (bytes, value) in [
            (&[0x7f][..], Some((127, 1))),
            (&[0x81, 0x00], Some((128, 2))),
            (&[0xff; 9], Some((u64::MAX, 9))),
            (&[0x80], None),
            (&[], None),
        ] {
            assert_eq!(varint(bytes), value);
        }
    }

    proptest! {
        #[test]
        fn rows_never_claim_more_than_a_page(length in 0..1_000_000_usize, reserved in 0..32_usize) {
            for page in [512, 1024, 4096, 65_536] {
                let usable = page - reserved;
                let local = local_bytes(length, usable);
                prop_assert!(local <= length && local + 4 <= usable);
            }
        }

        #[test]
        fn any_row_has_columns_inside_it(row in proptest::collection::vec(any::<u8>(), 0..60)) {
            for index in 0..5 {
                let _ = column(&row, index).and_then(integer);
            }
        }
    }
}

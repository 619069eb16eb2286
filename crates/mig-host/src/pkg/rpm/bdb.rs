//! `Packages`: the Berkeley DB hash file of older systems.

use std::io::{Read, Seek};

use super::{MAX_HEADER, MAX_TOTAL, Source, Visit, take};
use crate::pkg::ReadError;

/// Marks of the first page, and of the page kinds that matter.
const HASH_MAGIC: u32 = 0x0006_1561;
const HASH_META: u8 = 8;
const HASH_UNSORTED: u8 = 2;
const HASH: u8 = 13;
const OVERFLOW: u8 = 7;

/// Kinds of items on a hash page.
const KEY_OR_DATA: u8 = 1;
const OFF_PAGE: u8 = 3;

const PAGE_HEAD: usize = 26;

/// Hands every package's header to `visit`.
///
/// **Shape** pages of one size, in the byte order of the machine that wrote
/// them. Hash pages hold items, keys and values in turn; a large value is a
/// chain of overflow pages. **Source** Berkeley DB 5.3, `dbinc/db_page.h`.
///
/// # Errors
///
/// When the file is no such database or ends too early, and those of `visit`.
pub fn headers(file: impl Read + Seek, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let mut source = Source::new(file)?;
    let meta = source.read(0, 72)?;
    let magic = take(&meta, 12).unwrap_or_default();
    let order = if u32::from_le_bytes(magic) == HASH_MAGIC {
        Order::Little
    } else if u32::from_be_bytes(magic) == HASH_MAGIC {
        Order::Big
    } else {
        return Err(ReadError::Malformed("not a Berkeley DB hash"));
    };
    let page_size = order.u32(&meta, 20).unwrap_or(0);
    let is_plain = meta.get(24) == Some(&0) && meta.get(25) == Some(&HASH_META);
    if !is_plain || !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
        return Err(ReadError::Malformed("not a Berkeley DB hash without encryption"));
    }
    let page_size = u64::from(page_size);
    let last =
        u64::from(order.u32(&meta, 32).unwrap_or(0)).min(source.size.min(MAX_TOTAL) / page_size);
    let mut database = Database { source, order, page_size };
    for number in 1..=last {
        // The last page may be missing where the file was cut.
        let Ok(page) = database.page(number) else { break };
        if matches!(page.get(25), Some(&(HASH | HASH_UNSORTED))) {
            database.values(&page, visit)?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        take(bytes, at).map(|bytes| match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        take(bytes, at).map(|bytes| match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }
}

struct Database<F> {
    source: Source<F>,
    order: Order,
    page_size: u64,
}

impl<F: Read + Seek> Database<F> {
    fn page(&mut self, number: u64) -> Result<Vec<u8>, ReadError> {
        self.source.read(number * self.page_size, self.page_size)
    }

    /// The values of one hash page.
    fn values(&mut self, page: &[u8], visit: &mut Visit<'_>) -> Result<(), ReadError> {
        let order = self.order;
        let count = usize::from(order.u16(page, 20).unwrap_or(0));
        let place = |index: usize| order.u16(page, PAGE_HEAD + 2 * index).map(usize::from);
        // Items grow from the end of the page: each ends where the one before
        // it begins.
        let item = |index: usize| {
            let end = if index == 0 { page.len() } else { place(index - 1)? };
            page.get(place(index)?..end)
        };
        for pair in 0..count / 2 {
            let (Some(key), Some(value)) = (item(2 * pair), item(2 * pair + 1)) else {
                visit(&[])?;
                continue;
            };
            // Key zero holds the next free number instead of a package.
            if key == [KEY_OR_DATA, 0, 0, 0, 0] {
                continue;
            }
            let header = match value.first() {
                Some(&KEY_OR_DATA) => Ok(value.get(1..).unwrap_or_default().to_vec()),
                Some(&OFF_PAGE) => self.chain(value),
                _ => Err(ReadError::Malformed("unknown kind of item")),
            };
            match header {
                Ok(header) => visit(&header)?,
                // Counted as one damaged package.
                Err(ReadError::Malformed(_)) => visit(&[])?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A value on pages of its own.
    fn chain(&mut self, item: &[u8]) -> Result<Vec<u8>, ReadError> {
        let damaged = || ReadError::Malformed("a chain of pages is broken");
        let mut number = self.order.u32(item, 4).ok_or_else(damaged)?;
        let length = self.order.u32(item, 8).ok_or_else(damaged)?;
        if u64::from(length) > MAX_HEADER.min(self.source.size) {
            return Err(damaged());
        }
        let length = usize::try_from(length).map_err(|_| damaged())?;
        let mut value = Vec::with_capacity(length);
        // Every page adds something, so that a circle has an end.
        while value.len() < length {
            if number == 0 {
                return Err(damaged());
            }
            let page = self.page(u64::from(number))?;
            if page.get(25) != Some(&OVERFLOW) {
                return Err(damaged());
            }
            let used = usize::from(self.order.u16(&page, 22).unwrap_or(0));
            let part = page.get(PAGE_HEAD..PAGE_HEAD + used).filter(|part| !part.is_empty());
            value.extend_from_slice(part.ok_or_else(damaged)?);
            number = self.order.u32(&page, 16).ok_or_else(damaged)?;
        }
        value.truncate(length);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::tests::{ALL, listed, sample};
    use super::*;

    #[test]
    fn lists_what_rpm_lists() {
        let bytes = sample("Packages");
        assert_eq!(listed(|visit| headers(Cursor::new(bytes), visit)), ALL);
    }

    #[test]
    fn refuses_other_files() {
        let bytes = sample("Packages");
        for (at, byte) in [(12, 0), (20, 1), (23, 0x7f), (24, 1), (25, 9)] {
            let mut changed = bytes.clone();
            changed[at] = byte;
            assert!(headers(Cursor::new(changed), &mut |_| Ok(())).is_err(), "{at}");
        }
    }

    #[test]
    fn a_circle_of_pages_has_an_end() {
        let mut bytes = sample("Packages");
        // Every overflow page leads to itself.
        for number in 1..bytes.len() / 4096 {
            let page = &mut bytes[number * 4096..(number + 1) * 4096];
            if page[25] == OVERFLOW {
                page[16..20].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
            }
        }
        let mut count = 0;
        headers(Cursor::new(bytes), &mut |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 5);
    }
}

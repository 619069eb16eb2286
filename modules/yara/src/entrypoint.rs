//! The value of `entrypoint`, which rules may ask for and newer engines have given up:
//! the offset in the file where execution begins.

use crate::tokens::{Token, tokens};

/// Stands for `entrypoint` in rules, in as many bytes. The second variable is 1
/// where there is an entry point and 0 where there is none: a division by zero is
/// undefined, which is what `entrypoint` has to be then.
const SUBSTITUTE: &str = "(_ep\\_def)";
/// The offset.
pub const OFFSET: &str = "_ep";
/// Whether there is one.
pub const DEFINED: &str = "_def";

/// Most program headers and sections looked at.
const MAX_PARTS: usize = 1024;

/// The rules with `entrypoint` replaced; `None` when they do not use it.
pub fn substitute(rules: &str) -> Option<String> {
    let mut replaced = String::new();
    let mut at = 0;
    for token in tokens(rules) {
        if let Token::Word(range) = token
            && rules.get(range.clone()) == Some("entrypoint")
        {
            replaced.push_str(rules.get(at..range.start).unwrap_or_default());
            replaced.push_str(SUBSTITUTE);
            at = range.end;
        }
    }
    if at == 0 {
        return None;
    }
    replaced.push_str(rules.get(at..).unwrap_or_default());
    Some(replaced)
}

/// The offset of the entry point of a PE or ELF file; `None` for every other. Never
/// panics: the bytes come from a host that may be hostile.
pub fn of(data: &[u8]) -> Option<u64> {
    if data.starts_with(b"\x7fELF") { of_elf(data) } else { of_pe(data) }
}

/// Numbers in a file.
#[derive(Clone, Copy)]
struct Numbers<'d> {
    data: &'d [u8],
    is_big: bool,
}

impl Numbers<'_> {
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let at = usize::try_from(at).ok()?;
        let mut bytes: [u8; N] = self.data.get(at..at.checked_add(N)?)?.try_into().ok()?;
        if self.is_big {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn short(&self, at: u64) -> Option<u64> {
        self.bytes(at).map(|bytes| u64::from(u16::from_le_bytes(bytes)))
    }

    fn word(&self, at: u64) -> Option<u64> {
        self.bytes(at).map(|bytes| u64::from(u32::from_le_bytes(bytes)))
    }

    /// A number as wide as the file's addresses.
    fn address(&self, at: u64, is_wide: bool) -> Option<u64> {
        if is_wide { self.bytes(at).map(u64::from_le_bytes) } else { self.word(at) }
    }

    /// An offset that lies in the file.
    fn inside(&self, offset: u64) -> Option<u64> {
        (offset < self.data.len() as u64).then_some(offset)
    }
}

/// **Source** "PE Format", COFF header and section table.
fn of_pe(data: &[u8]) -> Option<u64> {
    let numbers = Numbers { data, is_big: false };
    if !data.starts_with(b"MZ") {
        return None;
    }
    let header = numbers.word(0x3c)?;
    if numbers.bytes(header)? != *b"PE\0\0" {
        return None;
    }
    let sections = numbers.short(header + 6)?;
    let optional = header + 24;
    let table = optional + numbers.short(header + 20)?;
    let entry = numbers.word(optional + 16)?;
    // Sections begin at multiples of it in the file, whatever they say.
    let alignment = numbers.word(optional + 36)?.min(0x200);
    let mut best: Option<(u64, u64, u64)> = None;
    let mut lowest = u64::MAX;
    for index in 0..sections.min(MAX_PARTS as u64) {
        let section = table + index * 40;
        let Some(offset) = numbers.word(section + 20) else { break };
        let (address, size) = (numbers.word(section + 12)?, numbers.word(section + 16)?);
        lowest = lowest.min(address);
        if address <= entry && best.is_none_or(|(highest, ..)| highest <= address) {
            best = Some((address, offset, size));
        }
    }
    // What comes before the first section is where the file has it.
    if entry < lowest {
        return numbers.inside(entry);
    }
    let (address, offset, size) = best?;
    let offset = if alignment == 0 { offset } else { offset - offset % alignment };
    let within = entry - address;
    if within >= size {
        return None;
    }
    numbers.inside(offset + within)
}

/// **Source** `elf(5)`.
fn of_elf(data: &[u8]) -> Option<u64> {
    const EXECUTABLE: u64 = 2;
    let is_wide = match data.get(4)? {
        1 => false,
        2 => true,
        _ => return None,
    };
    let is_big = match data.get(5)? {
        1 => false,
        2 => true,
        _ => return None,
    };
    let numbers = Numbers { data, is_big };
    let width = if is_wide { 8 } else { 4 };
    let kind = numbers.short(16)?;
    let entry = numbers.address(24, is_wide)?;
    if entry == 0 {
        return None;
    }
    let programs = numbers.address(24 + width, is_wide)?;
    let sections = numbers.address(24 + 2 * width, is_wide)?;
    // Flags, the size of this header, then sizes and counts of the two tables.
    let sizes = 24 + 3 * width + 6;
    let (program_size, program_count) = (numbers.short(sizes)?, numbers.short(sizes + 2)?);
    let (section_size, section_count) = (numbers.short(sizes + 4)?, numbers.short(sizes + 6)?);
    let covers = |address: u64, size: u64, offset: u64| {
        let within = entry.checked_sub(address).filter(|within| *within < size)?;
        numbers.inside(offset.checked_add(within)?)
    };
    let part = |table: u64, size: u64, index: u64| table.checked_add(size * index);
    let in_programs = || {
        (0..program_count.min(MAX_PARTS as u64)).find_map(|index| {
            let program = part(programs, program_size, index)?;
            let (offset, address, size) = if is_wide {
                (program.checked_add(8)?, program.checked_add(16)?, program.checked_add(40)?)
            } else {
                (program.checked_add(4)?, program.checked_add(8)?, program.checked_add(20)?)
            };
            let number = |at| numbers.address(at, is_wide);
            covers(number(address)?, number(size)?, number(offset)?)
        })
    };
    let in_sections = || {
        const NONE: u64 = 0;
        const WITHOUT_DATA: u64 = 8;
        (0..section_count.min(MAX_PARTS as u64)).find_map(|index| {
            let section = part(sections, section_size, index)?;
            let kind = numbers.word(section.checked_add(4)?)?;
            if kind == NONE || kind == WITHOUT_DATA {
                return None;
            }
            // After name and kind: flags, address, offset, size.
            let at = |place: u64| section.checked_add(8 + place * width);
            let number = |place| numbers.address(at(place)?, is_wide);
            covers(number(1)?, number(3)?, number(2)?)
        })
    };
    if kind == EXECUTABLE { in_programs() } else { in_sections().or_else(in_programs) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_keyword_itself_is_replaced() {
        let rules = "rule a { /* entrypoint */ strings: $a = \"entrypoint\" condition: \
                     $a at entrypoint and pe.entrypoint == x.entrypoint }";
        let replaced = substitute(rules).unwrap();
        assert_eq!(replaced.len(), rules.len());
        assert_eq!(replaced.matches(SUBSTITUTE).count(), 1);
        assert!(replaced.contains("$a at (_ep\\_def) and"), "{replaced}");
        assert_eq!(substitute("rule a { condition: true }"), None);
    }

    /// The smallest ELF header and one program header; 32 bits are as `elf(5)` has it.
    fn elf(is_wide: bool, is_big: bool, kind: u16) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.extend([1 + u8::from(is_wide), 1 + u8::from(is_big)]);
        bytes.resize(16, 0);
        let mut put = |value: u64, width: usize| {
            let all = value.to_le_bytes();
            let mut part = all[..width].to_vec();
            if is_big {
                part.reverse();
            }
            bytes.extend(part);
        };
        let width = if is_wide { 8 } else { 4 };
        let header = 40 + 3 * width as u64;
        put(u64::from(kind), 2);
        put(62, 2);
        put(1, 4);
        put(0x1_1010, width);
        put(header, width);
        put(0, width);
        for (value, size) in [
            (0, 4),
            (header, 2),
            (if is_wide { 56 } else { 32 }, 2),
            (1, 2),
            (0, 2),
            (0, 2),
            (0, 2),
        ] {
            put(value, size);
        }
        put(1, 4);
        if is_wide {
            put(5, 4);
        }
        for value in [0x10, 0x1_1000, 0x1_1000, 0x40, 0x40] {
            put(value, width);
        }
        bytes.resize(0x80, 0);
        bytes
    }

    #[test]
    fn elf_of_every_width_and_order_is_read() {
        for is_wide in [false, true] {
            for is_big in [false, true] {
                for kind in [2, 3] {
                    let bytes = elf(is_wide, is_big, kind);
                    assert_eq!(of(&bytes), Some(0x20), "{is_wide} {is_big} {kind}");
                    assert_eq!(of(&bytes[..0x1c]), None);
                }
            }
        }
    }

    /// A PE header with two sections.
    fn pe(entry: u32) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, b"MZ");
        put(0x3c, &0x80_u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x86, &2_u16.to_le_bytes());
        put(0x94, &0x60_u16.to_le_bytes());
        put(0x98 + 16, &entry.to_le_bytes());
        put(0x98 + 36, &0x200_u32.to_le_bytes());
        for (index, (address, size, offset)) in
            [(0x1000_u32, 0x80_u32, 0x200_u32), (0x2000, 0x100, 0x310)].into_iter().enumerate()
        {
            let section = 0x98 + 0x60 + index * 40;
            put(section + 12, &address.to_le_bytes());
            put(section + 16, &size.to_le_bytes());
            put(section + 20, &offset.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn addresses_of_a_pe_are_found_in_its_sections() {
        for (entry, offset) in [
            (0x1010, Some(0x210)),
            (0x2020, Some(0x220)),
            (0x1080, None),
            (0x2100, None),
            (0x10, Some(0x10)),
        ] {
            assert_eq!(of(&pe(entry)), offset, "{entry:x}");
        }
        assert_eq!(of(b"MZ"), None);
        assert_eq!(of(b"plain"), None);
        assert_eq!(of(b""), None);
    }

    proptest! {
        #[test]
        fn damaged_headers_give_an_offset_in_the_file_or_none(
            kind in 0..3_usize,
            damage in proptest::collection::vec((0..0x160_usize, any::<u8>()), 0..12),
            length in 0..0x400_usize,
        ) {
            let mut bytes = [elf(true, false, 3), elf(false, true, 2), pe(0x1010)][kind].clone();
            for (at, value) in damage {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(length);
            if let Some(offset) = of(&bytes) {
                prop_assert!(offset < bytes.len() as u64);
            }
        }
    }
}

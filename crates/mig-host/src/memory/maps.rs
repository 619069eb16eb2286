//! `/proc/<pid>/maps`.

use mig_types::wire::lossy_bytewise;

use super::Mapping;

/// Most mappings of one process; the kernel's own default is 65,530.
const MAX_MAPPINGS: usize = 1 << 20;

/// A table with a line that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of maps is malformed")]
pub struct MapsError {
    /// Counted from 1.
    pub line: usize,
}

/// Reads the table of mappings.
///
/// **Shape** `<start>-<end> <rwxp> <offset> <device> <inode>[ <path>]`, numbers
/// in hexadecimal but the inode. **Source** `proc_pid_maps(5)`.
///
/// # Errors
///
/// [`MapsError`] on the first line that is not of this shape. Never panics:
/// paths come from whoever maps files.
pub fn parse(table: &[u8]) -> Result<Vec<Mapping>, MapsError> {
    let mut found = Vec::new();
    let lines = table.split(|byte| *byte == b'\n').enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let mapping = mapping(line).filter(|_| found.len() < MAX_MAPPINGS);
        found.push(mapping.ok_or(MapsError { line: index + 1 })?);
    }
    Ok(found)
}

fn mapping(line: &[u8]) -> Option<Mapping> {
    // Five columns, then a path that may hold blanks.
    let mut columns = line.splitn(6, |byte| *byte == b' ');
    let range = std::str::from_utf8(columns.next()?).ok()?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (hex(start)?, hex(end)?);
    let rights = columns.next()?;
    if rights.len() != 4 || start >= end {
        return None;
    }
    columns.next()?;
    columns.next()?;
    let inode = columns.next()?;
    let path = lossy_bytewise(columns.next().unwrap_or_default().trim_ascii_start());
    Some(Mapping {
        start,
        end,
        is_readable: rights.first() == Some(&b'r'),
        is_anonymous: inode == b"0",
        path,
    })
}

fn hex(digits: &str) -> Option<u64> {
    // `from_str_radix` would take a sign.
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_lines_that_make_no_sense() {
        for line in [
            "x",
            "1000-2000",
            "1000-2000 r--p",
            "2000-1000 r--p 0 0:0 0",
            "1000-1000 r--p 0 0:0 0",
            "+1000-2000 r--p 0 0:0 0",
            "1000-2000 r--px 0 0:0 0",
            "1000-20000000000000000 r--p 0 0:0 0",
        ] {
            let table = format!("0-1000 r--p 0 0:0 0\n{line}\n");
            assert_eq!(parse(table.as_bytes()), Err(MapsError { line: 2 }), "{line}");
        }
    }

    #[test]
    fn reads_what_the_kernel_writes() {
        let table = "55d0c0a00000-55d0c0a21000 r-xp 00001000 fe:00 131 /usr/bin/with blank\n\
                     7ffd1000-7ffd3000 ---p 00000000 00:00 0                          [stack]\n\
                     ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n\
                     7f0000000000-7f0000021000 rw-p 00000000 00:00 0 \n";
        let found = parse(table.as_bytes()).unwrap();
        let text: Vec<String> = found
            .iter()
            .map(|m| format!("{:x} {} {} {}", m.start, m.is_readable, m.is_anonymous, m.path))
            .collect();
        assert_eq!(
            text,
            [
                "55d0c0a00000 true false /usr/bin/with blank",
                "7ffd1000 false true [stack]",
                "ffffffffff600000 false true [vsyscall]",
                "7f0000000000 true true "
            ]
        );
    }

    proptest! {
        #[test]
        fn any_table_is_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            line in "[0-9a-f]{1,17}-[0-9a-f]{1,17} [r-][w-][x-][ps] [0-9a-f]{1,8} 0:0 [0-9]{1,3}( .{0,8})?",
        ) {
            let _ = parse(&bytes);
            for mapping in parse(line.as_bytes()).unwrap_or_default() {
                prop_assert!(mapping.start < mapping.end);
            }
        }
    }
}

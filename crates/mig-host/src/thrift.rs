//! Memory that this process does not need: not taken, or given back.

use std::fs;
use std::io;

/// Keeps what is freed from being scattered: threads share a heap instead of
/// having one each, and large pieces come from the system and go back to it at
/// once. To be called before the first thread is started. Nothing where the
/// allocator is another one than glibc's.
pub fn keep_heap_small() {
    #[cfg(target_env = "gnu")]
    for (setting, value) in [
        (libc::M_ARENA_MAX, 1),
        // Setting it also keeps the allocator from raising it by itself, after
        // which large pieces would stay.
        (libc::M_MMAP_THRESHOLD, LARGE_BYTES),
        (libc::M_TRIM_THRESHOLD, LARGE_BYTES),
    ] {
        // SAFETY: takes two numbers; an unknown setting is refused.
        #[expect(unsafe_code, reason = "the allocator has no other door")]
        unsafe {
            libc::mallopt(setting, value);
        }
    }
}

/// Returns freed heap to the system. Takes milliseconds.
pub fn give_back_heap() {
    trim_heap();
}

/// Returns freed heap to the system and forgets the program's own code, which
/// the kernel has at hand and maps again where it is used: what a start takes is
/// much more than what waiting takes. Returns how many bytes of code were
/// forgotten.
///
/// # Errors
///
/// When the kernel does not say what is mapped.
pub fn give_back() -> io::Result<usize> {
    trim_heap();
    let mappings = fs::read_to_string("/proc/self/smaps")?;
    let mut forgotten = 0;
    for Mapping { start, end } in unchanged(&mappings) {
        let length = end.saturating_sub(start);
        let address = std::ptr::without_provenance_mut::<libc::c_void>(start);
        // SAFETY: the pages are a file's, private, not writable, and none of them
        // differs from the file (its count of anonymous memory is 0), as relocated
        // data would: whatever touches them next reads the same bytes again.
        #[expect(unsafe_code, reason = "no wrapper can know that the pages are unchanged")]
        let result = unsafe { libc::madvise(address, length, libc::MADV_DONTNEED) };
        if result == 0 {
            forgotten += length;
        }
    }
    Ok(forgotten)
}

/// Pieces of this size are not a part of the heap.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 64 << 10;

#[cfg(target_env = "gnu")]
fn trim_heap() {
    // SAFETY: takes a number and touches only memory that was freed.
    #[expect(unsafe_code, reason = "the allocator has no other door")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
fn trim_heap() {}

#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
}

/// Mappings of files that cannot be written and never were.
///
/// **Shape** `start-end perms offset device inode path`, then lines `Name: …`.
/// **Source** `proc_pid_smaps(5)`.
fn unchanged(smaps: &str) -> Vec<Mapping> {
    let mut found = Vec::new();
    let mut candidate: Option<Mapping> = None;
    for line in smaps.lines() {
        if let Some(value) = line.strip_prefix("Anonymous:") {
            let mapping = candidate.take();
            if value.trim() == "0 kB" {
                found.extend(mapping);
            }
        } else if let Some((mapping, is_code)) = header(line) {
            candidate = is_code.then_some(mapping);
        }
    }
    found
}

/// A line that begins a mapping, and whether that is a file's and not writable.
fn header(line: &str) -> Option<(Mapping, bool)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let mapping = Mapping { start: address(start)?, end: address(end)? };
    let permissions = fields.next()?;
    let inode = fields.nth(2)?;
    let is_code = ["r-xp", "r--p"].contains(&permissions)
        && inode != "0"
        && fields.next().is_some_and(|path| path.starts_with('/'));
    Some((mapping, is_code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMAPS: &str = "\
1000-2000 r-xp 00000000 08:01 7 /sbin/mig-agent
Rss:                   4 kB
Anonymous:             0 kB
2000-3000 r--p 00001000 08:01 7 /sbin/mig-agent
Anonymous:             4 kB
3000-4000 rw-p 00002000 08:01 7 /sbin/mig-agent
Anonymous:             0 kB
4000-5000 r--p 00000000 00:00 0 [vvar]
Anonymous:             0 kB
";

    #[test]
    fn what_was_relocated_or_can_be_written_is_kept() {
        assert_eq!(unchanged(SMAPS), [Mapping { start: 0x1000, end: 0x2000 }]);
        assert_eq!(unchanged("Anonymous: 0 kB\n"), []);
    }

    #[test]
    fn what_was_freed_is_given_back() {
        keep_heap_small();
        let held = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
        };
        // Small pieces with something after them: nothing goes by itself.
        let pieces: Vec<Vec<u8>> = (0..64_000).map(|_| vec![1; 1000]).collect();
        let last = vec![1; 1000];
        let most = held();
        drop(pieces);
        give_back_heap();
        assert!(most - held() > 40 << 20, "{} of {most} are held", held());
        drop(last);
    }

    #[test]
    fn the_program_goes_on_after_it_was_forgotten() {
        let text = "kept across".to_owned();
        assert!(give_back().unwrap() > 1 << 20);
        assert_eq!(text + " it", "kept across it");
        assert!(std::thread::spawn(|| give_back().is_ok()).join().unwrap());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9a-f-]{0,20} [r-][w-][x-]p .{0,60}") {
            let _ = unchanged(&text);
        }
    }
}

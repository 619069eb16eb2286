//! Reading one file, once, for every check that needs its content.

use std::io::{self, Read};
use std::time::Instant;

use digest::DynDigest;
use memchr::{memchr, memrchr};

use crate::lines::lines;
use crate::plan::{Compiled, Plan};
use crate::rules::Algorithm;

/// Read at a time; a file up to this size is hashed only once its lines are
/// known to match.
const BLOCK: usize = 256 << 10;
/// Longest line looked at.
const MAX_LINE: usize = 16 << 20;

/// Why a file was not read to its end.
#[derive(Debug)]
pub(crate) enum ScanError {
    Read(io::Error),
    /// The run or the file's share of it is over.
    TimedOut,
    /// A line longer than [`MAX_LINE`]; the rest of the file has been read.
    LongLine,
}

/// What one search wants of the content.
#[derive(Debug)]
pub(crate) struct Wish<'p> {
    pub(crate) search: &'p Compiled,
    /// Outcome of the content checks as a group (`macroal`): a line failed.
    line_failed: bool,
    /// Whether a SHA-256 is wanted whatever the checks say.
    wants_sha256: bool,
}

/// What is known at the end. `None` is "unknown", never a hit.
#[derive(Debug)]
pub(crate) struct Content<'p> {
    wishes: Vec<Wish<'p>>,
    /// Per matcher of the plan: whether any line matched.
    matched: Vec<bool>,
    /// Read to the end, every line looked at.
    complete: bool,
    has_lines: bool,
    sums: Vec<(Algorithm, Vec<u8>)>,
}

impl<'p> Wish<'p> {
    pub(crate) fn new(search: &'p Compiled, wants_sha256: bool) -> Self {
        Self { search, line_failed: false, wants_sha256 }
    }

    /// Whether the search cannot find this file any more.
    fn is_dead(&self, matched: &[bool]) -> bool {
        let search = self.search;
        if !search.matchall || search.contents.is_empty() {
            return false;
        }
        if search.macroal {
            return self.line_failed && !search.content_mismatch;
        }
        let hit_on_match = |inverted: bool| !(inverted ^ search.content_mismatch);
        search
            .contents
            .iter()
            .any(|check| is_set(matched, check.matcher) && !hit_on_match(check.inverted))
    }

    fn needs_lines(&self, matched: &[bool]) -> bool {
        let search = self.search;
        if search.contents.is_empty() || self.is_dead(matched) {
            return false;
        }
        if search.macroal {
            return !self.line_failed;
        }
        search.contents.iter().any(|check| !is_set(matched, check.matcher))
    }

    fn needs_sums(&self, matched: &[bool]) -> bool {
        (self.wants_sha256 || !self.search.sums.is_empty()) && !self.is_dead(matched)
    }
}

fn is_set(matched: &[bool], index: usize) -> bool {
    matched.get(index).copied().unwrap_or(false)
}

impl<'p> Content<'p> {
    /// Nothing known yet: what a file that cannot be opened leaves.
    pub(crate) fn unknown(plan: &Plan, wishes: Vec<Wish<'p>>) -> Self {
        Self {
            wishes,
            matched: vec![false; plan.matchers.len()],
            complete: false,
            has_lines: false,
            sums: Vec::new(),
        }
    }

    /// The searches this was read for.
    pub(crate) fn searches(&self) -> impl Iterator<Item = &'p Compiled> {
        self.wishes.iter().map(|wish| wish.search)
    }

    /// The hits among the content checks of a search, or `None` while unknown,
    /// in the order of the checks.
    pub(crate) fn content_hits(&self, search: &Compiled) -> Vec<Option<bool>> {
        let flip = search.content_mismatch;
        if search.macroal {
            let wish = self.wishes.iter().find(|wish| std::ptr::eq(wish.search, search));
            let failed = wish.is_some_and(|wish| wish.line_failed);
            let passes = if failed {
                Some(false)
            } else if !self.complete {
                None
            } else if self.has_lines {
                Some(true)
            } else {
                Some(search.contents.iter().all(|check| check.inverted))
            };
            return vec![passes.map(|passes| passes ^ flip); search.contents.len()];
        }
        let outcome = |matcher: usize| {
            let any = is_set(&self.matched, matcher);
            (any || self.complete).then_some(any)
        };
        let hit = |check: &crate::plan::ContentCheck| {
            outcome(check.matcher).map(|any| any ^ check.inverted ^ flip)
        };
        search.contents.iter().map(hit).collect()
    }

    /// A checksum, if the file could be read to its end.
    pub(crate) fn sum(&self, algorithm: Algorithm) -> Option<&[u8]> {
        let found = self.sums.iter().find(|(known, _)| *known == algorithm);
        found.map(|(_, bytes)| bytes.as_slice())
    }

    /// Reads `input` as far as anything depends on it. `size` is what it should
    /// have, in bytes; `buffer` is scratch space to be used again.
    ///
    /// # Errors
    ///
    /// [`ScanError`]; what was found out before it stands.
    pub(crate) fn read(
        &mut self,
        plan: &Plan,
        input: &mut dyn Read,
        size: Option<u64>,
        buffer: &mut Vec<u8>,
        deadline: Option<Instant>,
    ) -> Result<(), ScanError> {
        if buffer.len() < BLOCK {
            buffer.resize(BLOCK, 0);
        }
        let outcome = self.read_blocks(plan, input, size, buffer, deadline);
        // One long line must not hold its memory for the rest of the walk.
        buffer.truncate(BLOCK);
        buffer.shrink_to(BLOCK);
        outcome
    }

    fn read_blocks(
        &mut self,
        plan: &Plan,
        input: &mut dyn Read,
        size: Option<u64>,
        buffer: &mut Vec<u8>,
        deadline: Option<Instant>,
    ) -> Result<(), ScanError> {
        let mut hashers: Option<Vec<(Algorithm, Box<dyn DynDigest>)>> = None;
        let (mut filled, mut skipping, mut long_line) = (0, false, false);
        loop {
            if filled == buffer.len() {
                if buffer.len() >= MAX_LINE {
                    (skipping, long_line, filled) = (true, true, 0);
                } else {
                    buffer.resize(buffer.len() * 2, 0);
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(ScanError::TimedOut);
            }
            let free = buffer.get_mut(filled..).unwrap_or_default();
            let count = read_some(input, free)?;
            if count == 0 {
                break;
            }
            let end = filled + count;
            if let Some(hashers) = &mut hashers {
                update(hashers, buffer.get(filled..end).unwrap_or_default());
            } else if end < buffer.len() {
                // Perhaps all of the file: wait for its end or a full buffer. What has
                // exactly its size is not asked for more; most files are that small.
                filled = end;
                if size == Some(end as u64) {
                    break;
                }
                continue;
            } else {
                let mut begun = self.hashers();
                update(&mut begun, buffer.get(..end).unwrap_or_default());
                hashers = Some(begun);
            }
            if skipping {
                let rest = buffer.get(..end).unwrap_or_default();
                let Some(line_end) = memchr(b'\n', rest) else {
                    filled = 0;
                    continue;
                };
                skipping = false;
                buffer.copy_within(line_end + 1..end, 0);
                filled = end - line_end - 1;
            } else {
                filled = end;
            }
            if self.needs_lines() {
                let whole = memrchr(b'\n', buffer.get(..filled).unwrap_or_default());
                if let Some(line_end) = whole {
                    self.look_at(plan, buffer.get(..=line_end).unwrap_or_default());
                    buffer.copy_within(line_end + 1..filled, 0);
                    filled -= line_end + 1;
                }
            } else {
                filled = 0;
            }
            if !self.needs_lines() && !self.needs_sums() {
                return Ok(());
            }
        }
        if !skipping && self.needs_lines() {
            self.look_at(plan, buffer.get(..filled).unwrap_or_default());
        }
        self.complete = !long_line;
        let hashers = hashers.unwrap_or_else(|| {
            let mut hashers = self.hashers();
            update(&mut hashers, buffer.get(..filled).unwrap_or_default());
            hashers
        });
        self.sums = hashers
            .into_iter()
            .map(|(algorithm, hasher)| (algorithm, hasher.finalize().into_vec()))
            .collect();
        if long_line { Err(ScanError::LongLine) } else { Ok(()) }
    }

    fn needs_lines(&self) -> bool {
        self.wishes.iter().any(|wish| wish.needs_lines(&self.matched))
    }

    fn needs_sums(&self) -> bool {
        self.wishes.iter().any(|wish| wish.needs_sums(&self.matched))
    }

    /// A block of whole lines.
    fn look_at(&mut self, plan: &Plan, block: &[u8]) {
        self.has_lines |= !block.is_empty();
        for index in 0..self.matched.len() {
            let wanted = |wish: &Wish<'_>| {
                let search = wish.search;
                !search.macroal
                    && search.contents.iter().any(|check| check.matcher == index)
                    && !wish.is_dead(&self.matched)
            };
            if is_set(&self.matched, index) || !self.wishes.iter().any(wanted) {
                continue;
            }
            let matches = plan.matchers.get(index).is_some_and(|m| m.matches_any(block));
            if let Some(slot) = self.matched.get_mut(index) {
                *slot = matches;
            }
        }
        for wish in self.wishes.iter_mut().filter(|wish| wish.search.macroal && !wish.line_failed) {
            let search = wish.search;
            wish.line_failed = !search.contents.is_empty()
                && lines(block).any(|line| {
                    search.contents.iter().any(|check| {
                        let matcher = plan.matchers.get(check.matcher);
                        matcher.is_some_and(|m| m.matches_line(line)) == check.inverted
                    })
                });
        }
    }

    fn hashers(&self) -> Vec<(Algorithm, Box<dyn DynDigest>)> {
        let mut wanted = Vec::new();
        for wish in self.wishes.iter().filter(|wish| wish.needs_sums(&self.matched)) {
            wanted.extend(wish.search.sums.iter().map(|check| check.sum.algorithm));
            if wish.wants_sha256 {
                wanted.push(Algorithm::Sha256);
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted.into_iter().map(|algorithm| (algorithm, hasher(algorithm))).collect()
    }
}

fn update(hashers: &mut [(Algorithm, Box<dyn DynDigest>)], bytes: &[u8]) {
    for (_, hasher) in hashers {
        hasher.update(bytes);
    }
}

fn hasher(algorithm: Algorithm) -> Box<dyn DynDigest> {
    match algorithm {
        Algorithm::Md5 => Box::<md5::Md5>::default(),
        Algorithm::Sha1 => Box::<sha1::Sha1>::default(),
        Algorithm::Sha256 => Box::<sha2::Sha256>::default(),
        Algorithm::Sha384 => Box::<sha2::Sha384>::default(),
        Algorithm::Sha512 => Box::<sha2::Sha512>::default(),
        Algorithm::Sha3_224 => Box::<sha3::Sha3_224>::default(),
        Algorithm::Sha3_256 => Box::<sha3::Sha3_256>::default(),
        Algorithm::Sha3_384 => Box::<sha3::Sha3_384>::default(),
        Algorithm::Sha3_512 => Box::<sha3::Sha3_512>::default(),
    }
}

fn read_some(input: &mut dyn Read, free: &mut [u8]) -> Result<usize, ScanError> {
    loop {
        match input.read(free) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Files of the kernel that have nothing to say would wait for ever.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(ScanError::TimedOut);
            }
            Err(error) => return Err(ScanError::Read(error)),
        }
    }
}

//! One file against every search that is interested in it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::read::MultiGzDecoder;
use mig_host::fs::{self, Directory, Kind, Metadata};
use mig_module::Budget;
use mig_module::text::{lossy_bytewise, mode_text};
use mig_types::Timestamp;

use crate::collect::{Collector, Finding};
use crate::plan::{Compiled, MetaCheck, MetaRule, Plan};
use crate::realm::Realm;
use crate::rules::Algorithm;
use crate::scan::{Content, ScanError, Wish};
use crate::select::{Selected, Visitor};

/// Most bytes a gzip file may unpack to.
const MAX_UNPACKED: u64 = 10 << 30;
/// A file of this size is none: the kernel's memory, for example.
const ABSURD: u64 = 1 << 46;

/// Where a file is found.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// An entry of an open directory, reported below the directory's path.
    Entry {
        realm: &'a Realm<'a>,
        directory: &'a Directory,
        path: &'a Path,
        name: &'a OsStr,
        /// The directory says that it is a regular file, and no link to one.
        is_file: bool,
    },
    /// A path of its own.
    Alone { realm: &'a Realm<'a>, path: &'a Path },
}

impl Place<'_> {
    fn name(&self) -> &OsStr {
        match self {
            Self::Entry { name, .. } => name,
            // The base name of a root directory is a separator, of "." a dot.
            Self::Alone { path, .. } => path.file_name().unwrap_or(path.as_os_str()),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Entry { path, name, .. } => path.join(name),
            Self::Alone { path, .. } => (*path).to_owned(),
        }
    }

    fn realm(&self) -> &Realm<'_> {
        match self {
            Self::Entry { realm, .. } | Self::Alone { realm, .. } => realm,
        }
    }

    /// The path as errors name it.
    pub(crate) fn shown(&self) -> String {
        self.realm().name(&self.path())
    }

    fn metadata(&self) -> io::Result<Metadata> {
        match self {
            Self::Entry { realm, directory, path, name, .. } => realm.entry(directory, path, name),
            Self::Alone { realm, path } => realm.metadata(path),
        }
    }

    /// Opens what a directory said is a regular file, before anything else is known
    /// of it; `None` where nothing says so.
    fn open_first(&self) -> Option<Result<(File, Metadata), Closed>> {
        let Self::Entry { directory, name, is_file: true, .. } = self else { return None };
        let open = || {
            let file = directory.open_own_file(name)?;
            let metadata = fs::metadata_of(&file)?;
            Ok((file, metadata))
        };
        Some(open().map_err(Closed::Failed).and_then(|(file, metadata)| {
            // It may have been exchanged since.
            if metadata.kind != Kind::File {
                return Err(Closed::Changed);
            }
            fit(&metadata)?;
            Ok((file, metadata))
        }))
    }

    /// Opens a regular file.
    pub(crate) fn open(&self, metadata: &Metadata) -> Result<File, Closed> {
        // Before opening: the open of a device can have effects.
        fit(metadata)?;
        let opened = match self {
            Self::Entry { realm, directory, path, name, .. } => {
                realm.open_entry(directory, path, name)
            }
            Self::Alone { realm, path } => realm.open_file(path),
        };
        let file = opened.map_err(Closed::Failed)?;
        // It may have been exchanged since.
        match file.metadata() {
            Ok(now) if now.is_file() => Ok(file),
            _ => Err(Closed::Changed),
        }
    }
}

/// What evaluating needs of the run.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) collector: &'a Collector,
    pub(crate) budget: &'a Budget,
    pub(crate) now: Timestamp,
    /// Makes what looks at the files found; without it they are collected.
    pub(crate) visitors: Option<&'a Visitors<'a>>,
}

/// Makes a visitor for the thread it is called on.
pub(crate) type Visitors<'a> = dyn Fn() -> Visitor<'a> + Sync + 'a;

/// What one thread of a walk has for itself.
#[derive(Default)]
pub(crate) struct Worker<'a> {
    pub(crate) buffer: Vec<u8>,
    visitor: Option<Visitor<'a>>,
}

/// Why a file was not opened.
#[derive(Debug)]
pub(crate) enum Closed {
    /// It is no file to read; the text says why.
    Unfit(&'static str),
    Failed(io::Error),
    Changed,
}

/// A search that may still find the file.
struct Candidate<'a> {
    index: usize,
    search: &'a Compiled,
    /// Hits so far, when each check counts on its own.
    hits: Vec<u32>,
}

impl<'a> Context<'a> {
    /// Evaluates a file for the searches of these indexes. `metadata` saves a
    /// look when it is known.
    pub(crate) fn evaluate(
        &self,
        place: Place<'_>,
        interested: &[usize],
        metadata: Option<Metadata>,
        worker: &mut Worker<'a>,
    ) {
        let mut known = metadata;
        let mut candidates = Vec::new();
        for &index in interested {
            let Some(search) = self.plan.searches.get(index) else { continue };
            if self.collector.is_done(index) || !search.has_checks() {
                continue;
            }
            match self.meta_hits(search, place, &mut known) {
                Ok(Some(hits)) => candidates.push(Candidate { index, search, hits }),
                Ok(None) => {}
                Err(error) => {
                    let path = place.shown();
                    self.collector.error(format!("ERROR: stat {path}: {}", fs::reason(&error)));
                    return;
                }
            }
        }
        // What metadata decides for all needs no content.
        candidates.retain(|candidate| {
            let search = candidate.search;
            let open = !search.contents.is_empty() || !search.sums.is_empty();
            open || search.matchall || !candidate.hits.is_empty()
        });
        if candidates.is_empty() {
            return;
        }
        let wishes = wishes(&candidates);
        // One look saved for each file: an open one tells its metadata, too.
        let mut opened = None;
        if known.is_none() && !wishes.is_empty() {
            opened = place.open_first().map(|opened| {
                opened.map(|(file, metadata)| {
                    known = Some(metadata);
                    file
                })
            });
        }
        let metadata = match known.map_or_else(|| place.metadata(), Ok) {
            Ok(metadata) => metadata,
            Err(error) => {
                let path = place.shown();
                self.collector.error(format!("ERROR: stat {path}: {}", fs::reason(&error)));
                return;
            }
        };
        let contents = self.contents(place, &metadata, wishes, opened, &mut worker.buffer);
        for candidate in candidates {
            self.settle(place, &metadata, candidate, &contents, worker);
        }
    }

    /// The metadata checks that hit; `None` when the search is out already.
    fn meta_hits(
        &self,
        search: &Compiled,
        place: Place<'_>,
        known: &mut Option<Metadata>,
    ) -> io::Result<Option<Vec<u32>>> {
        let mut hits = Vec::new();
        for check in &search.meta {
            if self.meta_hit(check, place, known)? {
                if !search.matchall {
                    hits.push(check.number);
                }
            } else if search.matchall {
                return Ok(None);
            }
        }
        Ok(Some(hits))
    }

    fn meta_hit(
        &self,
        check: &MetaCheck,
        place: Place<'_>,
        known: &mut Option<Metadata>,
    ) -> io::Result<bool> {
        let matches = match &check.rule {
            MetaRule::Name(regex) => regex.is_match(place.name().as_encoded_bytes()),
            rule => {
                let metadata = match *known {
                    Some(metadata) => metadata,
                    None => *known.insert(place.metadata()?),
                };
                match rule {
                    MetaRule::Name(_) => false,
                    MetaRule::Size(rule) => rule.matches(metadata.size_bytes),
                    MetaRule::Mtime(rule) => rule.matches(self.now, metadata.modified),
                    MetaRule::Mode(regex) => regex.is_match(mode_text(&metadata).as_bytes()),
                }
            }
        };
        Ok(matches ^ check.inverted)
    }

    /// Reads the file for all candidates that need it: one reading, or two when
    /// a gzip file is wanted both as it is and unpacked.
    fn contents<'c>(
        &self,
        place: Place<'_>,
        metadata: &Metadata,
        wishes: Vec<Wish<'c>>,
        opened: Option<Result<File, Closed>>,
        buffer: &mut Vec<u8>,
    ) -> Vec<Content<'c>> {
        if wishes.is_empty() {
            return Vec::new();
        }
        let opened = opened.unwrap_or_else(|| place.open(metadata));
        let mut file = match opened.map_err(|closed| self.describe(place, closed)) {
            Ok(file) => file,
            Err(text) => {
                self.collector.error(text);
                return vec![Content::unknown(self.plan, wishes)];
            }
        };
        let packed = wishes.iter().any(|wish| wish.search.decompress) && is_gzip(&mut file);
        let (unpack, plain): (Vec<_>, Vec<_>) =
            wishes.into_iter().partition(|wish| packed && wish.search.decompress);
        let mut contents = Vec::new();
        if !plain.is_empty() {
            let size = Some(metadata.size_bytes);
            contents.push(self.read(place, &mut file, size, plain, buffer));
        }
        if !unpack.is_empty() {
            // After a failed rewind the reader fails on its own.
            let _ = file.rewind();
            let mut unpacked = Bounded { input: MultiGzDecoder::new(file), left: MAX_UNPACKED };
            contents.push(self.read(place, &mut unpacked, None, unpack, buffer));
        }
        contents
    }

    /// What is wrong with a file that was not opened.
    fn describe(&self, place: Place<'_>, closed: Closed) -> String {
        let path = place.shown();
        match closed {
            Closed::Unfit(text) => format!("ERROR: {path} {text}"),
            Closed::Failed(error) => {
                self.collector.open_failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                format!("ERROR: open {path}: {}", fs::reason(&error))
            }
            Closed::Changed => format!("ERROR: {path} changed while it was opened"),
        }
    }

    fn read<'c>(
        &self,
        place: Place<'_>,
        input: &mut dyn Read,
        size: Option<u64>,
        wishes: Vec<Wish<'c>>,
        buffer: &mut Vec<u8>,
    ) -> Content<'c> {
        let mut content = Content::unknown(self.plan, wishes);
        // One file may take half of what is left, so that others get their turn.
        let deadline = self.budget.remaining().map(|left| Instant::now() + left / 2);
        if let Err(error) = content.read(self.plan, input, size, buffer, deadline) {
            let path = place.shown();
            self.collector.error(match error {
                ScanError::Read(error) => format!("ERROR: read {path}: {}", fs::reason(&error)),
                ScanError::TimedOut => format!("ERROR: read {path}: timed out"),
                ScanError::LongLine => format!("ERROR: read {path}: has a line over 16 MiB"),
            });
        }
        content
    }

    /// Decides a candidate and records what it found.
    fn settle(
        &self,
        place: Place<'_>,
        metadata: &Metadata,
        candidate: Candidate<'_>,
        contents: &[Content<'_>],
        worker: &mut Worker<'a>,
    ) {
        let Candidate { index, search, mut hits } = candidate;
        let content = contents
            .iter()
            .find(|content| content.searches().any(|read| std::ptr::eq(read, search)));
        let lines = content.map(|content| content.content_hits(search)).unwrap_or_default();
        let sums = search.sums.iter().map(|check| {
            let found = content?.sum(check.sum.algorithm)?;
            Some((found == check.sum.bytes) ^ check.inverted)
        });
        let numbers = search.contents.iter().map(|check| check.number);
        let numbers = numbers.chain(search.sums.iter().map(|check| check.number));
        let outcomes = numbers.zip(lines.into_iter().chain(sums));
        for (number, outcome) in outcomes {
            match outcome {
                Some(true) if !search.matchall => hits.push(number),
                Some(true) => {}
                _ if search.matchall => return,
                _ => {}
            }
        }
        if !search.matchall && hits.is_empty() {
            return;
        }
        if let Some(visitors) = self.visitors {
            // The lock of the count is not held while the visitor works.
            if self.collector.claim(index) {
                let visit = worker.visitor.get_or_insert_with(visitors);
                visit(&Selected::new(place, metadata, self.collector));
            }
            return;
        }
        hits.sort_unstable();
        let sha256 = content.filter(|_| search.returnsha256);
        let sha256 = sha256.and_then(|content| content.sum(Algorithm::Sha256));
        let sha256 = sha256.map(<[u8]>::to_vec);
        let (path, container) = (place.path(), place.realm().id().cloned());
        let finding = Finding { path, container, metadata: *metadata, sha256, checks: hits };
        self.collector.add(index, finding);
    }
}

/// Whether there is something to read and an end to it.
fn fit(metadata: &Metadata) -> Result<(), Closed> {
    if metadata.kind != Kind::File {
        return Err(Closed::Unfit("is not a regular file, its content was not read"));
    }
    if metadata.size_bytes >= ABSURD {
        return Err(Closed::Unfit("is too large to be a file, its content was not read"));
    }
    Ok(())
}

/// What the candidates want of the content.
fn wishes<'c>(candidates: &[Candidate<'c>]) -> Vec<Wish<'c>> {
    let mut wishes = Vec::new();
    for candidate in candidates {
        let search = candidate.search;
        // On its own each check may still hit, so a file may yet be reported.
        let reported = search.matchall || !candidate.hits.is_empty();
        let sha256 = search.returnsha256
            && (reported || !search.contents.is_empty() || !search.sums.is_empty());
        if sha256 || !search.contents.is_empty() || !search.sums.is_empty() {
            wishes.push(Wish::new(search, sha256));
        }
    }
    wishes
}

/// Whether a file begins like gzip; leaves it at its beginning.
fn is_gzip(file: &mut File) -> bool {
    let mut magic = [0; 2];
    let mut filled = 0;
    while let Some(free) = magic.get_mut(filled..).filter(|free| !free.is_empty()) {
        match file.read(free) {
            Ok(0) | Err(_) => break,
            Ok(count) => filled += count,
        }
    }
    file.rewind().is_ok() && filled == 2 && magic == [0x1f, 0x8b]
}

/// Fails once more than its share has come through.
struct Bounded<R> {
    input: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let left = self.left.checked_sub(count as u64);
        self.left = left.ok_or_else(|| io::Error::other("unpacks to more than 10 GiB"))?;
        Ok(count)
    }
}

pub(crate) fn lossy(path: &Path) -> String {
    lossy_bytewise(path.as_os_str().as_encoded_bytes())
}

//! Which agents may join: a file of queuelocs and regular expressions.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mig_types::Timestamp;
use regex::{RegexSet, RegexSetBuilder};

/// What starts a line that is a regular expression.
const REGEX_MARK: &str = "re:";
/// Longer lines are skipped.
const MAX_LINE: usize = 64 * 1024;
/// Larger files are refused.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Memory one compiled set may take, in bytes.
const MAX_COMPILED: usize = 64 * 1024 * 1024;
/// The file is looked at no more often than this.
const CHECK_EVERY: Duration = Duration::from_millis(200);
/// A file younger than this may change again without changing its times.
const SETTLES_AFTER: Duration = Duration::from_secs(2);

/// The whitelist file, kept in memory until it changes.
#[derive(Debug)]
pub struct Whitelist {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    checked: Option<Instant>,
    stamp: Option<Stamp>,
    rules: Option<Arc<Rules>>,
}

/// What changes when somebody edits a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a later edit is sure to show in the stamp.
    fn is_settled(self, now: Timestamp) -> bool {
        let (seconds, nanos) = self.changed;
        u32::try_from(nanos)
            .ok()
            .and_then(|nanos| Timestamp::from_unix(seconds, nanos))
            .is_some_and(|changed| now > changed + SETTLES_AFTER)
    }
}

impl Whitelist {
    /// Without a path every agent is authorised. Touches nothing yet.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, state: Mutex::default() }
    }

    /// The rules in force: reads the file again when it changed. Blocks.
    ///
    /// # Errors
    ///
    /// When the file is missing, unreadable or unreasonably large: then nobody
    /// is authorised.
    pub fn current(&self, now: Timestamp) -> io::Result<Arc<Rules>> {
        let Some(path) = &self.path else {
            return Ok(Arc::new(Rules { everybody: true, ..Rules::default() }));
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(rules), Some(checked)) = (&state.rules, state.checked)
            && checked.elapsed() < CHECK_EVERY
        {
            return Ok(Arc::clone(rules));
        }
        let stamp = Stamp::of(&fs::metadata(path)?);
        if let Some(rules) = &state.rules
            && state.stamp == Some(stamp)
        {
            let rules = Arc::clone(rules);
            state.checked = Some(Instant::now());
            return Ok(rules);
        }
        // The stamp comes from the open file: the name may have moved on.
        let file = File::open(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::other(format!("more than {MAX_FILE} bytes")));
        }
        let (rules, faults) = Rules::parse(&bytes);
        for fault in &faults {
            tracing::warn!("{}:{}: {}; line skipped", path.display(), fault.line, fault.reason);
        }
        let rules = Arc::new(rules);
        state.checked = Some(Instant::now());
        state.stamp = stamp.is_settled(now).then_some(stamp);
        state.rules = Some(Arc::clone(&rules));
        Ok(rules)
    }
}

/// A parsed whitelist.
#[derive(Debug, Default)]
pub struct Rules {
    everybody: bool,
    exact: HashSet<String>,
    patterns: Vec<RegexSet>,
}

/// A line that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// Counted from one.
    pub line: usize,
    pub reason: String,
}

impl Rules {
    /// Reads a whitelist: one entry a line, `re:` before regular expressions,
    /// everything else to the byte. Bad lines are left out and returned.
    pub fn parse(bytes: &[u8]) -> (Self, Vec<LineFault>) {
        let mut rules = Self::default();
        let mut faults = Vec::new();
        let mut patterns = Vec::new();
        for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = index + 1;
            let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
            if raw.is_empty() {
                continue;
            }
            if raw.len() > MAX_LINE {
                faults.push(LineFault { line, reason: format!("longer than {MAX_LINE} bytes") });
                continue;
            }
            let Ok(text) = std::str::from_utf8(raw) else {
                faults.push(LineFault { line, reason: "not UTF-8".to_owned() });
                continue;
            };
            match text.strip_prefix(REGEX_MARK) {
                Some(pattern) if text.len() > 4 => match check(pattern) {
                    Ok(()) => patterns.push((line, format!("^(?:{pattern})$"))),
                    Err(reason) => faults.push(LineFault { line, reason }),
                },
                _ => {
                    rules.exact.insert(text.to_owned());
                }
            }
        }
        compile(&patterns, &mut rules.patterns, &mut faults);
        (rules, faults)
    }

    /// Whether an agent of this queueloc may join.
    pub fn authorises(&self, queueloc: &str) -> bool {
        self.everybody
            || self.exact.contains(queueloc)
            || self.patterns.iter().any(|set| set.is_match(queueloc))
    }

    /// Whether there is no whitelist at all.
    pub fn is_everybody(&self) -> bool {
        self.everybody
    }
}

/// Refuses what is no expression by itself: `a)|(b` would slip out of the
/// anchors put around it.
fn check(pattern: &str) -> Result<(), String> {
    regex_syntax::parse(pattern).map(drop).map_err(|error| {
        // The last line says what is wrong; those before draw the place.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("not a regular expression: {reason}")
    })
}

/// Compiles all patterns into one set. When that is refused, halves until the
/// guilty line stands alone, so that it spoils no other.
fn compile(patterns: &[(usize, String)], sets: &mut Vec<RegexSet>, faults: &mut Vec<LineFault>) {
    if patterns.is_empty() {
        return;
    }
    let built = RegexSetBuilder::new(patterns.iter().map(|(_, pattern)| pattern))
        .size_limit(MAX_COMPILED)
        .build();
    match (built, patterns) {
        (Ok(set), _) => sets.push(set),
        (Err(error), [(line, _)]) => {
            let reason = format!("regular expression refused: {error}");
            faults.push(LineFault { line: *line, reason });
        }
        (Err(_), _) => {
            let (left, right) = patterns.split_at(patterns.len() / 2);
            compile(left, sets, faults);
            compile(right, sets, faults);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Rules {
        Rules::parse(text.as_bytes()).0
    }

    #[test]
    fn matches_whole_queuelocs_only() {
        let rules = rules("re:a|b\nlinux.web1\nre:linux.server[0-9]{1,4}.example.net.[a-z0-9]{13}");
        for queueloc in ["a", "b", "linux.web1", "linux.server12.example.net.58b3mndjmbb00"] {
            assert!(rules.authorises(queueloc), "{queueloc}");
        }
        for queueloc in
            ["", "ab", "xb", "ax", "a\n", "linux.web10", "xlinux.server1.example.net.58b3mndjmbb00"]
        {
            assert!(!rules.authorises(queueloc), "{queueloc}");
        }
    }

    #[test]
    fn compares_everything_else_to_the_byte() {
        let rules = rules("Linux.a\r\n linux.b\n#linux.c\nre:x\nlinux.*");
        assert!(rules.authorises("Linux.a"));
        // Four characters are too few for an expression.
        assert!(rules.authorises("re:x") && !rules.authorises("x"));
        for queueloc in ["linux.a", "linux.b", "linux.c", "linux.d"] {
            assert!(!rules.authorises(queueloc), "{queueloc}");
        }
    }

    #[test]
    fn a_bad_line_spoils_no_other() {
        let long = "x".repeat(MAX_LINE + 1);
        let text =
            format!("one\nre:[z\nre:ok.+\nre:a)|(b\n{long}\nre:(?:a{{1000}}){{1000}}{{1000}}\ntwo");
        let (rules, faults) = Rules::parse(text.as_bytes());
        let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 4, 5, 6], "{faults:?}");
        assert!(rules.authorises("one") && rules.authorises("two") && rules.authorises("okay"));
        assert!(!rules.authorises("a") && !rules.authorises("b"));
    }

    #[test]
    fn no_path_means_everybody_and_a_missing_file_nobody() {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        assert!(Whitelist::new(None).current(now).unwrap().authorises("anyone"));
        let missing = tempfile::tempdir().unwrap().path().join("absent");
        assert!(Whitelist::new(Some(missing)).current(now).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, queueloc: String) {
            let (rules, _) = Rules::parse(&bytes);
            rules.authorises(&queueloc);
        }

        #[test]
        fn an_exact_line_authorises_exactly_itself(line in "[a-z][a-z0-9.]{0,40}", other in "[a-z0-9.]{1,40}") {
            let (rules, faults) = Rules::parse(line.as_bytes());
            proptest::prop_assert!(faults.is_empty());
            proptest::prop_assert!(rules.authorises(&line));
            proptest::prop_assert_eq!(rules.authorises(&other), other == line);
        }
    }
}

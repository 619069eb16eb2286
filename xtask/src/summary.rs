//! Counts from what cargo prints.

/// How the lines with a suite's figures begin.
const FIGURES: [&str; 10] = [
    "attack over ",
    "attack with ",
    "chaos on ",
    "operators: ",
    "swarm: ",
    "sandbox: ",
    "limits ",
    "endurance: ",
    "soak: ",
    "skipped: ",
];

/// Totals over all test programs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Test programs that began.
    programs: u64,
    /// Test programs that gave their counts.
    reported: u64,
    /// Lines with the figures of a suite, to be repeated at the end.
    pub(crate) figures: Vec<String>,
}

impl Summary {
    /// Takes in one line of either stream.
    pub(crate) fn read_line(&mut self, line: &str) {
        let line = line.trim_start();
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.reported += 1;
            self.passed += count(rest, "passed");
            self.failed += count(rest, "failed");
        } else if FIGURES.iter().any(|suite| line.starts_with(suite)) {
            self.figures.push(line.trim_end().to_owned());
        } else if line.starts_with("Running ") || line.starts_with("Doc-tests ") {
            self.programs += 1;
        }
    }

    /// Programs that died before they could count: each is a failure.
    pub(crate) fn silent(&self) -> u64 {
        self.programs.saturating_sub(self.reported)
    }
}

/// The number before `word` in `ok. 3 passed; 0 failed; …`.
fn count(text: &str, word: &str) -> u64 {
    let mut words = text.split([' ', ';']).filter(|word| !word.is_empty());
    let mut previous = None;
    words
        .find_map(|found| {
            if found == word {
                previous
            } else {
                previous = found.parse().ok();
                None
            }
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_every_program_reports() {
        let mut summary = Summary::default();
        for line in [
            "     Running unittests src/lib.rs (target/debug/deps/x-1)",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.1s",
            "     Running tests/y.rs (target/debug/deps/y-2)",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            "     Running tests/dies.rs (target/debug/deps/dies-3)",
            "attack over built-in: 58 cases tried, 0 unauthorised executions",
            "   Doc-tests x",
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            summary.read_line(line);
        }
        assert_eq!((summary.passed, summary.failed, summary.silent()), (13, 2, 1));
        assert_eq!(summary.figures.len(), 1);
    }
}

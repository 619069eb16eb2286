//! The module `yara` against Debian's `yara`: the same rules on the same files with
//! the same number of threads, whole process against whole process, in turns, with
//! the files in memory.
//!
//! `MIG_BENCH_FILES` (100,000), `MIG_BENCH_ROUNDS` (5) and `MIG_BENCH_THREADS` (half of
//! the processors) change what is measured. Prints the figures last and fails when
//! the hits differ or `mig-yara` is the slower one.

#![expect(clippy::print_stdout, reason = "figures are what a bench is run for")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mig_module::process::parameters_message;
use mig_types::{ModuleResult, wire};
use serde_json::json;

const RULES: usize = 100;
/// Files of one directory.
const CROWD: usize = 100;
/// Private memory a run may take.
const GOAL_MEMORY: u64 = 64 << 10;

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound.max(1) as u64).unwrap_or_default()
    }
}

/// Texts, wide and in any case, bytes with gaps, and expressions; every rule finds
/// some files.
fn rules() -> String {
    let mut text = "import \"elf\"\n".to_owned();
    for number in 0..RULES {
        let body = match number % 10 {
            0 | 1 => format!("$a = {{ DE AD {number:02X} ?? [1-4] BE ( EF | E0 ) }} condition: $a"),
            2 => format!("$a = /user{number}=[a-z]{{3,8}};/ condition: $a"),
            3 => format!("$a = \"Wide{number:03}\" wide nocase condition: $a"),
            4 => format!(
                "$a = \"word{number:03}\" fullword $b = \"common\" condition: $a and #b > 2"
            ),
            5 if number == 95 => {
                "$a = \"ELF\" condition: $a at 1 and elf.type == elf.ET_EXEC".into()
            }
            _ => format!(
                "$a = \"needle{number:03}\" $b = \"other{number:03}\" nocase condition: any of them \
                 and filesize < 1MB"
            ),
        };
        let _ = writeln!(text, "rule r{number:03} {{ strings: {body} }}");
    }
    text
}

/// What makes a file of rule `number`.
fn bait(number: usize) -> Vec<u8> {
    let byte = u8::try_from(number % 256).unwrap_or_default();
    match number % 10 {
        0 | 1 => vec![0xde, 0xad, byte, 7, 1, 2, 3, 0xbe, 0xef],
        2 => format!("user{number}=somebody;").into_bytes(),
        3 => format!("wIDE{number:03}").bytes().flat_map(|byte| [byte, 0]).collect(),
        4 => format!(" word{number:03} common common common ").into_bytes(),
        _ => format!("needle{number:03}").into_bytes(),
    }
}

/// Files as there are on a server: texts, pieces of programs, bytes without sense;
/// one of eight has something that a rule looks for. Returns their bytes.
fn grow(tree: &Path, count: usize) -> anyhow::Result<u64> {
    const WORDS: [&str; 12] = [
        "the ",
        "system ",
        "common ",
        "error: ",
        "user=root ",
        "needles ",
        "0x7f ",
        "wide ",
        "configuration ",
        "= \"value\";\n",
        "return ",
        "// comment\n",
    ];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let program = fs::read("/proc/self/exe")?;
    let mut bytes = 0;
    for number in 0..count {
        let directory = tree.join(format!("d{:04}", number / CROWD));
        if number % CROWD == 0 {
            fs::create_dir_all(&directory)?;
        }
        // From a few bytes to a quarter of a megabyte, most of them small.
        let size = 1 << (5 + dice.below(10) + if dice.below(50) == 0 { 4 } else { 0 });
        let size = size + dice.below(size);
        let mut content = Vec::with_capacity(size + 64);
        match dice.below(10) {
            0..6 => {
                while content.len() < size {
                    content.extend_from_slice(WORDS[dice.below(WORDS.len())].as_bytes());
                }
            }
            6..9 => {
                let from = dice.below(program.len().saturating_sub(size));
                content.extend_from_slice(&program[from..(from + size).min(program.len())]);
            }
            _ => {
                while content.len() < size {
                    content.extend(dice.roll().to_le_bytes());
                }
            }
        }
        if dice.below(8) == 0 {
            let at = dice.below(content.len());
            content.splice(at..at, bait(dice.below(RULES)));
        }
        bytes += content.len() as u64;
        fs::write(directory.join(format!("f{number}")), content)?;
    }
    Ok(bytes)
}

/// One run of one program.
struct Run {
    time: Duration,
    /// KiB: private, and with mapped files.
    private: u64,
    resident: u64,
    output: Vec<u8>,
}

#[expect(clippy::disallowed_methods, reason = "the programs that are measured")]
fn run(program: &Path, args: &[&str], input: &[u8]) -> anyhow::Result<Run> {
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let status = format!("/proc/{}/status", child.id());
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (mut private, mut resident) = (0, 0);
    let (mut output, mut time) = (Vec::new(), Duration::ZERO);
    let ended = std::thread::scope(|scope| -> anyhow::Result<_> {
        let reader = scope.spawn(|| {
            let mut output = Vec::new();
            stdout.context("no output")?.read_to_end(&mut output)?;
            anyhow::Ok(output)
        });
        // A program may not read what it is not interested in.
        let _ = stdin.context("no input")?.write_all(input);
        let ended = loop {
            if let Some(ended) = child.try_wait()? {
                break ended;
            }
            let text = fs::read_to_string(&status).unwrap_or_default();
            let kib = |name: &str| -> u64 {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
                number.unwrap_or_default()
            };
            private = private.max(kib("RssAnon:"));
            resident = resident.max(kib("VmHWM:"));
            std::thread::sleep(Duration::from_millis(5));
        };
        time = begun.elapsed();
        output = reader.join().map_err(|_| anyhow::anyhow!("reading panicked"))??;
        Ok(ended)
    })?;
    anyhow::ensure!(ended.success(), "{} ended with {ended}", program.display());
    Ok(Run { time, private, resident, output })
}

/// `rule path`, however it was said.
fn hits_of_module(output: &[u8]) -> anyhow::Result<BTreeSet<String>> {
    let result: ModuleResult = wire::from_slice(output)?;
    anyhow::ensure!(result.success && result.errors.is_none(), "{:?}", result.errors);
    let matches = result.elements["Matches"].as_array().cloned().unwrap_or_default();
    let hits = matches.iter().flat_map(|found| {
        let path = found["Object"].as_str().unwrap_or_default();
        let rules = found["MatchedRules"].as_array().cloned().unwrap_or_default();
        rules.into_iter().map(move |rule| format!("{} {path}", rule.as_str().unwrap_or_default()))
    });
    Ok(hits.collect())
}

fn number(name: &str, default: usize) -> anyhow::Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| name.to_owned()),
        Err(_) => Ok(default),
    }
}

fn median(runs: &[Run]) -> Duration {
    let mut times: Vec<Duration> = runs.iter().map(|run| run.time).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn measure() -> anyhow::Result<bool> {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(true);
    }
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_mig-yara"));
    let theirs = PathBuf::from("/usr/bin/yara");
    anyhow::ensure!(theirs.is_file(), "no {}: apt-get install yara", theirs.display());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = number("MIG_BENCH_THREADS", (cores / 2).max(1))?.to_string();
    let count = number("MIG_BENCH_FILES", 100_000)?;
    let rounds = number("MIG_BENCH_ROUNDS", 5)?.max(1);

    let scratch = tempfile::tempdir()?;
    let tree = scratch.path().join("tree");
    let bytes = grow(&tree, count)?;
    let rules = scratch.path().join("rules.yar");
    fs::write(&rules, self::rules())?;
    let (tree, rules_file) = (tree.display().to_string(), rules.display().to_string());
    let search = format!("-path {tree} -name . -matchlimit 0");
    let message = parameters_message(&json!({ "yara": self::rules(), "filesearch": search }));
    let module = ["-m", "yara", "-threads", threads.as_str()];
    // Fast: one match of a text is enough for it, too; links are not followed.
    let tool = ["-f", "-N", "-w", "-r", "-p", threads.as_str(), rules_file.as_str(), tree.as_str()];

    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut same = true;
    for round in 0..=rounds {
        let (own, other) = (run(&ours, &module, &message)?, run(&theirs, &tool, b"")?);
        if round == 0 {
            // The first brings the files into memory, and says what there is to find.
            let hits = hits_of_module(&own.output)?;
            let text = String::from_utf8_lossy(&other.output).into_owned();
            let expected: BTreeSet<String> = text.lines().map(str::to_owned).collect();
            same = hits == expected;
            println!("yara: {} hits of mig-yara, {} of yara", hits.len(), expected.len());
            for difference in hits.symmetric_difference(&expected).take(10) {
                println!("yara: only one of them has {difference}");
            }
            continue;
        }
        a.push(own);
        b.push(other);
    }
    let (own, other) = (median(&a), median(&b));
    let private = a.iter().map(|run| run.private).max().unwrap_or_default();
    println!(
        "yara: {RULES} rules, {count} files of {} MiB, {threads} threads, {rounds} rounds in turns: \
         mig-yara {:.2} s, yara {:.2} s (medians), {:.1} times as fast",
        bytes >> 20,
        own.as_secs_f64(),
        other.as_secs_f64(),
        other.as_secs_f64() / own.as_secs_f64()
    );
    for (name, runs) in [("mig-yara", &a), ("yara", &b)] {
        println!(
            "yara: {name} at most {} KiB private and {} KiB resident; seconds: {}",
            runs.iter().map(|run| run.private).max().unwrap_or_default(),
            runs.iter().map(|run| run.resident).max().unwrap_or_default(),
            runs.iter()
                .map(|run| format!("{:.2}", run.time.as_secs_f64()))
                .collect::<Vec<_>>()
                .join(" ")
        );
    }
    Ok(same && own <= other && private <= GOAL_MEMORY)
}

fn main() -> ExitCode {
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("yara: {error:#}");
            ExitCode::FAILURE
        }
    }
}

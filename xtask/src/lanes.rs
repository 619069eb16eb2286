//! The test programs of the workspace, two side by side.
//!
//! Most of a suite's time is waiting: for a broker to start again, a heartbeat to
//! be due, an action to expire. Cargo runs one program after another and leaves
//! half of the machine idle meanwhile.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use mig_testservices::Watchdog;

use crate::command::{cargo, command};
use crate::summary::Summary;

/// How many programs run at a time. Each runs a test on every core by itself.
const LANES: usize = 2;

/// Suites which hold a time against a limit, or load the machine on purpose: they
/// run when nothing else does.
const ALONE: [&str; 6] = ["acceptance", "card", "demonstration", "limits", "storm", "swarm"];

/// The package with the longest suites: they begin first.
const LONG: &str = "mig-e2e";

/// Something to run that prints what a test program prints.
#[derive(Debug)]
pub(crate) struct Job {
    name: String,
    command: Command,
    is_alone: bool,
}

impl Job {
    /// What cargo runs itself, and names itself: documentation tests.
    pub(crate) fn of_cargo(name: &str, arguments: &[&str]) -> Self {
        let mut command = cargo();
        command.args(arguments);
        Self { name: name.to_owned(), command, is_alone: false }
    }

    /// The command, for its environment.
    pub(crate) fn command_mut(&mut self) -> &mut Command {
        &mut self.command
    }
}

/// Builds the test programs of `arguments` (cargo's words for packages and
/// features); the long ones first.
///
/// # Errors
///
/// When they do not build.
pub(crate) fn programs(arguments: &[&str]) -> Result<Vec<Job>> {
    let mut build = cargo();
    build.args(["test", "--no-run", "--quiet"]).args(arguments);
    build.args(["--message-format", "json-render-diagnostics"]).stdout(Stdio::piped());
    let mut child = build.spawn().context("cannot start cargo")?;
    let mut jobs = Vec::new();
    if let Some(messages) = child.stdout.take() {
        for line in BufReader::new(messages).lines() {
            jobs.extend(job(&serde_json::from_str(&line?).context("a message of cargo")?));
        }
    }
    if !child.wait()?.success() {
        bail!("the tests do not build");
    }
    jobs.sort_by_key(|job| !job.name.starts_with(LONG));
    Ok(jobs)
}

/// The test program a message of cargo tells of.
fn job(message: &serde_json::Value) -> Option<Job> {
    let text = |pointer| message.pointer(pointer).and_then(serde_json::Value::as_str);
    if text("/reason") != Some("compiler-artifact")
        || message.pointer("/profile/test") != Some(&true.into())
    {
        return None;
    }
    let executable = text("/executable")?;
    let manifest = PathBuf::from(text("/manifest_path")?);
    let source = PathBuf::from(text("/target/src_path")?);
    let directory = manifest.parent()?;
    let package = directory.file_name()?.to_string_lossy();
    let package = if package == "e2e" { LONG.into() } else { package };
    let source = source.strip_prefix(directory).unwrap_or(&source).display();
    let is_alone = package == LONG && ALONE.iter().any(|suite| text("/target/name") == Some(suite));
    let mut command = command(executable);
    // As cargo would: tests look for their data beside the manifest.
    command.current_dir(directory).env("CARGO_MANIFEST_DIR", directory);
    Some(Job { name: format!("{package} {source}"), command, is_alone })
}

/// Runs them all and prints what each printed when it has ended, whole; whether
/// every one says that all is well. `directory` holds what they print meanwhile.
///
/// # Errors
///
/// When one cannot be started.
pub(crate) fn run(
    jobs: Vec<Job>,
    directory: &Path,
    report: &Mutex<Report<impl Write + Send>>,
) -> Result<bool> {
    let (alone, shared): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.is_alone);
    let mut is_well = true;
    for (jobs, lanes) in [(shared, LANES), (alone, 1)] {
        let jobs = Mutex::new(VecDeque::from(jobs));
        let jobs = &jobs;
        let outcomes: Vec<Result<bool>> = std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..lanes)
                .map(|lane| directory.join(format!("lane-{lane}")))
                .map(|printed| scope.spawn(move || run_lane(jobs, &printed, report)))
                .collect();
            lanes
                .into_iter()
                .map(|lane| lane.join().unwrap_or_else(|_| bail!("a lane panicked")))
                .collect()
        });
        for outcome in outcomes {
            is_well &= outcome?;
        }
    }
    Ok(is_well)
}

fn run_lane(
    jobs: &Mutex<VecDeque<Job>>,
    printed: &Path,
    report: &Mutex<Report<impl Write>>,
) -> Result<bool> {
    let mut is_well = true;
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(mut job) = next else { return Ok(is_well) };
        is_well &=
            run_job(&mut job, printed, report).with_context(|| format!("running {}", job.name))?;
    }
}

fn run_job(job: &mut Job, printed: &Path, report: &Mutex<Report<impl Write>>) -> Result<bool> {
    eprintln!("test: {} begins", job.name);
    let begun = Instant::now();
    // A file, because what a test leaves running must not keep us waiting for the
    // end of a pipe.
    let file = File::create(printed)?;
    job.command.stdout(file.try_clone()?).stderr(file).process_group(0);
    let mut child = job.command.spawn()?;
    let group = child.id().to_string();
    let watchdog = Watchdog::new("kill -9 -- \"-$1\"", &[OsStr::new(&group)])?;
    let status = child.wait()?;
    drop(watchdog);
    let printed = std::fs::read(printed)?;

    report.lock().unwrap_or_else(PoisonError::into_inner).add(
        &format!("{} ({:.0?})", job.name, begun.elapsed()),
        &printed,
        status,
    );
    Ok(status.success())
}

/// What the programs printed, passed on and counted.
pub(crate) struct Report<W> {
    pub(crate) summary: Summary,
    pub(crate) out: W,
}

impl<W: Write> Report<W> {
    fn add(&mut self, name: &str, printed: &[u8], status: ExitStatus) {
        let text = String::from_utf8_lossy(printed);
        let heading = format!("     Running {name}");
        // Cargo names its programs itself.
        if !text.contains("Doc-tests ") {
            self.summary.read_line(&heading);
        }
        for line in text.lines() {
            self.summary.read_line(line);
        }
        let out = &mut self.out;
        // Nobody listens: the tests run on all the same.
        let _ = writeln!(out, "{heading}").and_then(|()| out.write_all(printed));
        if !status.success() {
            let _ = writeln!(out, "{name} ended with {status}");
        }
        let _ = out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(name: &str, script: &str, is_alone: bool) -> Job {
        let mut command = command("sh");
        command.args(["-c", script]);
        Job { name: name.to_owned(), command, is_alone }
    }

    #[test]
    fn messages_of_cargo_name_the_programs() {
        let message = |executable: &str, is_test: bool, target: &str| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "manifest_path": "/w/e2e/Cargo.toml",
                "target": {"name": target, "src_path": format!("/w/e2e/tests/{target}.rs")},
                "profile": {"test": is_test},
                "executable": if executable.is_empty() { None } else { Some(executable) },
            })
        };
        let found = job(&message("/w/target/limits-1", true, "limits")).unwrap();
        assert_eq!(found.name, "mig-e2e tests/limits.rs");
        assert!(found.is_alone);
        assert_eq!(found.command.get_current_dir().unwrap(), "/w/e2e");
        assert!(!job(&message("/w/target/x-1", true, "x")).unwrap().is_alone);
        assert!(job(&message("/w/target/mig", false, "mig")).is_none());
        assert!(job(&message("", true, "mig")).is_none());
        assert!(job(&serde_json::json!({"reason": "build-finished"})).is_none());
    }

    fn report() -> Mutex<Report<Vec<u8>>> {
        Mutex::new(Report { summary: Summary::default(), out: Vec::new() })
    }

    #[test]
    fn every_program_is_run_once_and_counted() {
        let well = "echo 'test result: ok. 2 passed; 0 failed;'";
        let ill = "echo 'test result: FAILED. 1 passed; 3 failed;' >&2; exit 101";
        let directory = tempfile::tempdir().unwrap();
        let report = report();
        let jobs = vec![shell("a", well, false), shell("b", well, true), shell("c", well, false)];
        assert!(run(jobs, directory.path(), &report).unwrap());
        let jobs = vec![shell("d", ill, false), shell("e", "exit 9", false)];
        assert!(!run(jobs, directory.path(), &report).unwrap());
        let Report { summary, out } = report.into_inner().unwrap();
        assert_eq!((summary.passed, summary.failed, summary.silent()), (7, 3, 1));
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("3 failed") && out.contains("ended with exit status: 9"), "{out}");
    }

    #[test]
    fn those_that_are_alone_run_when_the_others_have_ended() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let script = |letter: &str| format!("printf {letter} >>'{}'", log.display());
        let jobs = vec![
            shell("a", &script("a"), true),
            shell("s", &script("s"), false),
            shell("b", &script("b"), true),
            shell("t", &script("s"), false),
        ];
        assert!(run(jobs, directory.path(), &report()).unwrap());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "ssab");
    }
}

//! Signals, error chain and log file of a real process: this test starts
//! itself again with a part to play.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mig_runtime::logging::LogConfig;
use rustix::process::{Pid, Signal, kill_process};

const PART: &str = "MIG_RUNTIME_TEST_PART";
const DEADLINE: Duration = Duration::from_secs(20);

/// What the started process does. Started by the harness, it checks that a
/// process without a known part says so.
#[test]
fn part() {
    let Ok(part) = std::env::var(PART) else {
        let (status, error) = Process::start("none").end();
        assert_eq!((status.code(), error.as_str()), (Some(1), "mig-test: no part none\n"));
        return;
    };
    // No difference but in the number of threads.
    let code = mig_runtime::run_as_guest(1, "mig-test", |shutdown| async move {
        let (name, argument) = part.split_once(' ').unwrap_or((&part, ""));
        match name {
            "fail" => Err(anyhow::anyhow!("the root").context("the middle")).context("the top"),
            "obey" => {
                println!("ready");
                shutdown.requested().await;
                println!("stopped");
                Ok(())
            }
            "stubborn" => {
                println!("ready");
                shutdown.requested().await;
                println!("still here");
                std::future::pending().await
            }
            "log" => {
                let file = argument.into();
                let config = LogConfig { mode: "file".to_owned(), file, ..LogConfig::default() };
                let _guard = mig_runtime::logging::init("mig-test", &config)?;
                println!("ready");
                while !shutdown.is_requested() {
                    tracing::info!(target: "mig_test", { action.id = 7u64 }, "tick");
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            "server" => {
                let (file, log) = argument.split_once(' ').context("two files")?;
                let (file, log) = (file.to_owned(), log.to_owned());
                let settings =
                    LogConfig { mode: "file".into(), file: log.into(), ..LogConfig::default() };
                let guard = mig_runtime::logging::init("mig-test", &settings)?;
                let load = move || {
                    let level = std::fs::read_to_string(&file)?;
                    Ok::<_, std::io::Error>(Some(LogConfig { level, ..settings.clone() }))
                };
                let hangups = tokio::spawn(mig_runtime::logging::reload_on_hangup(guard, load));
                println!("ready");
                while !shutdown.is_requested() {
                    tracing::debug!(target: "mig_test", "a detail");
                    tokio::task::yield_now().await;
                }
                hangups.abort();
                Ok(())
            }
            other => anyhow::bail!("no part {other}"),
        }
    });
    // The test harness would print and choose a code of its own.
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    #[expect(clippy::disallowed_methods, reason = "the test is about a process")]
    fn start(part: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["part", "--exact", "--nocapture", "--test-threads=1"])
            .env(PART, part)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn wait_for_line(&mut self, wanted: &str) {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if line.trim_end().ends_with(wanted) {
                return;
            }
            line.clear();
        }
        panic!("the process ended before {wanted:?}");
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn end(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let mut error = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        (self.child.wait().unwrap(), error)
    }
}

/// A test that failed leaves nothing running.
impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_error_is_printed_once_with_its_causes() {
    let (status, error) = Process::start("fail").end();
    assert_eq!(status.code(), Some(1));
    assert_eq!(error, "mig-test: the top: the middle: the root\n");
}

#[test]
fn one_signal_asks_for_the_stop() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut process = Process::start("obey");
        process.wait_for_line("ready");
        process.signal(signal);
        process.wait_for_line("stopped");
        assert_eq!(process.end().0.code(), Some(0));
    }
}

#[test]
fn a_second_interrupt_ends_a_stubborn_program() {
    let mut process = Process::start("stubborn");
    process.wait_for_line("ready");
    process.signal(Signal::TERM);
    process.wait_for_line("still here");
    process.signal(Signal::INT);
    process.signal(Signal::TERM);
    assert!(process.child.try_wait().unwrap().is_none());
    // Interrupts that arrive together count as one: repeat until it is gone.
    let start = Instant::now();
    while process.child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < DEADLINE, "still running");
        process.signal(Signal::INT);
        std::thread::yield_now();
    }
    assert_eq!(process.end().0.code(), Some(130));
}

fn wait_for(path: &Path, what: &str) {
    let start = Instant::now();
    while !std::fs::read_to_string(path).is_ok_and(|text| text.contains(what)) {
        assert!(start.elapsed() < DEADLINE, "no {what:?} in {}", path.display());
        std::thread::yield_now();
    }
}

#[test]
fn a_hangup_reopens_the_log_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mig.log");
    let mut process = Process::start(&format!("log {}", path.display()));
    process.wait_for_line("ready");
    wait_for(&path, " - 7 - [info] tick\n");
    std::fs::rename(&path, directory.path().join("mig.log.old")).unwrap();
    process.signal(Signal::HUP);
    wait_for(&path, " - 7 - [info] tick\n");
    process.signal(Signal::TERM);
    assert_eq!(process.end().0.code(), Some(0));
}

#[test]
fn a_hangup_reads_the_level_again_and_a_fault_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (level, log) = (directory.path().join("level"), directory.path().join("mig.log"));
    let mut process = Process::start(&format!("server {} {}", level.display(), log.display()));
    process.wait_for_line("ready");
    process.signal(Signal::HUP);
    wait_for(&log, "[error] settings stay as they are: No such file");
    assert!(!std::fs::read_to_string(&log).unwrap().contains("a detail"));
    std::fs::write(&level, "debug").unwrap();
    process.signal(Signal::HUP);
    wait_for(&log, "log reopened, level read again");
    wait_for(&log, "[debug] a detail");
    process.signal(Signal::TERM);
    assert_eq!(process.end().0.code(), Some(0));
}

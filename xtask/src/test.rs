//! All tests, with private servers.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use mig_testservices::{Account, Postgres, RabbitMq, Watchdog};

use crate::command::{cargo, command, output};
use crate::lanes::{self, Report};
use crate::packages;
use crate::summary::Summary;

/// Starts the servers, runs `cargo test`, stops the servers; the last line
/// printed is `N passed, N failed`.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let selection = Selection::parse(arguments)?;
    packages::ensure()?;
    let scratch = Scratch::new()?;
    let (postgres, rabbitmq) = start(&scratch.path)?;
    eprintln!(
        "test: private PostgreSQL on port {}, private RabbitMQ on ports {} (AMQPS) and {} (AMQP)",
        postgres.port(),
        rabbitmq.tls_port(),
        rabbitmq.plain_port(),
    );

    // The end-to-end suites start the programs people run. Everything at once,
    // so that the tests below find each dependency built as they need it.
    let built = cargo().args(["build", "--workspace", "--all-targets"]).status()?;
    if !built.success() {
        bail!("the workspace does not build");
    }
    // The program whose engine no other is built with: the agent starts it.
    let built = cargo().args(["build", "--all-targets"]).args(WITH_ENGINE).status()?;
    if !built.success() {
        bail!("mig-yara does not build");
    }

    let mut summary = Summary::default();
    let outcome = if selection == Selection::default() {
        run_everything(&scratch.path, &postgres, &rabbitmq, &mut summary)
    } else {
        run_selected(&selection, &postgres, &rabbitmq, &mut summary)
    };

    let versions = versions(&rabbitmq);
    drop((postgres, rabbitmq, scratch));
    let is_well = outcome?;
    println!("ran against {versions}, started for these tests and stopped again");
    for _ in 0..summary.silent() {
        println!("one test program ended without a report, which counts as one failure");
    }
    let mut failed = summary.failed + summary.silent();
    if !is_well && failed == 0 {
        println!("cargo test failed before the tests ran");
        failed = 1;
    }
    if is_well && summary.passed == 0 {
        println!("no test matched, which counts as one failure");
        failed = 1;
    }
    for line in &summary.figures {
        println!("{line}");
    }
    println!("{} passed, {failed} failed", summary.passed);
    Ok(if is_well && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Cargo's words for the one program that needs a feature.
const WITH_ENGINE: [&str; 4] = ["--package", "mig-yara", "--features", "mig-yara/engine"];

/// Every test program, two side by side, and the examples in the documentation.
fn run_everything(
    scratch: &Path,
    postgres: &Postgres,
    rabbitmq: &RabbitMq,
    summary: &mut Summary,
) -> Result<bool> {
    let mut jobs = lanes::programs(&["--workspace"])?;
    jobs.extend(lanes::programs(&WITH_ENGINE)?);
    jobs.push(lanes::Job::of_cargo("documentation", &["test", "--workspace", "--doc"]));
    for job in &mut jobs {
        set_environment(job.command_mut(), postgres, rabbitmq);
    }
    let report = Report { summary: Summary::default(), out: std::io::stdout() };
    let report = Mutex::new(report);
    let outcome = lanes::run(jobs, scratch, &report);
    *summary = report.into_inner().unwrap_or_else(PoisonError::into_inner).summary;
    outcome
}

/// What was asked for, as it is printed.
fn run_selected(
    selection: &Selection,
    postgres: &Postgres,
    rabbitmq: &RabbitMq,
    summary: &mut Summary,
) -> Result<bool> {
    let counted = Mutex::new(Summary::default());
    let mut command = cargo();
    command.args(["test", "--no-fail-fast"]);
    selection.apply(&mut command);
    set_environment(&mut command, postgres, rabbitmq);
    let mut is_well = run_counted(&mut command, &counted)?;
    if selection.has_engine() {
        let mut command = cargo();
        command.args(["test", "--no-fail-fast"]).args(WITH_ENGINE);
        if !selection.filters.is_empty() {
            command.arg("--").args(&selection.filters);
        }
        is_well &= run_counted(&mut command, &counted)?;
    }
    *summary = counted.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(is_well)
}

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Selection {
    crates: Vec<String>,
    /// Integration tests by name; their figures are shown.
    suites: Vec<String>,
    filters: Vec<String>,
}

impl Selection {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut selection = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "-p" | "--package" => {
                    let name = rest.next().context("-p needs the name of a crate")?;
                    selection.crates.push(name.clone());
                }
                "--suite" => {
                    let name = rest.next().context("--suite needs the name of a test")?;
                    selection.suites.push(name.clone());
                }
                option if option.starts_with('-') => bail!("unknown option {option}"),
                _ => selection.filters.push(argument.clone()),
            }
        }
        Ok(selection)
    }

    /// Whether the tests of `mig-yara` are among them: without its feature it has
    /// none.
    fn has_engine(&self) -> bool {
        let named = self.crates.iter().any(|name| name == "mig-yara");
        self.suites.is_empty() && (named || self.crates.is_empty())
    }

    fn apply(&self, command: &mut Command) {
        if self.crates.is_empty() {
            command.arg("--workspace");
        }
        for name in &self.crates {
            command.args(["--package", name]);
        }
        for name in &self.suites {
            command.args(["--test", name]);
        }
        if !self.filters.is_empty() || !self.suites.is_empty() {
            command.arg("--").args(&self.filters);
        }
        if !self.suites.is_empty() {
            command.arg("--nocapture");
        }
    }
}

/// A directory of our own, removed even if we are killed.
struct Scratch {
    path: PathBuf,
    watchdog: Option<Watchdog>,
}

impl Scratch {
    fn new() -> Result<Self> {
        let made = output(command("mktemp").args(["-d", "-t", "mig-test.XXXXXXXX"]))?;
        let path = PathBuf::from(made.trim());
        // The account of PostgreSQL has to pass through.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o711))?;
        // Servers that are being killed may still write.
        let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1; rm -rf -- \"$1\"; done";
        let watchdog = Some(Watchdog::new(script, &[path.as_os_str()])?);
        Ok(Self { path, watchdog })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.watchdog.take());
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("xtask: cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Both servers at once: the broker needs seconds.
fn start(directory: &Path) -> Result<(Postgres, RabbitMq)> {
    std::thread::scope(|scope| {
        let rabbitmq = scope.spawn(|| RabbitMq::start(directory));
        let postgres = Postgres::start(directory);
        let Ok(rabbitmq) = rabbitmq.join() else { bail!("starting RabbitMQ panicked") };
        Ok((postgres?, rabbitmq?))
    })
}

fn set_environment(command: &mut Command, postgres: &Postgres, rabbitmq: &RabbitMq) {
    command
        .env("MIG_TEST_POSTGRES_URL", postgres.url())
        .env("MIG_TEST_AMQP_URL", rabbitmq.amqps_url(Account::Scheduler))
        .env("MIG_TEST_AMQP_AGENT_URL", rabbitmq.amqps_url(Account::Agent))
        .env("MIG_TEST_AMQP_WORKER_URL", rabbitmq.amqps_url(Account::Worker))
        .env("MIG_TEST_AMQP_CA", rabbitmq.ca_path())
        .env("MIG_TEST_AMQP_CERT", rabbitmq.client_cert_path())
        .env("MIG_TEST_AMQP_KEY", rabbitmq.client_key_path())
        .env("MIG_TEST_AMQP_CTL", rabbitmq.ctl_path())
        // Of the person who runs the tests; the tests bring their own.
        .env_remove("GNUPGHOME")
        .env_remove("MIG_CONFIG")
        .env_remove("MIG_CONTEXT");
}

fn versions(rabbitmq: &RabbitMq) -> String {
    let postgres = mig_testservices::postgres_bin()
        .and_then(|bin| output(command(bin.join("postgres")).arg("--version")))
        .unwrap_or_default();
    let postgres = postgres.trim().replace("postgres (PostgreSQL)", "PostgreSQL");
    let version = rabbitmq.ctl(&["version"]).unwrap_or_default();
    format!("{postgres} and RabbitMQ {}", version.trim())
}

/// Runs the command, passes its output on and counts; whether it says that all is
/// well. It is killed, with all that it started, when we end.
fn run_counted(command: &mut Command, summary: &Mutex<Summary>) -> Result<bool> {
    let mut child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let group = child.id().to_string();
    let _watchdog = Watchdog::new("kill -9 -- \"-$1\"", &[OsStr::new(&group)])?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(|| pass_on(out, std::io::stdout(), summary));
        pass_on(err, std::io::stderr(), summary);
    });
    Ok(child.wait()?.success())
}

fn pass_on(from: Option<impl Read>, mut to: impl Write, summary: &Mutex<Summary>) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    // Tests print bytes that are not text; the line is passed on as it is.
    while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line);
        summary.lock().unwrap_or_else(PoisonError::into_inner).read_line(&text);
        // Nobody listens: the tests run on all the same.
        let _ = to.write_all(&line);
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Selection> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Selection::parse(&arguments)
    }

    #[test]
    fn a_selection_is_crates_and_filters() {
        assert!(parse(&["--release"]).is_err());
        assert!(parse(&["-p"]).is_err());
        let selection = parse(&["-p", "mig-store", "conformance", "x"]).unwrap();
        let mut command = command("true");
        selection.apply(&mut command);
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["--package", "mig-store", "--", "conformance", "x"]);
        let mut command = super::command("true");
        let attack = parse(&["--suite", "attack", "attack"]).unwrap();
        attack.apply(&mut command);
        assert!(!attack.has_engine() && !selection.has_engine());
        assert!(Selection::default().has_engine());
        assert!(parse(&["-p", "mig-yara"]).unwrap().has_engine());
        let arguments: Vec<_> = command.get_args().collect();
        let wanted = ["--workspace", "--test", "attack", "--", "attack", "--nocapture"];
        assert_eq!(arguments, wanted);
    }

    #[test]
    fn output_is_counted_and_passed_on_unchanged() {
        let text = b"\xff\ntest result: ok. 2 passed; 0 failed;".as_slice();
        let summary = Mutex::new(Summary::default());
        let mut printed = Vec::new();
        pass_on(Some(text), &mut printed, &summary);
        assert_eq!(printed, text);
        assert_eq!(summary.into_inner().unwrap().passed, 2);
    }
}

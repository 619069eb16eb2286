//! The agent for other systems, tried on this machine: built, and run by Wine or
//! QEMU as far as those are there.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::command::{cargo, command, output};

/// What a module says that may have nothing to look at.
#[derive(Debug, Clone, Copy)]
enum Lacks {
    /// Always this.
    Always(&'static str),
    /// Something, unless there is something after all: Wine shows the files of the
    /// machine it runs on.
    Perhaps,
}

/// A system that is not this one.
pub(crate) struct Foreign {
    name: &'static str,
    target: &'static str,
    /// What runs its programs here, if cargo's own variable names nothing else.
    runner: &'static [&'static str],
    /// Whether a program of it can start another one only if the kernel here can.
    starts_itself: bool,
    /// A directory and a file in it that are everywhere on that system.
    known: (&'static str, &'static str),
    /// What modules say that have nothing to look at there.
    lacking: &'static [(&'static str, Lacks)],
}

pub(crate) const WINDOWS: Foreign = Foreign {
    name: "windows",
    target: "x86_64-pc-windows-gnu",
    runner: &["wine"],
    starts_itself: false,
    known: (r"C:\windows\system32", "^kernel32[.]dll$"),
    lacking: &[
        ("agentdestroy", Lacks::Always("PID '2'")),
        // Wine tells of the sockets of its own programs only.
        ("netstat", Lacks::Perhaps),
        ("pkg", Lacks::Perhaps),
    ],
};

pub(crate) const ARM64: Foreign = Foreign {
    name: "arm64",
    target: "aarch64-unknown-linux-gnu",
    runner: &["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"],
    starts_itself: true,
    known: ("/etc", "^passwd$"),
    lacking: &[("agentdestroy", Lacks::Always("PID '2'")), ("pkg", Lacks::Perhaps)],
};

/// Names an agent that was built elsewhere: nothing is built then.
const BUILT: &str = "MIG_FOREIGN_AGENT";

/// What a module has to answer.
enum Expected {
    /// That it found what it was sent for.
    Found,
    /// That all went well.
    Success,
    /// That it did not, and this.
    Says(&'static str),
    /// That all went well, or what did not.
    Answers,
}

/// Builds and tries the agent of another system. What is missing here is said
/// and is no failure.
pub(crate) fn run(foreign: &Foreign) -> Result<ExitCode> {
    let name = foreign.name;
    let Some(agent) = agent(foreign)? else {
        println!("skipped: {name}: the compiler has no target {}", foreign.target);
        return Ok(ExitCode::SUCCESS);
    };
    let Some(runner) = runner(foreign) else {
        println!("{name}: the agent is built: {}", agent.display());
        println!("skipped: {name}: {} is not installed", foreign.runner.join(" "));
        return Ok(ExitCode::SUCCESS);
    };
    let version = start(&runner, &agent, &["-V"], "")?;
    ensure!(version.trim().len() > 2, "{name}: -V says {version:?}");
    println!("{name}: -V says {}", version.trim());
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let questions = questions(foreign, listener.local_addr()?.port());
    let count = questions.len();
    let mut failed = 0;
    for (module, parameters, expected) in questions {
        let message = json!({ "class": "parameters", "parameters": parameters }).to_string();
        let verdict = start(&runner, &agent, &["-m", module], &message)
            .and_then(|answer| judge(&answer, &expected));
        match verdict {
            Ok(said) => println!("{name}: module {module} {said}"),
            Err(error) => {
                failed += 1;
                println!("{name}: module {module} failed: {error:#}");
            }
        }
    }
    println!("{name}: {} of {count} modules answered as expected", count - failed);
    if foreign.starts_itself && start(&[], &agent, &["-V"], "").is_err() {
        // There it starts its modules itself, without anything to run them.
        println!(
            "skipped: {name}: in a platform: the kernel does not start its programs \
             (binfmt_misc with {})",
            foreign.runner.first().unwrap_or(&"an emulator")
        );
        return Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let lives = in_a_platform(foreign, &runner, &agent)?;
    let verdict = if lives { "does what it should" } else { "failed" };
    println!("{name}: in a platform of this machine the agent {verdict}");
    Ok(if failed == 0 && lives { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the agent lives in a platform of this machine.
fn in_a_platform(foreign: &Foreign, runner: &[OsString], agent: &Path) -> Result<bool> {
    // With the examples: features are as in every other build.
    let built = cargo().args(["build", "--workspace", "--bins", "--examples"]).status()?;
    ensure!(built.success(), "the workspace does not build");
    let runner: Vec<_> = runner.iter().map(|word| word.to_string_lossy()).collect();
    let tested = cargo()
        .args(["test", "--package", "mig-e2e", "--test", "foreign", "--", "--nocapture"])
        // The machine has one set of services.
        .arg("--test-threads=1")
        .env(BUILT, agent)
        .env("MIG_FOREIGN_RUNNER", runner.join(" "))
        .env("MIG_FOREIGN_SYSTEM", foreign.name)
        .status()?;
    Ok(tested.success())
}

/// The program; `None` when it cannot be built here.
fn agent(foreign: &Foreign) -> Result<Option<PathBuf>> {
    if let Some(path) = std::env::var_os(BUILT) {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "{BUILT} names {}, which is no file", path.display());
        return Ok(Some(path));
    }
    let library = ["--print", "target-libdir", "--target", foreign.target];
    let library = output(command("rustc").args(library))?;
    if !Path::new(library.trim()).is_dir() {
        return Ok(None);
    }
    let mut cargo = cargo();
    cargo.args(["build", "--package", "mig-agent", "--bin", "mig-agent", "--target"]);
    cargo.args([foreign.target, "--message-format=json-render-diagnostics"]);
    let messages = output(&mut cargo)?;
    crate::build::executable(&messages, "mig-agent")
        .map(Some)
        .context("cargo built the agent and did not say where")
}

/// What runs programs of that system; `None` when it is not here.
fn runner(foreign: &Foreign) -> Option<Vec<OsString>> {
    let variable =
        format!("CARGO_TARGET_{}_RUNNER", foreign.target.replace('-', "_").to_uppercase());
    if let Ok(text) = std::env::var(variable) {
        return Some(text.split_whitespace().map(Into::into).collect());
    }
    let program = foreign.runner.first()?;
    let path = std::env::var_os("PATH")?;
    let is_there = std::env::split_paths(&path).any(|place| place.join(program).is_file());
    is_there.then(|| foreign.runner.iter().map(Into::into).collect())
}

/// Runs the agent, by itself without a runner; what it printed.
fn start(runner: &[OsString], agent: &Path, arguments: &[&str], input: &str) -> Result<String> {
    let mut started: Command = match runner.split_first() {
        Some((program, words)) => {
            let mut started = command(program);
            started.args(words).arg(agent);
            started
        }
        None => command(agent),
    };
    started.args(arguments);
    started.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = started.spawn().context("cannot start the agent")?;
    // Whoever does not read it answers all the same.
    let _ = child.stdin.take().context("no input")?.write_all(input.as_bytes());
    let done = child.wait_with_output()?;
    ensure!(done.status.success(), "the agent ended with {}", done.status);
    Ok(String::from_utf8(done.stdout)?)
}

/// Modules, what they are sent for, and what they have to answer.
fn questions(foreign: &Foreign, port: u16) -> Vec<(&'static str, Value, Expected)> {
    let (directory, file) = foreign.known;
    let own = json!({ "searches": { "s": { "names": ["."], "options": { "matchlimit": 1 } } } });
    let mut questions = vec![
        ("agentdestroy", json!({ "pid": 2, "version": "none" }), Expected::Success),
        (
            "file",
            json!({ "searches": { "s": {
                "paths": [directory], "names": [file], "options": { "maxdepth": 1 }
            } } }),
            Expected::Found,
        ),
        ("memory", own, Expected::Found),
        ("netstat", json!({ "listeningport": [port.to_string()] }), Expected::Found),
        (
            "ping",
            json!({
                "destination": "127.0.0.1", "destinationport": port, "protocol": "tcp",
                "count": 1, "timeout": 5
            }),
            Expected::Success,
        ),
        ("pkg", json!({ "pkgmatch": { "matches": ["."] } }), Expected::Success),
        ("sshkey", json!({ "paths": [directory], "maxdepth": 1 }), Expected::Success),
        ("timedrift", json!({}), Expected::Success),
    ];
    for (module, _, expected) in &mut questions {
        let lacks = foreign.lacking.iter().find(|(lacking, _)| lacking == module);
        match lacks.map(|(_, lacks)| lacks) {
            Some(Lacks::Always(text)) => *expected = Expected::Says(text),
            Some(Lacks::Perhaps) => *expected = Expected::Answers,
            None => {}
        }
    }
    questions
}

/// What a module answered, in words.
///
/// # Errors
///
/// When it is not what was expected.
fn judge(answer: &str, expected: &Expected) -> Result<String> {
    let result: Value = serde_json::from_str(answer).context("the answer is no result")?;
    let errors: Vec<&str> =
        result["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let errors = errors.join(" | ");
    let (success, found) = (result["success"] == true, result["foundanything"] == true);
    match expected {
        Expected::Found if success && found => Ok("found what it was sent for".to_owned()),
        Expected::Success | Expected::Answers if success => {
            Ok("did what it was sent for".to_owned())
        }
        Expected::Answers if !errors.is_empty() => Ok(format!("says: {errors}")),
        Expected::Says(text) if errors.contains(text) && !(errors.is_empty() || found) => {
            Ok(format!("says: {errors}"))
        }
        _ => bail!("success {success}, found {found}, errors {errors:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_lacks_something_has_to_say_what() {
        let answer = |success: bool, found: bool, error: &str| {
            json!({ "success": success, "foundanything": found, "errors": [error] }).to_string()
        };
        for (text, expected, is_right) in [
            (answer(true, true, ""), Expected::Found, true),
            (answer(true, false, ""), Expected::Found, false),
            (answer(true, false, ""), Expected::Success, true),
            (answer(false, false, "x"), Expected::Success, false),
            (answer(false, false, "it is not here"), Expected::Says("not here"), true),
            (answer(false, false, ""), Expected::Says(""), false),
            (answer(true, true, ""), Expected::Answers, true),
            (answer(false, false, "no database"), Expected::Answers, true),
            (answer(false, false, ""), Expected::Answers, false),
            (answer(true, true, "it is not here"), Expected::Says("not here"), false),
            (String::new(), Expected::Success, false),
        ] {
            assert_eq!(judge(&text, &expected).is_ok(), is_right, "{text}");
        }
    }

    #[test]
    fn every_module_that_lacks_something_is_asked() {
        for foreign in [&WINDOWS, &ARM64] {
            let questions = questions(foreign, 1);
            for (lacking, _) in foreign.lacking {
                assert!(questions.iter().any(|(module, ..)| module == lacking), "{lacking}");
            }
        }
    }
}

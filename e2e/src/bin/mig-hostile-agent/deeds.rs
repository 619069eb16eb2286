//! What modules do that take too much or do not end.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use mig_types::ModuleResult;
use serde_json::Value;

/// Bombs end by themselves at this depth, should nobody stop them: the machine
/// has other users.
const DEPTH: u32 = 9;

/// Does `params["deed"]`. `params["token"]` is a number of seconds, by which
/// those who are left can be told from everybody else's processes.
pub(crate) fn run(params: &Value) -> ModuleResult {
    let text = |name: &str| params.get(name).and_then(Value::as_str).unwrap_or_default();
    let token = text("token");
    match text("deed") {
        "spin" => spin(),
        "take memory" => take_memory(),
        "take memory in children" => {
            // Each of them within the limit of one.
            let own = std::env::current_exe().unwrap_or_default();
            shell(&format!("for i in 1 2 3 4; do {} hold 20 {token} & done; wait", own.display()));
        }
        "start threads" => loop {
            let sleep = || std::thread::sleep(Duration::from_mins(10));
            let builder = std::thread::Builder::new().stack_size(16 << 10);
            if builder.spawn(sleep).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
        },
        "fork" => shell(&format!(
            "b() {{ if [ $1 -gt 0 ]; then b $(($1-1)) & b $(($1-1)) & fi; sleep {token}; }}; \
             b {DEPTH}"
        )),
        "fork and leave" => shell(&format!(
            "i=0; while [ $i -lt 600 ]; do i=$((i+1)); setsid sleep {token} & done; wait"
        )),
        "flood the output" => flood(std::io::stdout()),
        "flood the log" => flood(std::io::stderr()),
        "sleep" => std::thread::sleep(Duration::from_hours(1)),
        "ignore every signal" => {
            shell(&format!("trap '' TERM INT HUP QUIT USR1 USR2 PIPE; sleep {token} & wait; wait"));
        }
        "leave a daemon" => shell(&format!("setsid sleep {token} </dev/null >/dev/null 2>&1 &")),
        "leave a daemon that holds the output" => shell(&format!("setsid sleep {token} &")),
        "leave a daemon without a trace" => shell(&format!(
            "(env -i setsid sh -c 'env -i sleep {token} & exit' </dev/null >/dev/null 2>&1 &)"
        )),
        "crash" => std::process::abort(),
        "count" => {
            let wait = params.get("wait").and_then(Value::as_u64);
            return count(text("log"), token, wait);
        }
        "fork in the sandbox" => return fork(),
        other => return ModuleResult::failed(format!("no such deed: {other}")),
    }
    ModuleResult { success: true, ..ModuleResult::default() }
}

/// Leaves a line when it begins and one when it is done, so that nobody can say
/// later that it did not run.
fn count(log: &str, token: &str, wait_ms: Option<u64>) -> ModuleResult {
    let run = mig_runtime::random::alphanumeric(12);
    let line = |what: &str| {
        let mut log = File::options().append(true).open(log)?;
        log.write_all(format!("{what} {token} {run}\n").as_bytes())
    };
    let counted = line("begun").and_then(|()| {
        let wait_ms = wait_ms.unwrap_or_else(|| mig_runtime::random::u64() % 30);
        std::thread::sleep(Duration::from_millis(wait_ms));
        line("done")
    });
    match counted {
        Ok(()) => ModuleResult { success: true, elements: run.into(), ..ModuleResult::default() },
        Err(error) => ModuleResult::failed(format!("cannot count: {error}")),
    }
}

fn spin() {
    for _ in 0..7 {
        std::thread::spawn(burn);
    }
    burn();
}

fn burn() {
    let mut number = 1_u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005));
    }
}

fn take_memory() {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        taken.push(vec![1; 256 << 10]);
        std::hint::black_box(&taken);
    }
}

/// Holds so many megabytes until it is killed.
pub(crate) fn hold(megabytes: usize) {
    let taken = vec![1_u8; megabytes << 20];
    std::hint::black_box(&taken);
    std::thread::sleep(Duration::from_hours(1));
}

fn flood(mut to: impl std::io::Write) {
    let line = [b'x'; 8192];
    while to.write_all(&line).is_ok() {}
}

#[expect(clippy::disallowed_methods, reason = "what must not work")]
fn fork() -> ModuleResult {
    let outcome = Command::new("/bin/true").spawn();
    ModuleResult::failed(format!("{:?}", outcome.map(drop)))
}

#[expect(clippy::disallowed_methods, reason = "what must be noticed and ended")]
fn shell(script: &str) {
    let mut shell = Command::new("/bin/sh");
    // Output, and what holds it open, is the module's own.
    let outcome = shell.args(["-c", script]).stdin(Stdio::null()).status();
    if let Err(error) = outcome {
        let _ = writeln!(std::io::stderr(), "no shell: {error}");
    }
}

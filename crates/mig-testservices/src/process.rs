//! Processes, ports and waiting.

use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// Calls `condition` until it holds.
///
/// # Errors
///
/// After `limit`, naming `what`; and at once what `condition` returns as one.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// A command of its own process group, so that an interrupt typed at the
/// terminal reaches us alone and the servers stop in good order.
#[expect(clippy::disallowed_methods, reason = "starting servers is this crate's purpose")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// Runs a command to its end and gives its output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}: {}{}", output.status, text, errors.trim_end());
    }
    Ok(text)
}

/// A loopback port that is free now.
///
/// Taken below the range that the system hands out to clients: there, a client
/// that retries while its server is down can connect to itself and keep the
/// port.
pub(crate) fn free_port() -> Result<u16> {
    for _ in 0..1000 {
        let random = RandomState::new().build_hasher().finish() % 10_000;
        let port = 20_000 + u16::try_from(random)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between 20000 and 29999")
}

/// Random lower-case hexadecimal digits from the operating system.
pub(crate) fn random_hex<const BYTES: usize>() -> Result<String> {
    let bytes: [u8; BYTES] = random_bytes()?;
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    Ok(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
}

pub(crate) fn random_bytes<const BYTES: usize>() -> Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes))?;
    Ok(bytes)
}

pub(crate) fn send(pid: u32, signal: Signal) {
    // It may be gone already, which is what the signal was for.
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Sends `signal` and waits for the end of `child`; kills it after `limit`.
pub(crate) fn end(child: &mut Child, pid: u32, signal: Signal, limit: Duration) -> Result<()> {
    send(pid, signal);
    let ended = wait_until("the end of a server", limit, || Ok(child.try_wait()?.is_some()));
    if ended.is_err() {
        send(pid, Signal::KILL);
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// The processes that `pid` has started and that still run.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let Ok(list) = output(command("ps").args(["-A", "-o", "pid=,ppid="])) else {
        return Vec::new();
    };
    let pairs = list.lines().filter_map(|line| {
        let mut words = line.split_whitespace().map(str::parse::<u32>);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    });
    pairs.filter(|(_, parent)| *parent == pid).map(|(child, _)| child).collect()
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Runs a shell command when this process ends before the watchdog is dropped,
/// whatever ended it.
///
/// It is a shell that waits for the end of its input; the other end of that
/// pipe is ours, and the system closes it when we are gone.
#[derive(Debug)]
pub struct Watchdog(Child);

impl Watchdog {
    /// `script` sees `arguments` as `$1`, `$2`, ….
    ///
    /// # Errors
    ///
    /// When no shell can be started.
    pub fn new(script: &str, arguments: &[&OsStr]) -> Result<Self> {
        let child = command("sh")
            .arg("-c")
            .arg(format!("read -r _\n{script}"))
            .arg("watchdog")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sh")?;
        Ok(Self(child))
    }

    /// Kills processes. They are named by number, so drop the watchdog before
    /// they are waited for: a number can come back.
    pub(crate) fn killing(pids: &[u32]) -> Result<Self> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let arguments: Vec<&OsStr> = pids.iter().map(OsStr::new).collect();
        Self::new("kill -9 \"$@\"", &arguments)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Killed before its input ends: dropping the child closes that.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_name_of_what_did_not_come() {
        let error = wait_until("the moon", Duration::ZERO, || Ok(false)).unwrap_err();
        assert_eq!(error.to_string(), "the moon: not within 0ns");
        assert!(wait_until("x", Duration::from_secs(9), || bail!("broken")).is_err());
        assert!(wait_until("x", Duration::ZERO, || Ok(true)).is_ok());
    }

    #[test]
    fn a_failed_program_is_named_with_its_words() {
        let error = output(command("sh").args(["-c", "echo no >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh: exit status: 3: no");
    }

    #[test]
    fn a_watchdog_that_is_dropped_does_nothing() {
        let mut sleeper = command("sleep").arg("60").spawn().unwrap();
        drop(Watchdog::killing(&[sleeper.id()]).unwrap());
        assert!(is_alive(sleeper.id()));
        assert!(sleeper.try_wait().unwrap().is_none());
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }

    #[test]
    fn a_watchdog_acts_when_its_input_ends() {
        let mut sleeper = command("sleep").arg("60").spawn().unwrap();
        let mut watchdog = Watchdog::killing(&[sleeper.id()]).unwrap();
        // What the system does when this process dies.
        drop(watchdog.0.stdin.take());
        let limit = Duration::from_secs(10);
        wait_until("the sleeper's end", limit, || Ok(sleeper.try_wait()?.is_some())).unwrap();
    }

    #[test]
    fn children_are_found() {
        let mut sleeper = command("sleep").arg("60").spawn().unwrap();
        let pid = sleeper.id();
        assert!(children_of(std::process::id()).contains(&pid));
        end(&mut sleeper, pid, Signal::TERM, Duration::from_secs(10)).unwrap();
        assert!(!is_alive(pid));
    }
}

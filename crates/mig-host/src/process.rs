//! One other process, held from the first look to the last signal, so that a
//! number that was given to somebody else meanwhile hurts nobody.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, getppid, pidfd_open, pidfd_send_signal};

/// A process of this machine (Linux).
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    handle: OwnedFd,
}

impl Process {
    /// # Errors
    ///
    /// When there is no such process, or it belongs to somebody else.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid, handle })
    }

    /// Whether it started the process that asks.
    pub fn is_parent(&self) -> bool {
        getppid() == Some(self.pid)
    }

    pub fn is_alive(&self) -> bool {
        // A handle of a process that ended can be read.
        !wait(&self.handle, PollFlags::IN, Duration::ZERO).unwrap_or(true)
    }

    /// Where its executable is, and the file itself, even when the path leads
    /// to another one by now.
    ///
    /// # Errors
    ///
    /// When the process ended, has none, or it may not be seen.
    pub fn executable(&self) -> io::Result<(PathBuf, Metadata)> {
        let link = self.executable_link();
        let found = (fs::read_link(&link)?, fs::metadata(&link)?);
        if self.is_alive() { Ok(found) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Runs its executable once more, with `args`, and returns the first
    /// `limit` bytes of what that prints. What only its owner may start is
    /// started as we are, everything else as nobody, unless this process may not
    /// become somebody else.
    ///
    /// # Errors
    ///
    /// When it cannot be started or is not done after `time`.
    #[expect(clippy::disallowed_methods, reason = "the one program a module starts")]
    pub fn ask_executable(
        &self,
        args: &[&str],
        time: Duration,
        limit: usize,
    ) -> io::Result<Vec<u8>> {
        use std::os::unix::process::CommandExt as _;

        const NOBODY: u32 = 65534;
        let deadline = Instant::now() + time;
        let (path, file) = self.executable()?;
        // The link in /proc is closed to nobody; the path has to lead there.
        let open_to_all = file.mode() & 0o005 == 0o005
            && fs::metadata(&path).is_ok_and(|found| is_same(&found, &file))
            && path.ancestors().skip(1).all(|directory| {
                fs::metadata(directory).is_ok_and(|found| found.mode() & 0o001 != 0)
            });
        let start = |command: &mut Command| {
            command.args(args).env_clear().process_group(0);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
        };
        let as_nobody = (geteuid().is_root() && open_to_all)
            .then(|| start(Command::new(&path).uid(NOBODY).gid(NOBODY)));
        let mut child = match as_nobody {
            Some(Ok(child)) => child,
            Some(Err(error)) if error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(error);
            }
            // A service may have been denied to change who it is.
            _ => start(
                Command::new(self.executable_link())
                    // It looks at its name where it prints one.
                    .arg0(path.to_string_lossy().trim_end_matches(" (deleted)")),
            )?,
        };
        let said = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))
            .and_then(|mut stdout| read_until(&mut stdout, deadline, limit));
        // Done or not: nothing of it stays.
        let _ = child.kill();
        child.wait()?;
        said
    }

    /// Ends it at once.
    ///
    /// # Errors
    ///
    /// When it ended before, or the signal is not allowed.
    pub fn kill(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.handle, Signal::KILL)?)
    }

    fn executable_link(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/exe", self.pid.as_raw_nonzero()))
    }
}

/// Whether two entries are one file.
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn read_until(
    stdout: &mut std::process::ChildStdout,
    deadline: Instant,
    limit: usize,
) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    let mut buffer = [0; 256];
    while said.len() < limit {
        let left = deadline.saturating_duration_since(Instant::now());
        if !wait(&*stdout, PollFlags::IN, left)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let count = io::Read::read(stdout, &mut buffer)?;
        if count == 0 {
            break;
        }
        said.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    said.truncate(limit);
    Ok(said)
}

/// Whether something happens within `time`.
fn wait(handle: &impl std::os::fd::AsFd, flags: PollFlags, time: Duration) -> io::Result<bool> {
    let handle = handle.as_fd();
    let time = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    loop {
        match poll(&mut [PollFd::from_borrowed_fd(handle, flags)], Some(&time)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "processes to look at")]
mod tests {
    use super::*;

    #[test]
    fn refuses_who_is_not_there() {
        for pid in [0, u32::MAX, 0x7fff_fff0] {
            assert!(Process::open(pid).is_err(), "{pid}");
        }
    }

    #[test]
    fn holds_and_ends_a_process() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        let (path, file) = process.executable().unwrap();
        assert!(is_same(&file, &fs::metadata(&path).unwrap()));
        assert!(process.is_alive() && !process.is_parent());
        process.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_alive());
        assert!(process.kill().is_err());
        assert!(process.executable().is_err());
    }

    #[test]
    fn asks_an_executable_within_time_and_size() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        let ask = |args: &[&str], time| process.ask_executable(args, time, 40);
        let said = ask(&["--version"], Duration::from_secs(20)).unwrap();
        assert!(said.starts_with(b"sleep") && said.len() <= 40, "{said:?}");
        let late = ask(&["600"], Duration::from_millis(50)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

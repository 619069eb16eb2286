//! Linux: a file descriptor is the process, whoever has its number.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, getppid, pidfd_open, pidfd_send_signal};

use super::Executable;
use super::unix::{listen, start, wait};

/// A process of this machine.
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
    pub fn executable(&self) -> io::Result<Executable> {
        let link = self.executable_link();
        let found = Executable::new(fs::read_link(&link)?, fs::metadata(&link)?);
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
    pub fn ask(
        &self,
        executable: &Executable,
        args: &[&str],
        time: Duration,
        limit: usize,
    ) -> io::Result<Vec<u8>> {
        use std::os::unix::process::CommandExt as _;

        const NOBODY: u32 = 65534;
        let deadline = Instant::now() + time;
        let path = executable.path();
        // The link in /proc is closed to nobody; the path has to lead there.
        let open_to_all = executable.file().mode() & 0o005 == 0o005
            && fs::metadata(path)
                .is_ok_and(|found| Executable::new(path.to_owned(), found).is(executable))
            && path.ancestors().skip(1).all(|directory| {
                fs::metadata(directory).is_ok_and(|found| found.mode() & 0o001 != 0)
            });
        let as_nobody = (geteuid().is_root() && open_to_all)
            .then(|| start(Command::new(path).args(args).uid(NOBODY).gid(NOBODY)));
        let child = match as_nobody {
            Some(Ok(child)) => child,
            Some(Err(error)) if error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(error);
            }
            // A service may have been denied to change who it is.
            _ => start(
                Command::new(self.executable_link())
                    // It looks at its name where it prints one.
                    .arg0(path.to_string_lossy().trim_end_matches(" (deleted)"))
                    .args(args),
            )?,
        };
        listen(child, deadline, limit)
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
        let executable = process.executable().unwrap();
        assert!(executable.is_in_place() && !executable.is(&Executable::own().unwrap()));
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
        let executable = process.executable().unwrap();
        let ask = |args: &[&str], time| process.ask(&executable, args, time, 40);
        let said = ask(&["--version"], Duration::from_secs(20)).unwrap();
        assert!(said.starts_with(b"sleep") && said.len() <= 40, "{said:?}");
        let late = ask(&["600"], Duration::from_millis(50)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

//! macOS: nothing holds a process here. It is known by its number and the moment it
//! began, which are compared again right before it is ended.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, getppid, kill_process};

use super::Executable;
use super::unix::{listen, start};

/// A process that ended and was not waited for: `SZOMB`.
const ENDED: u32 = 5;

/// A process of this machine.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    /// In microseconds.
    begun: (u64, u64),
}

impl Process {
    /// # Errors
    ///
    /// When there is no such process, or it belongs to somebody else.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = numbered(pid)?;
        Ok(Self { pid, begun: begun(pid)? })
    }

    /// Whether it started the process that asks.
    pub fn is_parent(&self) -> bool {
        getppid() == Some(self.pid)
    }

    pub fn is_alive(&self) -> bool {
        begun(self.pid).is_ok_and(|begun| begun == self.begun)
    }

    /// Where its executable is, and the file that is there.
    ///
    /// # Errors
    ///
    /// When the process ended, or its executable may not be seen or is gone.
    pub fn executable(&self) -> io::Result<Executable> {
        let path = path(self.pid)?;
        let file = fs::symlink_metadata(&path)?;
        let found = Executable::new(path, file);
        if self.is_alive() { Ok(found) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Runs its executable once more, with `args`, and returns the first `limit` bytes
    /// of what that prints. What only its owner may start is started as we are,
    /// everything else as nobody.
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

        // The user `nobody` and the group of the same name.
        const NOBODY: u32 = u32::MAX - 1;
        let deadline = Instant::now() + time;
        let path = executable.path();
        let mut command = Command::new(path);
        command.args(args);
        if geteuid().is_root() && is_open_to_all(executable) {
            command.uid(NOBODY).gid(NOBODY);
        }
        listen(start(&mut command)?, deadline, limit)
    }

    /// Ends it at once.
    ///
    /// # Errors
    ///
    /// When it ended before, or the signal is not allowed.
    pub fn kill(&self) -> io::Result<()> {
        if !self.is_alive() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(kill_process(self.pid, Signal::KILL)?)
    }
}

fn is_open_to_all(executable: &Executable) -> bool {
    executable.file().mode() & 0o005 == 0o005
        && executable
            .path()
            .ancestors()
            .skip(1)
            .all(|directory| fs::metadata(directory).is_ok_and(|found| found.mode() & 0o001 != 0))
}

/// What the system tells about a process at once.
///
/// # Safety
///
/// What the system writes for `FLAVOR`: numbers and texts, for which zeros stand as well
/// as anything.
#[expect(unsafe_code, reason = "who implements it vouches for the shape")]
pub(crate) unsafe trait Info {
    const FLAVOR: libc::c_int;
}

// SAFETY: the system's own definition.
#[expect(unsafe_code, reason = "as above")]
unsafe impl Info for libc::proc_bsdinfo {
    const FLAVOR: libc::c_int = libc::PROC_PIDTBSDINFO;
}

// SAFETY: the system's own definition.
#[expect(unsafe_code, reason = "as above")]
unsafe impl Info for libc::proc_bsdshortinfo {
    const FLAVOR: libc::c_int = libc::PROC_PIDT_SHORTBSDINFO;
}

/// Asks about a process, and about an address of it where the question is about one.
///
/// # Errors
///
/// When there is no such process, or who asks may not know.
pub(crate) fn info<T: Info>(pid: Pid, address: u64) -> io::Result<T> {
    // SAFETY: that is what `Info` promises.
    #[expect(unsafe_code, reason = "the system fills it")]
    let mut found: T = unsafe { std::mem::zeroed() };
    let size = libc::c_int::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the system writes at most `size` bytes, and that many are there.
    #[expect(unsafe_code, reason = "neither the standard library nor rustix has the call")]
    let written = unsafe {
        libc::proc_pidinfo(
            pid.as_raw_nonzero().get(),
            T::FLAVOR,
            address,
            (&raw mut found).cast(),
            size,
        )
    };
    if written <= 0 {
        return Err(io::Error::last_os_error());
    }
    if written < size { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

/// When a process began.
fn begun(pid: Pid) -> io::Result<(u64, u64)> {
    let found: libc::proc_bsdinfo = info(pid, 0)?;
    if found.pbi_status == ENDED {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((found.pbi_start_tvsec, found.pbi_start_tvusec))
}

/// The number of a process, if it can be one.
pub(crate) fn numbered(pid: u32) -> io::Result<Pid> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The path of the file a process runs.
pub(crate) fn path(pid: Pid) -> io::Result<PathBuf> {
    let mut path = vec![0_u8; libc::PROC_PIDPATHINFO_MAXSIZE as usize];
    let size = u32::try_from(path.len()).unwrap_or(0);
    // SAFETY: that many bytes are there.
    #[expect(unsafe_code, reason = "as above")]
    let length =
        unsafe { libc::proc_pidpath(pid.as_raw_nonzero().get(), path.as_mut_ptr().cast(), size) };
    let Some(length) = usize::try_from(length).ok().filter(|length| *length > 0) else {
        return Err(io::Error::last_os_error());
    };
    path.truncate(length);
    Ok(OsString::from_vec(path).into())
}

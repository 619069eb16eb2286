//! Files that are run, and programs that are asked something.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::geteuid;

/// The file a process runs.
#[derive(Debug)]
pub struct Executable {
    path: PathBuf,
    file: Metadata,
}

/// An executable that is out of the way.
#[derive(Debug)]
pub struct Aside(());

impl Executable {
    /// The file `file` describes, where `path` leads or led.
    pub(super) fn new(path: PathBuf, file: Metadata) -> Self {
        Self { path, file }
    }

    /// That of this process.
    ///
    /// # Errors
    ///
    /// When it may not be seen.
    pub fn own() -> io::Result<Self> {
        let path = std::env::current_exe()?;
        // The path may lead to another file by now.
        let file = fs::metadata(if cfg!(target_os = "linux") {
            Path::new("/proc/self/exe")
        } else {
            &path
        })?;
        Ok(Self { path, file })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &Metadata {
        &self.file
    }

    /// Whether both are one file.
    pub fn is(&self, other: &Self) -> bool {
        is_same(&self.file, &other.file)
    }

    /// Why somebody else than we may have put it there.
    pub fn doubt(&self) -> Option<&'static str> {
        if self.file.uid() != geteuid().as_raw() {
            return Some("belongs to another user");
        }
        if self.file.mode() & 0o022 != 0 {
            return Some("can be written by others");
        }
        // Linux starts the file itself, wherever its path leads by then.
        let is_started_by_path = !cfg!(target_os = "linux");
        (is_started_by_path && !is_path_ours(&self.path))
            .then_some("is where others can put something else")
    }

    /// Whether its path still leads to it.
    pub fn is_in_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| is_same(&found, &self.file))
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// The system's; then it is where it was.
    pub fn set_aside(self) -> io::Result<Aside> {
        fs::remove_file(&self.path)?;
        Ok(Aside(()))
    }
}

impl Aside {
    /// Removes what had to wait for the end of the process: nothing on this system.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn remove(self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether nobody but we and root can let the path lead elsewhere.
fn is_path_ours(path: &Path) -> bool {
    path.ancestors().skip(1).all(|directory| {
        fs::symlink_metadata(directory).is_ok_and(|found| {
            let is_ours = found.uid() == 0 || found.uid() == geteuid().as_raw();
            // Where the bit is set, only its owner renames or removes a file.
            let is_closed = found.mode() & 0o022 == 0 || found.mode() & 0o1000 != 0;
            found.is_dir() && is_ours && is_closed
        })
    })
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Starts a program that says something and is given nothing.
pub(crate) fn start(command: &mut Command) -> io::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    command.env_clear().process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

/// All that a program says, which has to end well.
///
/// # Errors
///
/// When it says more than `limit` bytes, is not done by `deadline` or fails.
#[cfg(any(target_os = "macos", test))]
pub(crate) fn output(
    command: &mut Command,
    deadline: Instant,
    limit: usize,
) -> io::Result<Vec<u8>> {
    let mut child = start(command)?;
    let said = match child.stdout.take() {
        Some(mut stdout) => read_until(&mut stdout, deadline, limit + 1),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    // Who has closed the output is about to end.
    let status = loop {
        let status = child.try_wait()?;
        let is_heard = said.as_ref().is_ok_and(|said| said.len() <= limit);
        if status.is_some() || !is_heard || Instant::now() >= deadline {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    if status.is_none() {
        let _ = child.kill();
        child.wait()?;
    }
    match (said?, status) {
        (said, _) if said.len() > limit => Err(io::ErrorKind::FileTooLarge.into()),
        (said, Some(status)) if status.success() => Ok(said),
        (_, Some(status)) => Err(io::Error::other(status.to_string())),
        (_, None) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The first `limit` bytes of what a program says before `deadline`, and nothing of it
/// stays.
///
/// # Errors
///
/// When it is not done by then.
pub(crate) fn listen(mut child: Child, deadline: Instant, limit: usize) -> io::Result<Vec<u8>> {
    let said = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))
        .and_then(|mut stdout| read_until(&mut stdout, deadline, limit));
    // Done or not.
    let _ = child.kill();
    child.wait()?;
    said
}

fn read_until(stdout: &mut ChildStdout, deadline: Instant, limit: usize) -> io::Result<Vec<u8>> {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
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
pub(super) fn wait(
    handle: &impl std::os::fd::AsFd,
    flags: PollFlags,
    time: Duration,
) -> io::Result<bool> {
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
#[expect(clippy::disallowed_methods, reason = "programs to listen to")]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_program_says_is_bounded() {
        let said = |script: &str, time, limit| {
            let deadline = Instant::now() + time;
            output(Command::new("/bin/sh").args(["-c", script]), deadline, limit)
                .map_err(|error| error.kind())
        };
        let long = Duration::from_secs(20);
        assert_eq!(said("echo word", long, 5), Ok(b"word\n".to_vec()));
        assert_eq!(said("echo word", long, 4), Err(io::ErrorKind::FileTooLarge));
        assert_eq!(said("echo word; exit 3", long, 5), Err(io::ErrorKind::Other));
        for script in ["exec sleep 600", "exec >&-; exec sleep 600"] {
            let late = said(script, Duration::from_millis(50), 5);
            assert_eq!(late, Err(io::ErrorKind::TimedOut), "{script}");
        }
        // Nothing of this one's environment is handed on.
        assert_eq!(said("echo $HOME", long, 5), Ok(b"\n".to_vec()));
    }

    #[test]
    fn a_path_is_ours_if_nobody_else_can_lead_it_elsewhere() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        for (mode, is_ours) in [(0o755, true), (0o777, false), (0o1777, true), (0o775, false)] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_path_ours(&path), is_ours, "{mode:o}");
        }
        assert!(!is_path_ours(&folder.path().join("none/program")));
    }
}

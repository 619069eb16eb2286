//! Windows: a handle is the process, and while it is open nobody else gets its number.
//!
//! The file a process runs cannot be removed before its end, but it can be renamed. So
//! that comes first: whoever starts the process again finds nothing, and where even that
//! is not allowed, nothing has happened yet.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::ffi::OsStringExt as _;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::OwnedHandle;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use windows_sys::Win32::Storage::FileSystem::FILE_SHARE_READ;
use windows_sys::Win32::System::Threading::{
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE,
};

pub(crate) mod raw;
mod trust;

/// What the system may take to end a process, and to let go of its file.
const END: Duration = Duration::from_secs(5);
/// Between two attempts to remove a file.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Behind the name of an executable that waits for its removal.
const REMOVED: &str = ".removed";

/// A process of this machine.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    handle: OwnedHandle,
}

/// The file a process runs. Until it is set aside nobody can change, rename or remove
/// it, so that what is looked at is what is started.
#[derive(Debug)]
pub struct Executable {
    path: PathBuf,
    file: File,
}

/// An executable that is out of the way.
#[derive(Debug)]
pub struct Aside(PathBuf);

impl Process {
    /// # Errors
    ///
    /// When there is no such process, or it may not be ended.
    pub fn open(pid: u32) -> io::Result<Self> {
        let uses = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_TERMINATE | PROCESS_SYNCHRONIZE;
        let process = Self { pid, handle: raw::open(pid, uses)? };
        // One that ended is there as long as somebody holds it.
        if process.is_alive() { Ok(process) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Whether it started the process that asks, as far as the list of processes tells:
    /// it may also have got the number of who did.
    pub fn is_parent(&self) -> bool {
        let own = std::process::id();
        // Without the list: rather not.
        raw::list()
            .map_or(true, |rows| rows.iter().any(|row| row.pid == own && row.parent == self.pid))
    }

    pub fn is_alive(&self) -> bool {
        !raw::ends_within(&self.handle, Duration::ZERO)
    }

    /// The file it runs.
    ///
    /// # Errors
    ///
    /// When the process ended, or the file may not be read or is about to be changed.
    pub fn executable(&self) -> io::Result<Executable> {
        let path = raw::image(&self.handle)?;
        let found = Executable::open(OsString::from_wide(&path).into())?;
        if self.is_alive() { Ok(found) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Runs its executable once more, with `args`, and returns the first `limit` bytes
    /// of what that prints. It is started as we are: nobody could have changed it.
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
        let mut command = Command::new(&executable.path);
        command.args(args).env_clear();
        // Libraries of the system look for each other there.
        command.envs(std::env::var_os("SystemRoot").map(|root| ("SystemRoot", root)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (tell, said) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            // It ends with the program, or with this process.
            thread::Builder::new().name("listener".to_owned()).spawn(move || {
                let mut text = Vec::new();
                let limit = u64::try_from(limit).unwrap_or(u64::MAX);
                let read = io::Read::read_to_end(&mut io::Read::take(stdout, limit), &mut text);
                // Who waited may have given up.
                let _ = tell.send(read.map(|_| text));
            })?;
        }
        let said = said.recv_timeout(time);
        // Done or not: nothing of it stays.
        let _ = child.kill();
        child.wait()?;
        said.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Ends it, and waits a little for that.
    ///
    /// # Errors
    ///
    /// When it ended before.
    pub fn kill(&self) -> io::Result<()> {
        if !self.is_alive() {
            return Err(io::ErrorKind::NotFound.into());
        }
        raw::end(&self.handle)?;
        if raw::ends_within(&self.handle, END) {
            Ok(())
        } else {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

impl Executable {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).share_mode(FILE_SHARE_READ).open(&path)?;
        Ok(Self { path, file })
    }

    /// That of this process.
    ///
    /// # Errors
    ///
    /// When it may not be read.
    pub fn own() -> io::Result<Self> {
        Self::open(std::env::current_exe()?)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are one file.
    pub fn is(&self, other: &Self) -> bool {
        // Both are held where they are.
        let real = |path: &Path| fs::canonicalize(path).ok();
        real(&self.path).is_some_and(|path| real(&other.path) == Some(path))
    }

    /// Why somebody else than we, the system or its administrators may have put it
    /// there.
    pub fn doubt(&self) -> Option<&'static str> {
        trust::doubt(&self.file).unwrap_or(Some("does not say who may change it"))
    }

    /// Whether its path still leads to it.
    pub fn is_in_place(&self) -> bool {
        true
    }

    /// Takes its name away.
    ///
    /// # Errors
    ///
    /// The system's; then it is where it was.
    pub fn set_aside(self) -> io::Result<Aside> {
        drop(self.file);
        let mut name = self.path.clone().into_os_string();
        name.push(REMOVED);
        fs::rename(&self.path, &name)?;
        Ok(Aside(name.into()))
    }
}

impl Aside {
    /// Removes it; the process has to have ended.
    ///
    /// # Errors
    ///
    /// When the system does not let go of it.
    pub fn remove(self) -> io::Result<()> {
        let deadline = Instant::now() + END;
        loop {
            match fs::remove_file(&self.0) {
                Ok(()) => return Ok(()),
                // What guards against viruses looks at it now, or a module still runs.
                Err(_) if Instant::now() < deadline => thread::sleep(LOOK_EVERY),
                Err(error) => {
                    let text = format!("{} is left: {error}", self.0.display());
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy of this test, which waits for its input to end, or says a word.
    #[expect(clippy::disallowed_methods, reason = "processes to look at")]
    fn start(folder: &Path) -> (std::process::Child, PathBuf) {
        let program = folder.join("victim.exe");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let mut command = Command::new(&program);
        command.args(["--exact", "process::windows::tests::waits_for_input", "--nocapture"]);
        command.env("MIG_TEST_WAITS", "yes");
        (command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap(), program)
    }

    #[test]
    fn waits_for_input() {
        if std::env::var_os("MIG_TEST_WAITS").is_some() {
            io::Read::read_to_end(&mut io::stdin(), &mut Vec::new()).unwrap();
        }
    }

    #[test]
    fn refuses_who_is_not_there() {
        for pid in [0, 3, u32::MAX, 0x7fff_fff0] {
            assert!(Process::open(pid).is_err(), "{pid}");
        }
        // Rounded by the system, it would be this process.
        assert!(Process::open(std::process::id() + 1).is_err());
    }

    #[test]
    fn holds_asks_and_ends_a_process_and_removes_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (mut child, program) = start(folder.path());
        let process = Process::open(child.id()).unwrap();
        assert!(process.is_alive() && !process.is_parent());
        let executable = process.executable().unwrap();
        assert!(!executable.is(&Executable::own().unwrap()));
        assert!(executable.is(&Executable::open(program.clone()).unwrap()));
        assert_eq!(executable.doubt(), None);
        // Nobody changes it while it is held.
        assert!(OpenOptions::new().write(true).open(&program).is_err());
        assert!(fs::rename(&program, folder.path().join("other")).is_err());

        let ask = |args: &[&str], time| process.ask(&executable, args, time, 40);
        let said = ask(&["--list"], Duration::from_mins(1)).unwrap();
        assert!(said.len() == 40 && said.contains(&b':'), "{said:?}");

        let aside = executable.set_aside().unwrap();
        assert!(!program.exists() && process.is_alive());
        process.kill().unwrap();
        aside.remove().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        child.wait().unwrap();
        assert!(!process.is_alive() && process.kill().is_err());
        assert!(process.executable().is_err());
    }

    #[test]
    fn who_started_a_process_is_its_parent() {
        let own = std::process::id();
        let rows = raw::list().unwrap();
        let row = rows.iter().find(|row| row.pid == own).unwrap();
        let parent = Process {
            pid: row.parent,
            handle: raw::open(own, PROCESS_QUERY_LIMITED_INFORMATION).unwrap(),
        };
        assert!(parent.is_parent());
    }
}

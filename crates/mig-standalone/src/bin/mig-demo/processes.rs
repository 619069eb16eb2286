//! The programs of the demonstration, and their end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

/// Programs started by the demonstration are noted here, one `pid program` a
/// line, so that the next run can end what a killed one left.
const NOTES: &str = "processes";

/// How long a program may take to stop in an orderly way.
const STOP: Duration = Duration::from_secs(8);

/// A program of this build.
pub(crate) fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let path = me.with_file_name(name);
    if !path.is_file() {
        bail!("{} is not built; run `make demo`", path.display());
    }
    Ok(path)
}

/// A server or an agent running in the background.
pub(crate) struct Background {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Background {
    #[expect(clippy::disallowed_methods, reason = "the demonstration starts the programs it shows")]
    pub(crate) fn start(
        folder: &Path,
        name: &str,
        program: &str,
        args: &[&str],
    ) -> anyhow::Result<Self> {
        let (log, program) = (folder.join(format!("{name}.log")), binary(program)?);
        let output = File::create(&log).with_context(|| {
            format!("cannot write {}; is the disk full or the folder read-only?", log.display())
        })?;
        let child = Command::new(&program)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-c in the terminal is for the demonstration, which then
            // stops its programs in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        if let Some(pid) = child.id() {
            use std::io::Write as _;
            let mut notes = File::options().create(true).append(true).open(folder.join(NOTES))?;
            writeln!(notes, "{pid} {}", program.display())?;
        }
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// An error with the last words of the program when it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}:\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// Asks it to stop, waits, and kills it when it does not.
    pub(crate) async fn stop(mut self) {
        if let Some(pid) = self.child.id() {
            signal(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            // Nothing more can be done when even this fails.
            let _ = self.child.kill().await;
        }
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // Gone already is fine.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Ends programs that an earlier, killed demonstration in this folder left
/// running. A number that now belongs to another program is left alone.
pub(crate) fn end_leftovers(folder: &Path) -> anyhow::Result<()> {
    let Ok(notes) = fs::read_to_string(folder.join(NOTES)) else { return Ok(()) };
    for (pid, program) in notes.lines().filter_map(|line| line.split_once(' ')) {
        let Ok(pid) = pid.parse::<u32>() else { continue };
        let running = || {
            let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            // A rebuilt program shows as deleted.
            exe.to_string_lossy().trim_end_matches(" (deleted)") == program
        };
        if !running() {
            continue;
        }
        signal(pid, rustix::process::Signal::TERM);
        let deadline = std::time::Instant::now() + STOP;
        while running() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        if running() {
            signal(pid, rustix::process::Signal::KILL);
        }
    }
    Ok(())
}

//! The programs of the demonstration, and their end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::folder;

/// What the demonstration starts, always with its folder as the directory to
/// work in: that is how the next run knows what a killed one left.
const PROGRAMS: [&str; 3] = ["mig", "mig-agent", "mig-standalone"];

/// How long programs may take to stop in an orderly way.
const STOP: Duration = Duration::from_secs(6);

/// How long the system may take to end what was killed.
const KILL: Duration = Duration::from_secs(5);

/// A program of this build.
pub(crate) fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let path = me.with_file_name(name);
    if !path.is_file() {
        bail!("{} is not built; run `make demo`", path.display());
    }
    Ok(path)
}

/// A program of this build, to be run in `folder` and to end with its owner.
pub(crate) fn command(folder: &Path, program: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(binary(program)?);
    command.current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// A server or an agent running in the background.
pub(crate) struct Background {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Background {
    pub(crate) fn start(
        folder: &Path,
        name: &str,
        program: &str,
        args: &[&str],
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = folder::log(&log)?;
        let child = command(folder, program)?
            .args(args)
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-c in the terminal is for the demonstration, which then
            // stops its programs in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
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
}

/// Asks the server, which is the first, and the agents to stop, waits, and
/// kills those that do not.
pub(crate) async fn stop(mut programs: Vec<Background>) {
    // Agents first: the server takes what they still have to say.
    let agents = programs.split_off(programs.len().min(1));
    for mut group in [agents, programs] {
        for pid in group.iter().filter_map(|program| program.child.id()) {
            signal(i32::try_from(pid).ok().and_then(Pid::from_raw), Signal::TERM);
        }
        let deadline = tokio::time::Instant::now() + STOP;
        for program in &mut group {
            if tokio::time::timeout_at(deadline, program.child.wait()).await.is_err() {
                // Nothing more can be done when even this fails.
                let _ = program.child.kill().await;
            }
        }
    }
}

fn signal(pid: Option<Pid>, signal: Signal) {
    if let Some(pid) = pid {
        // Gone already is fine.
        let _ = kill_process(pid, signal);
    }
}

/// Ends programs that an earlier, killed demonstration in this folder left
/// running.
pub(crate) fn end_leftovers(folder: &Path) -> anyhow::Result<()> {
    for (how, limit) in [(Signal::TERM, STOP), (Signal::KILL, KILL)] {
        for pid in leftovers(folder) {
            signal(Some(pid), how);
        }
        let deadline = Instant::now() + limit;
        while !leftovers(folder).is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    if let Some(pid) = leftovers(folder).first() {
        bail!("process {pid} of an earlier demonstration does not end; end it first");
    }
    Ok(())
}

/// Our programs that work in `folder`, by `/proc`; none where there is no such
/// thing.
fn leftovers(folder: &Path) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ours = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        let program = link(&entry.path().join("exe"))?;
        let program = program.file_name()?.to_str()?;
        let works_here = link(&entry.path().join("cwd"))?.starts_with(folder);
        (PROGRAMS.contains(&program) && works_here).then_some(pid)
    };
    entries.flatten().filter_map(ours).collect()
}

/// Where a link of `/proc` points, also when that was removed: a program that
/// was built again, a folder somebody deleted.
fn link(path: &Path) -> Option<PathBuf> {
    let target = fs::read_link(path).ok()?;
    Some(PathBuf::from(target.to_str()?.trim_end_matches(" (deleted)")))
}

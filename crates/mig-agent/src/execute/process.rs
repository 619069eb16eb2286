//! One module process, seen from the agent: fed, watched, and killed when it
//! takes more than it was given.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use mig_types::{ModuleResult, wire};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::child;
use crate::report::{Ending, Limit};

/// What is kept of what a module says on standard error.
const COMPLAINT_BYTES: usize = 4096;
/// How often a module's memory is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// One run of one module.
pub(super) struct Job<'a> {
    pub(super) program: &'a Path,
    pub(super) module: String,
    pub(super) orders: OsString,
    pub(super) input: Vec<u8>,
    pub(super) time: Duration,
    pub(super) memory_bytes: u64,
    pub(super) output_bytes: usize,
}

/// Runs a module process to its end, whichever comes first.
///
/// Must be called from a thread that lives as long as the agent: the process
/// dies with the thread that started it.
pub(super) async fn run(job: Job<'_>) -> Ending {
    let mut child = match start(&job) {
        Ok(child) => child,
        Err(error) => return Ending::Broken(format!("cannot start module: {error}")),
    };
    let group = Group::of(&child);
    let watched = Watched { group: &group, output_bytes: job.output_bytes };
    let ending = tokio::select! {
        talk = watched.talk(&mut child, &job.input) => judge(talk, &job),
        used = outgrown(group.id, job.memory_bytes) => {
            Ending::Killed(Limit::Memory { used, limit: job.memory_bytes })
        }
        () = tokio::time::sleep(job.time) => Ending::Killed(Limit::Time(job.time)),
    };
    group.kill();
    // Killed or ended, so this does not wait for long.
    let _ = child.wait().await;
    ending
}

fn start(job: &Job<'_>) -> std::io::Result<Child> {
    let mut command = Command::new(job.program);
    command
        .arg("-m")
        .arg(&job.module)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env(child::ORDERS, &job.orders)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    command.spawn()
}

/// What a module process said, and how it ended.
struct Talk {
    /// `None` when it was more than the limit.
    output: Option<Vec<u8>>,
    complaint: Vec<u8>,
    status: std::io::Result<ExitStatus>,
}

struct Watched<'a> {
    group: &'a Group,
    output_bytes: usize,
}

impl Watched<'_> {
    async fn talk(&self, child: &mut Child, input: &[u8]) -> Talk {
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A module may answer without reading all: not an error.
                let _ = stdin.write_all(input).await;
            }
        };
        let ((), output, complaint) =
            tokio::join!(feed, self.output(stdout), tail(stderr, COMPLAINT_BYTES));
        Talk { output, complaint, status: child.wait().await }
    }

    async fn output(&self, stdout: Option<impl AsyncRead + Unpin>) -> Option<Vec<u8>> {
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            let limit = self.output_bytes as u64 + 1;
            let _ = stdout.take(limit).read_to_end(&mut output).await;
        }
        if output.len() > self.output_bytes {
            // Ends the other streams too.
            self.group.kill();
            return None;
        }
        Some(output)
    }
}

/// The last bytes of a stream, which is read to its end.
async fn tail(stream: Option<impl AsyncRead + Unpin>, keep: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let mut buffer = [0; 1024];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(keep));
    }
    kept
}

fn judge(talk: Talk, job: &Job<'_>) -> Ending {
    let Some(output) = talk.output else {
        return Ending::Killed(Limit::Output(job.output_bytes));
    };
    let status = match talk.status {
        Ok(status) => status,
        Err(error) => return Ending::Broken(format!("cannot wait for module: {error}")),
    };
    if !status.success() {
        if out_of_memory(status, &talk.complaint) {
            let used = child::hard_memory_limit(job.memory_bytes);
            return Ending::Killed(Limit::Memory { used, limit: job.memory_bytes });
        }
        return Ending::Broken(format!("module ended with {status}"));
    }
    match wire::from_slice::<ModuleResult>(&output) {
        Ok(result) => Ending::Answered(result),
        Err(error) => {
            let reason = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            Ending::Broken(format!("module answered what is not a result: {reason}"))
        }
    }
}

/// Whether the process ended because the kernel gave it no more memory.
fn out_of_memory(status: ExitStatus, complaint: &[u8]) -> bool {
    #[cfg(unix)]
    if std::os::unix::process::ExitStatusExt::signal(&status).is_none() {
        return false;
    }
    let _ = status;
    String::from_utf8_lossy(complaint).contains("memory allocation of")
}

/// Waits until a process has more private memory than `limit` bytes; returns
/// how much. For ever where that cannot be seen.
async fn outgrown(pid: Option<u32>, limit: u64) -> u64 {
    if let Some(pid) = pid.filter(|_| cfg!(target_os = "linux")) {
        let path = format!("/proc/{pid}/status");
        let mut every = tokio::time::interval(WATCH_EVERY);
        loop {
            every.tick().await;
            // Gone or unreadable: the other watchers see how it ended.
            let Ok(text) = std::fs::read_to_string(&path) else { break };
            match private_bytes(&text) {
                Some(used) if used > limit => return used,
                Some(_) => {}
                None => break,
            }
        }
    }
    std::future::pending().await
}

/// Reads resident private memory from `/proc/<pid>/status`, in bytes.
///
/// **Shape** `RssAnon:\t   1234 kB`. **Source** `proc_pid_status(5)`.
fn private_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// A module process and whatever it started.
struct Group {
    id: Option<u32>,
}

impl Group {
    fn of(child: &Child) -> Self {
        Self { id: child.id() }
    }

    /// Kills all of it, at once. Harmless when nothing is left.
    fn kill(&self) {
        #[cfg(unix)]
        if let Some(pid) =
            self.id.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_private_memory_and_nothing_else() {
        assert_eq!(
            private_bytes("Name:\tx\nRssAnon:\t    1024 kB\nRssFile:\t 1 kB\n"),
            Some(1 << 20)
        );
        for text in ["", "RssAnon:", "RssAnon:\t x kB", "RssAnon:\t 1 MB", "RssAnon:\t-1 kB"] {
            assert_eq!(private_bytes(text), None, "{text:?}");
        }
        let huge = format!("RssAnon: {} kB", u64::MAX);
        assert_eq!(private_bytes(&huge), None);
    }

    #[tokio::test]
    async fn keeps_only_the_end_of_a_long_complaint() {
        let long = [vec![b'a'; 10_000], b"the end".to_vec()].concat();
        let kept = tail(Some(long.as_slice()), 7).await;
        assert_eq!(kept, b"the end");
    }
}

//! One module process, seen from the agent: fed, watched, and killed when it
//! takes more than it was given.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use mig_types::{ModuleResult, wire};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::cage::Cage;
use crate::report::{Ending, Limit};
use mig_child as child;

/// What is kept of what a module says on standard error.
const COMPLAINT_BYTES: usize = 4096;
/// How often it is looked what a run takes.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// How long output may go on after the module process has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// One run of one module.
pub(super) struct Job<'a> {
    pub(super) program: &'a Path,
    pub(super) module: String,
    pub(super) orders: OsString,
    pub(super) input: Vec<u8>,
    pub(super) time: Duration,
    pub(super) output_bytes: usize,
    pub(super) cage: Cage<'a>,
}

/// Runs a module process to its end, whichever comes first. Nothing it started
/// is left when this returns.
///
/// Must be called from a thread that lives as long as the agent: the process
/// dies with the thread that started it.
pub(super) async fn run(mut job: Job<'_>) -> Ending {
    let mut child = match start(&job) {
        Ok(child) => child,
        Err(error) => return Ending::Broken(format!("cannot start module: {error}")),
    };
    job.cage.hold(child.id());
    let ending = tokio::select! {
        talk = talk(&mut child, &job) => judge(talk, &job),
        limit = outgrown(&job.cage) => Ending::Killed(limit),
        () = tokio::time::sleep(job.time) => Ending::Killed(Limit::Time(job.time)),
    };
    // Where there are no groups to kill. Ended already is fine.
    let _ = child.start_kill();
    let left = job.cage.empty().await;
    // Killed or ended, so this does not wait for long.
    let _ = child.wait().await;
    ending.with_left_behind(left)
}

fn start(job: &Job<'_>) -> std::io::Result<Child> {
    let mut command = Command::new(job.program);
    command
        .arg("-m")
        .arg(&job.module)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env(child::ORDERS, &job.orders)
        .env(child::MARK, job.cage.mark())
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
    output: Output,
    complaint: Output,
    status: std::io::Result<ExitStatus>,
    /// Processes killed because they held on to the output.
    left: usize,
}

/// What was read from a stream.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    is_too_much: bool,
}

async fn talk(child: &mut Child, job: &Job<'_>) -> Talk {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut output, mut complaint) = (Output::default(), Output::default());
    let mut left = 0;
    let streams = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A module may answer without reading all: not an error.
                let _ = stdin.write_all(&job.input).await;
            }
        };
        // Either ends the other two when it is too much.
        let read = async {
            take(stdout, job.output_bytes, &mut output).await;
            if output.is_too_much {
                job.cage.kill();
            }
        };
        let listen = async {
            tail(stderr, COMPLAINT_BYTES, job.output_bytes, &mut complaint).await;
            if complaint.is_too_much {
                job.cage.kill();
            }
        };
        tokio::join!(feed, read, listen);
    };
    let mut streams = Box::pin(streams);
    let status = tokio::select! {
        () = &mut streams => child.wait().await,
        status = child.wait() => {
            // Whoever has the streams now is not the module process.
            if tokio::time::timeout(LAST_WORDS, &mut streams).await.is_err() {
                left = job.cage.empty().await;
                let _ = tokio::time::timeout(LAST_WORDS, &mut streams).await;
            }
            status
        }
    };
    drop(streams);
    Talk { output, complaint, status, left }
}

/// Reads a stream to its end, or until it is more than `limit` bytes.
async fn take(stream: Option<impl AsyncRead + Unpin>, limit: usize, output: &mut Output) {
    let Some(stream) = stream else { return };
    let _ = stream.take(limit as u64 + 1).read_to_end(&mut output.bytes).await;
    output.is_too_much = output.bytes.len() > limit;
}

/// Reads a stream likewise, but keeps only its last bytes.
async fn tail(
    stream: Option<impl AsyncRead + Unpin>,
    keep: usize,
    limit: usize,
    output: &mut Output,
) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; 4096];
    let mut total = 0_usize;
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        total = total.saturating_add(count);
        if total > limit {
            output.is_too_much = true;
            break;
        }
        output.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        output.bytes.drain(..output.bytes.len().saturating_sub(keep));
    }
}

fn judge(talk: Talk, job: &Job<'_>) -> Ending {
    if talk.output.is_too_much || talk.complaint.is_too_much {
        return Ending::Killed(Limit::Output(job.output_bytes));
    }
    let status = match talk.status {
        Ok(status) => status,
        Err(error) => return Ending::Broken(format!("cannot wait for module: {error}")),
    };
    if !status.success() {
        if job.cage.is_out_of_memory() || out_of_memory(status, &talk.complaint.bytes) {
            let limit = job.cage.memory_bytes();
            return Ending::Killed(Limit::Memory { used: child::hard_memory_limit(limit), limit });
        }
        return Ending::Broken(format!("module ended with {status}")).with_left_behind(talk.left);
    }
    let ending = match wire::from_slice::<ModuleResult>(&talk.output.bytes) {
        Ok(result) => Ending::Answered(result),
        Err(error) => {
            let reason = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            Ending::Broken(format!("module answered what is not a result: {reason}"))
        }
    };
    ending.with_left_behind(talk.left)
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

/// Waits until a run takes more than it may have. For ever where that cannot be
/// seen.
async fn outgrown(cage: &Cage<'_>) -> Limit {
    let mut every = tokio::time::interval(WATCH_EVERY);
    loop {
        every.tick().await;
        let Some(usage) = cage.usage() else { break };
        if usage.tasks > cage.processes() {
            return Limit::Processes(cage.processes());
        }
        let limit = cage.memory_bytes();
        if usage.memory_bytes > limit {
            return Limit::Memory { used: usage.memory_bytes, limit };
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_only_the_end_of_a_long_complaint() {
        let long = [vec![b'a'; 10_000], b"the end".to_vec()].concat();
        let mut output = Output::default();
        tail(Some(long.as_slice()), 7, 20_000, &mut output).await;
        assert!(output.bytes == b"the end" && !output.is_too_much);
        let mut output = Output::default();
        tail(Some(long.as_slice()), 7, 9_000, &mut output).await;
        assert!(output.is_too_much);
    }

    #[tokio::test]
    async fn a_limit_is_the_last_byte_that_is_allowed() {
        for (limit, is_too_much) in [(4, true), (5, false)] {
            let mut output = Output::default();
            take(Some(&b"12345"[..]), limit, &mut output).await;
            assert_eq!(output.is_too_much, is_too_much);
        }
    }
}

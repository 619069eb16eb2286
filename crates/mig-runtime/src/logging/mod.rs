//! Log lines: `<opid> <actionid> <commandid> [<severity>] <text>`.
//!
//! Programs log `tracing` events. The fields `op.id`, `action.id` and
//! `command.id`, of the event or of a span around it, fill the first three
//! columns; `-` stands for one that is absent. A field `severity` with one of
//! the syslog words (`notice`, `critical`, …) refines the level. All other
//! fields follow the text as `key=value`. Control characters are escaped: what
//! a peer sent can neither forge a line nor drive a terminal.
//!
//! Crates whose name does not begin with `mig` are heard from `warn` on only.

mod file;
mod layer;
mod line;
mod syslog;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt as _;

use file::RotatingFile;
use layer::LineLayer;
pub use line::Severity;
use syslog::Syslog;

/// Section `[logging]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `stdout`, `stderr`, `file` or `syslog`; anything else is `stdout`, with
    /// a remark.
    pub mode: String,
    /// `emerg`, `alert`, `crit`, `err`, `warning`, `notice`, `info` or
    /// `debug`; anything else is `info`, with a remark.
    pub level: String,
    /// Path of mode `file`.
    pub file: PathBuf,
    /// Size in bytes at which the file becomes `<file>.1`; 0 for never.
    pub maxfilesize: u64,
    /// Syslog server of mode `syslog`.
    pub host: String,
    /// Port of the syslog server.
    pub port: u16,
    /// `udp` or `tcp`.
    pub protocol: String,
    /// Syslog facility, `local3` when empty.
    pub facility: String,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    #[error("logging.{key} is missing in mode {mode}")]
    Missing { key: &'static str, mode: &'static str },
    #[error("logging.{key}: {value:?} is not known")]
    Unknown { key: &'static str, value: String },
    #[error("cannot open log file {path}")]
    Open { path: PathBuf, source: std::io::Error },
    #[error("cannot start the syslog thread")]
    Thread { source: std::io::Error },
    #[error("logging is already started")]
    AlreadyStarted,
}

/// Where lines go.
#[derive(Debug)]
enum Sink {
    Stdout,
    Stderr,
    File(RotatingFile),
    Syslog(Syslog),
}

/// The sink as layer and guard share it.
#[derive(Debug)]
struct Output(Mutex<Sink>);

impl Output {
    /// Writes one line, without its line end.
    fn write(&self, severity: Severity, line: &str) {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed pipe or a full disk must not stop the program; standard
        // error is the only place left to tell.
        let written = match &mut *sink {
            Sink::Stdout => stamped(&mut std::io::stdout(), line),
            Sink::Stderr => stamped(&mut std::io::stderr(), line),
            Sink::File(file) => file.write_line(&format!("{}{line}", line::local_time())),
            Sink::Syslog(syslog) => {
                syslog.send(severity, line);
                Ok(())
            }
        };
        if written.is_err() && !matches!(*sink, Sink::Stderr) {
            let _ = stamped(&mut std::io::stderr(), line);
        }
    }

    fn reopen(&self) {
        if let Sink::File(file) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // The old file stays in use when the new one cannot be opened.
            let _ = file.reopen();
        }
    }
}

fn stamped(to: &mut impl std::io::Write, line: &str) -> std::io::Result<()> {
    to.write_all(format!("{}{line}\n", line::local_time()).as_bytes())?;
    to.flush()
}

/// Keeps logging going. Dropping it sends what is still waiting.
#[derive(Debug)]
pub struct LogGuard {
    output: Arc<Output>,
    threshold: Arc<AtomicU8>,
    #[cfg(unix)]
    reopening: Option<tokio::task::AbortHandle>,
}

impl LogGuard {
    /// Opens the log file anew, after somebody has moved it away.
    pub fn reopen(&self) {
        self.output.reopen();
    }

    /// Takes the level of new settings over; the rest stays as it was started.
    pub fn set_level(&self, config: &LogConfig) {
        let (level, remarks) = level(config);
        if self.threshold.swap(level as u8, Ordering::Relaxed) != level as u8 {
            // Call sites remember whether anybody listens to them.
            tracing::callsite::rebuild_interest_cache();
        }
        for remark in remarks {
            tracing::warn!("{remark}");
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(task) = self.reopening.take() {
            task.abort();
        }
        let mut sink = self.output.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Later lines, if any, still find a place to go.
        if matches!(*sink, Sink::Syslog(_)) {
            *sink = Sink::Stderr;
        }
    }
}

/// Starts logging for the whole process. Inside a runtime, SIGHUP reopens the
/// file of mode `file`.
///
/// # Errors
///
/// [`LogError`] on settings that do not fit, a file that cannot be opened, or
/// a second call.
pub fn init(program: &str, config: &LogConfig) -> Result<LogGuard, LogError> {
    let (level, mut remarks) = level(config);
    let sink = sink(program, config, &mut remarks)?;
    let is_file = matches!(sink, Sink::File(_));
    let output = Arc::new(Output(Mutex::new(sink)));
    let threshold = Arc::new(AtomicU8::new(level as u8));
    let layer = LineLayer::new(Arc::clone(&threshold), Arc::clone(&output));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .map_err(|_| LogError::AlreadyStarted)?;
    for remark in remarks {
        tracing::warn!("{remark}");
    }
    #[cfg(not(unix))]
    let _ = is_file;
    Ok(LogGuard {
        #[cfg(unix)]
        reopening: if is_file { reopen_on_hangup(&output) } else { None },
        output,
        threshold,
    })
}

/// On SIGHUP reads the level anew, and says so; `load` gives the settings of
/// now, or `None` where the level was chosen on the command line. Holds the log
/// and never ends by itself: a server runs it beside its work, and aborts it last.
///
/// # Panics
///
/// Outside of a runtime.
#[cfg(unix)]
pub fn reload_on_hangup<E, L>(log: LogGuard, load: L) -> impl Future<Output = ()> + Send
where
    E: std::error::Error + Send + 'static,
    L: Fn() -> Result<Option<LogConfig>, E> + Clone + Send + 'static,
{
    use tokio::signal::unix::{SignalKind, signal};

    // From now on, and not from when the future runs for the first time.
    let hangup = signal(SignalKind::hangup());
    async move {
        let Ok(mut hangup) = hangup else {
            // The guard must live as long as the program.
            return std::future::pending().await;
        };
        while hangup.recv().await.is_some() {
            match tokio::task::spawn_blocking(load.clone()).await {
                Ok(Ok(settings)) => {
                    if let Some(settings) = settings {
                        log.set_level(&settings);
                    }
                    tracing::info!("log reopened, level read again");
                }
                Ok(Err(error)) => {
                    tracing::error!("settings stay as they are: {}", with_causes(&error));
                }
                Err(error) => tracing::error!("settings stay as they are: {error}"),
            }
        }
    }
}

#[cfg(unix)]
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(unix)]
fn reopen_on_hangup(output: &Arc<Output>) -> Option<tokio::task::AbortHandle> {
    use tokio::signal::unix::{SignalKind, signal};

    let handle = tokio::runtime::Handle::try_current().ok()?;
    let mut hangup = signal(SignalKind::hangup()).ok()?;
    let output = Arc::clone(output);
    let task = handle.spawn(async move {
        while hangup.recv().await.is_some() {
            output.reopen();
        }
    });
    Some(task.abort_handle())
}

fn level(config: &LogConfig) -> (Severity, Vec<String>) {
    match config.level.parse() {
        Ok(level) => (level, Vec::new()),
        Err(_) if config.level.is_empty() => (Severity::Info, Vec::new()),
        Err(_) => {
            let remark = format!("logging.level {:?} is not known, using info", config.level);
            (Severity::Info, vec![remark])
        }
    }
}

fn sink(program: &str, config: &LogConfig, remarks: &mut Vec<String>) -> Result<Sink, LogError> {
    let missing = |key, mode| LogError::Missing { key, mode };
    match config.mode.to_ascii_lowercase().as_str() {
        "file" => {
            if config.file == Path::new("") {
                return Err(missing("file", "file"));
            }
            RotatingFile::open(&config.file, config.maxfilesize)
                .map(Sink::File)
                .map_err(|source| LogError::Open { path: config.file.clone(), source })
        }
        "syslog" => {
            for (key, absent) in [
                ("host", config.host.is_empty()),
                ("port", config.port == 0),
                ("protocol", config.protocol.is_empty()),
            ] {
                if absent {
                    return Err(missing(key, "syslog"));
                }
            }
            Syslog::start(program, config).map(Sink::Syslog)
        }
        "stderr" => Ok(Sink::Stderr),
        "stdout" => Ok(Sink::Stdout),
        other => {
            if !other.is_empty() {
                remarks.push(format!("logging.mode {other:?} is not known, using stdout"));
            }
            Ok(Sink::Stdout)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(mode: &str) -> LogConfig {
        LogConfig { mode: mode.to_owned(), ..LogConfig::default() }
    }

    fn start(config: &LogConfig) -> Result<(Sink, Vec<String>), LogError> {
        let (_, mut remarks) = level(config);
        let sink = sink("test", config, &mut remarks)?;
        Ok((sink, remarks))
    }

    #[test]
    fn refuses_incomplete_settings() {
        let syslog = LogConfig { host: "localhost".to_owned(), port: 514, ..config("syslog") };
        for (config, message) in [
            (config("file"), "logging.file is missing in mode file"),
            (config("syslog"), "logging.host is missing in mode syslog"),
            (syslog.clone(), "logging.protocol is missing in mode syslog"),
            (
                LogConfig { protocol: "sctp".to_owned(), ..syslog.clone() },
                "logging.protocol: \"sctp\" is not known",
            ),
            (
                LogConfig {
                    protocol: "udp".to_owned(),
                    facility: "local9".to_owned(),
                    ..syslog.clone()
                },
                "logging.facility: \"local9\" is not known",
            ),
            (
                LogConfig { file: PathBuf::from("/nonexistent/x.log"), ..config("file") },
                "cannot open log file /nonexistent/x.log",
            ),
        ] {
            assert_eq!(start(&config).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn unknown_words_fall_back_with_a_remark() {
        let odd = LogConfig { level: "loud".to_owned(), ..config("printer") };
        let (sink, remarks) = start(&odd).unwrap();
        assert!(matches!(sink, Sink::Stdout));
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        let (sink, remarks) = start(&config("")).unwrap();
        assert!(matches!(sink, Sink::Stdout) && remarks.is_empty());
    }
}

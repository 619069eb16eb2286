//! One persistent module, seen from the agent: started, briefed, watched, and
//! started again.

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mig_module::persist::{Briefing, MAX_LINE, Message, Said};
use mig_runtime::Shutdown;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{Hosted, House, host, plain, read_configuration, socket_path};

/// How often a module has to prove that it lives.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A module that did not for that long is killed.
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// Pause before a module is started again; doubled for one that never lasts.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// One that ran for that long has lasted.
const LASTED: Duration = Duration::from_mins(1);
/// Messages that wait for a module to read them.
const WAITING: usize = 128;
/// Lines of a module that reach the log between two pings.
const LOG_LINES: u32 = 200;
/// Time to end when asked to.
const GRACE: Duration = Duration::from_secs(2);

/// Keeps a module running until shutdown.
pub(super) async fn supervise(house: Arc<House>, module: Hosted, shutdown: Shutdown) {
    let name = module.name;
    let mut pause = FIRST_PAUSE;
    while !shutdown.is_requested() {
        let begun = Instant::now();
        let ended = live(&house, module, &shutdown).await;
        house.context.executor.switchboard.put(name, None);
        let _ = tokio::fs::remove_file(socket_path(&house.config.rundir, name)).await;
        let Err(reason) = ended else { return };
        if begun.elapsed() >= LASTED {
            pause = FIRST_PAUSE;
        }
        let seconds = pause.as_secs();
        tracing::warn!("[{name}] module ended, started again in {seconds} s: {reason}");
        tokio::select! {
            () = shutdown.requested() => return,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One life of a module's process.
///
/// # Errors
///
/// Why it ended, unless that was asked for.
async fn live(house: &House, module: Hosted, shutdown: &Shutdown) -> Result<(), String> {
    let briefing = brief(house, module).await;
    let mut child =
        start(house, module, &briefing).map_err(|error| format!("cannot start: {error}"))?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("it has no standard input or output".to_owned());
    };
    tracing::info!("[{}] module started, pid {}", module.name, child.id().unwrap_or_default());
    let (to_module, outgoing) = mpsc::channel(WAITING);
    let _ = to_module.try_send(Message::from(Said::Config(Box::new(briefing))).to_line());
    if module.takes_alerts {
        house.alerts.deliver_to(Some(to_module.clone()));
    }
    let watch = Watch {
        house,
        module,
        seen: Mutex::new(Instant::now()),
        budget: AtomicU32::new(LOG_LINES),
    };
    let ended = tokio::select! {
        reason = watch.listen(BufReader::new(stdout)) => Err(reason),
        reason = write(stdin, outgoing) => Err(reason),
        reason = watch.ping(&to_module) => Err(reason),
        () = shutdown.requested() => Ok(()),
    };
    if module.takes_alerts {
        house.alerts.deliver_to(None);
    }
    // Its input is closed by now, which is the sign to end.
    let status = if ended.is_ok() { timeout(GRACE, child.wait()).await.ok() } else { None };
    kill(&mut child).await;
    match (ended, status) {
        (Err(reason), _) => Err(reason),
        (Ok(()), _) => Ok(()),
    }
}

async fn brief(house: &House, module: Hosted) -> Briefing {
    let path = house.config.confdir.join(format!("{}.cfg", module.name));
    let read = tokio::task::spawn_blocking(move || read_configuration(&path, module.settings));
    let (config, warnings) = read.await.unwrap_or_default();
    for warning in warnings {
        tracing::warn!("[{}] {}", module.name, plain(&warning));
    }
    let record = house.context.record.borrow();
    Briefing {
        config,
        hostname: record.name.clone(),
        environment: serde_json::to_value(&record.environment).unwrap_or_default(),
        tags: serde_json::Value::Object(record.tags.clone()),
    }
}

fn start(house: &House, module: Hosted, briefing: &Briefing) -> std::io::Result<Child> {
    let orders = host::Orders {
        parent: std::process::id(),
        socket: socket_path(&house.config.rundir, module.name),
        memory_bytes: house.config.budgets.memory_bytes,
        sandbox: house.config.budgets.sandbox,
        reads: super::reads(module.name, briefing),
    };
    let mut command = Command::new(house.context.executor.programs.own());
    command
        .args(["-P", module.name])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env(host::ORDERS, serde_json::to_string(&orders)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    command.spawn()
}

async fn kill(child: &mut Child) {
    #[cfg(unix)]
    if let Some(pid) =
        child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    // Ended already, mostly.
    let _ = child.kill().await;
}

/// Writes what there is to say, each message within the time of a dead module.
async fn write(mut stdin: ChildStdin, mut outgoing: mpsc::Receiver<Vec<u8>>) -> String {
    while let Some(line) = outgoing.recv().await {
        match timeout(DEAD_AFTER, stdin.write_all(&line)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return format!("cannot write to it: {error}"),
            Err(_) => return "it does not read".to_owned(),
        }
    }
    "it is not talked to any more".to_owned()
}

/// Looks after one life of a module.
struct Watch<'a> {
    house: &'a House,
    module: Hosted,
    /// When it last proved that it lives.
    seen: Mutex<Instant>,
    /// Log lines left until the next ping.
    budget: AtomicU32,
}

impl Watch<'_> {
    fn seen(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ping(&self, to_module: &mpsc::Sender<Vec<u8>>) -> String {
        let mut ticks = interval(PING_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.seen().elapsed() >= DEAD_AFTER {
                return format!("no answer to pings for {} s", DEAD_AFTER.as_secs());
            }
            if self.budget.swap(LOG_LINES, Ordering::Relaxed) == 0 {
                tracing::warn!("[{}] some lines were left out: too many", self.module.name);
            }
            // A full queue means that it does not read; the time says the rest.
            let _ = to_module.try_send(Message::from(Said::Ping).to_line());
        }
    }

    async fn listen(&self, mut stdout: impl AsyncBufRead + Unpin) -> String {
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = (&mut stdout).take(MAX_LINE as u64 + 1);
            match limited.read_until(b'\n', &mut line).await {
                Ok(0) => return "it has ended".to_owned(),
                Ok(count) if count > MAX_LINE => return "a message is too long".to_owned(),
                Ok(_) => {}
                Err(error) => return format!("cannot read from it: {error}"),
            }
            let said = match Message::read(&line) {
                Ok(message) => message.said(),
                Err(error) => return format!("a message is not understood: {error}"),
            };
            if let Err(reason) = self.hear(said) {
                return reason;
            }
        }
    }

    fn hear(&self, said: Said) -> Result<(), String> {
        let name = self.module.name;
        match said {
            Said::Ping => *self.seen() = Instant::now(),
            Said::Log(text) => {
                let left = self.budget.load(Ordering::Relaxed);
                if left > 0 {
                    self.budget.store(left - 1, Ordering::Relaxed);
                    tracing::info!("[{name}] (module log) {}", plain(&text));
                }
            }
            Said::Alert(text) => self.house.alerts.raise(name, text),
            Said::Register(spec) => {
                let path = socket_path(&self.house.config.rundir, name);
                let own = format!("unix:{}", path.display());
                if spec != own {
                    return Err(format!("it wants to answer at {}", plain(&spec)));
                }
                self.house.context.executor.switchboard.put(name, Some(spec));
            }
            Said::Config(_) => return Err("it sent a message of class config".to_owned()),
            Said::Unknown(class) => {
                return Err(format!("it sent a message of class {:?}", plain(&class)));
            }
        }
        Ok(())
    }
}

//! `-P <module>`: the process of a persistent module, seen from inside.

use std::path::PathBuf;
use std::sync::Arc;

use mig_module::Registry;
use mig_module::persist::{Outlet, session};
use serde::{Deserialize, Serialize};

use crate::execute::child::Sandboxing;

/// Environment variable by which the agent gives its orders.
pub const ORDERS: &str = "MIG_PERSIST_ORDERS";

/// What the agent tells the process of a persistent module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Process id of the agent; 0 when nobody watches.
    pub parent: u32,
    /// Where questions come in.
    pub socket: PathBuf,
    pub memory_bytes: u64,
    pub sandbox: Sandboxing,
    /// Files that the module's configuration names.
    #[serde(default)]
    pub reads: Vec<String>,
}

/// Hosts a module until the agent closes the standard input.
///
/// # Errors
///
/// Why it cannot go on; the agent has been told.
pub fn run(registry: Registry, module: &str, orders: &Orders) -> Result<(), String> {
    let outlet = Outlet::new(std::io::stdout());
    let registry = Arc::new(registry);
    let prepared = if registry.get(module).is_some_and(|found| found.persistent().is_some()) {
        prepare(&registry, module, orders)
    } else {
        Err(format!("module {module} is not a persistent module"))
    };
    match prepared {
        Ok((spec, connections, input)) => {
            session(&registry, module, &spec, input, &outlet, connections)
        }
        Err(reason) => {
            outlet.log(&reason);
            Err(reason)
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::{self, File, Permissions};
    use std::io::{self, PipeReader, Read};
    use std::os::fd::{AsFd as _, OwnedFd};
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Duration;

    use mig_module::persist::{Connection, Persistent};
    use mig_module::{Needs, Registry};

    use super::{Orders, Sandboxing};

    /// Longest silence of somebody with a question.
    const SILENCE: Duration = Duration::from_secs(10);
    /// Connections that wait for a thread.
    const WAITING: usize = 16;

    type Connections = Receiver<Box<dyn Connection>>;

    /// What the agent says. It ends where the agent closes it, and when this
    /// process is asked to end.
    pub(super) struct Input {
        agent: File,
        /// At its end when this process is asked to end.
        asked: Option<PipeReader>,
    }

    impl Read for Input {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            use rustix::event::{PollFd, PollFlags, poll};
            if let Some(asked) = &self.asked {
                let mut watched =
                    [PollFd::new(&self.agent, PollFlags::IN), PollFd::new(asked, PollFlags::IN)];
                rustix::io::retry_on_intr(|| poll(&mut watched, None))?;
                if watched.last().is_some_and(|asked| !asked.revents().is_empty()) {
                    return Ok(0);
                }
            }
            self.agent.read(buffer)
        }
    }

    /// Opens the socket, then gives up what the module does not need.
    pub(super) fn prepare(
        registry: &Registry,
        module: &str,
        orders: &Orders,
    ) -> Result<(String, Connections, Input), String> {
        let found = registry.get(module).and_then(|found| found.persistent());
        let needs = found.map(Persistent::needs).unwrap_or_default();
        let leaves_traces = found.is_some_and(Persistent::leaves_traces);
        confine(orders, leaves_traces)
            .map_err(|error| format!("cannot confine the module: {error}"))?;
        let input = input(leaves_traces).map_err(|error| format!("cannot hear: {error}"))?;
        let shown = orders.socket.display();
        let listener = listen(&orders.socket).map_err(|error| format!("{shown}: {error}"))?;
        let (sender, connections) = sync_channel(WAITING);
        // The sandbox knows no strangers. This thread stays outside, takes them
        // in, and looks at nothing they say.
        let welcome = move || {
            while let Ok((stream, _)) = listener.accept() {
                if !welcome(stream, &sender) {
                    return;
                }
            }
        };
        std::thread::Builder::new().spawn(welcome).map_err(|error| error.to_string())?;
        enter(orders, &needs)?;
        Ok((format!("unix:{shown}"), connections, input))
    }

    /// The standard input. Who leaves traces is not ended by a signal in the middle
    /// of things, but gets the time to tidy up.
    fn input(leaves_traces: bool) -> io::Result<Input> {
        let agent = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        #[cfg(target_os = "linux")]
        if leaves_traces {
            let held = mig_host::signals::HeldEnd::hold()?;
            let (asked, asking) = io::pipe()?;
            std::thread::Builder::new().spawn(move || {
                // When it cannot wait it ends the process, too: nothing else would.
                let _ = held.wait();
                drop(asking);
            })?;
            return Ok(Input { agent, asked: Some(asked) });
        }
        let _ = leaves_traces;
        Ok(Input { agent, asked: None })
    }

    fn listen(path: &std::path::Path) -> std::io::Result<UnixListener> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(listener)
    }

    /// Whether there is still somebody to answer.
    fn welcome(stream: UnixStream, sender: &SyncSender<Box<dyn Connection>>) -> bool {
        let limited = stream
            .set_read_timeout(Some(SILENCE))
            .and_then(|()| stream.set_write_timeout(Some(SILENCE)));
        if limited.is_err() {
            return true;
        }
        // Plain reads and writes: the calls of sockets are not for the module.
        sender.send(Box::new(File::from(OwnedFd::from(stream)))).is_ok()
    }

    fn enter(orders: &Orders, needs: &Needs) -> Result<(), String> {
        if orders.sandbox == Sandboxing::Off || needs.unconfined {
            return Ok(());
        }
        let mut reads = needs.reads.to_vec();
        reads.extend(orders.reads.iter().map(String::as_str));
        let sandbox = mig_sandbox::enter(&mig_sandbox::Profile {
            reads: &reads,
            network: needs.network,
            kernel_sockets: needs.kernel_sockets,
            audit: needs.audit,
            programs: needs.programs,
            processes: needs.processes,
            signals: needs.signals,
            watches: needs.watches,
        });
        if orders.sandbox == Sandboxing::Require && !sandbox.is_complete() {
            return Err(format!("agent.modulesandbox = require, but {sandbox}"));
        }
        Ok(())
    }

    /// Binds this process to the life of the agent, and to its memory.
    fn confine(orders: &Orders, leaves_traces: bool) -> std::io::Result<()> {
        use rustix::process::{Resource, Rlimit, nice, setrlimit};
        #[cfg(target_os = "linux")]
        if orders.parent != 0 {
            use rustix::process::{Signal, getppid, set_parent_process_death_signal};
            let end = if leaves_traces { Signal::TERM } else { Signal::KILL };
            set_parent_process_death_signal(Some(end))?;
            // The agent may have died before the line above.
            let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
            if parent.and_then(|pid| u32::try_from(pid).ok()) != Some(orders.parent) {
                return Err(std::io::Error::other("the agent is gone"));
            }
        }
        let _ = leaves_traces;
        // A guest that cannot step back still works.
        let _ = nice(10);
        #[cfg(target_os = "linux")]
        {
            let _ = mig_host::priority::idle_disk();
            let _ = mig_host::priority::half_the_cores();
        }
        let limit = Some(orders.memory_bytes);
        setrlimit(Resource::Data, Rlimit { current: limit, maximum: limit })?;
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        Ok(())
    }
}

#[cfg(unix)]
use unix::prepare;

#[cfg(not(unix))]
type Prepared =
    (String, std::sync::mpsc::Receiver<Box<dyn mig_module::persist::Connection>>, std::io::Stdin);

#[cfg(not(unix))]
fn prepare(_registry: &Registry, _module: &str, _orders: &Orders) -> Result<Prepared, String> {
    Err("persistent modules are not available on this system".to_owned())
}

#![doc = include_str!("../README.md")]

use std::io::{self, BufReader, Cursor, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use mig_module::compress;
use mig_module::process::{
    ServeOptions, parameters_message, question_message, serve_until_stopped,
};
use mig_module::{DynModule, Needs, Registry};
use mig_types::{ModuleResult, Operation, wire};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Environment variable by which the agent gives its orders.
pub const ORDERS: &str = "MIG_MODULE_ORDERS";

/// Environment variable by which processes of a run are known.
pub const MARK: &str = "MIG_MODULE_RUN";

/// Largest parameters message.
const MAX_INPUT: u64 = 16 << 20;

/// What the agent tells a module process about its limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Process id of the agent.
    pub parent: u32,
    pub memory_bytes: u64,
    /// When the process is killed; the module ends its work a little earlier.
    #[serde(with = "mig_types::duration::serde_text")]
    pub deadline: Duration,
    pub threads: usize,
    /// The parameters are compressed.
    pub compressed: bool,
    /// Names and addresses are masked.
    pub privacy: bool,
    pub sandbox: Sandboxing,
    /// The control group to enter.
    pub cgroup: Option<PathBuf>,
}

/// What happens where the kernel cannot confine a module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandboxing {
    /// Modules run with what the kernel has; the agent's log says what is
    /// missing.
    #[default]
    BestEffort,
    /// Modules do not run.
    Require,
    /// Modules are never confined.
    Off,
}

/// The kernel's limit is a little above the agent's own, which says more when
/// it strikes; a sudden large allocation only meets the kernel's.
pub fn hard_memory_limit(memory_bytes: u64) -> u64 {
    memory_bytes.saturating_add(memory_bytes / 8).saturating_add(8 << 20)
}

/// Runs one module: reads the parameters message from `input`, writes the
/// result to `output`.
///
/// With `orders` the process gives up priority and memory first; without, it
/// was started by hand.
///
/// # Errors
///
/// When the result cannot be written.
pub fn run(
    registry: &Registry,
    module: &str,
    orders: Option<&Orders>,
    mut options: ServeOptions,
    input: impl Read + Send + 'static,
    mut output: impl Write,
) -> io::Result<()> {
    let Some(orders) = orders else {
        return serve_until_stopped(registry, module, options, input, output);
    };
    let needs = registry.get(module).map(needs).unwrap_or_default();
    if let Err(error) = confine(orders).and_then(|()| enter_sandbox(orders.sandbox, needs)) {
        let result = ModuleResult::failed(format!("module cannot be confined: {error}"));
        return write_result(&mut output, &result);
    }
    options.privacy = orders.privacy;
    options.deadline = Some(orders.deadline);
    options.threads = orders.threads;
    if !orders.compressed {
        return serve_until_stopped(registry, module, options, input, output);
    }
    match decompress(input) {
        Ok(message) => serve_until_stopped(registry, module, options, Cursor::new(message), output),
        Err(reason) => write_result(&mut output, &ModuleResult::failed(reason)),
    }
}

fn needs(module: &dyn DynModule) -> Needs {
    match module.persistent() {
        // Carries a question to a process that is confined, and the answer back.
        Some(_) => Needs { unconfined: true, ..Needs::default() },
        None => module.needs(),
    }
}

fn write_result(output: &mut impl Write, result: &ModuleResult) -> io::Result<()> {
    output.write_all(&wire::to_vec(result).map_err(io::Error::other)?)?;
    output.flush()
}

/// Replaces compressed parameters by what they hold. Done here and not in the
/// agent, where a small text that unfolds into much would hurt.
fn decompress(input: impl Read) -> Result<Vec<u8>, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Message {
        parameters: Value,
        persistsock: String,
    }
    let mut text = Vec::new();
    BufReader::new(input)
        .take(MAX_INPUT)
        .read_to_end(&mut text)
        .map_err(|error| format!("cannot read parameters: {error}"))?;
    let message: Message = wire::from_slice(&text).map_err(|error| error.to_string())?;
    let operation =
        Operation { parameters: message.parameters, is_compressed: true, ..Operation::default() };
    drop(text);
    let parameters = compress::decompress_parameters(&operation, compress::MAX_PARAMETERS)
        .map_err(|error| format!("cannot decompress parameters: {error}"))?;
    if message.persistsock.is_empty() {
        return Ok(parameters_message(&parameters));
    }
    Ok(question_message(&parameters, &message.persistsock))
}

/// Takes from this process what the module does not need, for good.
fn enter_sandbox(sandboxing: Sandboxing, needs: Needs) -> io::Result<()> {
    if sandboxing == Sandboxing::Off || needs.unconfined {
        return Ok(());
    }
    let sandbox = mig_sandbox::enter(&profile(&needs));
    if sandboxing == Sandboxing::Require && !sandbox.is_complete() {
        return Err(io::Error::other(format!("agent.modulesandbox = require, but {sandbox}")));
    }
    Ok(())
}

fn profile(needs: &Needs) -> mig_sandbox::Profile<'_> {
    mig_sandbox::Profile {
        reads: needs.reads,
        network: needs.network,
        kernel_sockets: needs.kernel_sockets,
        audit: needs.audit,
        programs: needs.programs,
        processes: needs.processes,
        signals: needs.signals,
        watches: needs.watches,
    }
}

/// Binds this process to its limits and to the life of the agent.
#[cfg(unix)]
fn confine(orders: &Orders) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, nice, setrlimit};
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The agent may have died before the line above.
        let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
        if parent.and_then(|pid| u32::try_from(pid).ok()) != Some(orders.parent) {
            return Err(io::Error::other("the agent is gone"));
        }
        if let Some(group) = &orders.cgroup {
            join(group)?;
        }
        // Whoever leaves its parent stays below this process. It is how the agent
        // finds it where there are no control groups.
        let own = rustix::process::getpid();
        let _ = rustix::process::set_child_subreaper(Some(own));
        let _ = mig_host::priority::idle_disk();
        let _ = mig_host::priority::half_the_cores();
    }
    // A guest that cannot step back still works.
    let _ = nice(10);
    let limit = Some(hard_memory_limit(orders.memory_bytes));
    // Private memory, not address space: threads and mapped files reserve much
    // of the latter and use little.
    setrlimit(Resource::Data, Rlimit { current: limit, maximum: limit })?;
    let none = Some(0);
    setrlimit(Resource::Core, Rlimit { current: none, maximum: none })?;
    Ok(())
}

/// Puts this process into a control group.
#[cfg(target_os = "linux")]
fn join(group: &std::path::Path) -> io::Result<()> {
    std::fs::write(group.join("cgroup.procs"), "0")
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the signature of the other systems")]
fn confine(_orders: &Orders) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_travel_as_text() {
        let orders = Orders {
            parent: 7,
            memory_bytes: 256 << 20,
            deadline: Duration::from_millis(1500),
            threads: 2,
            compressed: true,
            privacy: false,
            sandbox: Sandboxing::Require,
            cgroup: Some("/sys/fs/cgroup/x".into()),
        };
        let text = serde_json::to_string(&orders).unwrap();
        assert_eq!(serde_json::from_str::<Orders>(&text).unwrap(), orders);
        assert!(serde_json::from_str::<Orders>("{}").is_err());
    }

    #[test]
    fn refuses_parameters_that_do_not_decompress() {
        for text in
            [&b""[..], b"{", b"{}", br#"{"parameters":"not base64"}"#, br#"{"parameters":7}"#]
        {
            assert!(decompress(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn unfolds_what_the_original_compressed() {
        let text = br#"{"class":"parameters","parameters":"H4sIAAAAAAAA/6pWKk5NLErOSC1WsqpWKjYEkQWJJRnFSlbRSvqpJclKsbW1tYAAAAD//37aVR8mAAAA"}"#;
        let message = decompress(&text[..]).unwrap();
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(
            message["parameters"],
            serde_json::json!({"searches": {"s1": {"paths": ["/etc"]}}})
        );
    }
}

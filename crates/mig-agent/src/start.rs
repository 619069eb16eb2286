//! What one start of the program does, by its flags.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use mig_host::service::control::{self, Service};
use mig_module::process::ServeOptions;
use mig_runtime::Shutdown;
use mig_types::{ModuleResult, duration, wire};

use crate::config::{AgentConfig, DEFAULT_FILE};
use crate::execute::Programs;
use crate::execute::child::{self, ORDERS, Orders};
use crate::flags::{Flags, MODE_AGENT, MODE_CHECKIN, USAGE};
use crate::identity::Identity;
use crate::service::{self, Course};
use crate::{VERSION, agent, embed, modules, oneshot, persist, socket};

const PROGRAM: &str = "mig-agent";
/// The agent waits, mostly: more would not make it faster on a large machine. One
/// would not do: starting a program holds a thread until that has begun.
const THREADS: usize = 2;
/// Why an agent ends that the service control manager stops.
const BY_WINDOWS: &str = "shutdown requested by windows";
/// Exit code for a command line that makes no sense.
const MISUSED: u8 = 2;

/// [`start`] of a program with modules of its own choice.
pub fn start_with(
    modules: fn() -> mig_module::Registry,
    args: impl IntoIterator<Item = OsString>,
) -> ExitCode {
    crate::modules::carry(modules);
    start(args)
}

/// Runs the program with `args`, its own name not among them.
pub fn start(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::parse(args) {
        Ok(flags) => flags,
        Err(error) => {
            let _ = write!(io::stderr(), "{PROGRAM}: {error}\n{USAGE}");
            return ExitCode::from(MISUSED);
        }
    };
    if flags.help {
        return print(USAGE);
    }
    if flags.version {
        return print(&format!("{VERSION}\n"));
    }
    if let Some(program) = &flags.show {
        return match embed::show(program) {
            Ok(text) => print(&text),
            Err(error) => failed(&error.into()),
        };
    }
    if let Some(file) = &flags.embed {
        return carry(file, &flags);
    }
    if let Some(module) = &flags.persistent {
        return host_module(module, &flags);
    }
    let one_module = ![MODE_AGENT, MODE_CHECKIN].contains(&flags.mode.as_str())
        && flags.query.is_none()
        && flags.action.is_none();
    if one_module && let Some(orders) = std::env::var_os(ORDERS) {
        return run_ordered(&flags, &orders);
    }
    let asks = flags.settings || flags.query.is_some() || flags.action.is_some();
    if !one_module && !asks {
        return start_agent(&flags);
    }
    let config = match load(&flags) {
        Ok(config) => config,
        Err(error) => return failed(&error),
    };
    if one_module {
        return run_by_hand(&flags, &config);
    }
    if flags.settings {
        return print(&config.describe());
    }
    mig_runtime::run(PROGRAM, |_| async move {
        let text = talk(&flags, &config).await?;
        io::stdout().write_all(text.as_bytes()).context("cannot print")
    })
}

/// A start that becomes the agent, or has become one elsewhere when it is over.
fn start_agent(flags: &Flags) -> ExitCode {
    // Before everything that may fail: a manager wants to hear of that, too.
    let service = match service::attach(flags) {
        Ok(service) => service,
        Err(error) => return failed(&error),
    };
    let code = match load(flags) {
        Ok(mut config) => {
            config.checkin |= flags.mode == MODE_CHECKIN;
            config.nopersistmods |= flags.no_persistent;
            let now = service::circumstances(flags, &config, service.is_some());
            let course = service::course(now);
            match course {
                Course::Deploy => done(service::deploy(flags, &config)),
                Course::Detach => done(service::detach(flags)),
                Course::Stay | Course::Serve => daemon(config, flags, course, service.as_ref()),
            }
        }
        Err(error) => {
            if service.is_some() {
                control::log_error(&format!("the agent does not start: {error:#}"));
            }
            failed(&error)
        }
    };
    if let Some(service) = service {
        service.ended(code == ExitCode::SUCCESS);
    }
    code
}

fn done(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn daemon(
    config: AgentConfig,
    flags: &Flags,
    course: Course,
    managed: Option<&Service>,
) -> ExitCode {
    #[cfg(target_os = "linux")]
    mig_host::thrift::keep_heap_small();
    mig_runtime::run_as_guest(THREADS, PROGRAM, |shutdown| async move {
        let outcome = Box::pin(live(config, flags, course, managed, shutdown)).await;
        if let (Err(error), Some(_)) = (&outcome, managed) {
            control::log_error(&format!("the agent ends: {error:#}"));
        }
        outcome
    })
}

async fn live(
    mut config: AgentConfig,
    flags: &Flags,
    course: Course,
    managed: Option<&Service>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let before = config.clone();
    if flags.debug {
        "stdout".clone_into(&mut config.logging.mode);
        "debug".clone_into(&mut config.logging.level);
    }
    let _logging = mig_runtime::logging::init(PROGRAM, &config.logging)?;
    if course == Course::Serve {
        tracing::info!("Running as a service.");
        service::watch(flags, &config);
    }
    if let Some(managed) = managed {
        let trigger = shutdown.trigger();
        managed.on_stop(move || trigger.request_because(BY_WINDOWS));
        managed.running();
    }
    let Err(error) = agent::serve(config, shutdown).await else { return Ok(()) };
    if service::is_revived(course, flags, &before, begun.elapsed()) {
        tracing::error!(severity = "emergency", "the agent ends, and is started again: {error:#}");
        return service::detach(flags);
    }
    Err(error)
}

async fn talk(flags: &Flags, config: &AgentConfig) -> anyhow::Result<String> {
    if let Some(request) = &flags.query {
        return ask(request, config).await;
    }
    let file = flags.action.as_deref().unwrap_or(Path::new(""));
    oneshot::run(config, file, flags.print).await
}

/// `-q`. What only the owner may ask is asked with the id that only the owner
/// can read.
async fn ask(request: &str, config: &AgentConfig) -> anyhow::Result<String> {
    let address = config.socket.as_deref().context("the stat socket is off (agent.socket)")?;
    let failed = || format!("cannot ask the agent at {address}");
    let words: Vec<&str> = request.split_whitespace().collect();
    let stored;
    let id = match *words.as_slice() {
        ["shutdown" | "history"] => {
            stored = Identity::stored_id(&config.rundir)
                .context("cannot read the agent's id")?
                .with_context(|| format!("no agent id in {}", config.rundir.display()))?;
            stored.expose().as_str()
        }
        ["shutdown" | "history", id] => id,
        _ => return socket::query(address, request).await.with_context(failed),
    };
    if words.first() == Some(&"history") {
        return socket::query(address, &format!("history {id}")).await.with_context(failed);
    }
    let _ = writeln!(io::stderr(), "Stopping the agent at {address}");
    socket::stop(address, id)
        .await
        .with_context(|| format!("cannot stop the agent at {address}"))?;
    Ok("done\n".to_owned())
}

fn load(flags: &Flags) -> anyhow::Result<AgentConfig> {
    let builtin = match embed::own()? {
        Some(carried) => carried.settings()?,
        None => AgentConfig::default(),
    };
    let (config, source) = AgentConfig::load(flags.config.as_deref(), builtin)?;
    let mut stderr = io::stderr();
    // Nobody reads it: no reason to stop.
    let _ = match source {
        Some(path) => writeln!(stderr, "[info] Using external conf from \"{}\"", path.display()),
        None => writeln!(
            stderr,
            "[warn] Could not load a local conf from {DEFAULT_FILE:?}, err: no such file\n\
             [info] Using builtin conf."
        ),
    };
    Ok(config)
}

/// `-embed`.
fn carry(file: &Path, flags: &Flags) -> ExitCode {
    let embedded = || -> anyhow::Result<()> {
        let to = flags.out.as_deref().context("-embed needs -out <program>")?;
        let from = match &flags.from {
            Some(from) => from.clone(),
            None => agent::own_program()?,
        };
        let (carried, odd) = embed::gather(file)?;
        for text in odd {
            let _ = writeln!(io::stderr(), "[warn] {text}");
        }
        Ok(embed::embed(&carried, &from, to)?)
    };
    done(embedded())
}

/// A module process of the daemon.
fn run_ordered(flags: &Flags, orders: &OsString) -> ExitCode {
    let orders: Option<Orders> = orders.to_str().and_then(|text| serde_json::from_str(text).ok());
    match orders {
        Some(orders) => run_module(&flags.mode, Some(&orders), ServeOptions::default()),
        None => failed(&anyhow!("{ORDERS} is not understood")),
    }
}

/// A module run by a person.
fn run_by_hand(flags: &Flags, config: &AgentConfig) -> ExitCode {
    if flags.print && modules::registry().get(&flags.mode).is_none() {
        return print(&format!("[error] no printer available for module '{}'\n", flags.mode));
    }
    let options = ServeOptions {
        privacy: config.extraprivacymode,
        deadline: Some(config.budgets.time),
        threads: config.budgets.threads,
        print: flags.print,
    };
    let elsewhere =
        modules::registry().get(&flags.mode).is_some_and(|module| module.program().is_some());
    if elsewhere {
        run_elsewhere(flags, config, &options)
    } else {
        run_module(&flags.mode, None, options)
    }
}

/// A module that another executable runs: it gets our streams, and what of our
/// settings concerns it.
fn run_elsewhere(flags: &Flags, config: &AgentConfig, options: &ServeOptions) -> ExitCode {
    let own = match agent::own_program() {
        Ok(own) => own,
        Err(error) => return failed(&error),
    };
    let program = match Programs::of_this_build(own, config.moduledir.as_deref()).of(&flags.mode) {
        Ok(program) => program,
        Err(error) if options.print => return print(&format!("[error] {error}\n")),
        Err(error) => {
            // As every failure of a module: a result.
            let result = wire::to_vec(&ModuleResult::failed(error.to_string()));
            return match result.context("cannot write the result") {
                Ok(json) => print(&String::from_utf8_lossy(&json)),
                Err(error) => failed(&error),
            };
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the executor of what a person starts")]
    let mut command = std::process::Command::new(&program);
    command
        .args(["-m", &flags.mode])
        .arg(format!("-p={}", options.print))
        .arg(format!("-privacy={}", options.privacy))
        .args(["-timeout", &duration::format(config.budgets.time)])
        .args(["-threads", &options.threads.to_string()]);
    match command.status() {
        Ok(status) => status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            let error = anyhow::Error::new(error);
            failed(&error.context(format!("cannot start {}", program.display())))
        }
    }
}

fn run_module(module: &str, orders: Option<&Orders>, options: ServeOptions) -> ExitCode {
    let registry = modules::registry();
    let served = child::run(&registry, module, orders, options, io::stdin(), io::stdout().lock());
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&anyhow::Error::new(error).context("cannot write the result")),
    }
}

/// `-P`: the process of a persistent module, started by the agent or by a person.
fn host_module(module: &str, flags: &Flags) -> ExitCode {
    let orders = match std::env::var(persist::host::ORDERS) {
        Ok(text) => serde_json::from_str(&text).map_err(Into::into),
        Err(_) => load(flags).map(|config| persist::host::Orders {
            parent: 0,
            socket: persist::socket_path(&config.rundir, module),
            memory_bytes: config.budgets.memory_bytes,
            sandbox: config.budgets.sandbox,
            reads: persist::configured_reads(&config.confdir, module),
        }),
    };
    match orders {
        Ok(orders) => match persist::host::run(modules::registry(), module, &orders) {
            Ok(()) => ExitCode::SUCCESS,
            // The agent has heard it where it listens.
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => failed(&error),
    }
}

fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "{PROGRAM}: {error:#}");
    ExitCode::FAILURE
}

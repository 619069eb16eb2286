//! Windows itself.
//!
//! The manager calls back by functions that cannot carry anything, hence the one
//! static value here. The handler of its requests must not carry anything either:
//! the crate frees what a handler holds at the first request to stop, and nothing
//! promises that it is the last.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use windows_service::define_windows_service;
use windows_service::service::{
    Service as Entry, ServiceAccess, ServiceAction, ServiceActionType, ServiceControl,
    ServiceControlAccept, ServiceErrorControl, ServiceExitCode, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState, ServiceStatus,
    ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::service_dispatcher;
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::super::{Job, ServiceError, tell};

pub(in super::super) const NAME: &str = "mig-agent";
const DISPLAY_NAME: &str = "MIG Agent";
const DESCRIPTION: &str = "Mozilla InvestiGator Agent";

/// What an agent may take to start, and to end what runs and deliver its answers.
const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(40);
/// Between the end of an agent that failed and its next start.
const RESTART: Duration = Duration::from_secs(3);
/// Failures are counted anew after that long without one.
const FORGIVEN: Duration = Duration::from_hours(24);
/// How long a removed service may be held by a window that shows it.
const REMOVAL: Duration = Duration::from_secs(20);
/// Between two looks at a service.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// `ERROR_FAILED_SERVICE_CONTROLLER_CONNECT`: no manager waits for this process.
const NOT_A_SERVICE: i32 = 1063;
/// `ERROR_SERVICE_DOES_NOT_EXIST`.
const NO_SUCH_SERVICE: i32 = 1060;
/// `ERROR_SERVICE_MARKED_FOR_DELETE`.
const BEING_REMOVED: i32 = 1072;
/// `ERROR_INVALID_LEVEL`.
const UNKNOWN_SETTING: i32 = 124;
/// What the manager is told about an agent that failed; the reason is in its log.
const FAILED: u32 = 1;

/// Where event viewers look for the sources of the application log.
const SOURCES: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application";
/// The texts of a source that has none of its own, as `eventcreate` uses them.
const TEXTS: &str = r"%SystemRoot%\System32\EventCreate.exe";
/// Longest text of an entry in the event log, in characters.
const LONGEST_TEXT: usize = 1000;

define_windows_service!(enter, begin);

static SHARED: Mutex<Shared> = Mutex::new(Shared::new());

/// What the manager's threads and the agent's own share.
struct Shared {
    /// Tells who waits in [`attach`] how the start went; then the end is waited for.
    begin: Option<(Sender<io::Result<()>>, Receiver<()>)>,
    handle: Option<ServiceStatusHandle>,
    is_stopping: bool,
    pass_on: Option<Box<dyn FnOnce() + Send>>,
}

impl Shared {
    const fn new() -> Self {
        Self { begin: None, handle: None, is_stopping: false, pass_on: None }
    }

    fn lock() -> MutexGuard<'static, Self> {
        SHARED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, state: ServiceState, exit_code: ServiceExitCode) {
        let (accepted, hint) = match state {
            ServiceState::StartPending => (ServiceControlAccept::empty(), START),
            ServiceState::StopPending => (ServiceControlAccept::empty(), STOP),
            ServiceState::Running => {
                (ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN, Duration::ZERO)
            }
            _ => (ServiceControlAccept::empty(), Duration::ZERO),
        };
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted: accepted,
            exit_code,
            checkpoint: u32::from(!hint.is_zero()),
            wait_hint: hint,
            process_id: None,
        };
        if let Some(handle) = &self.handle {
            // A manager that does not listen any more needs no word.
            let _ = handle.set_service_status(status);
        }
    }
}

/// The service this process is.
#[derive(Debug)]
pub struct Service {
    end: Sender<()>,
}

impl Service {
    /// Calls `pass_on` once when the manager wants the service to stop, at once if it
    /// already does.
    pub fn on_stop(&self, pass_on: impl FnOnce() + Send + 'static) {
        let mut shared = Shared::lock();
        if shared.is_stopping {
            pass_on();
        } else {
            shared.pass_on = Some(Box::new(pass_on));
        }
    }

    /// Tells the manager that the start is over.
    pub fn running(&self) {
        let shared = Shared::lock();
        if !shared.is_stopping {
            shared.report(ServiceState::Running, ServiceExitCode::NO_ERROR);
        }
    }

    /// Tells the manager that the service is over. One that is not well is started
    /// again. Nothing must be left to do: the manager may end the process.
    pub fn ended(self, is_well: bool) {
        let code = if is_well {
            ServiceExitCode::NO_ERROR
        } else {
            ServiceExitCode::ServiceSpecific(FAILED)
        };
        Shared::lock().report(ServiceState::Stopped, code);
        // Gone when the manager is.
        let _ = self.end.send(());
    }
}

/// The service this process is; `None` when the manager did not start it.
///
/// # Errors
///
/// When the manager started it and cannot be heard.
pub fn attach() -> io::Result<Option<Service>> {
    let (begun, begins) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    Shared::lock().begin = Some((begun.clone(), ended));
    // It is busy until the service has ended, and it ends with the process.
    thread::Builder::new().name("service control".to_owned()).spawn(move || {
        if let Err(error) = service_dispatcher::start(NAME, enter) {
            let _ = begun.send(Err(plain(error)));
        }
    })?;
    match begins.recv() {
        Ok(Ok(())) => Ok(Some(Service { end })),
        Ok(Err(error)) if error.raw_os_error() == Some(NOT_A_SERVICE) => Ok(None),
        Ok(Err(error)) => Err(error),
        Err(gone) => Err(io::Error::other(gone)),
    }
}

/// Where the manager begins, in a thread of its own.
fn begin(_arguments: Vec<OsString>) {
    let mut shared = Shared::lock();
    let Some((begun, ended)) = shared.begin.take() else { return };
    let outcome = match service_control_handler::register(NAME, obey) {
        Ok(handle) => {
            shared.handle = Some(handle);
            shared.report(ServiceState::StartPending, ServiceExitCode::NO_ERROR);
            Ok(())
        }
        Err(error) => Err(plain(error)),
    };
    drop(shared);
    let _ = begun.send(outcome);
    // Whoever looks at the end of this thread shall see the end of the service.
    let _ = ended.recv();
}

/// What the manager asks for.
fn obey(asked: ServiceControl) -> ServiceControlHandlerResult {
    match asked {
        ServiceControl::Interrogate => {}
        ServiceControl::Stop | ServiceControl::Shutdown => {
            let mut shared = Shared::lock();
            shared.is_stopping = true;
            shared.report(ServiceState::StopPending, ServiceExitCode::NO_ERROR);
            if let Some(pass_on) = shared.pass_on.take() {
                pass_on();
            }
        }
        _ => return ServiceControlHandlerResult::NotImplemented,
    }
    ServiceControlHandlerResult::NoError
}

/// Installs and starts the service, in the place of an older one, and waits until it
/// runs.
///
/// # Errors
///
/// [`ServiceError::Command`] says what the manager refused; that an older one cannot be
/// stopped or removed is no error by itself.
pub fn deploy(job: &Job) -> Result<(), ServiceError> {
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = ServiceManager::local_computer(None::<&OsStr>, access)
        .map_err(|error| failed("reaching the service control manager", plain(error)))?;
    withdraw(&manager);
    let entry = install(&manager, job).map_err(|error| failed("installing the service", error))?;
    describe(&entry).map_err(|error| failed("describing the service", error))?;
    register_source();
    start(&entry).map_err(|error| failed("starting the service", error))
}

/// Removes the service if it starts `program`; whether it did. What runs of it goes on.
///
/// # Errors
///
/// [`ServiceError::Command`] when the manager refuses that.
pub(in super::super) fn forget(program: &Path) -> Result<bool, ServiceError> {
    let access = ServiceManagerAccess::CONNECT;
    let manager = ServiceManager::local_computer(None::<&OsStr>, access)
        .map_err(|error| failed("reaching the service control manager", plain(error)))?;
    let access = ServiceAccess::QUERY_CONFIG | ServiceAccess::DELETE;
    let entry = match manager.open_service(NAME, access).map_err(plain) {
        Ok(entry) => entry,
        Err(error) if error.raw_os_error() == Some(NO_SUCH_SERVICE) => return Ok(false),
        Err(error) => return Err(failed("opening the service", error)),
    };
    let config =
        entry.query_config().map_err(|error| failed("asking for the service", plain(error)))?;
    let command = config.executable_path.to_string_lossy();
    if !super::command::starts(&command, &program.to_string_lossy()) {
        return Ok(false);
    }
    entry.delete().map_err(|error| failed("removing the service", plain(error)))?;
    Ok(true)
}

/// Stops and removes what there is.
fn withdraw(manager: &ServiceManager) {
    let access = ServiceAccess::STOP | ServiceAccess::QUERY_STATUS | ServiceAccess::DELETE;
    let Ok(entry) = manager.open_service(NAME, access) else { return };
    // Not running, or held by somebody: what matters is what follows.
    if entry.stop().is_ok() {
        wait(STOP, || state(&entry).is_none_or(|state| state == ServiceState::Stopped));
    }
    let _ = entry.delete();
}

fn install(manager: &ServiceManager, job: &Job) -> io::Result<Entry> {
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: DISPLAY_NAME.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        // The crate quotes it and the arguments where they need it.
        executable_path: job.program.clone(),
        launch_arguments: job.arguments.iter().map(OsString::from).collect(),
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let access = ServiceAccess::QUERY_STATUS | ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
    let mut created = manager.create_service(&info, access).map_err(plain);
    wait(REMOVAL, || {
        let is_held = |error: &io::Error| error.raw_os_error() == Some(BEING_REMOVED);
        if !created.as_ref().is_err_and(is_held) {
            return true;
        }
        created = manager.create_service(&info, access).map_err(plain);
        created.is_ok()
    });
    created
}

fn describe(entry: &Entry) -> io::Result<()> {
    entry.set_description(DESCRIPTION).map_err(plain)?;
    // The last one goes on for ever.
    let restart = ServiceAction { action_type: ServiceActionType::Restart, delay: RESTART };
    let set = entry.update_failure_actions(ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FORGIVEN),
        reboot_msg: None,
        command: None,
        actions: Some(vec![restart]),
    });
    if_known(set)?;
    // An agent that says that it failed, too, and not only one that is gone.
    if_known(entry.set_failure_actions_on_non_crash_failures(true))
}

/// A manager that cannot keep a setting keeps the service all the same: Wine's.
fn if_known(set: windows_service::Result<()>) -> io::Result<()> {
    match set.map_err(plain) {
        Err(error) if error.raw_os_error() == Some(UNKNOWN_SETTING) => Ok(()),
        other => other,
    }
}

fn start(entry: &Entry) -> io::Result<()> {
    entry.start::<&OsStr>(&[]).map_err(plain)?;
    let mut seen = None;
    wait(START, || {
        seen = state(entry);
        seen != Some(ServiceState::StartPending)
    });
    match seen {
        Some(ServiceState::Running | ServiceState::StartPending) => Ok(()),
        _ => Err(io::Error::other("it ended at once; its log and the event log say why")),
    }
}

fn state(entry: &Entry) -> Option<ServiceState> {
    entry.query_status().ok().map(|status| status.current_state)
}

/// Waits until something is so, and not much longer than `longest`.
fn wait(longest: Duration, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() && begun.elapsed() < longest {
        thread::sleep(LOOK_EVERY);
    }
}

/// Lets event viewers know the service, so that they show what it says.
fn register_source() {
    let (reg, key) = (tool("reg.exe"), format!(r"{SOURCES}\{NAME}"));
    for [name, kind, value] in [
        ["CustomSource", "REG_DWORD", "1"],
        ["EventMessageFile", "REG_EXPAND_SZ", TEXTS],
        ["TypesSupported", "REG_DWORD", "7"],
    ] {
        // The service runs without.
        let _ = tell(&[&reg, "add", &key, "/v", name, "/t", kind, "/d", value, "/f"]);
    }
}

/// Writes an error to the event log: nobody reads what a service prints. Best effort.
pub fn log_error(text: &str) {
    let text: String = text.chars().take(LONGEST_TEXT).collect();
    let tool = tool("eventcreate.exe");
    let _ =
        tell(&[&tool, "/L", "APPLICATION", "/SO", NAME, "/T", "ERROR", "/ID", "1", "/D", &text]);
}

/// A program of the system, and nobody else's of that name.
fn tool(name: &str) -> String {
    let root = std::env::var_os("SystemRoot").map_or_else(|| r"C:\Windows".into(), PathBuf::from);
    root.join(Path::new("System32")).join(name).to_string_lossy().into_owned()
}

fn plain(error: windows_service::Error) -> io::Error {
    match error {
        windows_service::Error::Winapi(error) => error,
        other => io::Error::other(other),
    }
}

fn failed(what: &str, source: io::Error) -> ServiceError {
    ServiceError::Command { command: what.to_owned(), source }
}

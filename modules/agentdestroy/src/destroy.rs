//! Every guard first, then the removal, then the end.

use std::path::Path;
use std::time::Duration;

use mig_host::process::{Executable, Process};
use mig_host::service;

use crate::Params;

/// An agent says its version at once.
const VERSION_TIME: Duration = Duration::from_secs(5);
/// No version is longer.
const VERSION_BYTES: usize = 512;
/// How every agent's executable is called.
const NAME: &str = "mig-agent";
/// How the kernel marks the path of an executable that was removed.
const DELETED: &str = " (deleted)";

/// What was done.
pub(crate) struct Done {
    pub(crate) text: String,
    /// Why something was left.
    pub(crate) errors: Vec<String>,
}

/// Ends the process. An error says why nothing was touched.
pub(crate) fn destroy(params: &Params) -> Result<Done, String> {
    let pid = params.pid;
    let missing = |error| format!("Executable path of PID '{pid}' not found: {error}");
    // Held from here on: whoever gets the number next is somebody else.
    let process = u32::try_from(pid)
        .map_err(|error| missing(std::io::Error::other(error)))
        .and_then(|pid| Process::open(pid).map_err(missing))?;
    if process.is_parent() || u32::try_from(pid) == Ok(std::process::id()) {
        return Err(format!("PID '{pid}' is mine. Refusing to suicide."));
    }
    let executable = process.executable().map_err(missing)?;
    let own =
        Executable::own().map_err(|error| format!("cannot look at my own executable: {error}"))?;
    looks_like_an_agent(pid, &executable)?;

    let mut errors = Vec::new();
    let mut aside = None;
    let path = executable.path().to_owned();
    if own.is(&executable) {
        errors.push("Executable not removed because current agent uses it as well".to_owned());
    } else {
        check_version(&process, &executable, &params.version)?;
        if executable.is_in_place() {
            let removed = executable
                .set_aside()
                .map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
            aside = Some(removed);
            // Its service would be missed, and started again in vain.
            if let Err(error) = service::forget(&path, Path::new("/")) {
                errors.push(format!("its service is left: {error}"));
            }
        } else {
            errors.push(format!(
                "Executable not removed because {} is another file or gone",
                path.display()
            ));
        }
    }
    let killed = process.kill().map_err(|error| format!("cannot kill PID '{pid}': {error}"));
    let mut removed = String::new();
    if let Some(aside) = aside {
        removed = format!(" and its executable removed from {}", path.display());
        if let Err(error) = aside.remove() {
            errors.push(error.to_string());
        }
    }
    killed?;
    let version = &params.version;
    Ok(Done { text: format!("PID {pid} from agent {version} has been killed{removed}"), errors })
}

/// A number that went to somebody else meanwhile must not end that one, and its
/// executable must not be started.
fn looks_like_an_agent(pid: i64, executable: &Executable) -> Result<(), String> {
    let path = executable.path();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let doubt = if name.trim_end_matches(DELETED).starts_with(NAME) {
        executable.doubt()
    } else {
        Some("is not called mig-agent")
    };
    match doubt {
        Some(doubt) => Err(format!("PID '{pid}' is not an agent: {} {doubt}", path.display())),
        None => Ok(()),
    }
}

fn check_version(process: &Process, executable: &Executable, expected: &str) -> Result<(), String> {
    let said = process
        .ask(executable, &["-V"], VERSION_TIME, VERSION_BYTES)
        .map_err(|error| format!("cannot ask for the version: {error}"))?;
    let found = String::from_utf8_lossy(said.strip_suffix(b"\n").unwrap_or(&said));
    if found != expected {
        return Err(format!("Version mismatch. Expected '{expected}', found '{found}'"));
    }
    Ok(())
}

//! Who this agent is: its run directory, its secret id, its address.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use mig_runtime::Secret;
use mig_types::QueueLoc;
use mig_types::queueloc::MAX_LEN;

/// Holds the id, in the format of the Go agents so that one can follow on.
pub const ID_FILE: &str = ".migagtid";
/// Holds the address computed at the first start.
pub const QUEUELOC_FILE: &str = ".migqueueloc";

/// Length of a new id: what eight 63-bit numbers in base 36 come to.
const NEW_ID_LEN: usize = 100;
/// Shorter ids are of formats long given up.
const MIN_ID_LEN: usize = 80;
/// An id that leaves no room for `<os>.` is no id.
const MAX_ID_LEN: usize = 200;

/// An agent's lasting identity.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Secret: whoever knows it may stop the agent.
    id: String,
    pub queueloc: QueueLoc,
}

/// Why the identity cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot make an address out of the agent's id")]
    QueueLoc(#[from] mig_types::queueloc::QueueLocError),
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("queueloc", &self.queueloc).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the identity kept in `rundir`, or makes one and keeps it.
    ///
    /// An address once stored never changes, whatever the host is called
    /// later. An id without a stored address was left by a Go agent, whose
    /// address is `<os>.<id>`.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when the directory or its files cannot be used. An id
    /// file that exists but may not be read is never replaced.
    pub fn load_or_create(rundir: &Path, os: &str, hostname: &str) -> Result<Self, IdentityError> {
        prepare_rundir(rundir)?;
        let stored = read_small(&rundir.join(QUEUELOC_FILE))?;
        if let Some(id) = read_small(&rundir.join(ID_FILE))?.filter(|id| is_valid_id(id)) {
            // An address that does not end in the id belongs to another id.
            let queueloc = match stored.filter(|text| text.ends_with(&format!(".{id}"))) {
                Some(text) => text.parse()?,
                None => format!("{os}.{id}").parse()?,
            };
            return Ok(Self { id, queueloc });
        }
        let id = mig_runtime::random::base36(NEW_ID_LEN);
        let queueloc: QueueLoc = compose(os, hostname, &id).parse()?;
        // The address first: an id found alone would be taken for a Go agent's.
        write_durably(&rundir.join(QUEUELOC_FILE), queueloc.as_str().as_bytes(), 0o400)?;
        write_durably(&rundir.join(ID_FILE), id.as_bytes(), 0o400)?;
        Ok(Self { id, queueloc })
    }

    /// The secret id kept in `rundir`, for who may read it; `None` when there
    /// is none.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when the file cannot be read.
    pub fn stored_id(rundir: &Path) -> Result<Option<Secret<String>>, IdentityError> {
        let stored = read_small(&rundir.join(ID_FILE))?;
        Ok(stored.filter(|id| is_valid_id(id)).map(Secret::new))
    }

    /// Whether `text` is the secret id.
    pub fn is_id(&self, text: &str) -> bool {
        // Every byte is compared whatever the first differences are.
        text.len() == self.id.len()
            && text.bytes().zip(self.id.bytes()).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
    }
}

/// `<os>.<hostname>.<id>`, the host name shortened to what the relay carries.
fn compose(os: &str, hostname: &str, id: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '-' };
    let room = MAX_LEN.saturating_sub(os.len() + id.len() + 2);
    let host: String = hostname.chars().map(clean).take(room).collect();
    let host = host.trim_matches('.');
    if host.is_empty() { format!("{os}.{id}") } else { format!("{os}.{host}.{id}") }
}

fn is_valid_id(text: &str) -> bool {
    (MIN_ID_LEN..=MAX_ID_LEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn prepare_rundir(rundir: &Path) -> Result<(), IdentityError> {
    match fs::metadata(rundir) {
        Ok(found) if found.is_dir() => return Ok(()),
        // Nothing else has any business at this path.
        Ok(_) => fs::remove_file(rundir).map_err(io("replace", rundir))?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io("look at", rundir)(error)),
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
    builder.create(rundir).map_err(io("create", rundir))
}

/// A small text file; `None` when it does not exist or is not text.
fn read_small(path: &Path) -> Result<Option<String>, IdentityError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(4096).read_to_end(&mut bytes).map_err(io("read", path))?;
    Ok(String::from_utf8(bytes).ok())
}

/// Replaces a file so that a crash leaves the old one or the new one.
///
/// # Errors
///
/// [`IdentityError::Io`].
pub fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), IdentityError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(io("remove", &temporary)(error));
        }
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&temporary).map_err(io("create", &temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(io("replace", path))?;
    if let Some(folder) = path.parent()
        && let Ok(folder) = File::open(folder)
    {
        // Not every file system can; the rename itself is atomic anyway.
        let _ = folder.sync_all();
    }
    Ok(())
}

fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> IdentityError + 'a {
    move |source| IdentityError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(dir: &Path, hostname: &str) -> Identity {
        Identity::load_or_create(dir, "linux", hostname).unwrap()
    }

    #[test]
    fn replaces_ids_of_formats_long_given_up() {
        for content in ["", "short", &"x".repeat(79), &format!("{}\n", "x".repeat(90))] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(ID_FILE), content).unwrap();
            load(dir.path(), "web1");
            let id = fs::read_to_string(dir.path().join(ID_FILE)).unwrap();
            assert!(is_valid_id(&id) && id != content, "{content:?}");
        }
    }

    #[test]
    fn keeps_the_address_of_a_go_agent() {
        let dir = tempfile::tempdir().unwrap();
        let id = "a1".repeat(49);
        fs::write(dir.path().join(ID_FILE), &id).unwrap();
        for host in ["web1", "web2"] {
            assert_eq!(load(dir.path(), host).queueloc.as_str(), format!("linux.{id}"));
        }
        assert_eq!(fs::read_to_string(dir.path().join(ID_FILE)).unwrap(), id);
    }

    #[test]
    fn keeps_its_own_address_when_the_host_is_renamed() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(dir.path(), "web1.example.net");
        assert!(first.queueloc.as_str().starts_with("linux.web1.example.net."));
        assert_eq!(load(dir.path(), "db7"), first);
    }

    #[test]
    fn an_address_of_another_id_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        load(dir.path(), "web1");
        let id = "b2".repeat(49);
        fs::remove_file(dir.path().join(ID_FILE)).unwrap();
        fs::write(dir.path().join(ID_FILE), &id).unwrap();
        assert_eq!(load(dir.path(), "web1").queueloc.as_str(), format!("linux.{id}"));
    }

    #[test]
    fn a_crash_between_the_two_files_leaves_a_fresh_identity() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(dir.path(), "web1");
        fs::remove_file(dir.path().join(ID_FILE)).unwrap();
        let second = load(dir.path(), "web1");
        assert_ne!(first.queueloc, second.queueloc);
        assert!(second.queueloc.as_str().starts_with("linux.web1."));
    }

    #[test]
    fn the_longest_host_name_still_fits_the_relay() {
        let id = "z".repeat(104);
        for host in ["h".repeat(1024), "ż".repeat(300), ".".repeat(400), String::new()] {
            let text = compose("windows", &host, &id);
            assert!(text.parse::<QueueLoc>().is_ok() && text.ends_with(&id), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_the_id() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let rundir = dir.path().join("run");
        fs::write(&rundir, "in the way").unwrap();
        let identity = load(&rundir, "web1");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&rundir.join(ID_FILE)), 0o400);
        let id = fs::read_to_string(rundir.join(ID_FILE)).unwrap();
        assert!(identity.is_id(&id) && !identity.is_id(&id[1..]));
        assert!(!format!("{identity:?}").contains(&format!("id: {id:?}")));
    }
}

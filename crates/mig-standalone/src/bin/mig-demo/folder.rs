//! The demonstration's own folder, the only thing it leaves behind.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_sign::sign::SecretKey;
use mig_types::{Acl, AclEntry, AclInvestigator, Fingerprint, wire};

/// Says that a folder is ours to empty.
const MARKER: &str = ".mig-demo";

/// Room a run needs, with some to spare: with too little, programs wait for
/// each other instead of failing.
const ROOM_BYTES: usize = 4 * 1024 * 1024;

/// With less room than this, a failure is put down to the disk.
const SCARCE_BYTES: usize = 1024 * 1024;

/// The folder of a demonstration that runs.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// Locked until the demonstration ends, however it ends.
    _held: fs::File,
}

impl Folder {
    /// Opens the folder, ends what an interrupted run left in it, and empties
    /// it.
    pub(crate) fn prepare(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        let shown = path.display().to_string();
        let (path, entries) = open(&path)
            .with_context(|| format!("cannot use {shown}; choose another folder with --dir"))?;
        let marker = path.join(MARKER);
        if !entries.is_empty() && !entries.contains(&marker) {
            bail!(
                "{shown} holds files that are not the demonstration's; \
                 choose another folder with --dir"
            );
        }
        let held =
            private().truncate(false).open(&marker).with_context(|| cannot_write(&marker))?;
        // A file system that knows no locks must not prevent the demonstration.
        if let Err(fs::TryLockError::WouldBlock) = held.try_lock() {
            bail!("a demonstration runs in {shown}; end it or choose another folder with --dir");
        }
        crate::processes::end_leftovers(&path)?;
        // The marker stays: a run killed here leaves a folder that is ours.
        for entry in entries.iter().filter(|entry| **entry != marker) {
            let removed = if entry.is_dir() && !entry.is_symlink() {
                fs::remove_dir_all(entry)
            } else {
                fs::remove_file(entry)
            };
            removed.with_context(|| format!("cannot remove {}", entry.display()))?;
        }
        write(&marker, "Made by the demonstration; the folder is safe to delete.\n")?;
        let folder = Self { path, _held: held };
        folder.try_room(ROOM_BYTES)?;
        Ok(folder)
    }

    /// Adds what is behind `error` when the disk has no room: programs that
    /// cannot write fail in many ways.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match self.try_room(SCARCE_BYTES) {
            Ok(()) => error,
            Err(full) => error.context(full.to_string()),
        }
    }

    fn try_room(&self, bytes: usize) -> anyhow::Result<()> {
        let probe = self.path.join("room");
        let tried = write(&probe, &" ".repeat(bytes));
        // It may never have come to be.
        let _ = fs::remove_file(&probe);
        tried
    }
}

/// Makes the folder when it is missing; its true path and what is in it.
fn open(path: &Path) -> std::io::Result<(PathBuf, Vec<PathBuf>)> {
    fs::create_dir_all(path)?;
    // As the system shows it for the programs that run in it.
    let path = path.canonicalize()?;
    let entries = fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<Result<_, _>>();
    entries.map(|entries| (path, entries))
}

/// Opens files that only the owner may read.
fn private() -> fs::OpenOptions {
    let mut options = fs::File::options();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}; is the disk full or the folder read-only?", path.display())
}

/// Makes the log of a program.
pub(crate) fn log(path: &Path) -> anyhow::Result<fs::File> {
    private().open(path).with_context(|| cannot_write(path))
}

/// Writes a file and says what to do when the disk does not take it.
pub(crate) fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    private()
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()).and_then(|()| file.sync_all()))
        .with_context(|| cannot_write(path))
}

/// A throw-away investigator.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) home: PathBuf,
}

impl Person {
    /// Makes a key and a home directory with a `.migrc` for it.
    pub(crate) fn create(name: &'static str, folder: &Path, api: &str) -> anyhow::Result<Self> {
        // A little old, so that clocks need not agree to the second.
        let born = SystemClock.now() - std::time::Duration::from_mins(1);
        let key = SecretKey::generate_ed25519(&format!("{name} <{name}@example.net>"), born)?;
        let home = folder.join(name);
        fs::create_dir_all(&home)?;
        write(&home.join("secret.asc"), &key.to_armored()?)?;
        write(&home.join("public.asc"), &key.public_armored()?)?;
        let person = Self { name, fingerprint: key.fingerprint().clone(), home };
        let migrc = format!(
            "[api]\n    url = \"{api}\"\n[gpg]\n    home = \"{}\"\n    keyid = \"{}\"\n",
            person.home.display(),
            person.fingerprint
        );
        write(&person.home.join(".migrc"), &migrc)?;
        Ok(person)
    }

    pub(crate) fn public_key(&self) -> PathBuf {
        self.home.join("public.asc")
    }

    pub(crate) fn secret_key(&self) -> PathBuf {
        self.home.join("secret.asc")
    }
}

/// Who may do what on the demonstration's agents: anybody may look at files,
/// open ports take two.
pub(crate) fn acl(people: &[&Person]) -> anyhow::Result<String> {
    let entry = |minimumweight| AclEntry {
        minimumweight,
        investigators: people
            .iter()
            .map(|person| {
                let fingerprint = person.fingerprint.clone();
                (person.name.to_owned(), AclInvestigator { fingerprint, weight: 1 })
            })
            .collect(),
    };
    let mut acl = Acl::default();
    acl.insert("default", entry(1));
    acl.insert("netstat", entry(2));
    Ok(wire::to_string(&acl)?)
}

/// The folder of one agent: configuration, keys it trusts, ACL, run directory.
pub(crate) fn agent(
    folder: &Path,
    name: &str,
    operator: &str,
    relay: &str,
    api: &str,
    people: &[&Person],
) -> anyhow::Result<PathBuf> {
    let directory = folder.join(name);
    let keys = directory.join("agentkeys");
    fs::create_dir_all(directory.join("run"))?;
    fs::create_dir_all(&keys)?;
    for person in people {
        write(&keys.join(person.name), &fs::read_to_string(person.public_key())?)?;
    }
    write(&directory.join("acl.cfg"), &acl(people)?)?;
    let text = format!(
        "[agent]\n    relay = \"{relay}\"\n    api = \"{api}\"\n    socket = \"\"\n\
         \x20   heartbeatfreq = \"5s\"\n    moduletimeout = \"60s\"\n    isimmortal = off\n\
         \x20   installservice = off\n    discoverpublicip = off\n    discoverawsmeta = off\n\
         \x20   hostname = \"{name}\"\n    rundir = \"{run}\"\n    confdir = \"{conf}\"\n\
         \x20   tags = \"operator:{operator}\"\n\
         [certs]\n    ca = \"{ca}\"\n[logging]\n    mode = stdout\n    level = info\n",
        run = directory.join("run").display(),
        conf = directory.display(),
        ca = folder.join("data").join("ca.crt").display(),
    );
    write(&directory.join("mig-agent.cfg"), &text)?;
    Ok(directory)
}

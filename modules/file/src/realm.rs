//! The system a walk is in: the host, or a container that runs on it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mig_host::Host;
use mig_host::containers::{MAX_CONTAINERS, containers};
use mig_host::fs::{self, Directory, Kind, Metadata, Root};

use crate::evaluate::lossy;

/// Where paths lead. Those of a container never lead out of it, whatever it has
/// made its links point to.
pub(crate) enum Realm<'a> {
    Host(&'a dyn Host),
    Container { id: Arc<str>, root: Root },
}

impl Realm<'_> {
    /// The containers of a host, and why there may be more.
    pub(crate) fn containers(host: &dyn Host) -> (Vec<Self>, Option<String>) {
        let path = host.path(Path::new("/"));
        let root = match Root::open(&path) {
            Ok(root) => root,
            Err(error) => {
                let text = format!("ERROR: open {}: {}", path.display(), fs::reason(&error));
                return (Vec::new(), Some(text));
            }
        };
        let (found, more) = containers(&root);
        let found = found.into_iter();
        let found = found.map(|it| Self::Container { id: it.id.into(), root: it.root }).collect();
        let text = || format!("ERROR: only {MAX_CONTAINERS} containers were looked into");
        (found, more.then(text))
    }

    /// The id of the container.
    pub(crate) const fn id(&self) -> Option<&Arc<str>> {
        match self {
            Self::Host(_) => None,
            Self::Container { id, .. } => Some(id),
        }
    }

    /// A path as errors name it.
    pub(crate) fn name(&self, path: &Path) -> String {
        match self {
            Self::Host(_) => lossy(path),
            Self::Container { id, .. } => format!("{} in container {id}", lossy(path)),
        }
    }

    /// A search path as the walk begins with it: a link to a file stands for its
    /// target, one to a directory is entered under its own name.
    pub(crate) fn start(&self, path: &Path) -> io::Result<PathBuf> {
        let Self::Host(realm) = self else {
            self.metadata(path)?;
            return Ok(path.to_owned());
        };
        let host = realm.path(path);
        if fs::metadata(&host, false)?.kind != Kind::Link
            || fs::metadata(&host, true)?.kind == Kind::Directory
        {
            return Ok(path.to_owned());
        }
        let target = std::fs::canonicalize(&host)?;
        let below = std::fs::canonicalize(realm.path(Path::new("/"))).ok();
        let below = below.as_deref().and_then(|root| target.strip_prefix(root).ok());
        Ok(below.map_or_else(|| target.clone(), |below| Path::new("/").join(below)))
    }

    /// Metadata of what a path leads to.
    pub(crate) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        match self {
            Self::Host(host) => fs::metadata(&host.path(path), true),
            Self::Container { root, .. } => root.metadata(path),
        }
    }

    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        match self {
            Self::Host(host) => fs::open_file(&host.path(path)),
            Self::Container { root, .. } => root.open_file(path),
        }
    }

    /// A link in the last place is followed only when asked for.
    pub(crate) fn open_directory(&self, path: &Path, follow: bool) -> io::Result<Directory> {
        match self {
            Self::Host(host) => Directory::open(&host.path(path), follow),
            // Met on a walk it was none, and if it is one now it leads inside.
            Self::Container { root, .. } => root.open_directory(path),
        }
    }

    /// Metadata of what an entry of an open directory, whose path is `above`, leads
    /// to.
    pub(crate) fn entry(
        &self,
        directory: &Directory,
        above: &Path,
        name: &OsStr,
    ) -> io::Result<Metadata> {
        match self {
            Self::Host(_) => directory.metadata(name, true),
            Self::Container { root, .. } => match directory.metadata(name, false)? {
                found if found.kind == Kind::Link => root.metadata(&above.join(name)),
                found => Ok(found),
            },
        }
    }

    /// Opens an entry of an open directory, whose path is `above`.
    pub(crate) fn open_entry(
        &self,
        directory: &Directory,
        above: &Path,
        name: &OsStr,
    ) -> io::Result<File> {
        match self {
            Self::Host(_) => directory.open_file(name),
            Self::Container { root, .. } => match directory.metadata(name, false)?.kind {
                Kind::Link => root.open_file(&above.join(name)),
                // Exchanged for a link meanwhile, it is refused.
                _ => directory.open_own_file(name),
            },
        }
    }
}

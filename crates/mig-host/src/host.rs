//! The door through which modules see their host.

use std::io;
use std::path::{Path, PathBuf};

use mig_types::Timestamp;

use crate::net::{Interface, Namespace, Neighbour, RowError, Sockets, Wanted};

/// Something of the host that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what}")]
pub struct HostError {
    what: String,
    #[source]
    source: io::Error,
}

impl HostError {
    pub(crate) fn new(what: impl Into<String>, source: io::Error) -> Self {
        Self { what: what.into(), source }
    }

    /// The name of the object and the reason on one line.
    pub fn one_line(&self) -> String {
        format!("{self}: {}", crate::fs::reason(&self.source))
    }

    /// Whether the object does not exist on this host.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// What modules may ask their host. Nothing here changes it.
pub trait Host: Send + Sync {
    /// The host's time of day.
    fn now(&self) -> Timestamp;

    /// Where this process finds a path of the examined system.
    fn path(&self, path: &Path) -> PathBuf;

    /// The name the kernel gives the host; empty where it gives none.
    fn name(&self) -> String;

    /// All network interfaces of the own network namespace.
    fn interfaces(&self) -> Result<Vec<Interface>, HostError>;

    /// The own network namespace, or every one a readable process is in.
    fn namespaces(&self, all: bool) -> Result<Vec<Namespace>, HostError>;

    /// The neighbour table of a namespace; a malformed row is an error of its own.
    fn neighbours(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Result<Neighbour, RowError>>, HostError>;

    /// The sockets of a namespace, in any state, that meet one of the conditions;
    /// without any, all. Others may be among them. A table that does not exist, as
    /// without IPv6, is empty.
    fn sockets(&self, namespace: &Namespace, wanted: &[Wanted]) -> Sockets;
}

/// The machine this process runs on, or a tree that looks like one.
#[derive(Debug, Clone)]
pub struct LocalHost {
    root: PathBuf,
    frozen: Option<Timestamp>,
}

impl LocalHost {
    /// Reads below `root`; `/` is the machine itself.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), frozen: None }
    }

    /// The same host with its clock stopped.
    #[must_use]
    pub fn frozen_at(mut self, now: Timestamp) -> Self {
        self.frozen = Some(now);
        self
    }

    /// Whether this is the live machine, where the kernel can be asked directly.
    pub(crate) fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }
}

impl Default for LocalHost {
    fn default() -> Self {
        Self::new(Path::new("/"))
    }
}

impl Host for LocalHost {
    #[expect(
        clippy::disallowed_methods,
        reason = "the host's clock is a fact of the host, like its files"
    )]
    fn now(&self) -> Timestamp {
        self.frozen.unwrap_or_else(|| Timestamp::from_datetime(std::time::SystemTime::now().into()))
    }

    fn path(&self, path: &Path) -> PathBuf {
        if self.is_live() {
            return path.to_owned();
        }
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn name(&self) -> String {
        crate::environment::kernel_name(self)
    }

    fn interfaces(&self) -> Result<Vec<Interface>, HostError> {
        crate::net::interfaces(self)
    }

    fn namespaces(&self, all: bool) -> Result<Vec<Namespace>, HostError> {
        crate::net::namespaces(self, all)
    }

    fn neighbours(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Result<Neighbour, RowError>>, HostError> {
        crate::net::neighbours(self, namespace)
    }

    fn sockets(&self, namespace: &Namespace, wanted: &[Wanted]) -> Sockets {
        crate::net::sockets(self, namespace, wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_put_before_absolute_paths() {
        let fixture = LocalHost::new(Path::new("/tmp/tree"));
        assert_eq!(fixture.path(Path::new("/etc/issue")), Path::new("/tmp/tree/etc/issue"));
        let live = LocalHost::default();
        assert_eq!(live.path(Path::new("/etc/issue")), Path::new("/etc/issue"));
        assert_eq!(live.path(Path::new("testdata/x")), Path::new("testdata/x"));
    }

    #[test]
    fn a_stopped_clock_stands_still() {
        let at = Timestamp::from_unix(1_000, 5).unwrap();
        assert_eq!(LocalHost::default().frozen_at(at).now(), at);
        assert!(LocalHost::default().now() > at);
    }
}

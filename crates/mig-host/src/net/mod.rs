//! Network state: interfaces, neighbours and sockets.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::host::HostError;
#[cfg(not(target_os = "linux"))]
use crate::host::LocalHost;

pub mod echo;
pub mod proc;

#[cfg(target_os = "linux")]
pub mod diag;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "linux")]
pub mod netlink;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod other;
#[cfg(any(target_os = "macos", test, fuzzing))]
pub mod printed;
#[cfg(any(target_os = "macos", test, fuzzing))]
pub mod sockaddr;
#[cfg(any(windows, test, fuzzing))]
pub mod tables;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub(crate) use linux::{interfaces, namespaces, neighbours, sockets};
#[cfg(target_os = "macos")]
pub(crate) use macos::{interfaces, neighbours, sockets};
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
pub(crate) use other::{interfaces, neighbours, sockets};
#[cfg(windows)]
pub(crate) use windows::{interfaces, neighbours, sockets};

/// Where the system has no namespaces: one without a name.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn namespaces(_: &LocalHost, _: bool) -> Result<Vec<Namespace>, HostError> {
    Ok(vec![Namespace { label: String::new(), tables: Vec::new() }])
}

/// One network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// Lower case with colons; empty when there is none.
    pub mac: String,
    pub addresses: Vec<InterfaceAddress>,
}

/// An address of an interface with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    pub ip: IpAddr,
    pub prefix: u8,
}

impl std::fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

/// A network namespace and where its tables are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// `default` for the own one when no others were asked for, else the
    /// system's name, `net:[4026531993]`; empty where there are none.
    pub label: String,
    /// Directories to try in turn: processes may end while we look.
    pub(crate) tables: Vec<PathBuf>,
}

/// A machine the host has spoken to on its own network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    pub ip: IpAddr,
    /// Lower case with colons; zeros while unresolved.
    pub mac: String,
}

/// A socket table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Tcp6,
    Udp6,
}

impl Protocol {
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Tcp6, Self::Udp6];

    /// The name of its table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Tcp6 => "tcp6",
            Self::Udp6 => "udp6",
        }
    }

    pub const fn is_ipv6(self) -> bool {
        matches!(self, Self::Tcp6 | Self::Udp6)
    }
}

/// An open socket in any state. A listener's remote is the unspecified address
/// and port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    pub local: IpAddr,
    pub local_port: u16,
    pub remote: IpAddr,
    pub remote_port: u16,
}

/// A condition on sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    LocalPort(u16),
    /// An address in its canonical form and how many bits of it count.
    Remote(IpAddr, u8),
}

/// A look at all socket tables of a namespace.
#[derive(Debug, Default)]
pub struct Sockets {
    /// At least those that meet one of the conditions; a malformed row is an error
    /// of its own.
    pub rows: Vec<Result<Socket, RowError>>,
    /// How many were there. The kernel's own count, which is taken at another
    /// moment, where it did the comparing.
    pub examined: u64,
    /// Tables that could not be read; the others are there all the same.
    pub failures: Vec<HostError>,
}

/// A row of a table that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {line} of {table} is malformed")]
pub struct RowError {
    pub table: &'static str,
    /// Counted from 1, the header included.
    pub line: usize,
}

//! The kernel's auditing: its state, its rules, and what it reports.
//!
//! **Source** `linux/audit.h`, `netlink(7)`. One process of a system is its audit
//! daemon: the kernel sends it every record.

#[cfg(target_os = "linux")]
mod linux;
pub mod message;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
pub use linux::{Link, Waker};
#[cfg(not(target_os = "linux"))]
pub use other::{Link, Waker};

/// The state of auditing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// 0: off; 1: on; 2: on, and neither this nor a rule changes before the next
    /// boot.
    pub enabled: u32,
    /// The audit daemon's process; 0 when there is none.
    pub pid: u32,
    /// Most records a second; 0 is no limit.
    pub rate_limit: u32,
    /// Most records that wait inside the kernel.
    pub backlog_limit: u32,
    /// Records the kernel had to drop since it started.
    pub lost: u32,
}

/// A record as the kernel sends it: its type and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub kind: u16,
    pub text: Vec<u8>,
}

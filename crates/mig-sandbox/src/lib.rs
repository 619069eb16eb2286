#![doc = include_str!("../README.md")]

use std::fmt;

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod files;

/// What a process keeps. Everything else is gone after [`enter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent permission")]
pub struct Profile<'a> {
    /// Directories and files that can be read; what does not exist is left out.
    pub reads: &'a [&'a str],
    /// Connections and datagrams to other machines. Never: to listen.
    pub network: bool,
    /// Netlink sockets, but for those of auditing.
    pub kernel_sockets: bool,
    /// Netlink sockets of auditing, and no others.
    pub audit: bool,
    /// Starting programs that can be read. Not together with `processes`, where
    /// Landlock would not bind them.
    pub programs: bool,
    /// Looking into other processes.
    pub processes: bool,
    /// Signals to other processes.
    pub signals: bool,
    /// Being told when files change that can be read.
    pub watches: bool,
}

impl Default for Profile<'_> {
    fn default() -> Self {
        Self {
            reads: &["/"],
            network: false,
            kernel_sockets: false,
            audit: false,
            programs: false,
            processes: false,
            signals: false,
            watches: false,
        }
    }
}

/// Whether one layer of the sandbox holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// All of it.
    Enforced,
    /// The kernel knows only a part of what was asked for.
    Partial,
    /// Not for this profile: the kernel would take away what it needs.
    NotApplicable,
    /// The kernel lacks it, or refused.
    Missing(String),
}

impl Layer {
    pub fn holds(&self) -> bool {
        !matches!(self, Self::Missing(_))
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforced => f.write_str("enforced"),
            Self::Partial => f.write_str("partly enforced"),
            Self::NotApplicable => f.write_str("not applicable"),
            Self::Missing(reason) => write!(f, "missing ({reason})"),
        }
    }
}

/// What holds after [`enter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Landlock: which files, and how.
    pub files: Layer,
    /// seccomp: which calls.
    pub calls: Layer,
}

impl Sandbox {
    /// Whether every layer that applies holds.
    pub fn is_complete(&self) -> bool {
        self.files.holds() && self.calls.holds()
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Landlock {}, seccomp {}", self.files, self.calls)
    }
}

/// Binds the calling thread, and every thread and process it starts later, to
/// the profile. There is no way back. Threads that already run stay free: call
/// it before the first of them.
#[cfg(target_os = "linux")]
pub fn enter(profile: &Profile<'_>) -> Sandbox {
    let profile = &Profile { programs: profile.programs && !profile.processes, ..*profile };
    // Files first: the calls that Landlock takes are not on seccomp's list.
    let files = files::restrict(profile, true);
    let calls = calls::restrict(profile);
    if calls.holds() {
        return Sandbox { files, calls };
    }
    // Rules add up: now those that seccomp would have made needless.
    Sandbox { files: files::restrict(profile, false), calls }
}

/// There is no sandbox on this system.
#[cfg(not(target_os = "linux"))]
pub fn enter(_profile: &Profile<'_>) -> Sandbox {
    let missing = || Layer::Missing("not on this system".to_owned());
    Sandbox { files: missing(), calls: missing() }
}

/// What this kernel can do, seen by a thread that enters and ends.
pub fn probe() -> Sandbox {
    std::thread::spawn(|| enter(&Profile::default())).join().unwrap_or_else(|_| {
        let missing = || Layer::Missing("the probe failed".to_owned());
        Sandbox { files: missing(), calls: missing() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_missing() {
        let sandbox = Sandbox {
            files: Layer::Missing("no support in the kernel".to_owned()),
            calls: Layer::Enforced,
        };
        assert!(!sandbox.is_complete());
        assert_eq!(
            sandbox.to_string(),
            "Landlock missing (no support in the kernel), seccomp enforced"
        );
        assert!(Sandbox { files: Layer::NotApplicable, calls: Layer::Enforced }.is_complete());
    }

    #[test]
    fn a_probe_leaves_its_caller_free() {
        let before = tempfile::NamedTempFile::new().unwrap();
        let seen = probe();
        println!("{seen}");
        std::fs::write(before.path(), "still free").unwrap();
        assert!(std::net::TcpListener::bind("127.0.0.1:0").is_ok());
    }
}

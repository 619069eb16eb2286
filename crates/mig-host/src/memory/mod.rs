//! Other processes: what they are called, what they have mapped, and what is in
//! their memory. Nobody is stopped or traced for it.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "linux")]
pub mod maps;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod other;
#[cfg(any(target_os = "macos", test, fuzzing))]
pub mod regions;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub use linux::{Memory, Process, own_processes, processes};
#[cfg(target_os = "macos")]
pub use macos::{Memory, Process, own_processes, processes};
#[cfg(target_os = "linux")]
pub use maps::MapsError;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
pub use other::{Memory, Process, own_processes, processes};
#[cfg(windows)]
pub use windows::{Memory, Process, own_processes, processes};

/// Bytes of a page. Larger ones are whole numbers of these.
pub const PAGE: u64 = 4096;
/// What macOS maps into every process at the same place: the libraries of the system, as
/// one. What a process changes there becomes a mapping of its own.
pub const SHARED: &str = "[shared cache]";
/// What Linux adds to the path of a file that was removed.
const DELETED: &str = " (deleted)";

/// A process of the system's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub pid: u32,
    /// What the list calls it; empty where lists have no names.
    pub name: String,
}

/// What a process is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The path of its executable, or `[<name>]` where there is none on this
    /// system: kernel threads, removed files, other file systems.
    pub shown: String,
    /// What the system itself says of the executable, such as `/path/x (deleted)` on
    /// Linux; empty when it says nothing more.
    pub link: String,
}

/// A range of addresses with one purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
    pub is_readable: bool,
    /// Of no file: pages that were never touched hold nothing.
    pub is_anonymous: bool,
    /// The mapped file, or a purpose in brackets; may be empty.
    pub path: String,
}

/// Part of a range that is worth reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// From an address to one behind the end.
    pub used: Option<(u64, u64)>,
    /// Where the rest of the range begins.
    pub next: u64,
}

/// Files that a process has mapped: each path once, without the process's own
/// executable and what is no file.
pub fn libraries<'m>(mappings: &'m [Mapping], executable: &Name) -> Vec<&'m str> {
    let is_file = |path: &&str| {
        let plain = path.strip_suffix(DELETED).unwrap_or(path);
        !path.is_empty()
            && !path.starts_with('[')
            && plain != "/dev/zero"
            && *path != executable.shown
            && *path != executable.link
    };
    let mut paths: Vec<&str> =
        mappings.iter().map(|mapping| mapping.path.as_str()).filter(is_file).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_mapped_files_but_the_executable() {
        let mapping = |path: &str| Mapping { path: path.to_owned(), ..Mapping::default() };
        let mappings: Vec<Mapping> =
            ["/bin/x", "/lib/libc.so.6", "", "[heap]", "/dev/zero (deleted)", "/lib/libc.so.6"]
                .map(mapping)
                .into();
        let name = Name { shown: "/bin/x".into(), link: "/bin/x".into() };
        assert_eq!(libraries(&mappings, &name), ["/lib/libc.so.6"]);
    }
}

//! One other process, held from the first look to its end, so that a number that
//! was given to somebody else meanwhile hurts nobody.

#[cfg(any(windows, test, fuzzing))]
pub mod descriptor;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
pub(crate) mod macos;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod other;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
pub(crate) mod windows;

#[cfg(target_os = "linux")]
pub use linux::Process;
#[cfg(target_os = "macos")]
pub use macos::Process;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
pub use other::Process;
#[cfg(target_os = "macos")]
pub(crate) use unix::output;
#[cfg(unix)]
pub use unix::{Aside, Executable};
#[cfg(windows)]
pub use windows::{Aside, Executable, Process};

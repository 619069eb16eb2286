//! One other process, held from the first look to its end, so that a number that
//! was given to somebody else meanwhile hurts nobody.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod unix;
#[cfg(windows)]
pub(crate) mod windows;

#[cfg(target_os = "linux")]
pub use linux::Process;
#[cfg(target_os = "linux")]
pub use unix::{Aside, Executable};

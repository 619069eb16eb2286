//! The service control manager of Windows: it starts services, hears how they are
//! and asks them to stop.

#[cfg(any(windows, test))]
mod command;
#[cfg(not(windows))]
mod other;
#[cfg(windows)]
mod windows;

#[cfg(not(windows))]
pub use other::{Service, attach, deploy, log_error};
#[cfg(windows)]
pub(super) use windows::{NAME, forget};
#[cfg(windows)]
pub use windows::{Service, attach, deploy, log_error};

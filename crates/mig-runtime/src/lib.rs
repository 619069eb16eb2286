#![doc = include_str!("../README.md")]

pub mod clock;
pub mod config;
mod interactive;
pub mod logging;
pub mod random;
mod run;
mod secret;
mod shutdown;
mod signal;
pub mod tls;
// Only the platform reads one, and platforms are Unix.
#[cfg(unix)]
pub mod whitelist;

pub use interactive::{Interrupts, run_interactive};
pub use run::{Exit, run, run_as_guest};
pub use secret::Secret;
pub use shutdown::{Shutdown, ShutdownTrigger};
pub use signal::interrupts;

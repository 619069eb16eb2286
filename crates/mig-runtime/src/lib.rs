#![doc = include_str!("../README.md")]

pub mod clock;
pub mod config;
pub mod logging;
pub mod random;
mod run;
mod secret;
mod shutdown;
pub mod tls;

pub use run::{Exit, run};
pub use secret::Secret;
pub use shutdown::{Shutdown, ShutdownTrigger};

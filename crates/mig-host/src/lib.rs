#![doc = include_str!("../README.md")]
#![warn(clippy::indexing_slicing)]

pub mod audit;
pub mod containers;
pub mod content;
pub mod environment;
pub mod fs;
mod host;
pub mod memory;
pub mod net;
pub mod pkg;
#[cfg(target_os = "linux")]
pub mod priority;
pub mod process;
pub mod service;
#[cfg(target_os = "linux")]
pub mod signals;
pub mod watch;

#[cfg(target_os = "linux")]
pub mod thrift;

pub use host::{Host, HostError, LocalHost};

#![doc = include_str!("../README.md")]

mod agent;
pub mod backoff;
pub mod checkin;
pub mod config;
pub mod context;
pub mod discovery;
pub mod embed;
pub mod execute;
pub mod fetch;
pub mod flags;
pub mod heartbeat;
pub mod identity;
pub mod journal;
mod modules;
mod oneshot;
pub mod outbox;
pub mod pem;
pub mod persist;
pub mod reach;
pub mod receive;
pub mod report;
pub mod run;
mod service;
pub mod socket;
mod start;
pub mod thrift;
pub mod trust;
pub mod verify;

pub use agent::{serve, serve_by};
pub use config::AgentConfig;
pub use start::{start, start_with};

/// The version this build reports.
pub const VERSION: &str = match option_env!("MIG_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

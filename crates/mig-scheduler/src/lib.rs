#![doc = include_str!("../README.md")]

mod backoff;
pub mod cleanup;
pub mod collect;
pub mod config;
pub mod dispatch;
pub mod duplicates;
mod error;
pub mod events;
pub mod expire;
pub mod heartbeats;
mod identity;
pub mod intake;
mod keys;
mod leased;
mod listener;
pub mod liveness;
mod metrics;
mod observe;
mod presence;
pub mod publish;
mod scheduler;
mod settings;
pub mod spool;
pub mod start;
mod supervise;

pub use config::SchedulerConfig;
pub use error::SchedulerError;
pub use metrics::SchedulerMetrics;
pub use scheduler::Scheduler;
pub use settings::Settings;

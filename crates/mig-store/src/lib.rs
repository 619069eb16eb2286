#![doc = include_str!("../README.md")]

mod actions;
mod agents;
mod assemble;
mod commands;
mod config;
mod counters;
mod db;
mod duplicates;
mod events;
mod failure;
mod heartbeats;
mod investigators;
mod leases;
mod loaders;
mod manifests;
mod migrate;
mod model;
mod results;
mod scope;
mod search;
mod stats;
mod store;
pub mod target_sql;
mod targets;
mod traits;

pub use config::{PostgresConfig, SslMode, TARGET_TIMEOUT};
pub use migrate::postgres_schema;
pub use model::*;
pub use store::{migrate_postgres, open_postgres, open_sqlite, open_sqlite_memory};
pub use traits::*;

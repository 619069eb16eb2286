#![doc = include_str!("../README.md")]

mod authority;
mod config;
mod data;
mod investigators;
mod serve;

pub use authority::AuthorityError;
pub use config::{Data, RelaySection, StandaloneConfig};
pub use data::{DataDir, DataError};
pub use investigators::add_investigator;
pub use serve::{agent_config, serve};

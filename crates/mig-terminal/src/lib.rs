#![doc = include_str!("../README.md")]

pub mod agent;
pub mod ask;
pub mod dashboard;
pub mod failure;
pub mod files;
pub mod format;
pub mod grid;
pub mod investigator;
pub mod link;
pub mod listing;
pub mod manifest;
pub mod manual;
mod narrate;
pub mod orders;
pub mod output;
pub mod permissions;
pub mod progress;
pub mod publickey;
pub mod recent;
pub mod results;
mod session;
pub mod settings;
pub mod signatures;
pub mod tables;
pub mod text;
pub mod wizard;

pub use narrate::narrate;
pub use session::{Session, locate};

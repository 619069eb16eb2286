#![doc = include_str!("../README.md")]

pub mod dashboard;
pub mod failure;
pub mod manual;
mod narrate;
pub mod output;
pub mod permissions;
pub mod progress;
pub mod results;
mod session;
pub mod signatures;
pub mod tables;
pub mod text;

pub use narrate::narrate;
pub use session::{Session, locate};

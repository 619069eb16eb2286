#![doc = include_str!("../README.md")]
#![warn(clippy::indexing_slicing)]

pub mod authorize;
pub mod canonical;
pub mod keyring;
pub mod oneline;
pub mod sign;
pub mod token;
pub mod verify;

mod armor;
mod certificate;

pub use armor::ArmorError;

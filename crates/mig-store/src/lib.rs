#![doc = include_str!("../README.md")]

mod model;
mod traits;

pub use model::*;
pub use traits::*;

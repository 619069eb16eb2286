#![doc = include_str!("../README.md")]

pub mod args;
mod budget;
pub mod compress;
mod module;
pub mod persist;
pub mod process;
pub mod regex;
mod registry;
mod report;
pub mod text;

pub use args::UsageError;
pub use budget::{Budget, Stop};
pub use module::{DynModule, Module, ModuleError, Needs, Parsed, ParsedArgs};
pub use registry::Registry;
pub use report::Report;

pub use mig_host::Host;
pub use mig_types::ModuleResult;

//! Modes about one thing.

pub(crate) mod action;
pub(crate) mod agent;
pub(crate) mod command;
pub(crate) mod investigator;
pub(crate) mod loader;
pub(crate) mod manifest;

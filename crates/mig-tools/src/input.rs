//! Documents from files or standard input.

use mig_terminal::failure::{Failure, code, sentence};
use mig_terminal::files;
use mig_types::wire;

/// Largest document read, in bytes: a command carries all its results.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Reads a document; `-` is standard input.
pub(crate) fn read<T: serde::de::DeserializeOwned>(path: &str, what: &str) -> Result<T, Failure> {
    let bytes = files::read(path, MAX_FILE, code::USAGE)?;
    wire::from_slice(&bytes).map_err(|error| {
        let (name, reason) = (files::name(path), sentence(&error));
        Failure::usage(format!("{name} holds no {what}: {reason}")).because(&error)
    })
}

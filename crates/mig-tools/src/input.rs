//! Documents from files or standard input.

use std::io::Read;

use mig_terminal::failure::{Failure, code, sentence};
use mig_types::wire;

/// Largest document read, in bytes: a command carries all its results.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Reads a document; `-` is standard input.
pub(crate) fn read<T: serde::de::DeserializeOwned>(path: &str, what: &str) -> Result<T, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::new(code::USAGE, format!("cannot read {path}: {error}"));
    let mut bytes = Vec::new();
    let mut limited: Box<dyn Read> = if path == "-" {
        Box::new(std::io::stdin().take(MAX_FILE + 1))
    } else {
        Box::new(std::fs::File::open(path).map_err(unreadable)?.take(MAX_FILE + 1))
    };
    limited.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Failure::usage(format!("{path} is larger than {MAX_FILE} bytes")));
    }
    wire::from_slice(&bytes)
        .map_err(|error| Failure::usage(format!("{path} holds no {what}: {}", sentence(&error))))
}

//! Manifests, as clients show and make them.

use std::io::Read as _;

use mig_client::provision::{self, ManifestError};
use mig_types::ManifestRecord;

use crate::failure::{Failure, code};

/// Largest archive read, in bytes: more does not fit a request.
const MAX_ARCHIVE: u64 = 16 * 1024 * 1024;

/// A record whose archive is only hinted at.
pub fn shown(record: &ManifestRecord) -> ManifestRecord {
    let content = if record.content.is_empty() { "None" } else { "..." };
    ManifestRecord { content: content.to_owned(), ..record.clone() }
}

/// Why a manifest was not read or signed.
pub fn unreadable(error: ManifestError) -> Failure {
    match error {
        ManifestError::Signer(error) => error.into(),
        other => Failure::of(code::OTHER, &other),
    }
}

/// The original checks a permission here that it grants to nobody.
pub fn never_granted(failure: Failure) -> Failure {
    if failure.message.contains("ermission") {
        return failure
            .hint("APIs of 2019 never grant manifest_status: there, change the row by hand");
    }
    failure
}

/// The content of a new manifest, from a tar.gz file.
///
/// # Errors
///
/// [`Failure`] when it cannot be read, is too large, or no such archive.
pub fn read_archive(path: &str) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| Failure::other(format!("cannot read {path}: {error}"));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_ARCHIVE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_ARCHIVE {
        return Err(Failure::other(format!("{path} is larger than {MAX_ARCHIVE} bytes")));
    }
    provision::content(&bytes).map_err(|error| Failure::of(code::OTHER, &error))
}

//! Manifests, as clients show and make them.

use mig_client::provision::{self, ManifestError};
use mig_types::ManifestRecord;

use crate::failure::{Failure, code};

/// Largest archive read, in bytes: more does not fit a request.
pub const MAX_ARCHIVE: u64 = 16 * 1024 * 1024;

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

/// The content of a new manifest, from the bytes of a tar.gz file.
///
/// # Errors
///
/// [`Failure`] when it is no such archive.
pub fn archive(bytes: &[u8]) -> Result<String, Failure> {
    provision::content(bytes).map_err(|error| Failure::of(code::OTHER, &error))
}

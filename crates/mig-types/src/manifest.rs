//! Manifests: signed lists of what a loader installs.

use serde::{Deserialize, Serialize};

use crate::wire;

/// What the API answers a loader that asks for its manifest.
///
/// The signed document is this one with an empty `loader_name` and an empty list
/// of signatures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    pub loader_name: String,
    /// In archive order; `None` is JSON `null`, an archive without any file.
    pub entries: Option<Vec<ManifestEntry>>,
    #[serde(serialize_with = "null_if_empty")]
    pub signatures: Vec<String>,
}

/// One file of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ManifestEntry {
    pub name: String,
    /// Lower-case hexadecimal SHA-256 of the complete file.
    pub sha256: String,
}

#[expect(clippy::ptr_arg, reason = "the signature serde asks for")]
fn null_if_empty<S: serde::Serializer>(
    list: &Vec<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    wire::null_if_empty(list, serializer)
}

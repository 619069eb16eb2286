//! Manifests: signed lists of what a loader installs.

use serde::{Deserialize, Serialize};

use crate::id::ManifestId;
use crate::time::Timestamp;
use crate::wire;

/// Longest name of a manifest, in characters: what the column holds.
pub const MAX_NAME: usize = 256;

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

/// A manifest as investigators see and create it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ManifestRecord {
    /// Unset until it is stored.
    pub id: ManifestId,
    pub name: String,
    /// Base64 of a gzip-compressed tar archive; empty in listings.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content: String,
    pub timestamp: Timestamp,
    #[serde(with = "status_text")]
    pub status: Option<ManifestStatus>,
    /// A [`crate::LoaderTarget`].
    pub target: String,
    /// In one-line form; none is JSON `null`.
    #[serde(serialize_with = "null_if_empty")]
    pub signatures: Vec<String>,
}

/// Where a manifest stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ManifestStatus {
    /// Waits for signatures.
    Staged,
    /// Signed by enough investigators: loaders may get it.
    Active,
    /// For good.
    Disabled,
}

impl ManifestStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Staged, Self::Active, Self::Disabled]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

mod status_text {
    use super::ManifestStatus;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::ref_option,
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature serde asks for"
    )]
    pub(super) fn serialize<S: Serializer>(
        status: &Option<ManifestStatus>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        status.map_or("", ManifestStatus::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ManifestStatus>, D::Error> {
        Ok(ManifestStatus::parse(&String::deserialize(deserializer)?))
    }
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

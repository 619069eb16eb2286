//! Parameters and results as they travel.

use mig_types::wire;
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    /// Where to look; home directories if empty.
    #[serde(serialize_with = "wire::null_if_empty")]
    pub paths: Vec<String>,
    /// Levels of directories, the path itself being the first; 0 means 8.
    pub maxdepth: i64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    #[serde(serialize_with = "wire::null_if_empty")]
    pub keys: Vec<Key>,
}

/// One key, or one line that lets a key in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Key {
    /// `aa:bb:…`; empty where the public half is not known.
    pub fingerprint_md5: String,
    /// `SHA256:…`; empty where the public half is not known.
    pub fingerprint_sha256: String,
    pub path: String,
    /// A private key that needs a passphrase.
    pub encrypted: bool,
    /// `private`, `public` or `authorizedkeys`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// What the walk met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Files whose content was looked at.
    #[serde(deserialize_with = "wire::unsigned")]
    pub filescount: u64,
    /// Files and directories that could not be read.
    #[serde(deserialize_with = "wire::unsigned")]
    pub openfailed: u64,
    /// Files that are too large to be a key.
    #[serde(deserialize_with = "wire::unsigned")]
    pub toolarge: u64,
    /// Keys left out because the result would have become too large.
    #[serde(deserialize_with = "wire::unsigned")]
    pub notreturned: u64,
    /// Go duration text.
    pub exectime: String,
}

//! Parameters and results as they travel.

use mig_types::wire;
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    pub pkgmatch: Match,
    /// Expression on the version; a `!` before it turns it round, and empty
    /// means any version.
    pub vermatch: String,
    /// Look into containers, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub containers: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Match {
    /// Expressions on the name, at least one.
    #[serde(serialize_with = "wire::null_if_empty")]
    pub matches: Vec<String>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    pub packages: Vec<Package>,
}

/// One installed package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// `rpm`, `dpkg` or `apk`.
    #[serde(rename = "type")]
    pub kind: String,
    pub arch: String,
    /// Id of the container it is installed in; the host itself has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Go duration text.
    pub execruntime: String,
    /// Installed packages looked at.
    #[serde(deserialize_with = "wire::unsigned")]
    pub examined: u64,
    /// Entries of databases that make no sense.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "wire::unsigned")]
    pub damaged: u64,
    /// Containers looked into.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "wire::unsigned")]
    pub containers: u64,
    /// Findings left out because the result would have become too large.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "wire::unsigned")]
    pub notreturned: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

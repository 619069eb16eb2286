//! Parameters and results as they travel.

use std::collections::BTreeMap;

use mig_types::wire;
use serde::{Deserialize, Serialize};

/// What to look for; every list is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    /// Expressions on the MACs of own interfaces, in any case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub localmac: Vec<String>,
    /// Expressions on the MACs of neighbours, case-sensitive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub neighbormac: Vec<String>,
    /// Addresses or networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub localip: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub neighborip: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connectedip: Vec<String>,
    /// Ports in decimal, as texts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeningport: Vec<String>,
    /// Look into all network namespaces.
    pub namespaces: bool,
}

/// Findings by query value; `null` when there was none.
pub type Found = BTreeMap<String, Option<Vec<Element>>>;

/// Findings by kind of query; kinds nobody asked for are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    #[serde(skip_serializing_if = "Found::is_empty")]
    pub localmac: Found,
    #[serde(skip_serializing_if = "Found::is_empty")]
    pub neighbormac: Found,
    #[serde(skip_serializing_if = "Found::is_empty")]
    pub neighborip: Found,
    #[serde(skip_serializing_if = "Found::is_empty")]
    pub localip: Found,
    #[serde(skip_serializing_if = "Found::is_empty")]
    pub connectedip: Found,
    #[serde(skip_serializing_if = "Found::is_empty")]
    pub listeningport: Found,
}

/// One finding; what does not apply is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Element {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub localmacaddr: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remotemacaddr: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub localaddr: String,
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "wire::unsigned")]
    pub localport: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remoteaddr: String,
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "wire::unsigned")]
    pub remoteport: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// Counters of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Rows looked at.
    #[serde(deserialize_with = "wire::unsigned")]
    pub examined: u64,
    /// Go duration text.
    pub exectime: String,
    #[serde(deserialize_with = "wire::unsigned")]
    pub totalhits: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

//! What goes in and what comes out, as it travels.

use mig_types::wire;
use serde::{Deserialize, Serialize};

/// Rules, and the files they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    /// Rule source text.
    pub yara: String,
    /// A command line of the `file` module in one string. Empty: no file is scanned.
    pub filesearch: String,
}

/// The files that rules matched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    /// By path; `null` when there are none.
    #[serde(rename = "Matches", serialize_with = "null_if_empty")]
    pub matches: Vec<Match>,
}

/// A file and the rules that matched it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Match {
    /// Its path.
    #[serde(rename = "Object")]
    pub object: String,
    /// Identifiers in the order of the rules.
    #[serde(rename = "MatchedRules", serialize_with = "null_if_empty")]
    pub matched_rules: Vec<String>,
}

#[expect(clippy::ptr_arg, reason = "the signature serde asks for")]
fn null_if_empty<T: Serialize, S: serde::Serializer>(
    list: &Vec<T>,
    out: S,
) -> Result<S::Ok, S::Error> {
    wire::null_if_empty(list, out)
}

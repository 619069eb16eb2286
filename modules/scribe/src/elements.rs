//! Results as they travel.

use mig_types::wire;
use serde::{Deserialize, Serialize, Serializer};

use crate::params::Tag;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    /// In the order of the document.
    pub results: Vec<TestResult>,
    /// As in the parameters, for whoever prints.
    pub humanoutput: bool,
    /// As `humanoutput`.
    pub jsonoutput: bool,
}

/// How a test came out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TestResult {
    pub testid: String,
    pub name: String,
    pub description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// It could not be told; both results are false then.
    pub iserror: bool,
    pub error: String,
    /// Something was true, and so were all tests this one depends on.
    pub masterresult: bool,
    pub hastrueresults: bool,
    /// One per fact of its object.
    #[serde(serialize_with = "null_if_empty")]
    pub results: Vec<SubResult>,
}

/// The criterion against one fact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubResult {
    pub result: bool,
    /// Path of a file, name of a package, or what a constant is called.
    pub identifier: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Go duration text.
    pub execruntime: String,
    /// Results and sub-results left out because the document would have become
    /// too large.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "wire::unsigned")]
    pub notreturned: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::ptr_arg, reason = "the signature serde asks for")]
fn null_if_empty<S: Serializer>(list: &Vec<SubResult>, out: S) -> Result<S::Ok, S::Error> {
    wire::null_if_empty(list, out)
}

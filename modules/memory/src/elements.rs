//! Parameters and results as they travel.

use std::collections::BTreeMap;

use mig_types::wire;
use serde::{Deserialize, Serialize, Serializer};

/// Searches by label.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    pub searches: BTreeMap<String, Search>,
}

/// What to look for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Search {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Expressions on the path of the executable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Expressions on the paths of mapped files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub libraries: Vec<String>,
    /// Byte strings in hexadecimal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bytes: Vec<String>,
    /// Expressions on memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<String>,
    pub options: Options,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Address to begin at.
    #[serde(skip_serializing_if = "is_zero", serialize_with = "number")]
    pub offset: f64,
    /// Bytes of a process to look at; 0 means all.
    #[serde(skip_serializing_if = "is_zero", serialize_with = "number")]
    pub maxlength: f64,
    /// Report memory that cannot be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub logfailures: bool,
    /// All checks must hold, instead of each on its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub matchall: bool,
}

/// Findings by label; `null` for a search without checks.
pub type Elements = BTreeMap<String, Option<Vec<Element>>>;

/// A process that was found, or the mark that none was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Element {
    pub process: Process,
    /// The checks it fulfils.
    pub search: Search,
}

/// Without name and with id 0: nothing was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    pub name: String,
    #[serde(deserialize_with = "wire::unsigned")]
    pub pid: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Processes that were looked at.
    #[serde(deserialize_with = "wire::unsigned")]
    pub processcount: u64,
    /// Bytes.
    #[serde(deserialize_with = "wire::unsigned")]
    pub memoryread: u64,
    /// Bytes of readable memory that was never touched, or is a device's or everybody's.
    #[serde(deserialize_with = "wire::unsigned")]
    pub memoryskipped: u64,
    #[serde(deserialize_with = "wire::unsigned")]
    pub totalhits: u64,
    /// What could not be looked at, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// Own processes, left out of content checks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leftout: Vec<u64>,
    /// Go duration text.
    pub exectime: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Whole numbers are written without fraction, as Go does.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn number<S: Serializer>(value: &f64, out: S) -> Result<S::Ok, S::Error> {
    match wire::integer_of(*value) {
        Some(whole) => out.serialize_u64(whole),
        None => out.serialize_f64(*value),
    }
}

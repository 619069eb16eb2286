//! Parameters and their echo as they travel.

use std::collections::BTreeMap;

use mig_types::wire;
use serde::{Deserialize, Serialize, Serializer};

/// Labelled searches. A label has 1 to 64 characters, anything but a newline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    /// `None`, JSON `null`, is refused.
    pub searches: BTreeMap<String, Option<Search>>,
}

/// One search; the lists are checks, [`Options`] say how they combine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Search {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Directories or files to search, at least one.
    #[serde(serialize_with = "null_if_empty")]
    pub paths: Vec<String>,
    /// Expressions tried on each line; a leading `!` inverts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<String>,
    /// Expressions tried on the base name; a leading `!` inverts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// `10`, `<10m`, `>1g`; both bounds include their number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<String>,
    /// Expressions tried on the text of the mode: `-rw-r--r--`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modes: Vec<String>,
    /// `<90d` modified within, `>5h` modified before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mtimes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub md5: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sha1: Vec<String>,
    /// SHA-256, SHA-384 or SHA-512, told apart by length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sha2: Vec<String>,
    /// SHA3-224, -256, -384 or -512, told apart by length.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sha3: Vec<String>,
    pub options: Options,
    /// Keys of the dialect before December 2015.
    #[serde(skip_serializing)]
    pub sha256: Vec<String>,
    #[serde(skip_serializing)]
    pub sha384: Vec<String>,
    #[serde(skip_serializing)]
    pub sha512: Vec<String>,
    #[serde(skip_serializing)]
    pub sha3_224: Vec<String>,
    #[serde(skip_serializing)]
    pub sha3_256: Vec<String>,
    #[serde(skip_serializing)]
    pub sha3_384: Vec<String>,
    #[serde(skip_serializing)]
    pub sha3_512: Vec<String>,
}

/// How a search walks and combines its checks. Zero means unlimited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the wire has one member for each")]
pub struct Options {
    /// Directory levels, the search path itself is level 1.
    #[serde(serialize_with = "number")]
    pub maxdepth: f64,
    /// Most errors returned; the largest of all searches counts.
    #[serde(serialize_with = "number")]
    pub maxerrors: f64,
    /// Accepted and echoed, without effect.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub remotefs: bool,
    /// All checks must hold, instead of each on its own.
    pub matchall: bool,
    /// Content expressions must hold on every line.
    pub macroal: bool,
    /// Kinds of checks whose outcome is inverted.
    #[serde(serialize_with = "null_if_empty")]
    pub mismatch: Vec<String>,
    /// Hits after which the search stops.
    #[serde(serialize_with = "number")]
    pub matchlimit: f64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub debug: String,
    /// Adds the SHA-256 of each reported file.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub returnsha256: bool,
    /// Reads gzip files as what they contain.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub decompress: bool,
    /// Looks below the same paths of running containers, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub containers: bool,
}

impl Search {
    /// The search with the keys of the old dialect merged into the new ones.
    #[must_use]
    pub fn modern(&self) -> Self {
        let mut search = self.clone();
        for old in [&mut search.sha256, &mut search.sha384, &mut search.sha512] {
            search.sha2.append(old);
        }
        let old = [
            &mut search.sha3_224,
            &mut search.sha3_256,
            &mut search.sha3_384,
            &mut search.sha3_512,
        ];
        for old in old {
            search.sha3.append(old);
        }
        search
    }
}

#[expect(clippy::ptr_arg, reason = "the signature serde asks for")]
fn null_if_empty<S: Serializer>(list: &Vec<String>, out: S) -> Result<S::Ok, S::Error> {
    wire::null_if_empty(list, out)
}

/// Whole numbers are written without fraction, as Go does.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn number<S: Serializer>(value: &f64, out: S) -> Result<S::Ok, S::Error> {
    match (wire::integer_of(*value), wire::integer_of(-*value)) {
        (Some(whole), _) => out.serialize_u64(whole),
        (None, Some(negative)) => {
            out.serialize_i64(i64::try_from(negative).map_or(i64::MIN, |whole| -whole))
        }
        (None, None) => out.serialize_f64(*value),
    }
}

//! Parameters and the document language as they travel.

use serde::{Deserialize, Serialize};

/// A document and how its outcome is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    #[serde(rename = "scribedoc")]
    pub document: Document,
    /// Only tests whose master result is true are returned.
    pub onlytrue: bool,
    /// Print for people; goes before `jsonoutput`.
    pub humanoutput: bool,
    /// Print a JSON document per test.
    pub jsonoutput: bool,
}

/// A policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Document {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Variable>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Object>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Test>,
}

/// `${key}` stands for the value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Variable {
    pub key: String,
    pub value: String,
}

/// Collects facts from one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Object {
    /// Its name.
    pub object: String,
    pub filecontent: FileContent,
    pub filename: FileName,
    pub package: Package,
    pub raw: Raw,
    pub hasline: HasLine,
}

/// What the groups of an expression match on the lines of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileContent {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Expression on the base name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expression: String,
    /// Put between the values of one file to make them one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub concat: String,
    /// Objects whose values are added for each file that matched.
    #[serde(rename = "import-chain", skip_serializing_if = "Vec::is_empty")]
    pub import_chain: Vec<String>,
}

/// What the first group of an expression matches in names of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileName {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
}

/// Versions of installed packages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Package {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Expression on the name, in the place of the name itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub collectmatch: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub onlynewest: bool,
}

/// Constants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Raw {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identifiers: Vec<RawIdentifier>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RawIdentifier {
    pub identifier: String,
    pub value: String,
}

/// Whether a line of a file matches: `true` or `false` for each file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HasLine {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expression: String,
}

/// Compares the facts of an object with one criterion, or with none: then
/// anything that was found makes it true.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Test {
    /// Its identifier.
    pub test: String,
    pub name: String,
    pub object: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub evr: Evr,
    pub regexp: Criterion,
    pub exactmatch: Criterion,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Tests that have to be true as well.
    #[serde(rename = "if", skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
    /// For the self-test of policies; without effect here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expectedresult: bool,
    /// As `expectedresult`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expecterror: bool,
}

/// A comparison of versions: `<`, `>` or `=`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evr {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operation: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// An expression, or a text that has to be equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Criterion {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// Carried from a test to its result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

/// In the path of an object: the directory of the file that imports it.
pub(crate) const CHAIN_ROOT: &str = "${chain_root}";

/// The one source of an object that counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    Package(&'a Package),
    Content(&'a FileContent),
    Name(&'a FileName),
    Raw(&'a Raw),
    Line(&'a HasLine),
}

impl Object {
    /// The first source that says anything, in a fixed order.
    pub(crate) fn source(&self) -> Option<Source<'_>> {
        if !self.package.name.is_empty() {
            Some(Source::Package(&self.package))
        } else if !self.filecontent.path.is_empty() {
            Some(Source::Content(&self.filecontent))
        } else if !self.filename.path.is_empty() {
            Some(Source::Name(&self.filename))
        } else if !self.raw.identifiers.is_empty() {
            Some(Source::Raw(&self.raw))
        } else if !self.hasline.path.is_empty() {
            Some(Source::Line(&self.hasline))
        } else {
            None
        }
    }

    /// Whether it only makes sense below a file that imports it.
    pub(crate) fn is_chained(&self) -> bool {
        matches!(self.source(), Some(Source::Content(content)) if content.path.contains(CHAIN_ROOT))
    }

    pub(crate) fn chain(&self) -> &[String] {
        match self.source() {
            Some(Source::Content(content)) => &content.import_chain,
            _ => &[],
        }
    }
}

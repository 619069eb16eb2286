//! Results: what was found, in the shape that travels.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mig_module::text::{mode_text, utc_text};
use mig_types::wire;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::collect::Finding;
use crate::evaluate::lossy;
use crate::params::{Options, Search};
use crate::plan::{Compiled, Kind};

/// Entries per label; `None` for a search without checks.
pub type Elements = BTreeMap<String, Option<Vec<Element>>>;

/// One file found, or the marker of a check that found none: an empty `file`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Element {
    pub file: String,
    /// What was searched for.
    #[serde(serialize_with = "shared", deserialize_with = "owned")]
    pub search: Arc<Search>,
    pub fileinfo: FileInfo,
    /// Id of the container the file is in; the host itself has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The searched paths, which privacy mode shows instead of the file's own.
    #[serde(skip)]
    pub(crate) searched: Option<Arc<Search>>,
}

/// Metadata of a found file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileInfo {
    #[serde(deserialize_with = "wire::unsigned")]
    pub size: u64,
    /// `-rw-r--r--`
    pub mode: String,
    /// UTC time text.
    pub lastmodified: String,
    /// Upper-case hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// Counters of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Files looked at.
    #[serde(deserialize_with = "wire::unsigned")]
    pub filescount: u64,
    /// Directories, files and links that could not be opened or resolved.
    #[serde(deserialize_with = "wire::unsigned")]
    pub openfailed: u64,
    #[serde(deserialize_with = "wire::unsigned")]
    pub totalhits: u64,
    /// Containers looked into.
    #[serde(deserialize_with = "wire::unsigned", skip_serializing_if = "is_zero")]
    pub containers: u64,
    /// Go duration text.
    pub exectime: String,
}

/// The entries of one search.
pub(crate) fn of_search(search: &Compiled, findings: &[Finding]) -> Option<Vec<Element>> {
    if search.matchall {
        let entry = |finding: &Finding| Element {
            file: lossy(&finding.path),
            search: Arc::clone(&search.echo),
            fileinfo: info(finding),
            container: container(finding),
            searched: None,
        };
        if findings.is_empty() {
            return Some(vec![Element { search: Arc::clone(&search.echo), ..Element::default() }]);
        }
        return Some(findings.iter().map(entry).collect());
    }
    if !search.has_checks() {
        return None;
    }
    let mut entries = Vec::new();
    let mut number = 0;
    for kind in Kind::ALL {
        for value in kind.values(&search.echo) {
            let before = entries.len();
            for finding in findings.iter().filter(|finding| finding.checks.contains(&number)) {
                let directory = finding.path.parent().unwrap_or(Path::new("/"));
                entries.push(Element {
                    file: lossy(&finding.path),
                    search: Arc::new(single(kind, value, vec![lossy(directory)])),
                    fileinfo: info(finding),
                    container: container(finding),
                    searched: Some(Arc::clone(&search.echo)),
                });
            }
            if entries.len() == before {
                entries.push(Element {
                    search: Arc::new(single(kind, value, search.echo.paths.clone())),
                    ..Element::default()
                });
            }
            number += 1;
        }
    }
    Some(entries)
}

/// The echo of a check on its own.
fn single(kind: Kind, value: &str, paths: Vec<String>) -> Search {
    let mut search = Search { paths, options: Options::default(), ..Search::default() };
    let value = match kind {
        Kind::Md5 | Kind::Sha1 | Kind::Sha2 | Kind::Sha3 => value.to_ascii_uppercase(),
        _ => value.to_owned(),
    };
    kind.values_mut(&mut search).push(value);
    search
}

fn container(finding: &Finding) -> String {
    finding.container.as_deref().unwrap_or_default().to_owned()
}

fn info(finding: &Finding) -> FileInfo {
    let (seconds, nanos) = finding.metadata.modified;
    FileInfo {
        size: finding.metadata.size_bytes,
        mode: mode_text(&finding.metadata),
        lastmodified: utc_text(seconds, nanos),
        sha256: finding.sha256.as_deref().map(hex::encode_upper).unwrap_or_default(),
    }
}

/// Hides every name: of files, of their directories, in errors.
pub(crate) fn mask(elements: &mut Elements, errors: &mut [String]) {
    for element in elements.values_mut().flatten().flatten() {
        if element.file.is_empty() {
            continue;
        }
        "masked".clone_into(&mut element.file);
        if !element.search.options.matchall {
            let mut search = Search::clone(&element.search);
            search.paths = match &element.searched {
                Some(searched) => searched.paths.clone(),
                // From a result that has travelled: better nothing than a name.
                None => vec!["masked".to_owned()],
            };
            element.search = Arc::new(search);
        }
    }
    for error in errors {
        "masked".clone_into(error);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn shared<S: Serializer>(search: &Arc<Search>, out: S) -> Result<S::Ok, S::Error> {
    search.serialize(out)
}

fn owned<'de, D: Deserializer<'de>>(input: D) -> Result<Arc<Search>, D::Error> {
    Search::deserialize(input).map(Arc::new)
}

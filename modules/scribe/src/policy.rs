//! Policy files on the investigator's machine.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use mig_types::wire;

use crate::bounds::MAX_POLICY;
use crate::check::find_cycle;
use crate::params::Document;

/// A policy shorter than this says nothing.
const MIN_BYTES: usize = 10;

/// Why a policy file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    #[error("input or output failed")]
    Io(#[from] io::Error),
    #[error("the document is larger than {MAX_POLICY} bytes")]
    TooLarge,
    #[error("the document is too small to be valid ({0} bytes)")]
    TooSmall(usize),
    #[error("the document is not JSON of the right form")]
    Json(#[source] wire::WireError),
    #[error("the document is not YAML of the right form: {0}")]
    Yaml(String),
    #[error("test {0:?} depends on itself")]
    Cycle(String),
}

/// Reads a policy file, JSON or YAML.
///
/// # Errors
///
/// [`PolicyError`]; whether the document makes sense is checked elsewhere, except
/// that tests must not wait for each other.
pub fn load(path: &Path) -> Result<Document, PolicyError> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_POLICY + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_POLICY {
        return Err(PolicyError::TooLarge);
    }
    let document = parse(&text)?;
    match find_cycle(&document) {
        Some(name) => Err(PolicyError::Cycle(name.to_owned())),
        None => Ok(document),
    }
}

/// Reads the text of a policy: JSON when it begins like JSON, otherwise YAML.
///
/// **Source** files that people get from each other. Never panics, and takes
/// memory in proportion to the text.
///
/// # Errors
///
/// [`PolicyError`] when it is neither.
pub fn parse(text: &[u8]) -> Result<Document, PolicyError> {
    let blank = text.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
    // The indentation of YAML's first line is part of it.
    let line = text.get(..blank).and_then(|head| head.iter().rposition(|byte| *byte == b'\n'));
    let trimmed = text.get(blank..).unwrap_or_default();
    if trimmed.len() < MIN_BYTES {
        return Err(PolicyError::TooSmall(trimmed.len()));
    }
    if trimmed.starts_with(b"{") || trimmed.starts_with(b"[") {
        return wire::from_slice(trimmed).map_err(PolicyError::Json);
    }
    let text = text.get(line.map_or(0, |at| at + 1)..).unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|error| PolicyError::Yaml(error.to_string()))?;
    let options = serde_saphyr::options! {
        // An empty value is an empty text.
        null_as_string: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 4_000_000,
            max_nodes: 2_000_000,
        },
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| PolicyError::Yaml(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const JSON: &str = r#"
    {"variables":[{"key":"root","value":"/srv"}],
     "objects":[{"object":"v","filecontent":{"path":"${root}","file":"^ver$",
       "expression":"^V = (\\S+)","concat":".","import-chain":["t"]}},
       {"object":"t","raw":{"identifiers":[{"identifier":"i","value":"0"}]}},
       {"object":"p","package":{"name":"bash","onlynewest":true}}],
     "tests":[{"test":"one","name":"A test","object":"v","evr":{"operation":"<","value":"1.10"},
       "tags":[{"key":"k","value":"yes"}]},
       {"test":"two","object":"p","if":["one"]}]}"#;

    const YAML: &str = r"
---
# A comment.
variables:
- key: root
  value: /srv
objects:
- object: v
  filecontent:
    path: ${root}
    file: ^ver$
    expression: '^V = (\S+)'
    concat: .
    import-chain:
    - t
- object: t
  raw:
    identifiers:
    - identifier: i
      value: 0
- object: p
  package: {name: bash, onlynewest: true}
tests:
- test: one
  name: A test
  object: v
  evr:
    operation: <
    value: 1.10
  tags:
  - key: k
    value: yes
- test: two
  object: p
  name:
  if: [one]
";

    #[test]
    fn refuses_what_is_no_policy() {
        for text in ["", "{}", "   \n\t  {}", "123456789"] {
            assert!(matches!(parse(text.as_bytes()), Err(PolicyError::TooSmall(_))), "{text:?}");
        }
        for text in ["{\"objects\": 1}", "[1, 2, 3, 4]", "{\"objects\": [}", "{not json at all}"] {
            assert!(matches!(parse(text.as_bytes()), Err(PolicyError::Json(_))), "{text:?}");
        }
        for text in ["objects: 12345", "just some words", "a: [b, c\nd: e", "\u{fffd}: *nothing"] {
            assert!(matches!(parse(text.as_bytes()), Err(PolicyError::Yaml(_))), "{text:?}");
        }
        assert!(matches!(parse(b"objects: \xff\xff"), Err(PolicyError::Yaml(_))));
    }

    #[test]
    fn yaml_says_what_json_says() {
        let json = parse(JSON.as_bytes()).unwrap();
        assert_eq!(parse(YAML.as_bytes()).unwrap(), json);
        assert_eq!(json.tests[0].evr.value, "1.10", "not a number");
        assert_eq!(json.tests[1].dependencies, ["one"]);
        let written = wire::to_vec(&json).unwrap();
        assert_eq!(parse(&written).unwrap(), json);
        let text = String::from_utf8(written).unwrap();
        assert!(text.contains(r#""filename":{}"#) && text.contains(r#""regexp":{}"#), "{text}");
    }

    #[test]
    fn tests_that_wait_for_each_other_are_refused_early() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        std::fs::write(&path, r#"{"tests":[{"test":"a","if":["b"]},{"test":"b","if":["a"]}]}"#)
            .unwrap();
        assert!(matches!(load(&path), Err(PolicyError::Cycle(_))));
        std::fs::write(&path, JSON).unwrap();
        assert_eq!(load(&path).unwrap().tests.len(), 2);
        assert!(matches!(load(&dir.path().join("none")), Err(PolicyError::Io(_))));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}|[\\[\\]{}:,&*a-c \\n\"'|>-]{10,60}") {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn pieces_of_policies_never_panic(cut in 0usize..600, junk in "\\PC{0,5}") {
            for whole in [JSON, YAML] {
                let mut at = cut.min(whole.len());
                while !whole.is_char_boundary(at) {
                    at -= 1;
                }
                let (head, tail) = whole.split_at(at);
                let _ = parse(format!("{head}{junk}{tail}").as_bytes());
                let _ = parse(head.as_bytes());
            }
        }
    }
}

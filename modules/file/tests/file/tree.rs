//! The tree the table of cases is about, and how to search it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mig_host::LocalHost;
use mig_module::{Budget, DynModule, ModuleResult};
use mig_module_file::File;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A temporary tree; `R` in paths stands for it.
pub(crate) struct Tree {
    dir: TempDir,
}

impl Tree {
    /// An empty tree.
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// The tree of the table.
    pub(crate) fn new() -> Self {
        let tree = Self::empty();
        tree.write("passwd", "root:x:0\nbob:x:1\n");
        tree.write("zero", "");
        tree.write("nonl", "no newline");
        tree.write("crlf", "line1\r\nline2\r\n");
        tree.write("passwd.gz", gzip(b"root:x:0\nbob:x:1\n"));
        tree.write("a/f1", "hello\n");
        tree.write("a/b/f2", "hello\nworld\n");
        tree.write("a/b/c/f3", "x");
        tree.write("a2/f4", "hello\n");
        std::fs::create_dir(tree.at("empty")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, tree.at("fifo"), rustix::fs::Mode::RUSR).unwrap();
        for (target, link) in [
            ("nowhere", "broken"),
            ("loop2", "loop1"),
            ("loop1", "loop2"),
            ("a", "dirlink"),
            ("f1", "a/link_f1"),
        ] {
            symlink(target, tree.at(link)).unwrap();
        }
        tree
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Runs parameters in which `R` paths have been replaced by [`Tree::expand`].
    #[expect(clippy::needless_pass_by_value, reason = "every caller has just made it")]
    pub(crate) fn run(&self, searches: Value) -> Outcome {
        self.run_within(&searches, &Budget::new(None, 2))
    }

    pub(crate) fn run_within(&self, searches: &Value, budget: &Budget) -> Outcome {
        let params = self.expand(json!({ "searches": searches.clone() }));
        let result = File.run_json(&LocalHost::default(), params, budget);
        Outcome { result, root: self.root().to_owned() }
    }

    /// Like [`Tree::run`], for one search `s`: paths, checks and options.
    pub(crate) fn search(&self, paths: &[&str], checks: Value, options: Value) -> Outcome {
        let mut search = checks;
        search["paths"] = json!(paths);
        search["options"] = options;
        self.run(json!({ "s": search }))
    }

    fn expand(&self, value: Value) -> Value {
        let root = self.root().to_str().unwrap();
        match value {
            Value::String(text) if text == "R" => root.into(),
            Value::String(text) => match text.strip_prefix("R/") {
                Some(rest) => format!("{root}/{rest}").into(),
                None => text.into(),
            },
            Value::Array(list) => list.into_iter().map(|value| self.expand(value)).collect(),
            Value::Object(map) => {
                map.into_iter().map(|(key, value)| (key, self.expand(value))).collect()
            }
            other => other,
        }
    }
}

/// A result, with paths shown relative to the tree.
pub(crate) struct Outcome {
    pub(crate) result: ModuleResult,
    root: PathBuf,
}

impl Outcome {
    /// Files found per label and check: `s` when all checks count together,
    /// `s name=x` otherwise. A check that found nothing is there and empty.
    pub(crate) fn found(&self) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (label, entries) in self.result.elements.as_object().unwrap() {
            for entry in entries.as_array().into_iter().flatten() {
                let search = &entry["search"];
                let mut key = label.clone();
                if search["options"]["matchall"] == json!(false) {
                    for (kind, values) in search.as_object().unwrap() {
                        if kind != "paths" && kind != "options" {
                            key = format!("{label} {kind}={}", values[0].as_str().unwrap());
                        }
                    }
                }
                let files = found.entry(key).or_default();
                let file = entry["file"].as_str().unwrap();
                if !file.is_empty() {
                    let root = self.root.to_str().unwrap();
                    let short =
                        file.strip_prefix(root).map_or(file, |rest| rest.trim_start_matches('/'));
                    files.push(short.to_owned());
                }
            }
        }
        found
    }

    /// The files of the only search, which has all its checks together or one.
    pub(crate) fn files(&self) -> Vec<String> {
        assert!(self.result.success, "{:?}", self.result.errors);
        let found = self.found();
        assert!(found.len() == 1, "{found:?}");
        found.into_values().next().unwrap()
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        self.result.errors.clone().unwrap_or_default()
    }

    pub(crate) fn statistic(&self, name: &str) -> u64 {
        self.result.statistics[name].as_u64().unwrap()
    }

    /// The reason, when the parameters were refused.
    pub(crate) fn refused(&self) -> String {
        assert!(!self.result.success && !self.result.foundanything);
        assert_eq!(self.result.elements, json!({}));
        assert_eq!(self.result.statistics["exectime"], json!(""));
        let errors = self.errors();
        assert!(errors.len() == 1, "{errors:?}");
        errors.into_iter().next().unwrap()
    }
}

pub(crate) fn all() -> Value {
    json!({ "matchall": true })
}

pub(crate) fn any() -> Value {
    json!({ "matchall": false })
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Fails when `body` takes longer than `limit`.
pub(crate) fn within<T>(limit: Duration, body: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let value = body();
    assert!(begun.elapsed() < limit, "took {:?}", begun.elapsed());
    value
}

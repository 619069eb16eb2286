//! Every sample in `conf/` is a document of the dialect.

use std::collections::BTreeMap;
use std::path::Path;

type Document = BTreeMap<String, BTreeMap<String, Vec<String>>>;

#[test]
fn every_sample_loads() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "inc") {
            let document: Document = mig_runtime::config::load_strict(&path).unwrap();
            assert!(!document.is_empty(), "{} has no section", path.display());
            assert!(
                document.values().flatten().all(|(_, values)| !values.is_empty()),
                "{} has a bare name, which a sample should write out",
                path.display()
            );
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    names.sort();
    assert_eq!(
        names,
        [
            "api.cfg.inc",
            "mig-agent.cfg.inc",
            "migrc.inc",
            "scheduler.cfg.inc",
            "standalone.cfg.inc"
        ]
    );
}

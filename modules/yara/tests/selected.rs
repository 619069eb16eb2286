//! The module with an engine made for the test: everything but the scan itself.
#![cfg(test)]
#![cfg(unix)]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mig_host::LocalHost;
use mig_module::{Budget, DynModule, ModuleResult, ParsedArgs};
use mig_module_yara::{Engine, Rules, ScanError, Scanner, Yara};
use serde_json::{Value, json};

/// A rule is a word; it matches files that hold it. Some words are special.
#[derive(Default)]
struct Words {
    scanners: Arc<AtomicUsize>,
}

struct Compiled {
    words: Vec<String>,
    scanners: Arc<AtomicUsize>,
}

impl Engine for Words {
    fn compile(&self, rules: &str) -> Result<Box<dyn Rules>, Vec<String>> {
        if rules.contains("fault") {
            return Err(vec!["line 1: a fault".to_owned(), "line 2: another".to_owned()]);
        }
        let words = rules.split_whitespace().map(str::to_owned).collect();
        Ok(Box::new(Compiled { words, scanners: Arc::clone(&self.scanners) }))
    }
}

impl Rules for Compiled {
    fn scanner(&self) -> Box<dyn Scanner + '_> {
        self.scanners.fetch_add(1, Ordering::Relaxed);
        Box::new(OneThread(&self.words))
    }
}

struct OneThread<'r>(&'r [String]);

impl Scanner for OneThread<'_> {
    fn scan(&mut self, data: &[u8], limit: Duration) -> Result<Vec<String>, ScanError> {
        assert!(limit <= Duration::from_secs(10));
        let text = String::from_utf8_lossy(data);
        if text.contains("slow") {
            return Err(ScanError::TimedOut);
        }
        Ok(self.0.iter().filter(|word| text.contains(*word)).cloned().collect())
    }
}

fn yara() -> Yara {
    Yara::with_engine(Box::new(Words::default()))
}

fn ask(rules: &str, filesearch: &str, budget: &Budget) -> ModuleResult {
    let params = json!({ "yara": rules, "filesearch": filesearch });
    yara().run_json(&LocalHost::default(), params, budget)
}

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let search = format!("-path {} -name .", folder.path().display());
    (folder, search)
}

#[test]
fn matches_are_sorted_by_path_whoever_found_them() {
    let (folder, search) = folder(&[("b", "one two"), ("a", "two"), ("c", "three"), ("d", "slow")]);
    let result = ask("two one", &search, &Budget::new(None, 3));
    let path = |name: &str| folder.path().join(name).display().to_string();
    assert_eq!(
        result.elements,
        json!({ "Matches": [
            { "Object": path("a"), "MatchedRules": ["two"] },
            { "Object": path("b"), "MatchedRules": ["two", "one"] },
        ] })
    );
    assert!(result.success && result.foundanything);
    assert_eq!(result.errors.unwrap(), [format!("{}: scan timeout", path("d"))]);
}

#[test]
fn one_scanner_serves_one_thread() {
    let files: Vec<(String, String)> =
        (0..300).map(|n| (format!("f{n}"), "x".to_owned())).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
    let (_folder, search) = folder(&files);
    let engine = Words::default();
    let scanners = Arc::clone(&engine.scanners);
    let params = json!({ "yara": "x", "filesearch": search });
    let module = Yara::with_engine(Box::new(engine));
    let result = module.run_json(&LocalHost::default(), params, &Budget::new(None, 3));
    assert_eq!(result.elements["Matches"].as_array().unwrap().len(), 300);
    assert!((1..=3).contains(&scanners.load(Ordering::Relaxed)));
}

#[test]
fn faults_of_rules_are_an_error_each() {
    let result = ask("fault", "", &Budget::unlimited());
    assert!(!result.success);
    assert_eq!(result.elements, json!({ "Matches": null }));
    let errors = ["cannot compile rules: line 1: a fault", "cannot compile rules: line 2: another"];
    assert_eq!(result.errors.unwrap(), errors);
}

#[test]
fn a_result_has_a_bound_and_says_what_it_left_out() {
    let names: Vec<String> = (0..100).map(|n| format!("f{n:03}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "word")).collect();
    let (_folder, search) = folder(&files);
    let result = ask("word", &search, &Budget::new(None, 2).with_result_bytes(2000));
    let count = result.elements["Matches"].as_array().unwrap().len();
    assert!(count > 5 && count < 50, "{count}");
    let errors = result.errors.unwrap();
    assert_eq!(errors, [format!("matches left out: {}, the result is too large", 100 - count)]);
    assert!(result.foundanything);
}

#[test]
fn time_that_is_over_leaves_a_partial_result() {
    let (_folder, search) = folder(&[("a", "word")]);
    let result = ask("word", &search, &Budget::new(Some(Instant::now()), 2));
    assert!(result.success);
    let errors = result.errors.unwrap();
    assert!(errors[0].starts_with("ERROR: the run was cut short by its time limit"), "{errors:?}");
}

#[test]
fn without_an_engine_the_module_says_where_there_is_one() {
    let module = Yara::without_engine();
    assert_eq!(module.program(), Some("mig-yara"));
    assert_eq!(yara().program(), None);
    let params = json!({ "yara": "x", "filesearch": "" });
    let result = module.run_json(&LocalHost::default(), params, &Budget::unlimited());
    assert!(!result.success && result.errors.unwrap()[0].contains("mig-yara"));
}

fn parse(args: &[&str]) -> Result<Value, String> {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    match Yara::without_engine().parse_args(&args) {
        Ok(ParsedArgs::Params(params)) => Ok(params),
        Ok(ParsedArgs::Help(help)) => Ok(help.into()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_command_line_becomes_rules_and_a_search() {
    let (folder, _) = folder(&[("my.yar", "include \"lib.yar\" two"), ("lib.yar", "one")]);
    let rules = folder.path().join("my.yar").display().to_string();
    let files = "-path /bin -path /sbin -name .";
    let expected = json!({ "yara": "one\n two", "filesearch": files });
    assert_eq!(parse(&["-rules", &rules, "-files", files]), Ok(expected));
    for args in [&[][..], &["help"], &["-h"]] {
        let help = parse(args).unwrap();
        assert!(help.as_str().unwrap().contains("yara -rules my.yar -files"), "{help}");
    }
    let missing = folder.path().join("none.yar").display().to_string();
    for (args, part) in [
        (&["-files", files][..], "-rules option is required"),
        (&["-rules", &rules], "-files option is required"),
        (&["-rules", &rules, "-files", ""], "-files option is required"),
        (&["-rules", &missing, "-files", files], "none.yar: No such file"),
        (&["-rules", &rules, "-files", "-bogus"], "invalid filesearch: flag provided but not"),
        (&["-rules", &rules, "-files", "help"], "asks for help"),
        (&["-rules", &rules, "-files", files, "more"], "unexpected argument"),
    ] {
        let error = parse(args).unwrap_err();
        assert!(error.contains(part), "{args:?}: {error}");
    }
    fs::write(folder.path().join("my.yar"), "").unwrap();
    let error = parse(&["-rules", &rules, "-files", files]).unwrap_err();
    assert_eq!(error, "yara rules are a required option");
}

#[test]
fn results_print_as_object_and_rules() {
    let result = ModuleResult {
        success: true,
        foundanything: true,
        // Keys in any case: other agents have other habits.
        elements: json!({ "matches": [{ "object": "/a\n", "MATCHEDRULES": ["r1", "r2"] }] }),
        errors: Some(vec!["an error".to_owned()]),
        ..ModuleResult::default()
    };
    let module = Yara::without_engine();
    let print = |found_only| module.print(&result, found_only).unwrap();
    assert_eq!(print(true), [r"/a\n [r1,r2]"]);
    assert_eq!(print(false), [r"/a\n [r1,r2]", "an error"]);
    let nothing = ModuleResult { elements: json!({ "Matches": null }), ..ModuleResult::default() };
    assert!(module.print(&nothing, false).unwrap().is_empty());
}

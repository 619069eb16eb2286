//! The module on trees that look like hosts, and on this machine.
#![cfg(test)]
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mig_host::LocalHost;
use mig_module::{Budget, DynModule as _, ModuleResult, ParsedArgs};
use mig_module_scribe::Scribe;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

fn write(root: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A host with some files and packages.
fn host() -> (TempDir, LocalHost) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "d1/ver", "Version = 1.5\n");
    write(dir.path(), "d1/pair", "a, b\n");
    write(dir.path(), "d1/crlf", "ver = 9\r\n");
    write(dir.path(), "d1/long", format!("{}ABCDEFGHIJKL = 77\n", "x".repeat(4090)));
    let package = |name: &str, version: &str, more: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n{more}\
             Version: {version}\n\n"
        )
    };
    let status = [
        package("bash", "5.2.15-2", ""),
        package("libc6", "2.36-9+deb12u14", "Multi-Arch: same\n"),
        package("linux-image-6.1.0-9-amd64", "6.1.27-1", ""),
        package("linux-image-6.1.0-10-amd64", "6.1.37-1", ""),
        package("odd", "1:", ""),
    ];
    write(dir.path(), "var/lib/dpkg/status", status.concat());
    write(dir.path(), "var/lib/dpkg/arch", "amd64\n");
    let host = LocalHost::new(dir.path());
    (dir, host)
}

fn run(host: &LocalHost, params: Value) -> ModuleResult {
    Scribe.run_json(host, params, &Budget::unlimited())
}

fn evaluate(host: &LocalHost, objects: Value, tests: Value) -> ModuleResult {
    let document: serde_json::Map<String, Value> =
        [("objects".to_owned(), objects), ("tests".to_owned(), tests)].into_iter().collect();
    let result = run(host, json!({ "scribedoc": document }));
    assert!(result.success, "{result:?}");
    result
}

/// One object called `o`, one test of it called `t`: the test's result.
fn one(host: &LocalHost, mut object: Value, mut test: Value) -> Value {
    object["object"] = json!("o");
    test["object"] = json!("o");
    test["test"] = json!("t");
    evaluate(host, Value::from(vec![object]), Value::from(vec![test])).elements["results"][0]
        .clone()
}

fn content(path: &str, file: &str, expression: &str) -> Value {
    json!({ "filecontent": { "path": path, "file": file, "expression": expression } })
}

fn raw(values: &[&str]) -> Value {
    let entry = |value: &&str| json!({ "identifier": "i", "value": value });
    json!({ "raw": { "identifiers": values.iter().map(entry).collect::<Vec<_>>() } })
}

fn named(name: &str, mut object: Value) -> Value {
    object["object"] = json!(name);
    object
}

fn exact(value: &str) -> Value {
    json!({ "exactmatch": { "value": value } })
}

/// Results of the sub-tests.
fn sub(test: &Value) -> Vec<bool> {
    let all = test["results"].as_array();
    all.into_iter().flatten().map(|sub| sub["result"].as_bool().unwrap()).collect()
}

fn identifiers(test: &Value) -> Vec<&str> {
    let all = test["results"].as_array();
    all.into_iter().flatten().map(|sub| sub["identifier"].as_str().unwrap()).collect()
}

fn states(test: &Value) -> (bool, bool, bool) {
    let is = |key: &str| test[key].as_bool().unwrap();
    (is("iserror"), is("masterresult"), is("hastrueresults"))
}

const TRUE: (bool, bool, bool) = (false, true, true);
const FALSE: (bool, bool, bool) = (false, false, false);
const ERROR: (bool, bool, bool) = (true, false, false);

#[test]
fn refuses_invalid_documents_with_a_reason() {
    let (_dir, host) = host();
    for (params, reason) in [
        (json!({ "scribedoc": 1 }), "cannot read the parameters"),
        (json!({ "scribedoc": { "objects": {} } }), "cannot read the parameters"),
        (json!({ "scribedoc": { "objects": [{}] } }), "an object in document has no identifier"),
        (json!({ "scribedoc": { "objects": [{ "object": "a" }] } }), "a: no valid source"),
        (json!({ "scribedoc": { "tests": [{}] } }), "a test in document has no identifier"),
        (
            json!({ "scribedoc": { "tests": [{ "test": "a", "if": ["b"] }] } }),
            "a: unknown test \"b\"",
        ),
    ] {
        let result = run(&host, params);
        assert!(!result.success && !result.foundanything && result.elements.is_null());
        let errors = result.errors.unwrap();
        assert!(errors.len() == 1 && errors[0].contains(reason), "{errors:?}");
    }
}

#[test]
fn an_empty_document_finds_nothing() {
    let (_dir, host) = host();
    for params in [json!({}), json!({ "scribedoc": {} }), json!({ "scribedoc": null })] {
        let result = run(&host, params);
        assert!(result.success && !result.foundanything && result.errors.is_none());
        assert_eq!(result.elements["results"], json!([]));
    }
}

#[test]
fn groups_of_lines_become_values() {
    let (_dir, host) = host();
    let version = content("/d1", "^ver$", r"^Version = (\S+)");
    let test = one(&host, version, json!({ "evr": { "operation": "=", "value": "1.5" } }));
    assert_eq!((states(&test), identifiers(&test)), (TRUE, vec!["/d1/ver"]));
    // Without groups there is nothing to compare.
    let test = one(&host, content("/d1", "ver", r"^Version = \S+"), json!({}));
    assert_eq!((states(&test), &test["results"]), (FALSE, &Value::Null));
    let pair = content("/d1", "pair", r"(\w), (\w)");
    let test = one(&host, pair.clone(), exact("b"));
    assert_eq!((states(&test), sub(&test)), (TRUE, vec![false, true]));
    let mut joined = pair;
    joined["filecontent"]["concat"] = json!(".");
    let test = one(&host, joined, exact("a.b"));
    assert_eq!((states(&test), sub(&test)), (TRUE, vec![true]));
    // A group that took no part is empty, and an empty criterion is none.
    let test = one(&host, content("/d1", "pair", "(z)?(a)"), exact(""));
    assert_eq!((states(&test), sub(&test)), (TRUE, vec![true, true]));
    let test = one(&host, content("/d1", "crlf", "ver = (.*)$"), exact("9"));
    assert_eq!(states(&test), TRUE);
    let test = one(&host, content("/d1", "long", "(ABCDEFGHIJKL) ="), json!({}));
    assert_eq!(states(&test), TRUE, "lines are not cut");
    let test = one(&host, content("/d1", "!^ver$", "^(.)"), json!({}));
    assert_eq!(identifiers(&test), ["/d1/crlf", "/d1/long", "/d1/pair"]);
    let test = one(&host, content("/nosuch", "ver", "^(.)"), json!({}));
    assert_eq!(states(&test), FALSE, "a missing path has no files");
}

#[test]
fn values_of_a_file_are_joined_without_empty_ones_in_front() {
    let (dir, host) = host();
    write(dir.path(), "j/f", "1:\n2:a\n3:\n4:b\n");
    let mut object = content("/j", "f", r"^\d:(.*)$");
    object["filecontent"]["concat"] = json!("-");
    let test = one(&host, object, exact("a--b"));
    assert_eq!((states(&test), sub(&test)), (TRUE, vec![true]));
}

#[test]
fn names_of_files_are_matched_themselves() {
    let (_dir, host) = host();
    let object = |file: &str| json!({ "filename": { "path": "/d1", "file": file } });
    for (file, outcome) in [
        ("^nosuch(.*)$", FALSE),
        ("^(zzz)?$", FALSE),
        ("ver", FALSE),
        ("^v(er)$", TRUE),
        ("!^(ver)$", FALSE),
        ("(", ERROR),
    ] {
        let test = one(&host, object(file), json!({}));
        assert_eq!(states(&test), outcome, "{file}: {test}");
    }
    let test = one(&host, object("^(?:ver|pair)(x)?$|^(c)"), exact(""));
    assert_eq!(identifiers(&test), ["/d1/crlf", "/d1/pair", "/d1/ver"]);
}

#[test]
fn a_line_is_there_or_not() {
    let (_dir, host) = host();
    let object = json!({ "hasline": { "path": "/d1", "file": "^(ver|pair|crlf)$",
        "expression": "= 9$" } });
    let test = one(&host, object.clone(), exact("true"));
    assert_eq!(sub(&test), [true, false, false]);
    assert_eq!(identifiers(&test), ["/d1/crlf", "/d1/pair", "/d1/ver"]);
    let test = one(&host, object, exact("false"));
    assert_eq!(sub(&test), [false, true, true]);
}

#[test]
fn packages_are_found_by_name_and_by_expression() {
    let (_dir, host) = host();
    let object = |package: Value| json!({ "package": package });
    let version =
        |operation: &str, value: &str| json!({ "evr": { "operation": operation, "value": value } });
    let test = one(&host, object(json!({ "name": "bash" })), version("<", "5.2.15-3"));
    assert_eq!((states(&test), identifiers(&test)), (TRUE, vec!["bash"]));
    for (name, outcome) in [("libc6", FALSE), ("libc6:amd64", TRUE), ("bas", FALSE)] {
        let test = one(&host, object(json!({ "name": name })), json!({}));
        assert_eq!(states(&test), outcome, "{name}");
    }
    let kernels = json!({ "name": "x", "collectmatch": "^linux-image-" });
    let test = one(&host, object(kernels.clone()), json!({}));
    assert_eq!(sub(&test), [true, true]);
    let mut newest = kernels;
    newest["onlynewest"] = json!(true);
    let test = one(&host, object(newest), version("=", "6.1.37-1"));
    assert_eq!(identifiers(&test), ["linux-image-6.1.0-10-amd64"]);
    assert_eq!(states(&test), TRUE);
    // Nothing to be compared with: it need not be a version.
    let alone = json!({ "name": "odd", "onlynewest": true });
    assert_eq!(states(&one(&host, object(alone), json!({}))), TRUE);
    let all = json!({ "name": "x", "collectmatch": ".", "onlynewest": true });
    let test = one(&host, object(all), json!({}));
    assert_eq!(test["error"], "invalid version \"1:\"");
}

#[test]
fn criteria_are_tried_in_their_order() {
    let (_dir, host) = host();
    let object = json!({ "raw": { "identifiers": [
        { "identifier": "one", "value": "x" }, { "identifier": "two", "value": "a TEST b" } ] } });
    let test = one(&host, object.clone(), json!({ "regexp": { "value": "TEST" } }));
    assert_eq!((states(&test), sub(&test)), (TRUE, vec![false, true]));
    assert_eq!(identifiers(&test), ["one", "two"]);
    let both = json!({ "regexp": { "value": "x" }, "exactmatch": { "value": "none" } });
    assert_eq!(sub(&one(&host, object.clone(), both)), [true, false]);
    let all = json!({ "evr": { "operation": "=", "value": "x" }, "regexp": { "value": "TEST" } });
    assert_eq!(sub(&one(&host, object, all)), [true, false]);
}

#[test]
fn versions_are_compared_by_the_rules_of_policies() {
    let (_dir, host) = host();
    let compare = |actual: &str, operation: &str, value: &str| {
        one(&host, raw(&[actual]), json!({ "evr": { "operation": operation, "value": value } }))
    };
    for (actual, operation, value) in [
        ("1.00", "=", "1.0"),
        ("1.0.1d-2+deb7u14", "<", "1.0.1e-2+deb7u14"),
        ("1.0~rc1", ">", "1.0"),
        ("2.6.32-504.el6", "<", "0:2.6.32-504.8.1.el6"),
    ] {
        assert_eq!(states(&compare(actual, operation, value)), TRUE, "{actual} {value}");
    }
    for (actual, operation, value, error) in [
        ("1", "badop", "1", "invalid evr operation badop"),
        ("1:", "=", "1", "invalid version \"1:\""),
        ("1", "=", "1.0-", "invalid version \"1.0-\""),
    ] {
        let test = compare(actual, operation, value);
        assert_eq!((states(&test), &test["results"]), (ERROR, &Value::Null));
        assert_eq!(test["error"], error);
    }
}

#[test]
fn errors_are_of_their_test_and_the_others_go_on() {
    let (_dir, host) = host();
    let mut objects = vec![named("r", raw(&["1"]))];
    objects.push(named("c", content("${chain_root}", "x", "(y)")));
    let tests = json!([
        { "test": "badop", "object": "r", "evr": { "operation": "badop", "value": "1" } },
        { "test": "unknown", "object": "nosuch" },
        { "test": "chained", "object": "c" },
        { "test": "badregex", "object": "r", "regexp": { "value": "(" } },
        { "test": "good", "object": "r" },
    ]);
    let result = evaluate(&host, json!(objects), tests.clone());
    let results = result.elements["results"].as_array().unwrap();
    assert_eq!(results.len(), 5);
    assert_eq!(results[1]["error"], "unknown object \"nosuch\"");
    assert_eq!(results[2]["error"], "object not prepared");
    assert!(results[3]["error"].as_str().unwrap().starts_with("invalid regular expression"));
    assert_eq!(states(&results[4]), TRUE);
    let errors = result.errors.unwrap();
    assert_eq!(errors.len(), 4);
    assert_eq!(errors[0], "Error: invalid evr operation badop in \"badop\"");

    let document = json!({ "objects": objects, "tests": tests });
    let result = run(&host, json!({ "scribedoc": document, "onlytrue": true }));
    let results = result.elements["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|test| &test["testid"]).collect::<Vec<_>>(), ["good"]);
    assert_eq!(result.errors.unwrap().len(), 4, "errors are not lost");
}

#[test]
fn only_true_tests_count_as_found_when_asked_for() {
    let (_dir, host) = host();
    let document = json!({ "objects": [named("r", raw(&["1"]))],
        "tests": [{ "test": "no", "object": "r", "exactmatch": { "value": "2" } }] });
    let result = run(&host, json!({ "scribedoc": document.clone(), "onlytrue": true }));
    assert!(result.success && !result.foundanything);
    assert_eq!(result.elements["results"], json!([]));
    let result = run(&host, json!({ "scribedoc": document }));
    assert!(result.foundanything, "a test that is false was found, too");
}

#[test]
fn a_test_needs_the_tests_it_depends_on() {
    let (_dir, host) = host();
    let tests = json!([
        { "test": "t1", "object": "r", "if": ["failing"] },
        { "test": "failing", "object": "none" },
        { "test": "t2", "object": "r", "if": ["failing"] },
        { "test": "false", "object": "r", "exactmatch": { "value": "x" } },
        { "test": "t3", "object": "r", "if": ["true", "false"] },
        { "test": "true", "object": "r" },
        { "test": "t4", "object": "r", "if": ["true"] },
        { "test": "c1", "object": "r", "if": ["c2"] },
        { "test": "c2", "object": "r", "if": ["c1"] },
    ]);
    let result = evaluate(&host, json!([named("r", raw(&["1"]))]), tests);
    let results = result.elements["results"].as_array().unwrap();
    for place in [0, 2] {
        assert_eq!(results[place]["error"], "a test dependency failed (\"failing\")");
    }
    assert_eq!(states(&results[4]), (false, false, true));
    assert_eq!(states(&results[6]), TRUE);
    for place in [7, 8] {
        assert_eq!(states(&results[place]), (false, false, true), "a cycle is never true");
    }
    let lines = Scribe.print(&result, true).unwrap();
    assert!(lines.contains(&"master [false] name:\"c1\" id:\"c1\" hastrue:true error:\"\"".into()));
}

#[test]
fn long_chains_of_tests_do_not_exhaust_the_stack() {
    let (_dir, host) = host();
    let count = 20_000;
    let test = |at: usize| {
        let needs: Vec<String> =
            if at + 1 < count { vec![(at + 1).to_string()] } else { Vec::new() };
        json!({ "test": at.to_string(), "object": "r", "if": needs })
    };
    let tests: Vec<Value> = (0..count).map(test).collect();
    let result = evaluate(&host, json!([named("r", raw(&["1"]))]), json!(tests));
    assert_eq!(states(&result.elements["results"][0]), TRUE);
}

#[test]
fn the_first_of_several_tests_and_objects_of_one_name_counts() {
    let (_dir, host) = host();
    let objects = json!([named("r", raw(&["1"])), named("r", raw(&["2"]))]);
    let tests = json!([
        { "test": "t", "name": "first", "object": "r", "exactmatch": { "value": "1" } },
        { "test": "t", "name": "second", "object": "r", "exactmatch": { "value": "2" } },
    ]);
    let result = evaluate(&host, objects, tests);
    let results = result.elements["results"].as_array().unwrap();
    assert_eq!((results.len(), &results[0]), (2, &results[1]));
    assert_eq!((states(&results[1]), &results[1]["name"]), (TRUE, &json!("first")));
}

#[test]
fn variables_are_put_into_paths_and_most_names() {
    let (_dir, host) = host();
    let document = |object: Value| {
        json!({ "scribedoc": {
            "variables": [{ "key": "root", "value": "/d1" }, { "key": "fn", "value": "^ver$" },
                { "key": "pkg", "value": "bash" }],
            "objects": [named("o", object)], "tests": [{ "test": "t", "object": "o" }] } })
    };
    let line = json!({ "hasline": { "path": "${root}", "file": "${fn}", "expression": "x" } });
    let package = json!({ "package": { "name": "${pkg}" } });
    let name = json!({ "filename": { "path": "${root}", "file": "^(ver)$" } });
    for object in [content("${root}", "${fn}", "(.)"), line, package, name] {
        let result = run(&host, document(object.clone()));
        assert_eq!(states(&result.elements["results"][0]), TRUE, "{object}: {result:?}");
    }
    let name = json!({ "filename": { "path": "${root}", "file": "(${fn})" } });
    let result = run(&host, document(name));
    assert_eq!(states(&result.elements["results"][0]), FALSE);
}

#[test]
fn chains_add_what_lies_beside_a_file() {
    let (dir, host) = host();
    write(dir.path(), "R/t0", "var = (1, 5)\n");
    write(dir.path(), "R/t1", "minor = 8\n");
    write(dir.path(), "R/dir0/t0", "var = (1, 5)\n");
    let objects = |of_c: &[&str], of_t1: &[&str]| {
        let mut c = content("/R", "^t0$", r"var = \((\d), (\d)\)");
        c["filecontent"]["concat"] = json!(".");
        c["filecontent"]["import-chain"] = json!(of_c);
        let mut t1 = content("${chain_root}", "^t1$", r"minor = (\d)");
        t1["filecontent"]["import-chain"] = json!(of_t1);
        let tail = json!({ "raw": { "identifiers": [{ "identifier": "x", "value": "tail" }] } });
        json!([named("c", c), named("t1", t1), named("tail", tail)])
    };
    let values = |objects: Value, value: &str| {
        let test = json!([{ "test": "t", "object": "c", "exactmatch": { "value": value } }]);
        let result = evaluate(&host, objects, test);
        let test = &result.elements["results"][0];
        assert_eq!(identifiers(test), ["/R/dir0/t0", "/R/t0"]);
        sub(test)
    };
    assert_eq!(values(objects(&["t1", "tail"], &[]), "1.5.8.tail"), [false, true]);
    assert_eq!(values(objects(&["t1", "tail"], &[]), "1.5.tail"), [true, false]);
    assert_eq!(values(objects(&["t1"], &["tail"]), "1.5.8.tail"), [false, true]);
    assert_eq!(values(objects(&["t1"], &["tail"]), "1.5"), [true, false]);
    for (of_c, of_t1) in [(&["c"][..], &[][..]), (&["t1"], &["t1"]), (&["t1"], &["c"])] {
        let tests = json!([{ "test": "t", "object": "c" }]);
        let result = evaluate(&host, objects(of_c, of_t1), tests);
        let test = &result.elements["results"][0];
        assert_eq!(test["error"], "its import-chain leads back to itself", "{of_c:?} {of_t1:?}");
    }
    // An object that fails makes those fail that import it.
    let mut failing = objects(&["tail"], &[]);
    failing[2] = named("tail", json!({ "filename": { "path": "/R", "file": "(" } }));
    let result = evaluate(&host, failing, json!([{ "test": "t", "object": "c" }]));
    assert_eq!(states(&result.elements["results"][0]), ERROR);
}

#[test]
fn chains_of_objects_have_an_end() {
    let (_dir, host) = host();
    let link = |at: usize| {
        let mut object = content("/d1", "^ver$", "(5)");
        if at > 0 {
            object["filecontent"]["import-chain"] = json!([format!("o{}", at - 1)]);
        }
        named(&format!("o{at}"), object)
    };
    let objects: Vec<Value> = (0..60).map(link).collect();
    let tests = json!([{ "test": "deep", "object": "o59" }, { "test": "flat", "object": "o20" }]);
    let result = evaluate(&host, json!(objects), tests);
    let results = &result.elements["results"];
    assert!(results[0]["error"].as_str().unwrap().contains("deeper than"), "{result:?}");
    assert_eq!(sub(&results[1]), vec![true; 21]);
}

#[test]
fn no_object_takes_files_from_another() {
    let (dir, host) = host();
    for (name, count) in [("many1", 600), ("many2", 600), ("few", 1)] {
        for at in 0..count {
            write(dir.path(), &format!("{name}/f{at}"), "x\n");
        }
    }
    let objects = ["many1", "many2", "few"]
        .map(|name| named(name, content(&format!("/{name}"), "^f", "(x)")));
    let tests = ["many1", "many2", "few"].map(|name| json!({ "test": name, "object": name }));
    let result = evaluate(&host, json!(objects), json!(tests));
    let counts = [0, 1, 2].map(|at| sub(&result.elements["results"][at]).len());
    assert_eq!(counts, [600, 600, 1]);
}

#[test]
fn directories_are_entered_ten_levels_deep() {
    let (dir, host) = host();
    let nine = (2..=10).map(|level| format!("l{level}")).collect::<Vec<_>>().join("/");
    write(dir.path(), &format!("deep/{nine}/f"), "x\n");
    write(dir.path(), &format!("deep/{nine}/l11/f"), "x\n");
    std::os::unix::fs::symlink("/nowhere", dir.path().join("deep/broken")).unwrap();
    write(dir.path(), "deep/target", "x\n");
    std::os::unix::fs::symlink("target", dir.path().join("deep/flink")).unwrap();
    let test = one(&host, content("/deep", "^f", "(x)"), json!({}));
    assert_eq!(identifiers(&test), ["/deep/flink".to_owned(), format!("/deep/{nine}/f")]);
}

#[test]
fn what_cannot_be_read_is_passed_over() {
    let (dir, host) = host();
    rustix_mkfifo(&dir.path().join("d1/fifo"));
    write(dir.path(), "d1/huge", vec![b'y'; (16 << 20) + 2]);
    let objects = json!([named("o", content("/d1", ".", "^(V|y)"))]);
    let result = evaluate(&host, objects, json!([{ "test": "t", "object": "o" }]));
    let test = &result.elements["results"][0];
    assert_eq!((states(test), identifiers(test)), (TRUE, vec!["/d1/ver"]));
    let errors = result.errors.clone().unwrap();
    assert!(errors.len() == 1 && errors[0].starts_with("cannot read /d1/huge: a line is longer"));
    // Paths of the host are masked wherever they are.
    let mut masked = result;
    Scribe.mask(&mut masked);
    let test = &masked.elements["results"][0];
    assert_eq!((states(test), identifiers(test)), (TRUE, vec!["masked"]));
    assert_eq!(masked.errors.unwrap(), ["masked"]);
}

#[expect(clippy::disallowed_methods, reason = "there is no FIFO in the standard library")]
fn rustix_mkfifo(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn privacy_leaves_everything_but_identifiers() {
    let (_dir, host) = host();
    let objects = json!([named("o", content("/d1", "^ver$", "(5)"))]);
    let tests = json!([{ "test": "t", "object": "o", "tags": [{ "key": "k", "value": "v" }] },
        { "test": "bad", "object": "none" }]);
    let plain = evaluate(&host, objects, tests);
    let mut masked = plain.clone();
    Scribe.mask(&mut masked);
    let mut expected = plain;
    expected.elements["results"][0]["results"][0]["identifier"] = json!("masked");
    assert_eq!(masked.elements, expected.elements);
    assert_eq!(masked.errors, expected.errors);
}

#[test]
fn results_are_written_and_printed_as_ever() {
    let (_dir, host) = host();
    let document = json!({
        "objects": [named("r", json!({ "raw": { "identifiers": [
            { "identifier": "test", "value": "1" } ] } }))],
        "tests": [
            { "test": "test1", "name": "a test", "object": "r" },
            { "test": "test2", "object": "r", "description": "why <so>", "if": ["test3"],
              "tags": [{ "key": "k", "value": "v" }] },
            { "test": "test3", "object": "r", "exactmatch": { "value": "2" } },
            { "test": "test4", "object": "none" },
        ] });
    let print = |style: &str, found_only: bool| {
        let result = run(&host, json!({ "scribedoc": document, style: true }));
        Scribe.print(&result, found_only).unwrap()
    };
    assert_eq!(
        print("none", true),
        [
            r#"master [true] name:"a test" id:"test1" hastrue:true error:"""#,
            r#"sub [true] name:"a test" id:"test1" identifier:"test""#,
            r#"master [false] name:"test2" id:"test2" hastrue:true error:"""#,
            r#"sub [true] name:"test2" id:"test2" identifier:"test""#,
            r#"master [false] name:"test3" id:"test3" hastrue:false error:"""#,
            r#"sub [false] name:"test3" id:"test3" identifier:"test""#,
            r#"master [error] name:"test4" id:"test4" hastrue:false error:"unknown object "none"""#,
        ]
    );
    let json = print("jsonoutput", true);
    assert_eq!(
        json[0],
        r#"{"testid":"test1","name":"a test","description":"","iserror":false,"error":"","masterresult":true,"hastrueresults":true,"results":[{"result":true,"identifier":"test"}]}"#
    );
    assert!(json[1].contains(
        r#""description":"why \u003cso\u003e","tags":[{"key":"k","value":"v"}],"iserror""#
    ));
    assert!(json[3].ends_with(r#""results":null}"#));
    assert_eq!(
        print("humanoutput", true),
        [
            r#"result for "a test" (test1)"#,
            "\tmaster result: true",
            "\t[true] identifier: \"test\"",
            r#"result for "test2""#,
            "\tdescription: why <so>",
            "\tmaster result: false, has true results, failure caused by dependency",
            "\ttag: k: v",
            "\t[true] identifier: \"test\"",
            r#"result for "test3""#,
            "\tmaster result: false",
            "\t[false] identifier: \"test\"",
            r#"result for "test4""#,
            "\tmaster result: false",
            "\t[error] error: unknown object \"none\"",
        ]
    );
    let all = print("none", false);
    assert_eq!(all[7], "Error: unknown object \"none\" in \"test4\"");
    assert!(all[8].starts_with("Statistics: runtime ") && all.len() == 9);
}

#[test]
fn hostile_names_do_not_control_the_terminal() {
    let (dir, host) = host();
    write(dir.path(), "h/a\n\tmaster [true] \x1b[31m", "x\n");
    let objects = json!([named("o", content("/h", "", "(x)"))]);
    let refused = run(&host, json!({ "scribedoc": { "objects": objects } }));
    assert!(refused.errors.unwrap()[0].contains("filecontent must specify file"));
    let objects = json!([named("o", content("/h", ".", "(x)"))]);
    let result = evaluate(&host, objects, json!([{ "test": "t", "object": "o" }]));
    let lines = Scribe.print(&result, true).unwrap();
    assert_eq!(lines.len(), 2);
    assert!(lines[1].ends_with(r#"identifier:"/h/a\n\tmaster [true] \x1b[31m""#), "{lines:?}");
}

#[test]
fn large_results_are_cut_and_say_so() {
    let (_dir, host) = host();
    let values = vec!["1"; 1_000];
    let document = json!({ "objects": [named("r", raw(&values))],
        "tests": [{ "test": "t", "object": "r" }, { "test": "t", "object": "r" },
            { "test": "u", "object": "r" }] });
    let budget = Budget::unlimited().with_result_bytes(10_000);
    let result = Scribe.run_json(&host, json!({ "scribedoc": document }), &budget);
    let results = result.elements["results"].as_array().unwrap();
    assert_eq!(results.iter().map(states).collect::<Vec<_>>(), [TRUE; 3]);
    let shown: usize = results.iter().map(|test| sub(test).len()).sum();
    assert!((100..400).contains(&shown), "{shown}");
    assert_eq!(result.statistics["notreturned"], 2_000);
    assert!(result.errors.unwrap()[0].ends_with("the result is too large"));
}

#[test]
fn a_run_that_is_over_says_so_for_each_test() {
    let (_dir, host) = host();
    let document = json!({ "objects": [named("o", content("/d1", "ver", "(5)"))],
        "tests": [{ "test": "t", "object": "o" }] });
    let budget = Budget::new(Some(Instant::now()), 1);
    let result = Scribe.run_json(&host, json!({ "scribedoc": document }), &budget);
    assert!(result.success);
    let test = &result.elements["results"][0];
    assert_eq!(test["error"], "the run was cut short by its time limit");
}

#[test]
fn a_large_policy_is_a_matter_of_moments() {
    let (_dir, host) = host();
    let objects: Vec<Value> = (0..1317)
        .map(|at| named(&format!("o{at}"), json!({ "package": { "name": format!("p{at}") } })))
        .chain([named("bash", json!({ "package": { "name": "bash" } }))])
        .collect();
    let tests: Vec<Value> = (0..2741)
        .map(|at| {
            let object = if at % 2 == 0 { "bash".to_owned() } else { format!("o{}", at % 1317) };
            json!({ "test": format!("t{at}"), "object": object,
                "evr": { "operation": "<", "value": "6" } })
        })
        .collect();
    let begun = Instant::now();
    let result = evaluate(&host, json!(objects), json!(tests));
    let all = result.elements["results"].as_array().unwrap();
    assert_eq!(all.iter().filter(|test| states(test) == TRUE).count(), 1371);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

fn policy(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "policy", text);
    let path = dir.path().join("policy");
    (dir, path)
}

fn parse(args: &[&str]) -> Result<ParsedArgs, mig_module::UsageError> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    Scribe.parse_args(&args)
}

#[test]
fn options_load_the_policy() {
    let text = r#"{"objects":[{"object":"r","raw":{"identifiers":[{"identifier":"i","value":"v"}]}}],
        "tests":[{"test":"t","object":"r"}]}"#;
    let (_dir, path) = policy(text);
    let path = path.to_str().unwrap();
    let Ok(ParsedArgs::Params(params)) = parse(&["-path", path, "-onlytrue", "-json"]) else {
        panic!("parameters expected")
    };
    assert_eq!(params["onlytrue"], true);
    assert_eq!((&params["jsonoutput"], &params["humanoutput"]), (&json!(true), &json!(false)));
    assert_eq!(params["scribedoc"]["tests"][0]["test"], "t");
    assert_eq!(params["scribedoc"]["objects"][0]["filename"], json!({}));
    let (_dir, host) = host();
    assert!(run(&host, params).foundanything);
    assert!(matches!(parse(&["help"]), Ok(ParsedArgs::Help(_))));
    let (_small, tiny) = policy("{}");
    let (_bad, bad) = policy(r#"{"objects":[{"object":"r"}]}"#);
    for (args, reason) in [
        (&["-human"][..], "-path option is required"),
        (&["-path", "/nonexistent/policy"], "cannot load policy /nonexistent/policy"),
        (&["-path", tiny.to_str().unwrap()], "too small to be valid (2 bytes)"),
        (&["-path", bad.to_str().unwrap()], "r: no valid source interface"),
        (&["-path", path, "-onlytrue", "true"], "unexpected argument"),
    ] {
        let error = parse(args).unwrap_err().to_string();
        assert!(error.contains(reason), "{args:?}: {error}");
    }
}

#[test]
fn this_machine_is_examined() {
    let mut objects = vec![named("uptime", content("/proc/uptime", "uptime", r"^(\S+)\.\S+ \S+"))];
    objects[0]["filecontent"]["concat"] = json!(".");
    objects[0]["filecontent"]["import-chain"] = json!(["zero"]);
    objects.push(named("zero", raw(&["0"])));
    let host = LocalHost::default();
    let tests = json!([{ "test": "t", "object": "uptime", "evr": { "operation": "<", "value": "99999999999.0" } }]);
    let result = evaluate(&host, json!(objects), tests);
    assert_eq!(states(&result.elements["results"][0]), TRUE, "{result:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    // Whatever a document says, there is a result, and it can be printed.
    #[test]
    fn any_document_has_a_result(
        path in "/d1|\\$\\{chain_root\\}|\\$\\{v\\}|/[a-z.]{0,3}",
        file in "[a-z.^$()!|*]{0,6}",
        expression in "[a-z.^$()|*+ =]{0,8}",
        concat in "[.]?",
        chain in proptest::collection::vec("a|b|c", 0..3),
        value in "[0-9.:~<>(-]{0,6}",
        operation in "<|>|=|x|",
        needs in proptest::collection::vec("t|u", 0..2),
    ) {
        let (_dir, host) = host();
        let object = |name: &str| json!({ "object": name, "filecontent": { "path": path, "file": file,
            "expression": expression, "concat": concat, "import-chain": chain } });
        let test = |name: &str, object: &str| json!({ "test": name, "object": object, "if": needs,
            "evr": { "operation": operation, "value": value } });
        let params = json!({ "scribedoc": {
            "variables": [{ "key": "v", "value": path }],
            "objects": [object("a"), object("b"), { "object": "c", "package": { "name": "bash" } }],
            "tests": [test("t", "a"), test("u", "c"), test("w", "b")] } });
        let result = run(&host, params);
        prop_assert!(result.success || result.errors.is_some());
        for style in [true, false] {
            prop_assert!(Scribe.print(&result, style).is_ok());
        }
        if result.success {
            prop_assert_eq!(result.elements["results"].as_array().unwrap().len(), 3);
        }
    }
}

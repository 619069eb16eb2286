//! The shape of results: what travels, what is printed, what privacy hides.

use std::time::{Duration, UNIX_EPOCH};

use crate::tree::{Tree, all, any, gzip};
use mig_host::LocalHost;
use mig_module::process::{ServeOptions, parameters_message, serve};
use mig_module::{DynModule as _, ModuleResult, Registry};
use mig_module_file::File;
use mig_types::wire;
use serde_json::{Value, json};

fn registry() -> Registry {
    Registry::new(vec![Box::new(File)])
}

/// The result document as a module process writes it.
fn document(params: &Value, privacy: bool) -> String {
    let options = ServeOptions { privacy, threads: 2, ..ServeOptions::default() };
    let mut output = Vec::new();
    serve(&registry(), "file", options, parameters_message(params).as_slice(), &mut output)
        .unwrap();
    String::from_utf8(output).unwrap()
}

fn dated(tree: &Tree, path: &str) {
    let file = std::fs::File::options().write(true).open(tree.at(path)).unwrap();
    let time = UNIX_EPOCH + Duration::new(1_441_037_705, 547_605_529);
    file.set_times(std::fs::FileTimes::new().set_modified(time)).unwrap();
}

#[test]
fn the_document_has_the_order_and_shape_of_the_peers() {
    use std::os::unix::fs::PermissionsExt as _;
    let tree = Tree::empty();
    tree.write("passwd", "root:x:0\n");
    std::fs::set_permissions(tree.at("passwd"), std::fs::Permissions::from_mode(0o644)).unwrap();
    dated(&tree, "passwd");
    let root = tree.root().to_str().unwrap();
    let params = json!({"searches": {"s1": {
        "paths": [format!("{root}//")], "names": ["^passwd$"], "contents": ["^root"],
        "options": {"matchall": true, "maxdepth": 1000, "maxerrors": 30, "matchlimit": 1000},
    }}});
    let text = document(&params, false);
    let (before, exectime) = text.split_once(r#""exectime":""#).unwrap();
    let expected = [
        r#"{"foundanything":true,"success":true,"elements":{"s1":[{"file":"ROOT/passwd","#,
        r#""search":{"paths":["ROOT"],"contents":["^root"],"names":["^passwd$"],"options":{"#,
        r#""maxdepth":0,"maxerrors":0,"matchall":true,"macroal":false,"mismatch":null,"#,
        r#""matchlimit":0}},"fileinfo":{"size":9,"mode":"-rw-r--r--","#,
        r#""lastmodified":"2015-08-31 16:15:05.547605529 +0000 UTC"}}]},"#,
        r#""statistics":{"filescount":1,"openfailed":0,"totalhits":1,"#,
    ];
    assert_eq!(before, expected.concat().replace("ROOT", root));
    assert!(exectime.ends_with(r#""},"errors":null}"#), "{exectime}");
    let refused = document(&json!({"searches": {"s1": {}}}), false);
    let expected = concat!(
        r#"{"foundanything":false,"success":false,"elements":{},"#,
        r#""statistics":{"filescount":0,"openfailed":0,"totalhits":0,"exectime":""},"#,
        r#""errors":["invalid empty search path, must have at least one search path"]}"#
    );
    assert_eq!(refused, expected);
}

#[test]
fn a_check_on_its_own_echoes_itself_only() {
    let tree = Tree::new();
    let outcome = tree.search(
        &["R/a"],
        json!({"names": ["^f1$"], "contents": ["!zz"], "md5": ["b1946ac92492d2347c6235b4d2611184"], "sizes": ["99"]}),
        any(),
    );
    let elements = outcome.result.elements["s"].as_array().unwrap();
    let options = json!({"maxdepth": 0, "maxerrors": 0, "matchall": false, "macroal": false,
        "mismatch": null, "matchlimit": 0});
    let marker = elements.iter().find(|e| e["file"] == json!("")).unwrap();
    assert_eq!(
        marker,
        &json!({"file": "", "fileinfo": {"size": 0, "mode": "", "lastmodified": ""},
            "search": {"paths": [tree.at("a")], "sizes": ["99"], "options": options}})
    );
    let kinds: Vec<String> = elements
        .iter()
        .map(|e| {
            let search = e["search"].as_object().unwrap();
            search.keys().filter(|k| *k != "paths" && *k != "options").cloned().collect()
        })
        .collect();
    let mut order = kinds.clone();
    order.dedup();
    assert_eq!(order, ["contents", "names", "sizes", "md5"]);
    let sum = elements.last().unwrap();
    assert_eq!(sum["search"]["md5"], json!(["B1946AC92492D2347C6235B4D2611184"]));
    let deep = elements.iter().find(|e| e["file"] == json!(tree.at("a/b/f2"))).unwrap();
    assert_eq!(deep["search"]["paths"], json!([tree.at("a/b")]));
    assert_eq!(deep["search"]["contents"], json!(["!zz"]));
}

#[test]
fn prints_the_lines_of_the_guide() {
    let tree = Tree::empty();
    tree.write("passwd", "root:x:0\n");
    dated(&tree, "passwd");
    let mode = {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(tree.at("passwd"), permissions).unwrap();
        "[lastmodified:2015-08-31 16:15:05.547605529 +0000 UTC, mode:-rw-r--r--, size:9"
    };
    let file = tree.at("passwd").to_str().unwrap().to_owned();
    let found = tree.search(&["R"], json!({"names": ["^passwd$"], "contents": ["^root"]}), all());
    let print = |result: &ModuleResult, found_only| File.print(result, found_only).unwrap();
    assert_eq!(print(&found.result, true), [format!("{file} {mode}] in search 's'")]);
    let lines = print(&found.result, false);
    assert!(
        lines[1].starts_with("Statistics: 1 files checked, 0 failed to open, 1 matched, ran in ")
    );
    assert!(lines[1].ends_with('.') && lines.len() == 2);
    let options = json!({"matchall": true, "returnsha256": true});
    let summed = tree.search(&["R"], json!({"names": ["passwd"]}), options);
    let line = &print(&summed.result, true)[0];
    let (head, sum) = line.split_once(", sha256:").unwrap();
    assert_eq!(head, format!("{file} {mode}"));
    let (sum, tail) = sum.split_at(64);
    assert!(sum.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()));
    assert_eq!(tail, "] in search 's'");
    let each =
        tree.search(&["R", "R/missing"], json!({"names": ["passwd"], "sizes": ["<5"]}), any());
    assert_eq!(
        print(&each.result, true),
        [format!("{file} {mode}] in search 's' on checks name='passwd'")]
    );
    let lines = print(&each.result, false);
    assert_eq!(lines[1], "0 match found in search 's' on checks size='<5'");
    assert!(lines[2].starts_with("ERROR: open ") && lines[3].starts_with("Statistics: "));
    let nothing = tree.search(&["R"], json!({"names": ["zzz"]}), all());
    assert!(print(&nothing.result, true).is_empty());
    assert_eq!(print(&nothing.result, false)[0], "0 match found in search 's'");
}

#[test]
fn a_name_cannot_control_the_terminal() {
    let tree = Tree::empty();
    tree.write("a\u{1b}[31m\nfake", "");
    let found = tree.search(&["R"], json!({"names": ["fake"]}), all());
    let lines = File.print(&found.result, true).unwrap();
    assert!(lines.len() == 1 && lines[0].contains("a\\x1b[31m\\nfake ["), "{lines:?}");
}

#[test]
fn privacy_hides_names_and_nothing_else() {
    let tree = Tree::new();
    let root = tree.root().to_str().unwrap();
    for matchall in [true, false] {
        let params = json!({"searches": {"s": {"paths": [root], "names": ["^f[12]$"],
            "options": {"matchall": matchall, "maxerrors": 1}}}});
        let open: ModuleResult = wire::from_slice(document(&params, false).as_bytes()).unwrap();
        let text = document(&params, true);
        let masked: ModuleResult = wire::from_slice(text.as_bytes()).unwrap();
        assert!(!text.contains("f1\"") && !text.contains("broken") && !text.contains("a/b"));
        assert_eq!(masked.errors, Some(vec!["masked".to_owned(); 2]));
        let entries = masked.elements["s"].as_array().unwrap();
        assert_eq!(entries.len(), 2);
        for (masked, open) in entries.iter().zip(open.elements["s"].as_array().unwrap()) {
            assert_eq!(masked["file"], json!("masked"));
            assert_eq!(masked["fileinfo"], open["fileinfo"]);
            assert_eq!(masked["search"]["paths"], json!([root]));
            assert_eq!(masked["search"]["names"], open["search"]["names"]);
        }
        // A result that has travelled can still be masked.
        let mut late = open;
        File.mask(&mut late);
        assert!(!wire::to_string(&late).unwrap().contains("a/b"));
        let lines = File.print(&masked, true).unwrap();
        assert!(lines[0].starts_with("masked [lastmodified:"), "{lines:?}");
    }
}

#[test]
fn reads_and_reproduces_what_the_original_found() {
    // Recorded from the original on the tree built below.
    let tree = Tree::empty();
    tree.write("invalid_utf8", b"NEEDLE-00ff \xff\xfe\n");
    tree.write("crlf", "one\r\nNEEDLE-1111\r\n");
    tree.write("nul", b"a\0b\0\nNEEDLE-0000");
    tree.write("noeol", "NEEDLE-abcd");
    tree.write("empty", "");
    tree.write("long65535", format!("{}\nNEEDLE-abcd\n", "x".repeat(65_535)));
    tree.write("sub/f", "NEEDLE-abcd");
    std::os::unix::fs::symlink("noeol", tree.at("link_to_file")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", tree.at("broken")).unwrap();
    let outcome = tree.search(&["R"], json!({"contents": ["NEEDLE-[0-9a-f]{4}"]}), all());
    assert_eq!(
        outcome.files(),
        ["crlf", "invalid_utf8", "link_to_file", "long65535", "noeol", "nul", "sub/f"]
    );
    for sample in [
        include_str!("../samples/file-edge-content.json"),
        include_str!("../samples/file-edge-names.json"),
    ] {
        let result: ModuleResult = wire::from_slice(sample.as_bytes()).unwrap();
        let found = result.elements["s1"].as_array().unwrap().len();
        assert_eq!(File.print(&result, true).unwrap().len(), found);
        assert_eq!(File.print(&result, false).unwrap().len(), found + 2);
    }
}

#[test]
fn the_echo_of_a_recorded_result_survives_reading_and_writing() {
    let sample = include_str!("../samples/file-edge-content.json");
    let value: Value = wire::value_from_slice(sample.as_bytes()).unwrap();
    let elements: mig_module_file::Elements = wire::from_value(value["elements"].clone()).unwrap();
    assert_eq!(serde_json::to_value(&elements).unwrap(), value["elements"]);
    // And to the byte, since the order of members is the original's.
    let text = wire::to_string(&elements).unwrap();
    assert!(sample.replace("\\ufffd", "\u{fffd}").contains(&text), "{text}");
}

#[test]
fn the_help_and_the_options_of_a_search_agree() {
    let args = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let registry = registry();
    let module = registry.get("file").unwrap();
    let line = "-path /etc -name ^passwd$ -size <10m -mode ^-rw -mtime <90d -content ^root \
                -macroal -mismatch mode -returnsha256 -decompress -matchany";
    let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let mig_module::ParsedArgs::Params(params) = module.parse_args(&line).unwrap() else {
        panic!("parameters expected")
    };
    assert!(module.validate_json(&params).is_ok());
    assert!(module.parse_args(&args("-path /etc -size 1K")).is_err());
    assert!(module.parse_args(&args("-name x")).is_err());
    let host = LocalHost::default();
    let packed = gzip(b"x");
    assert!(
        module
            .run_json(&host, json!({"searches": packed}), &mig_module::Budget::unlimited())
            .errors
            .is_some()
    );
}

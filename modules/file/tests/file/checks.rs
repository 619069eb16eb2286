//! What the module finds: every kind of check and how they combine.

use std::fs::FileTimes;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::tree::{Tree, all, any, gzip, within};
use mig_host::{Host as _, LocalHost};
use mig_module::{Budget, DynModule as _};
use mig_module_file::File;
use mig_types::Timestamp;
use serde_json::{Value, json};

const HELLO_MD5: &str = "b1946ac92492d2347c6235b4d2611184";

#[test]
fn sizes_include_their_bound() {
    let tree = Tree::empty();
    for size in [0, 1, 1023, 1024, 1025] {
        tree.write(&format!("{size:04}"), vec![b'x'; size]);
    }
    for (size, found) in [
        ("<1k", &["0000", "0001", "1023", "1024"][..]),
        (">1k", &["1024", "1025"]),
        ("1k", &["1024"]),
        ("0", &["0000"]),
        (">0", &["0000", "0001", "1023", "1024", "1025"]),
    ] {
        assert_eq!(tree.search(&["R"], json!({"sizes": [size]}), all()).files(), found, "{size}");
    }
    let window = tree.search(&["R"], json!({"sizes": [">1", "<1023"]}), all());
    assert_eq!(window.files(), ["0001", "1023"]);
    let outside = json!({"matchall": true, "mismatch": ["size"]});
    assert_eq!(tree.search(&["R"], json!({"sizes": ["<1k"]}), outside).files(), ["1025"]);
}

#[test]
fn bad_parameters_are_refused_with_the_value_and_the_rule() {
    let tree = Tree::new();
    let cases = [
        (json!({"sizes": ["k"]}), "\"k\""),
        (json!({"sizes": ["<"]}), "\"<\""),
        (json!({"sizes": ["1K"]}), "\"1K\""),
        (json!({"sizes": ["-5"]}), "\"-5\""),
        (json!({"sizes": ["99999999999999999999"]}), "size"),
        (json!({"sizes": ["17179869184g"]}), "too large"),
        (json!({"mtimes": ["2h"]}), "\"2h\""),
        (json!({"mtimes": ["<1s"]}), "\"<1s\""),
        (json!({"mtimes": [">"]}), "\">\""),
        (json!({"mtimes": ["<d"]}), "\"<d\""),
        (json!({"mtimes": ["<106752d"]}), "too large"),
        (json!({"modes": ["!^t"]}), "mismatch"),
        (json!({"names": [""]}), "empty name"),
        (json!({"names": ["("]}), "regular expression"),
        (json!({"contents": ["!("]}), "regular expression"),
        (json!({"sha2": ["abcd"]}), "sha2 checksum \"abcd\""),
        (json!({"md5": ["xyz"]}), "md5"),
        (json!({"names": "x"}), "cannot read the parameters"),
    ];
    for (checks, text) in cases {
        let reason = tree.search(&["R"], checks, all()).refused();
        assert!(reason.contains(text), "{reason}");
    }
    for (searches, text) in [
        (json!({"s": null}), "null"),
        (json!({"s": {"paths": []}}), "empty search path"),
        (json!({"s": {"paths": "x"}}), "cannot read the parameters"),
        (json!({"s": {"paths": ["R"], "options": {"mismatch": ["names"]}}}), "\"names\""),
        (json!({"a".repeat(65): {"paths": ["R"]}}), "label"),
        (json!({"a\nb": {"paths": ["R"]}}), "label"),
        (json!({"": {"paths": ["R"]}}), "empty labels"),
    ] {
        let reason = tree.run(searches).refused();
        assert!(reason.contains(text), "{reason}");
    }
    for label in ["backdoored/bin/ls".to_owned(), "é".repeat(64)] {
        assert!(tree.run(json!({label: {"paths": ["R"]}})).result.success);
    }
    assert_eq!(tree.run(json!({})).result.elements, json!({}));
}

#[test]
fn times_are_compared_with_the_clock_of_the_host() {
    let tree = Tree::empty();
    let now = LocalHost::default().now().unix();
    for (name, seconds) in
        [("hour", now - 3600), ("days", now - 172_800), ("future", now + 9999), ("1970", 0)]
    {
        tree.write(name, "");
        let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap());
        let file = std::fs::File::options().write(true).open(tree.at(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }
    let search = |age: &str| tree.search(&["R"], json!({"mtimes": [age]}), all()).files();
    assert_eq!(search("<2h"), ["future", "hour"]);
    assert_eq!(search(">2h"), ["1970", "days"]);
    // A host whose clock stands in 1971 sees another age.
    let host = LocalHost::default().frozen_at(Timestamp::from_unix(31_536_000, 0).unwrap());
    let params = json!({"searches": {"s": {"paths": [tree.root()], "mtimes": [">2h"]}}});
    let result = File.run_json(&host, params, &Budget::unlimited());
    assert_eq!(result.elements["s"].as_array().unwrap().len(), 1);
    assert!(result.elements["s"][0]["file"].as_str().unwrap().ends_with("/1970"));
}

#[test]
fn modes_are_texts() {
    let tree = Tree::empty();
    for (name, mode) in [("both", 0o6755), ("setuid", 0o4644), ("plain", 0o644), ("sticky", 0o1644)]
    {
        tree.write(name, "");
        std::fs::set_permissions(tree.at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let search = |mode: &str| tree.search(&["R"], json!({"modes": [mode]}), all()).files();
    assert_eq!(search("^ug"), ["both"]);
    assert_eq!(search("^-rw"), ["plain"]);
    assert_eq!(search("^u"), ["both", "setuid"]);
    assert_eq!(search("^trw-r--r--$"), ["sticky"]);
}

#[test]
fn contents_match_lines() {
    let tree = Tree::new();
    let outcome =
        tree.search(&["R/passwd"], json!({"contents": ["^root", "^nobody", "^bob"]}), any());
    let found = outcome.found();
    assert_eq!(found["s contents=^root"], ["passwd"]);
    assert!(found["s contents=^nobody"].is_empty());
    assert_eq!(found["s contents=^bob"], ["passwd"]);
    assert_eq!(outcome.statistic("totalhits"), 2);
    let files = |path: &str, contents: Value, options: Value| {
        tree.search(&[path], json!({ "contents": contents }), options).files()
    };
    assert_eq!(files("R/passwd", json!(["^root", "^bob"]), all()), ["passwd"]);
    assert_eq!(files("R/crlf", json!(["^line2$"]), all()), ["crlf"]);
    assert!(files("R/crlf", json!([r"\r"]), all()).is_empty());
    assert!(files("R/zero", json!(["^$"]), all()).is_empty());
    tree.write("newline", "\n");
    assert_eq!(files("R/newline", json!(["^$"]), all()), ["newline"]);
    for file in ["zero", "nonl"] {
        assert_eq!(files(&format!("R/{file}"), json!(["!zzz"]), all()), [file]);
    }
    let mismatch = |matchall: bool| json!({"matchall": matchall, "mismatch": ["content"]});
    assert_eq!(files("R/passwd", json!(["zzz"]), mismatch(false)), ["passwd"]);
    assert_eq!(files("R/passwd", json!(["!zzz"]), mismatch(false)), Vec::<String>::new());
    assert_eq!(files("R/a", json!(["!hello"]), mismatch(true)), ["a/b/f2", "a/f1", "a/link_f1"]);
    assert_eq!(files("R/a/f1", json!(["foo{bar}"]), all()), Vec::<String>::new());
    tree.write("literal", "foo{bar} a.b");
    assert_eq!(files("R/literal", json!(["foo{bar}", r"\Qa.b\E"]), all()), ["literal"]);
}

#[test]
fn content_and_checksums_count_together() {
    let tree = Tree::new();
    let files = |checks: Value| tree.search(&["R/a/f1"], checks, all()).files();
    assert_eq!(files(json!({"contents": ["!zzz"], "md5": [HELLO_MD5]})), ["a/f1"]);
    assert_eq!(files(json!({"contents": ["hello"], "md5": [HELLO_MD5.to_uppercase()]})), ["a/f1"]);
    assert!(files(json!({"contents": ["!hello"], "md5": [HELLO_MD5]})).is_empty());
    assert!(files(json!({"md5": [HELLO_MD5, "0".repeat(32)]})).is_empty());
    let each = tree.search(&["R"], json!({"md5": [HELLO_MD5, "0".repeat(32)]}), any());
    let found = each.found();
    let hello = format!("s md5={}", HELLO_MD5.to_uppercase());
    assert_eq!(found[&hello], ["a/f1", "a/link_f1", "a2/f4"]);
    assert_eq!(found.len(), 2);
}

#[test]
fn every_function_finds_its_checksum() {
    let tree = Tree::empty();
    tree.write("hello", "hello\n");
    for (kind, sum) in [
        ("md5", HELLO_MD5),
        ("sha1", "f572d396fae9206628714fb2ce00f72e94f2258f"),
        ("sha2", "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
        ("sha256", "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
        (
            "sha2",
            "1d0f284efe3edea4b9ca3bd514fa134b17eae361ccc7a1eefeff801b9bd6604e01f21f6bf249ef030599f0c218f2ba8c",
        ),
        (
            "sha2",
            "e7c22b994c59d9cf2b48e549b1e24666636045930d3da7c1acb299d1c3b7f931f94aae41edda2c2b207a36e10f8bcb8d45223e54878f5b316e7ce3b6bc019629",
        ),
        ("sha3", "d7f3eed8eb5e27f8a4f2d6d5c2d5e5b5"),
    ] {
        if sum.len() == 32 && kind == "sha3" {
            assert!(tree.search(&["R"], json!({kind: [sum]}), all()).refused().contains("sha3"));
            continue;
        }
        assert_eq!(tree.search(&["R"], json!({kind: [sum]}), all()).files(), ["hello"], "{sum}");
    }
    // SHA-3 of the empty text, as published by NIST.
    tree.write("empty", "");
    for sum in [
        "6b4e03423667dbb73b6e15454f0eb1abd4597f9a1b078e3f5b5a6bc7",
        "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
        "0c63a75b845e4f7d01107d852e4c2485c51a50aaaa94fc61995e71bbee983a2ac3713831264adb47fb6bd1e058d5f004",
        "a69f73cca23a9ac5c8b567dc185a756e97c982164fe25859e0d1dcc1475c80a615b2123af1f5f94c11e3e9402c3ac558f500199d95b6d3e301758586281dcd26",
    ] {
        assert_eq!(tree.search(&["R"], json!({"sha3": [sum]}), all()).files(), ["empty"], "{sum}");
    }
}

#[test]
fn macroal_asks_every_line() {
    let tree = Tree::new();
    let options = |mismatch: bool, matchall: bool| {
        let kinds = if mismatch { json!(["content"]) } else { Value::Null };
        json!({"matchall": matchall, "macroal": true, "mismatch": kinds})
    };
    let hit = |file: &str, contents: Value, mismatch: bool| {
        let path = format!("R/{file}");
        let outcome =
            tree.search(&[&path], json!({ "contents": contents }), options(mismatch, true));
        !outcome.files().is_empty()
    };
    assert!(hit("passwd", json!([":x:", "[0-9]$"]), false));
    assert!(!hit("passwd", json!(["^root", "[0-9]$"]), false));
    assert!(!hit("passwd", json!([":x:", "[0-9]$"]), true));
    assert!(hit("passwd", json!(["^root", "[0-9]$"]), true));
    let each =
        tree.search(&["R/passwd"], json!({"contents": ["^root", "!zzz"]}), options(false, false));
    assert!(each.found().values().all(Vec::is_empty), "{:?}", each.found());
    assert!(!hit("zero", json!(["x"]), false));
    assert!(hit("zero", json!(["!x"]), false));
    assert!(hit("zero", json!(["x"]), true));
}

#[test]
fn macroal_and_mismatch_find_the_unexpected_line() {
    let tree = Tree::empty();
    tree.write("eve/authorized_keys", "k1 a@known\nk2 b@known\nk3 m@evil\n");
    tree.write("bob/authorized_keys", "k1 a@known\nk2 b@known\n");
    let checks = json!({"names": ["^authorized_keys$"], "contents": ["known$"]});
    let options = json!({"matchall": true, "macroal": true, "mismatch": ["content"]});
    assert_eq!(tree.search(&["R"], checks, options).files(), ["eve/authorized_keys"]);
}

#[test]
fn long_lines_are_looked_at() {
    let tree = Tree::empty();
    tree.write("65535", format!("{}\nNEEDLE\n", "x".repeat(65_535)));
    tree.write("65536", format!("{}\nNEEDLE\n", "x".repeat(65_536)));
    tree.write("million", format!("{}NEEDLE", "x".repeat(1 << 20)));
    tree.write("return", format!("{}\r\n^NEEDLE", "x".repeat((256 << 10) - 1)));
    let outcome = tree.search(&["R"], json!({"contents": ["NEEDLE"]}), all());
    assert_eq!(outcome.files(), ["65535", "65536", "million", "return"]);
    // Beyond the bound of memory nothing is known of that line.
    tree.write("giant/x", format!("{}NEEDLE\nafter\n", "x".repeat(17 << 20)));
    let giant = |content: &str| tree.search(&["R/giant"], json!({"contents": [content]}), all());
    assert!(giant("NEEDLE").files().is_empty());
    assert!(giant("!NEEDLE").files().is_empty());
    assert_eq!(giant("^after$").files(), ["giant/x"]);
    assert!(giant("!NEEDLE").errors()[0].contains("16 MiB"));
    let sum = tree.search(&["R/giant"], json!({"names": ["x"]}), json!({"returnsha256": true}));
    assert_eq!(sum.errors(), Vec::<String>::new());
}

#[test]
fn invalid_bytes_are_replacement_characters() {
    let tree = Tree::empty();
    tree.write("bytes", b"A \xff\xfe B\n");
    tree.write("latin", "ÿ\n");
    let files = |content: &str| tree.search(&["R"], json!({"contents": [content]}), all()).files();
    assert_eq!(files("^A .. B$"), ["bytes"]);
    assert_eq!(files(r"\xff"), ["latin"]);
}

#[test]
fn decompression_belongs_to_a_search() {
    let tree = Tree::new();
    let unpack = json!({"matchall": true, "decompress": true});
    let files = |paths: &[&str], checks: Value| tree.search(paths, checks, unpack.clone()).files();
    let both = ["passwd", "passwd.gz"];
    assert_eq!(files(&["R"], json!({"contents": ["^root"]})), both);
    let sum = "24ab1d419f5dd6a908314ee7d36a7c66";
    assert_eq!(files(&["R"], json!({"md5": [sum]})), both);
    let size = tree.search(&["R"], json!({"contents": ["^root"]}), unpack.clone());
    let packed = std::fs::metadata(tree.at("passwd.gz")).unwrap().len();
    assert_eq!(size.result.elements["s"][1]["fileinfo"]["size"], json!(packed));
    let mut sums = json!({"matchall": true, "decompress": true, "returnsha256": true});
    let outcome = tree.search(&["R"], json!({"names": ["^passwd"]}), sums.clone());
    let sha = |index: usize| outcome.result.elements["s"][index]["fileinfo"]["sha256"].clone();
    assert_eq!(sha(0), sha(1));
    let lower = sha(0).as_str().unwrap().to_lowercase();
    assert_eq!(files(&["R"], json!({"sha2": [lower], "contents": ["bob"]})), both);
    sums["decompress"] = json!(false);
    let raw = tree.search(&["R"], json!({"names": ["^passwd"]}), sums);
    let elements = &raw.result.elements["s"];
    assert_ne!(elements[0]["fileinfo"]["sha256"], elements[1]["fileinfo"]["sha256"]);
    tree.write("one", "X");
    assert_eq!(files(&["R/zero"], json!({"contents": ["!x"]})), ["zero"]);
    assert_eq!(files(&["R/one"], json!({"contents": ["X"]})), ["one"]);
    tree.write("two.gz", [gzip(b"first\n"), gzip(b"second\n")].concat());
    assert_eq!(files(&["R/two.gz"], json!({"contents": ["^second$"]})), ["two.gz"]);
    let outcome = tree.run(json!({
        "in": {"paths": ["R"], "contents": ["^root"], "options": unpack},
        "out": {"paths": ["R"], "contents": ["^root"], "options": all()},
    }));
    assert_eq!(outcome.found()["in"], both);
    assert_eq!(outcome.found()["out"], ["passwd"]);
}

#[test]
fn a_broken_gzip_file_is_an_error_but_earlier_hits_stand() {
    let tree = Tree::empty();
    let mut text = b"NEEDLE\n".to_vec();
    let mut state = 1u32;
    // Noise, so that half of the packed file is about half of the text.
    for _ in 0..2_000_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push((state >> 24) as u8);
    }
    let whole = gzip(&text);
    tree.write("cut.gz", &whole[..whole.len() / 2]);
    tree.write("fake.gz", b"\x1f\x8bnot gzip at all");
    tree.write("tail.gz", [gzip(b"x\n"), b"garbage".to_vec()].concat());
    let unpack = json!({"matchall": true, "decompress": true});
    let search =
        |content: &str| tree.search(&["R"], json!({"contents": [content]}), unpack.clone());
    let outcome = search("NEEDLE");
    assert_eq!(outcome.files(), ["cut.gz"]);
    let outcome = search("!nowhere to be found");
    assert!(outcome.files().is_empty());
    let errors = outcome.errors();
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (error, name) in errors.iter().zip(["cut.gz", "fake.gz", "tail.gz"]) {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_search_without_checks_finds_nothing() {
    let tree = Tree::new();
    for checks in [json!({}), json!({"regexes": ["root"]})] {
        let each = tree.search(&["R"], checks.clone(), any());
        assert_eq!(each.result.elements, json!({"s": null}));
        assert!(!each.result.foundanything && each.result.success);
        let together = tree.search(&["R"], checks, all());
        assert!(together.files().is_empty() && !together.result.foundanything);
        assert_eq!(together.result.elements["s"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn keys_are_read_in_any_case() {
    let tree = Tree::new();
    let searches = json!({"s": {
        "PATHS": ["R"], "Names": ["^passwd$"], "Contents": ["^root"],
        "Options": {"MatchAll": true, "maxDEPTH": 1},
    }});
    assert_eq!(tree.run(searches).files(), ["passwd"]);
}

#[test]
fn a_huge_sparse_file_ends_with_the_deadline() {
    let tree = Tree::empty();
    let file = std::fs::File::create(tree.at("sparse")).unwrap();
    file.set_len(10 << 30).unwrap();
    tree.write("small", "x");
    let budget = Budget::new(Some(Instant::now() + Duration::from_secs(1)), 1);
    let search = json!({"s": {"paths": ["R"], "sha2": ["0".repeat(64)], "options": all()}});
    let outcome = within(Duration::from_secs(20), || tree.run_within(&search, &budget));
    assert!(outcome.result.success);
    assert!(outcome.errors().iter().any(|e| e.contains("timed out") || e.contains("cut short")));
}

#[test]
fn a_file_that_shrinks_while_it_is_read_does_no_harm() {
    let tree = Tree::empty();
    tree.write("big", vec![b'x'; 8 << 20]);
    std::thread::scope(|scope| {
        scope.spawn(|| std::fs::File::create(tree.at("big")).unwrap());
        let outcome = tree.search(
            &["R"],
            json!({"names": ["big"]}),
            json!({"returnsha256": true, "matchall": true}),
        );
        assert_eq!(outcome.files(), ["big"]);
        assert_eq!(
            outcome.result.elements["s"][0]["fileinfo"]["sha256"].as_str().unwrap().len(),
            64
        );
    });
}

#[test]
fn checksums_come_with_every_finding_when_asked_for() {
    let tree = Tree::new();
    let sum = "5891B5B522D5DF086D0FF0B110FBD9D21BB4FC7163AF34D08286A2E846F6BE03";
    for (checks, matchall) in [
        (json!({"names": ["^f1$"]}), true),
        (json!({"names": ["^f1$"]}), false),
        (json!({"contents": ["hello"]}), false),
    ] {
        let options = json!({"matchall": matchall, "returnsha256": true});
        let outcome = tree.search(&["R/a/f1"], checks, options);
        assert_eq!(outcome.result.elements["s"][0]["fileinfo"]["sha256"], json!(sum));
    }
}

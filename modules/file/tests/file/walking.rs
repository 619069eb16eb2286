//! Where the module looks: roots, links, depth, scope, limits, errors.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant};

use crate::tree::{Tree, all, any, within};
use mig_module::Budget;
use serde_json::json;

const EVERYTHING: [&str; 10] = [
    "a/b/c/f3",
    "a/b/f2",
    "a/f1",
    "a/link_f1",
    "a2/f4",
    "crlf",
    "nonl",
    "passwd",
    "passwd.gz",
    "zero",
];

#[test]
fn finds_every_file_once_and_counts_what_it_could_not_open() {
    let tree = Tree::new();
    let outcome = tree.search(&["R"], json!({"names": ["."]}), all());
    assert_eq!(outcome.files(), EVERYTHING);
    assert_eq!(outcome.statistic("openfailed"), 3);
    assert_eq!(outcome.statistic("filescount"), 10);
    assert_eq!(outcome.statistic("totalhits"), 10);
    let errors = outcome.errors();
    assert_eq!(errors.len(), 3);
    for (error, name) in errors.iter().zip(["broken", "loop1", "loop2"]) {
        assert!(error.starts_with("ERROR: followSymLink() -> ") && error.contains(name), "{error}");
    }
}

#[test]
fn depth_counts_the_search_path_as_one() {
    let tree = Tree::new();
    let at = |depth: f64, options: &str| {
        let options = json!({"maxdepth": depth, "matchall": options == "all"});
        tree.search(&["R"], json!({"names": ["f"]}), options).files()
    };
    assert_eq!(at(1.0, "any"), ["crlf"]);
    let two = ["a/f1", "a/link_f1", "a2/f4", "crlf"];
    assert_eq!(at(2.0, "all"), two);
    assert_eq!(at(2.9, "all"), two);
    assert_eq!(at(3.0, "all"), ["a/b/f2", "a/f1", "a/link_f1", "a2/f4", "crlf"]);
    assert_eq!(at(0.0, "all").len(), 6);
    assert!(at(0.5, "all").is_empty());
    let negative = tree.search(&["R"], json!({}), json!({"maxdepth": -1}));
    assert!(negative.refused().contains("maxdepth"));
}

#[test]
fn paths_are_cleaned_and_not_expanded() {
    let tree = Tree::new();
    let names = json!({"names": ["."]});
    assert_eq!(tree.search(&["R/a/../a2//"], names.clone(), all()).files(), ["a2/f4"]);
    let outcome = tree.search(&["R/*"], names, all());
    assert!(outcome.files().is_empty());
    assert!(
        outcome.errors()[0].starts_with("ERROR: open ")
            && outcome.errors()[0].contains("/*: no such")
    );
    assert_eq!(outcome.statistic("openfailed"), 1);
}

#[test]
fn a_root_that_is_a_link_stands_for_its_target() {
    let tree = Tree::new();
    let search = |path: &str, name: &str| tree.search(&[path], json!({"names": [name]}), all());
    assert!(search("R/a/link_f1", "link").files().is_empty());
    assert_eq!(search("R/a/link_f1", "f1").files(), ["a/f1"]);
    // Directories are entered under the name that was asked for.
    assert_eq!(
        search("R/dirlink", "f[13]").files(),
        ["dirlink/b/c/f3", "dirlink/f1", "dirlink/link_f1"]
    );
    assert_eq!(search("R/dirlink/b", ".").files(), ["dirlink/b/c/f3", "dirlink/b/f2"]);
    let broken = search("R/broken", ".");
    assert!(broken.files().is_empty());
    assert_eq!((broken.statistic("openfailed"), broken.errors().len()), (1, 1));
}

#[test]
fn a_fifo_is_metadata_only_and_never_blocks() {
    let tree = Tree::new();
    within(Duration::from_secs(10), || {
        assert_eq!(tree.search(&["R/fifo"], json!({"names": ["fifo"]}), all()).files(), ["fifo"]);
        let content = tree.search(&["R/fifo"], json!({"contents": ["!x"]}), all());
        assert!(content.files().is_empty());
        assert!(content.errors()[0].contains("not a regular file"));
        assert!(tree.search(&["/dev/zero"], json!({"contents": ["x"]}), all()).files().is_empty());
        assert_eq!(tree.search(&["/dev/zero"], json!({"modes": ["^Dc"]}), all()).files().len(), 1);
    });
    let _socket = std::os::unix::net::UnixListener::bind(tree.at("socket")).unwrap();
    let outcome = tree.search(&["R/socket"], json!({"names": ["."]}), all());
    assert!(outcome.files().is_empty() && outcome.statistic("openfailed") == 1);
}

#[test]
fn overlapping_paths_look_at_each_file_once() {
    let tree = Tree::new();
    for paths in
        [&["R/a", "R/a/b"][..], &["R/a/b", "R/a/f1", "R/a", "R/a/"], &["R/a/link_f1", "R/a"]]
    {
        let outcome = tree.search(paths, json!({"names": ["."]}), all());
        assert_eq!(outcome.files(), ["a/b/c/f3", "a/b/f2", "a/f1", "a/link_f1"], "{paths:?}");
        assert_eq!(outcome.statistic("filescount"), 4, "{paths:?}");
    }
    // The smallest level counts, also where the outer path does not reach.
    let options = json!({"matchall": true, "maxdepth": 1});
    let outcome = tree.search(&["R/a", "R/a/b/c"], json!({"names": ["."]}), options);
    assert_eq!(outcome.files(), ["a/b/c/f3", "a/f1", "a/link_f1"]);
    let options = json!({"matchall": true, "maxdepth": 2});
    let outcome = tree.search(&["R", "R/a/b", "R/a/b/c/f3"], json!({"names": ["f"]}), options);
    assert_eq!(outcome.files(), ["a/b/c/f3", "a/b/f2", "a/f1", "a/link_f1", "a2/f4", "crlf"]);
    // A root behind a link is not met on the way, but looked at all the same.
    let outcome = tree.search(&["R/a2", "R", "R/dirlink/b"], json!({"names": ["f2"]}), all());
    assert_eq!(outcome.files(), ["a/b/f2", "dirlink/b/f2"]);
}

#[test]
fn searches_keep_to_their_own_scope() {
    let tree = Tree::new();
    let two = |a: serde_json::Value, b: serde_json::Value| tree.run(json!({"A": a, "B": b}));
    let dot = json!(["."]);
    let outcome = two(
        json!({"paths": ["R/a"], "names": dot, "options": all()}),
        json!({"paths": ["R/a2"], "names": ["zz"], "options": all()}),
    );
    let below_a = vec!["a/b/c/f3", "a/b/f2", "a/f1", "a/link_f1"];
    assert_eq!(outcome.found()["A"], below_a);
    let outcome = two(
        json!({"paths": ["R/a"], "names": dot, "options": all()}),
        json!({"paths": ["R"], "names": ["zz"], "options": all()}),
    );
    assert_eq!(outcome.found()["A"], below_a);
    assert!(outcome.found()["B"].is_empty());
    assert_eq!(outcome.statistic("filescount"), 10);
    let outcome = two(
        json!({"paths": ["R"], "names": ["f"], "options": {"matchall": true, "maxdepth": 2}}),
        json!({"paths": ["R"], "names": ["f3"], "options": all()}),
    );
    assert_eq!(outcome.found()["A"], ["a/f1", "a/link_f1", "a2/f4", "crlf"]);
    assert_eq!(outcome.found()["B"], ["a/b/c/f3"]);
    let outcome = two(
        json!({"paths": ["R/a"], "contents": ["!foo"]}),
        json!({"paths": ["R/a2"], "contents": ["bar"]}),
    );
    assert_eq!(outcome.found()["A contents=!foo"], below_a);
    assert!(outcome.found()["B contents=bar"].is_empty());
    assert!(outcome.errors().is_empty());
}

#[test]
fn a_match_limit_is_exact_and_belongs_to_one_search() {
    let tree = Tree::empty();
    for number in 0..5 {
        tree.write(&format!("f{number}"), "x");
    }
    let limited = |limit: i32, matchall: bool| json!({"matchlimit": limit, "matchall": matchall});
    let outcome = tree.search(&["R"], json!({"names": ["f"]}), limited(2, true));
    assert_eq!((outcome.files().len(), outcome.statistic("totalhits")), (2, 2));
    let outcome = tree.search(&["R"], json!({"names": ["f", "."]}), limited(3, false));
    assert_eq!(outcome.statistic("totalhits"), 4);
    assert_eq!(outcome.found().values().map(Vec::len).sum::<usize>(), 4);
    let outcome = tree.run(json!({
        "few": {"paths": ["R"], "names": ["."], "options": limited(2, true)},
        "all": {"paths": ["R"], "names": ["."], "options": limited(100, true)},
        "none": {"paths": ["R"], "names": ["."], "options": limited(-1, true)},
    }));
    let found = outcome.found();
    assert_eq!((found["few"].len(), found["all"].len(), found["none"].len()), (2, 5, 0));
    // A second run in the same process starts from nothing.
    let outcome = tree.search(&["R"], json!({"names": ["f"]}), limited(2, true));
    assert_eq!((outcome.statistic("totalhits"), outcome.statistic("filescount") <= 5), (2, true));
}

#[test]
fn errors_beyond_the_limit_are_counted() {
    let tree = Tree::empty();
    for number in 0..8 {
        symlink("nowhere", tree.at(&format!("broken{number}"))).unwrap();
    }
    let outcome = tree.search(&["R"], json!({"names": ["x"]}), json!({"maxerrors": 1}));
    let errors = outcome.errors();
    assert_eq!(errors.len(), 2);
    assert_eq!(errors[1], "7 errors were not returned (max errors = 1)");
    assert_eq!(outcome.statistic("openfailed"), 8);
    let outcome = tree.run(json!({
        "a": {"paths": ["R"], "options": {"maxerrors": 2}},
        "b": {"paths": ["R"], "options": {"maxerrors": 5}},
    }));
    assert_eq!(outcome.errors().len(), 6);
}

#[test]
fn names_with_invalid_bytes_are_found_and_shown() {
    let tree = Tree::empty();
    let name = OsStr::from_bytes(b"bad\xff\xfename");
    std::fs::write(tree.root().join(name), "12345").unwrap();
    let outcome = tree.search(&["R"], json!({"names": ["^bad..name$"]}), all());
    assert_eq!(outcome.files(), ["bad\u{fffd}\u{fffd}name"]);
    assert_eq!(outcome.result.elements["s"][0]["fileinfo"]["size"], json!(5));
}

#[test]
fn every_name_of_a_file_is_reported() {
    let tree = Tree::empty();
    tree.write("d/one", "needle\n");
    std::fs::hard_link(tree.at("d/one"), tree.at("d/two")).unwrap();
    symlink("one", tree.at("d/three")).unwrap();
    let outcome = tree.search(&["R"], json!({"contents": ["^needle$"]}), all());
    assert_eq!(outcome.files(), ["d/one", "d/three", "d/two"]);
}

#[test]
fn a_very_deep_tree_is_walked() {
    let tree = Tree::empty();
    let mut at =
        rustix::fs::open(tree.root(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
            .unwrap();
    let name = "d".repeat(10);
    for _ in 0..2000 {
        rustix::fs::mkdirat(&at, name.as_str(), rustix::fs::Mode::RWXU).unwrap();
        at = rustix::fs::openat(
            &at,
            name.as_str(),
            rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
    }
    let file = rustix::fs::openat(
        &at,
        "bottom",
        rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    rustix::io::write(&file, b"needle").unwrap();
    let outcome = tree.search(&["R"], json!({"contents": ["needle"]}), all());
    assert_eq!(outcome.errors(), Vec::<String>::new());
    assert_eq!(outcome.files().len(), 1);
}

#[test]
fn a_relative_root_keeps_its_form() {
    // Tests run in the directory of the crate.
    let tree = Tree::empty();
    let search = |path: &str| tree.search(&[path], json!({"names": [r"^walking\.rs$"]}), all());
    assert_eq!(search("tests").files(), ["tests/file/walking.rs"]);
    let dot = tree.search(&[".", "tests"], json!({"names": [r"^walking\.rs$"]}), all());
    assert_eq!(dot.files(), ["./tests/file/walking.rs"]);
}

#[test]
fn a_passed_deadline_gives_a_partial_result_that_says_so() {
    let tree = Tree::new();
    let budget = Budget::new(Some(Instant::now()), 2);
    let search = json!({"s": {"paths": ["R"], "names": ["."], "options": {"matchall": true, "maxerrors": 1}}});
    let outcome = tree.run_within(&search, &budget);
    assert!(outcome.result.success);
    assert!(outcome.errors().last().unwrap().contains("cut short"), "{:?}", outcome.errors());
}

#[test]
fn the_size_of_the_result_is_bounded() {
    let tree = Tree::empty();
    for number in 0..100 {
        tree.write(&format!("file{number}"), "");
    }
    let budget = Budget::new(None, 2).with_result_bytes(10_000);
    let search = json!({"s": {"paths": ["R"], "names": ["."], "options": all()}});
    let outcome = tree.run_within(&search, &budget);
    assert_eq!(outcome.statistic("totalhits"), 100);
    let returned = outcome.files().len();
    assert!((5..50).contains(&returned), "{returned}");
    let text =
        format!("{} findings were not returned (result limit = 10000 bytes)", 100 - returned);
    assert_eq!(outcome.errors(), [text]);
    assert!(serde_json::to_vec(&outcome.result).unwrap().len() < 12_000);
}

#[test]
fn the_processes_of_this_machine_are_searched_without_hanging() {
    let tree = Tree::empty();
    let options = json!({"matchall": true, "maxdepth": 2, "maxerrors": 5});
    let program = std::env::current_exe().unwrap();
    let program = program.file_name().unwrap().to_str().unwrap();
    let checks = json!({"names": ["^cmdline$"], "contents": [program]});
    let outcome = within(Duration::from_mins(1), || tree.search(&["/proc"], checks, options));
    let own = format!("/proc/{}/cmdline", std::process::id());
    assert!(outcome.files().contains(&own), "{:?}", outcome.files());
    assert!(outcome.errors().len() <= 6);
}

#[test]
fn a_file_that_vanished_stays_reported() {
    // Processes come and go while the tree is read; no run may lose its result.
    let tree = Tree::empty();
    for _ in 0..5 {
        let outcome = tree.search(&["/proc/self"], json!({"names": ["^stat$"]}), all());
        assert!(outcome.result.success && outcome.result.foundanything);
    }
    for number in 0..200 {
        tree.write(&format!("f{number}"), "x");
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..200 {
                std::fs::remove_file(tree.at(&format!("f{number}"))).unwrap();
            }
        });
        let outcome = tree.search(&["R"], json!({"names": ["f"]}), all());
        assert!(outcome.result.success);
    });
}

#[test]
fn many_names_take_linear_time() {
    let time = |count: usize| {
        let tree = Tree::empty();
        for number in 0..count {
            std::fs::write(tree.at(&format!("name{number}")), "").unwrap();
        }
        let search = |_| {
            let begun = Instant::now();
            let outcome = tree.search(&["R"], json!({"names": ["name"]}), all());
            assert_eq!(outcome.statistic("totalhits"), count as u64);
            begun.elapsed()
        };
        (0..3).map(search).min().unwrap()
    };
    let (small, large) = (time(5_000), time(40_000));
    // Eight times the work; quadratic behaviour would take sixty-four times.
    assert!(large < small * 24 + Duration::from_millis(200), "{small:?} {large:?}");
}

/// Runs the rest of a test as a user without rights. Returns false, having said
/// so, where that is impossible.
fn as_nobody(body: impl FnOnce() + Send) -> bool {
    if !rustix::process::geteuid().is_root() {
        body();
        return true;
    }
    let nobody = rustix::process::Uid::from_raw(65_534);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Linux keeps these identities per thread; the others stay root.
            let dropped = rustix::thread::set_thread_res_uid(nobody, nobody, nobody).is_ok();
            if dropped {
                body();
            }
            dropped
        });
        let dropped = thread.join().unwrap();
        if !dropped {
            println!("skipped: cannot act as another user");
        }
        dropped
    })
}

#[test]
fn what_cannot_be_read_is_unknown_and_named() {
    let tree = Tree::empty();
    std::fs::set_permissions(tree.root(), std::fs::Permissions::from_mode(0o755)).unwrap();
    tree.write("secret", "zzz\n");
    tree.write("1/2/3/closed/inside", "x");
    tree.write("1/2/3/open/inside", "x");
    for path in ["secret", "1/2/3/closed"] {
        std::fs::set_permissions(tree.at(path), std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    // One thread: the walk must stay in the one that gave up its rights.
    let budget = Budget::new(None, 1);
    as_nobody(|| {
        let secret = |checks: serde_json::Value, options: serde_json::Value| {
            let mut search = checks;
            search["paths"] = json!(["R/secret"]);
            search["options"] = options;
            tree.run_within(&json!({ "s": search }), &budget)
        };
        let outcome = secret(json!({"contents": ["!zzz"]}), all());
        assert!(outcome.files().is_empty());
        assert_eq!(outcome.statistic("openfailed"), 1);
        assert!(
            outcome.errors()[0].contains("secret: permission denied"),
            "{:?}",
            outcome.errors()
        );
        let md5 = json!({"md5": ["b1946ac92492d2347c6235b4d2611184"]});
        let inverted = json!({"matchall": true, "mismatch": ["md5"]});
        assert!(secret(md5.clone(), inverted).files().is_empty());
        assert!(secret(md5, any()).files().is_empty());
        assert_eq!(secret(json!({"names": ["."]}), all()).files(), ["secret"]);
        let sha = secret(json!({"names": ["."]}), json!({"matchall": true, "returnsha256": true}));
        assert_eq!((sha.files(), sha.errors().len()), (vec!["secret".to_owned()], 1));
        assert_eq!(sha.result.elements["s"][0]["fileinfo"].get("sha256"), None);
        let deep = json!({"s": {"paths": ["R/1"], "names": ["inside"], "options": all()}});
        let outcome = tree.run_within(&deep, &budget);
        assert_eq!(outcome.files(), ["1/2/3/open/inside"]);
        assert_eq!((outcome.errors().len(), outcome.statistic("openfailed")), (1, 1));
    });
    std::fs::set_permissions(tree.at("1/2/3/closed"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
}

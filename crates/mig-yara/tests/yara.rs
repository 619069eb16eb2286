//! The module as an agent starts it: a process of its own, with limits, in the whole
//! sandbox where this kernel has one.
#![cfg(test)]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mig_child::{ORDERS, Orders, Sandboxing};
use mig_module::process::parameters_message;
use mig_types::{ModuleResult, wire};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Rules for files that hold a word.
const WORD: &str = "rule word { strings: $a = \"needle\" condition: $a }";

fn orders(sandbox: Sandboxing) -> Orders {
    Orders {
        parent: std::process::id(),
        memory_bytes: 256 << 20,
        deadline: Duration::from_mins(5),
        threads: 2,
        compressed: false,
        privacy: false,
        sandbox,
        cgroup: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "the program under test")]
fn start(orders: &Orders) -> Child {
    Command::new(env!("CARGO_BIN_EXE_mig-yara"))
        .args(["-m", "yara"])
        .env_clear()
        .env(ORDERS, serde_json::to_string(orders).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn answer(mut child: Child, params: &Value) -> ModuleResult {
    let message = parameters_message(params);
    child.stdin.take().unwrap().write_all(&message).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    wire::from_slice(&output.stdout).unwrap()
}

/// What the module answers, in its sandbox if there is one.
fn ask(rules: &str, filesearch: &str) -> ModuleResult {
    let params = json!({ "yara": rules, "filesearch": filesearch });
    let sandbox = if has_sandbox() { Sandboxing::Require } else { Sandboxing::BestEffort };
    answer(start(&orders(sandbox)), &params)
}

fn has_sandbox() -> bool {
    let params = json!({ "yara": WORD, "filesearch": "" });
    let result = answer(start(&orders(Sandboxing::Require)), &params);
    let errors = result.errors.unwrap_or_default().join("");
    let is_missing = errors.contains("agent.modulesandbox = require");
    assert!(result.success || is_missing, "{errors}");
    if is_missing {
        println!("in a part of the sandbox only: {errors}");
    }
    !is_missing
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn everything_in(folder: &TempDir) -> String {
    format!("-path '{}' -name .", folder.path().display())
}

/// Names of files and the rules that matched them.
fn found(result: &ModuleResult) -> Vec<(String, Vec<String>)> {
    assert!(result.success, "{result:?}");
    let matches = result.elements["Matches"].as_array().cloned().unwrap_or_default();
    assert_eq!(result.foundanything, !matches.is_empty(), "{result:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = matches.iter().map(|found| {
        let path = text(&found["Object"]);
        let name = Path::new(&path).file_name().unwrap().to_str().unwrap().to_owned();
        (name, found["MatchedRules"].as_array().unwrap().iter().map(text).collect())
    });
    found.collect()
}

fn expect(result: &ModuleResult, expected: &[(&str, &[&str])]) {
    let expected: Vec<(String, Vec<String>)> = expected
        .iter()
        .map(|(name, rules)| {
            ((*name).to_owned(), rules.iter().map(|rule| (*rule).to_owned()).collect())
        })
        .collect();
    assert_eq!(found(result), expected, "{result:?}");
}

/// Rules on one folder of files, without any error.
fn matches(rules: &str, files: &[(&str, &[u8])], expected: &[(&str, &[&str])]) {
    let folder = folder(files);
    let result = ask(rules, &everything_in(&folder));
    assert_eq!(result.errors, None, "{result:?}");
    expect(&result, expected);
}

#[test]
fn one_rule_finds_the_file_that_holds_its_text() {
    matches(WORD, &[("a", b"hay"), ("b", b"hay needle hay")], &[("b", &["word"])]);
}

#[test]
fn rules_are_named_in_their_order() {
    matches(
        "rule zoo { strings: $a = \"needle\" condition: $a }
         rule never { condition: filesize > 1000MB }
         rule ant : tag { meta: m = 1 condition: filesize < 100 and zoo }",
        &[("a", b"needle"), ("b", b"")],
        &[("a", &["zoo", "ant"])],
    );
}

#[test]
fn private_rules_help_and_stay_unnamed() {
    matches(
        "private rule helper { strings: $a = \"needle\" condition: $a }
         rule public { condition: helper }",
        &[("a", b"needle"), ("b", b"hay")],
        &[("a", &["public"])],
    );
}

#[test]
fn a_global_rule_that_is_false_hides_a_file() {
    matches(
        "rule word { strings: $a = \"needle\" condition: $a }
         global rule small { condition: filesize < 20 }",
        &[("a", b"needle"), ("b", b"needle in a larger haystack")],
        &[("a", &["word", "small"])],
    );
}

#[test]
fn hexadecimal_strings_expressions_and_wide_text_are_found() {
    matches(
        r#"rule hex { strings: $a = { 4D 5? [2-4] ( AA | BB CC ) ?F } condition: $a }
          rule expression { strings: $a = /user(name)?\s*=\s*[a-z]{3,}/i condition: #a == 2 }
          rule unicode { strings: $a = /secret/ wide nocase $b = "PassWord" wide nocase fullword
              condition: any of them }"#,
        &[
            ("a", b"..M\x5a123\xbb\xcc\x0f.."),
            ("b", b"User = abc, USERNAME=xyz"),
            ("c", b"..p\0a\0s\0s\0w\0o\0r\0d\0.."),
            ("d", b"..S\0e\0C\0r\0e\0T\0.."),
            ("e", b"M\x5a1\xaa\x0f user= ab password"),
        ],
        &[("a", &["hex"]), ("b", &["expression"]), ("c", &["unicode"]), ("d", &["unicode"])],
    );
}

/// A PE file with one section, whose entry point is at 0x204.
fn pe() -> Vec<u8> {
    let mut bytes = vec![0; 0x400];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3c, &0x80_u32.to_le_bytes());
    put(0x80, b"PE\0\0\x4c\x01\x01\0");
    put(0x94, &0xe0_u16.to_le_bytes());
    put(0x96, &0x102_u16.to_le_bytes());
    put(0x98, &0x10b_u16.to_le_bytes());
    put(0x98 + 16, &0x1004_u32.to_le_bytes());
    put(0x98 + 32, &0x1000_u32.to_le_bytes());
    put(0x98 + 36, &0x200_u32.to_le_bytes());
    put(0x98 + 92, &16_u32.to_le_bytes());
    put(0x178, b".text\0\0\0");
    put(0x178 + 8, &0x200_u32.to_le_bytes());
    put(0x178 + 12, &0x1000_u32.to_le_bytes());
    put(0x178 + 16, &0x200_u32.to_le_bytes());
    put(0x178 + 20, &0x200_u32.to_le_bytes());
    put(0x204, b"\x90entry");
    bytes
}

#[test]
fn modules_of_the_language_look_into_files_of_their_kind() {
    let program = fs::read("/proc/self/exe").unwrap();
    matches(
        r#"import "pe" import "elf" import "math" import "time" import "hash"
           rule p { condition: pe.number_of_sections == 1 and pe.entry_point == 0x204 }
           rule e { condition: elf.number_of_sections > 3 and elf.entry_point == entrypoint }
           rule m { condition: filesize < 10 and math.entropy(0, filesize) < 3.0 }
           rule t { condition: filesize < 10 and time.now() > 1500000000 }
           rule h { condition: hash.md5(0, filesize) == "1cb251ec0d568de6a929b520c4aed8d1" }"#,
        &[("elf", &program), ("pe", &pe()), ("text", b"text")],
        &[("elf", &["e"]), ("pe", &["p"]), ("text", &["m", "t", "h"])],
    );
}

#[test]
fn entrypoint_is_an_offset_where_there_is_one_and_undefined_elsewhere() {
    matches(
        "rule there { strings: $a = \"\\x90entry\" condition: $a at entrypoint }
         rule read { condition: uint8(entrypoint) == 0x90 and entrypoint == 0x204 }
         rule compared { condition: entrypoint >= 0 or entrypoint < 0 }",
        &[("pe", &pe()), ("text", b"\x90entry")],
        &[("pe", &["there", "read", "compared"])],
    );
}

#[test]
fn the_language_of_version_3_5_is_understood() {
    let rules = r#"
        /* a comment */ // and another
        rule operators { condition: (filesize + 2 * 3 - 1) % 7 == 1 and ~0 == -1 and 1 << 4 | 1 ^ 3 == 18
            and 12 & 10 == 8 and 1KB == 1024 and 0x10 == 16 and 0.5 < 1.0 and not false }
        rule counts { strings: $a = "ab" $b = "zz" condition: #a == 2 and @a[1] == 0 and @a[2] == 6
            and !a[1] == 2 and #b == 0 and #a in (0..3) == 1 and $a in (5..filesize) }
        rule sets { strings: $x1 = "ab" $x2 = "cd" $y = "zz"
            condition: 2 of ($x*) and any of them and not all of them and for any of ($x1,$y) : ( $ at 0 ) }
        rule loops { strings: $a = "ab" condition: for all i in (1..#a) : ( uint8(@a[i]) == 0x61 )
            and for 1 i in (0,3,9) : ( uint8(i) == 0x20 ) }
        rule numbers { condition: uint16(0) == 0x6261 and uint16be(0) == 0x6162 and int8(0) == 97
            and uint32be(0) == 0x61622063 and int32(0) == 0x63206261 and int16be(0) == 0x6162 }
        rule anonymous { strings: $ = "ab" $ = { 63 64 } condition: all of them }
        rule uses { condition: operators and counts }
        rule texts { meta: author = "x" n = 5 b = true strings: $a = "\x61b\t" ascii wide $b = /a b/is
            condition: not $a and not $b }
        rule without { strings: $a = "zz" $b = "yy" condition: none of them }
    "#;
    let names = [
        "operators",
        "counts",
        "sets",
        "loops",
        "numbers",
        "anonymous",
        "uses",
        "texts",
        "without",
    ];
    matches(rules, &[("a", b"ab cd ab  ")], &[("a", &names)]);
}

#[test]
fn rules_that_do_not_compile_are_refused_with_their_line() {
    let folder = folder(&[("a", b"needle")]);
    let result = ask("rule a {\n  condition:\n    filesize >\n}\n", &everything_in(&folder));
    assert!(!result.success && !result.foundanything, "{result:?}");
    let errors = result.errors.unwrap();
    assert!(
        errors[0].starts_with("cannot compile rules: line 4, column 1: syntax error"),
        "{errors:?}"
    );
    assert_eq!(result.elements, json!({ "Matches": null }));

    for (rules, part) in [
        ("rule a { condition: unknown }", "unknown"),
        ("import \"magic\" rule a { condition: true }", "magic"),
        ("rule a { condition: true } rule a { condition: true }", "duplicate rule"),
        ("rule a { strings: $a = /(/ condition: $a }", "regular expression"),
    ] {
        let errors = ask(rules, &everything_in(&folder)).errors.unwrap().join("; ");
        assert!(errors.contains("line 1, column ") && errors.contains(part), "{rules}: {errors}");
    }
}

#[test]
fn what_asks_for_nothing_or_nonsense_is_an_error_and_one_document() {
    let folder = folder(&[("a", b"needle")]);
    let include = format!("include \"{}/a\"", folder.path().display());
    for (rules, filesearch, part) in [
        ("", "", "yara rules are a required option"),
        (WORD, "help", "invalid filesearch: it asks for help"),
        (WORD, "-bogus x", "invalid filesearch: flag provided but not defined: -bogus"),
        (WORD, "-path /etc -content (", "invalid filesearch: invalid content"),
        (WORD, "-name x", "invalid filesearch: invalid empty search path"),
        (WORD, "-path '/etc", "invalid filesearch: a single quote is not closed"),
        (&include, "", "is refused: an agent has no rule files"),
    ] {
        let result = ask(rules, filesearch);
        let errors = result.errors.unwrap_or_default().join("; ");
        assert!(!result.success && errors.contains(part), "{rules:?} {filesearch:?}: {errors}");
    }
}

#[test]
fn a_selection_of_nothing_is_no_error() {
    let folder = folder(&[("a", b"needle")]);
    let nothing = format!("-path '{}' -name ^none$", folder.path().display());
    for filesearch in ["", "  ", &nothing] {
        let result = ask(WORD, filesearch);
        assert_eq!(result.errors, None, "{filesearch:?}");
        assert_eq!(result.elements, json!({ "Matches": null }));
        expect(&result, &[]);
    }
}

#[test]
fn every_quoted_word_of_a_search_counts() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("with blanks and 'quotes'");
    fs::create_dir(&deep).unwrap();
    for name in ["one two", "one", "two"] {
        fs::write(deep.join(name), "needle").unwrap();
    }
    let search = format!("-path \"{}\" -name '^one two$'", deep.display());
    expect(&ask(WORD, &search), &[("one two", &["word"])]);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_scanned() {
    let folder = folder(&[("a", b"needle"), ("b", b"needle")]);
    std::os::unix::fs::symlink("/nowhere/at/all", folder.path().join("dangling")).unwrap();
    // Memory of the process itself: opened by everybody, read by nobody from its
    // beginning.
    let search = format!("{} -path /proc/self/mem", everything_in(&folder));
    let result = ask(WORD, &search);
    expect(&result, &[("a", &["word"]), ("b", &["word"])]);
    let errors = result.errors.unwrap();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("dangling")), "{errors:?}");
    let unread = "/proc/self/mem: could not map file: ";
    assert!(errors.iter().any(|error| error.starts_with(unread)), "{errors:?}");
}

#[test]
fn a_file_that_takes_too_long_is_given_up_and_the_others_are_scanned() {
    let folder = folder(&[("a", b"needle"), ("slow", &[b'x'; 4242]), ("z", b"needle")]);
    let rules = format!(
        "{WORD} rule endless {{ condition: filesize == 4242 and
            for all i in (0..1000000000) : ( uint8(i % 4000) + i >= 0 ) }}"
    );
    let begun = Instant::now();
    let result = ask(&rules, &everything_in(&folder));
    expect(&result, &[("a", &["word"]), ("z", &["word"])]);
    let errors = result.errors.unwrap();
    assert!(errors.len() == 1 && errors[0].ends_with("slow: scan timeout"), "{errors:?}");
    let taken = begun.elapsed();
    assert!(taken > Duration::from_secs(8) && taken < Duration::from_mins(2), "{taken:?}");
}

#[test]
fn the_limit_of_a_search_is_kept_and_told() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1500 {
        fs::write(folder.path().join(format!("f{number}")), "needle").unwrap();
    }
    let search = everything_in(&folder);
    let result = ask(WORD, &search);
    assert_eq!(found(&result).len(), 1000);
    let errors = result.errors.unwrap();
    assert!(errors.len() == 1 && errors[0].starts_with("the selection ended at 1000 files"));
    for limit in [0, 1500] {
        let result = ask(WORD, &format!("{search} -matchlimit {limit}"));
        assert_eq!((found(&result).len(), result.errors), (1500, None), "{limit}");
    }
}

#[test]
fn a_file_truncated_while_it_is_scanned_harms_nobody() {
    let folder = folder(&[("a", b"needle")]);
    let path = folder.path().join("shrinking");
    let file = fs::File::create(&path).unwrap();
    file.set_len(24 << 20).unwrap();
    // Reads the whole file again and again, for longer than the test needs.
    let rules = format!(
        "import \"math\" {WORD} rule slow {{ condition: filesize > 1MB and
            for all i in (1..1000) : ( math.entropy(i, filesize - i) >= 0.0 ) }}"
    );
    let params = json!({ "yara": rules, "filesearch": everything_in(&folder) });
    let child = start(&orders(Sandboxing::BestEffort));
    let maps = format!("/proc/{}/maps", child.id());
    let result = std::thread::scope(|scope| {
        let result = scope.spawn(|| answer(child, &params));
        let name = path.to_str().unwrap();
        let patience = Instant::now() + Duration::from_secs(30);
        while !fs::read_to_string(&maps).unwrap_or_default().contains(name) {
            assert!(Instant::now() < patience, "the file was never mapped");
            std::thread::yield_now();
        }
        file.set_len(4096).unwrap();
        result.join().unwrap()
    });
    expect(&result, &[("a", &["word"])]);
    let errors = result.errors.unwrap();
    assert!(errors.len() == 1 && errors[0].contains("shrinking: was truncated"), "{errors:?}");
}

#[test]
fn paths_are_masked_where_privacy_asks_for_it() {
    let folder = folder(&[("a", b"needle")]);
    std::os::unix::fs::symlink("/nowhere/at/all", folder.path().join("dangling")).unwrap();
    let search = format!("{} -matchlimit 1", everything_in(&folder));
    fs::write(folder.path().join("b"), "needle").unwrap();
    let orders = Orders { privacy: true, ..orders(Sandboxing::BestEffort) };
    let result = answer(start(&orders), &json!({ "yara": WORD, "filesearch": search }));
    assert_eq!(
        result.elements,
        json!({ "Matches": [{ "Object": "masked", "MatchedRules": ["word"] }] })
    );
    for error in result.errors.unwrap() {
        assert!(
            error == "masked" || error.starts_with("the selection ended at 1 files"),
            "{error}"
        );
    }
}

#[test]
fn nothing_is_read_before_the_sandbox_is_entered() {
    if !has_sandbox() {
        return;
    }
    let child = start(&orders(Sandboxing::Require));
    let status = format!("/proc/{}/status", child.id());
    let patience = Instant::now() + Duration::from_secs(30);
    // Two filters, for good; not one byte was written to the process so far.
    let confined = ["NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t2"];
    loop {
        let text = fs::read_to_string(&status).unwrap();
        if confined.iter().all(|line| text.contains(line)) {
            break;
        }
        assert!(Instant::now() < patience, "never confined: {text}");
        std::thread::yield_now();
    }
    let result = answer(child, &json!({ "yara": WORD, "filesearch": "" }));
    assert!(result.success, "{result:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the program under test")]
fn a_person_can_run_it_as_an_agent_does() {
    let folder = folder(&[("a", b"needle")]);
    let run = |args: &[&str], input: &[u8]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mig-yara"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let params = json!({ "yara": WORD, "filesearch": everything_in(&folder) });
    let message = parameters_message(&params);
    let (code, out, _) = run(&["-m", "yara", "-p"], &message);
    assert_eq!((code, out), (Some(0), format!("{}/a [word]\n", folder.path().display())));
    let (code, out, _) = run(&["-m", "nonsense"], &message);
    assert_eq!(code, Some(0));
    assert_eq!(out, "{\"errors\": [\"module 'nonsense' is not available\"]}");
    let (code, out, _) = run(&["-V"], b"");
    assert!(code == Some(0) && out.trim_end() == env!("CARGO_PKG_VERSION"), "{out}");
    let (code, out, _) = run(&["--help"], b"");
    assert!(code == Some(0) && out.starts_with("usage: mig-yara"), "{out}");
    for args in [&["-x"][..], &[], &["file"]] {
        let (code, out, err) = run(args, b"");
        assert!(code == Some(2) && out.is_empty() && err.contains("usage: mig-yara"), "{args:?}");
    }
    for input in [&b""[..], b"{}", b"nonsense\n", b"{\"class\":\"parameters\"}\n"] {
        let (code, out, _) = run(&["-m", "yara"], input);
        let result: ModuleResult = wire::from_slice(out.as_bytes()).unwrap();
        assert!(code == Some(0) && !result.success && result.errors.is_some(), "{out}");
    }
}

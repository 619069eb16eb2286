//! The command line as scripts and fingers know it: the rules of Go's `flag`
//! package, and errors where it did something else without a word.
#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

use std::process::Output;

use assert_cmd::Command;
use mig_sign::sign::SecretKey;
use mig_types::Timestamp;
use serde_json::{Value, json};

/// `mig` in a home with a configuration, away from everybody's own.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let migrc = "[api]\nurl = http://127.0.0.1:1/api/v1/\n[targets]\n\
                     macro = linux:environment->>'os'='linux'\nmacro = local:name='never'\n";
        std::fs::write(home.path().join(".migrc"), migrc).unwrap();
        Self(home)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut mig = Command::new(env!("CARGO_BIN_EXE_mig"));
        mig.args(args).env_clear().env("HOME", self.0.path()).current_dir(self.0.path());
        mig.output().unwrap()
    }

    /// Exit code, output, errors.
    fn said(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = self.run(args);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// The action that a line with `-p` prints.
    fn printed(&self, args: &[&str]) -> Value {
        let (code, stdout, stderr) = self.said(args);
        assert_eq!(code, Some(0), "{args:?}: {stderr}");
        serde_json::from_str(&stdout).unwrap()
    }

    /// The parameters of its operation.
    fn parameters(&self, args: &[&str]) -> Value {
        self.printed(args)["operations"][0]["parameters"].clone()
    }

    /// The only search of `file`.
    fn search(&self, args: &[&str]) -> Value {
        self.parameters(args)["searches"]["s1"].clone()
    }

    /// A line that must end with that code and say those texts.
    fn refused(&self, code: i32, args: &[&str], texts: &[&str]) {
        let (ended, stdout, stderr) = self.said(args);
        assert_eq!((ended, stdout.as_str()), (Some(code), ""), "{args:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{args:?}: {stderr}");
        for text in texts {
            assert!(stderr.contains(text), "{args:?} does not say {text:?}: {stderr}");
        }
    }
}

#[test]
fn one_dash_or_two_and_never_bundled() {
    let home = Home::new();
    let one = home.search(&["file", "-p", "-path", "/etc", "-name", "x"]);
    let two = home.search(&["file", "--p", "--path", "/etc", "--name", "x"]);
    assert_eq!(one, two);
    assert_eq!(one["paths"], json!(["/etc"]));
    // `-pz` is not `-p -z`.
    home.refused(1, &["file", "-pz", "-path", "/etc"], &["pz"]);
}

#[test]
fn a_value_is_the_next_word_or_stands_after_an_equals_sign() {
    let home = Home::new();
    let apart = home.search(&["file", "-p", "-path", "/etc", "-name", "-foo"]);
    let joined = home.search(&["file", "-p", "-path=/etc", "-name=-foo"]);
    assert_eq!(apart, joined);
    // Whatever the next word looks like: an option of either side, too.
    for word in ["-foo", "-t", "--json", "--", "-"] {
        let search = home.search(&["file", "-p", "-path", "/etc", "-name", word]);
        assert_eq!(search["names"], json!([word]));
    }
    // The first parameter of a module keeps its value, which it once lost.
    assert_eq!(home.search(&["file", "-p", "-path=/etc", "-name", "x"])["paths"], json!(["/etc"]));
    home.refused(2, &["file", "-t"], &["-t needs a value"]);
}

#[test]
fn a_boolean_takes_its_value_only_after_an_equals_sign() {
    let home = Home::new();
    for literal in ["1", "t", "T", "true", "TRUE", "True"] {
        let flag = format!("-matchany={literal}");
        let search = home.search(&["file", "-p", "-path", "/etc", "-name", "x", &flag]);
        assert_eq!(search["options"]["matchall"], false, "{flag}");
        home.printed(&["file", &format!("-p={literal}"), "-path", "/etc"]);
    }
    for literal in ["0", "f", "F", "false", "FALSE", "False"] {
        let flag = format!("-z={literal}");
        let action = home.printed(&["file", "-p", &flag, "-path", "/etc"]);
        assert_eq!(action["operations"][0].get("want_compressed"), None, "{flag}");
    }
    assert_eq!(
        home.printed(&["file", "-p", "-z", "-path", "/etc"])["operations"][0]["want_compressed"],
        true
    );
    for literal in ["yes", "on", "tRUE", ""] {
        home.refused(2, &["file", &format!("-p={literal}"), "-path", "/etc"], &["true or false"]);
    }
    // Once this launched, with everything after the word forgotten.
    home.refused(2, &["file", "-p", "true", "-path", "/etc"], &["\"true\""]);
}

#[test]
fn what_is_no_option_ends_them_and_nothing_is_dropped_silently() {
    let home = Home::new();
    // Once this launched the wider search.
    let stray = ["file", "-t", "x", "-path", "/etc", "passwd", "-name", "y", "-p"];
    home.refused(2, &stray, &["\"passwd\""]);
    for end in ["-", "--"] {
        let words = ["file", "-p", "-path", "/etc", end, "-name", "y"];
        let (code, stdout, stderr) = home.said(&words);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{words:?}: {stderr}");
    }
}

#[test]
fn the_last_of_a_scalar_counts_and_lists_grow() {
    let home = Home::new();
    let search = home.search(&[
        "file",
        "-p",
        "-path",
        "/etc",
        "-path",
        "/usr",
        "-maxdepth",
        "3",
        "-maxdepth",
        "5",
    ]);
    assert_eq!(search["paths"], json!(["/etc", "/usr"]));
    assert_eq!(search["options"]["maxdepth"], 5);
    let action = home.printed(&["file", "-p", "-t", "a='1'", "-t", "linux", "-path", "/etc"]);
    assert_eq!(action["target"], "environment->>'os'='linux'");
}

#[test]
fn options_of_mig_come_first_and_the_rest_is_the_modules() {
    let home = Home::new();
    let target = "name='a'";
    let words = ["ping", "-p", "-t", target, "-d", "192.0.2.1", "-dp", "22", "-p", "tcp"];
    let action = home.printed(&words);
    assert_eq!(action["target"], target);
    assert_eq!(action["operations"][0]["parameters"]["protocol"], "tcp");
    // In front, the same letter is mig's: and then `icmp` is a stray word.
    home.refused(2, &["ping", "-p", "icmp", "-d", "192.0.2.1"], &["icmp"]);
    // A letter that comes too late is not guessed at.
    let late = ["file", "-path", "/etc", "-e", "60s"];
    home.refused(1, &late, &["hint: -e is an option of mig: put it right after the module"]);
    // Long names that no module has are welcome anywhere.
    for words in [
        ["file", "-path", "/etc", "-name", "x", "-target-found", "12", "-p=1"],
        ["file", "-p", "-path", "/etc", "-target-found", "12", "-name", "x"],
        ["file", "-p", "-target-found", "12", "-path", "/etc", "-name", "x"],
    ] {
        if words[7] == "-p=1" {
            home.refused(1, &words, &["right after the module"]);
            continue;
        }
        let action = home.printed(&words);
        let text = action["target"].as_str().unwrap();
        assert!(text.starts_with("id IN (select agentid from commands"), "{text}");
        // In parentheses, or an OR would be for everybody.
        assert!(text.ends_with("AND (status='online')"), "{text}");
    }
    home.refused(2, &["file", "-i", "x.json"], &["-i takes the place of a module"]);
    home.refused(2, &["file", "-show", "some", "-path", "/etc"], &["found, notfound or all"]);
    for words in [&["file", "-V"][..], &["-V"], &["version"], &["--version"]] {
        let (code, stdout, _) = home.said(words);
        assert_eq!((code, stdout.trim()), (Some(0), env!("CARGO_PKG_VERSION")), "{words:?}");
    }
}

#[test]
fn help_is_an_answer_and_not_an_error() {
    let home = Home::new();
    for module in mig_modules::registry().names() {
        if module == "agentdestroy" {
            // Only an action file asks for it.
            let wanted = ["does not support command line invocation"];
            home.refused(1, &[module, "-h"], &wanted);
            continue;
        }
        for words in [&[module, "-h"][..], &[module, "help"], &["help", module]] {
            let (code, stdout, stderr) = home.said(words);
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words:?}");
            assert!(!stdout.is_empty(), "{words:?}");
        }
    }
    for module in ["file", "pkg", "scribe", "memory", "netstat", "ping"] {
        assert_eq!(home.said(&[module]).0, Some(0), "{module}");
    }
    for words in [&["help"][..], &["-h"], &["--help"]] {
        let (code, stdout, _) = home.said(words);
        assert_eq!(code, Some(0), "{words:?}");
        assert!(stdout.contains("usage: mig <module>"), "{words:?}");
    }
    let (code, stdout, _) = home.said(&[]);
    assert!(code == Some(1) && stdout.contains("usage: mig <module>"), "{stdout}");
    home.refused(1, &["fille"], &["error: Unknown module fille", "did you mean file?"]);
}

#[test]
fn a_printed_action_is_what_the_original_prints() {
    let home = Home::new();
    let expected = include_str!("samples/file.json");
    let words = ["file", "-p", "-t", "linux", "-path", "/var/spool/cron", "-name", "^root$"];
    let (code, stdout, stderr) = home.said(&words);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    // A macro is expanded in the target and stays in the name. Only the names
    // within parameters come in another order, which nobody signs.
    let ours: Value = serde_json::from_str(&stdout).unwrap();
    let theirs: Value = serde_json::from_str(expected).unwrap();
    assert_eq!(ours, theirs);
    let outside = |text: &str| {
        let (head, rest) = text.split_once("\"parameters\"").unwrap();
        let (_, tail) = rest.split_once("\"pgpsignatures\"").unwrap();
        (head.to_owned(), tail.to_owned())
    };
    assert_eq!(outside(&stdout), outside(expected));
    // It needs neither key nor configuration, unless a macro is used.
    std::fs::remove_file(home.0.path().join(".migrc")).unwrap();
    let words = ["file", "-p", "-t", "environment->>'os'='linux'", "-path", "/etc"];
    home.printed(&words);
}

/// Somebody's key in a file.
fn key(home: &Home, name: &str) -> String {
    let made = Timestamp::parse("2024-01-01T00:00:00Z").unwrap();
    let key = SecretKey::generate_ed25519(&format!("{name} <{name}@example.net>"), made).unwrap();
    let path = home.0.path().join(format!("{name}.asc"));
    std::fs::write(&path, key.to_armored().unwrap()).unwrap();
    path.display().to_string()
}

#[test]
fn an_action_file_is_signed_whoever_wrote_it_and_keeps_its_signatures() {
    let home = Home::new();
    let (ada, bob) = (key(&home, "ada"), key(&home, "bob"));
    let path = home.0.path().join("action.json");
    let at = path.display().to_string();
    for options in [&["-e", "30m"][..], &["-e", "30m", "-v=false"]] {
        // As the original wrote it, escapes and zero times included.
        std::fs::write(&path, include_str!("samples/file.json")).unwrap();
        let words = [&["-i", &at, "-s", "--key", &ada], options].concat();
        let once = home.printed(&words);
        assert_eq!(once["pgpsignatures"].as_array().map(Vec::len), Some(1));
        assert_eq!(once["name"], "file -p -t linux -path /var/spool/cron -name ^root$ ");
        assert_ne!(once["validfrom"], "0001-01-01T00:00:00Z");
        std::fs::write(&path, once.to_string()).unwrap();
        let (code, stdout, stderr) = home.said(&["-i", &at, "-s", "--key", &bob]);
        assert_eq!(code, Some(0), "{stderr}");
        let text = "[notice] action already had validity time period, which was left as is";
        assert!(stderr.contains(text), "{stderr}");
        let twice: Value = serde_json::from_str(&stdout).unwrap();
        let signatures = twice["pgpsignatures"].as_array().unwrap();
        assert_eq!(signatures.len(), 2);
        assert_eq!(signatures[0], once["pgpsignatures"][0]);
        assert_eq!(twice["validfrom"], once["validfrom"]);
        assert_eq!(twice["expireafter"], once["expireafter"]);
    }
    // Compressed on the way: base64 of gzip, and marked.
    let words = ["file", "-s", "-z", "--key", &ada, "-t", "linux", "-path", "/etc"];
    let packed = home.printed(&words);
    assert_eq!(packed["operations"][0]["is_compressed"], true);
    assert!(packed["operations"][0]["parameters"].as_str().unwrap().starts_with("H4sI"));
    for (option, value) in [("-t", "x"), ("-n", "x"), ("-target-found", "1")] {
        home.refused(2, &["-i", &at, option, value], &["has no effect on an action from a file"]);
    }
    std::fs::write(&path, "{\"name\":").unwrap();
    home.refused(1, &["-i", &at], &["holds no action"]);
    std::fs::write(&path, "").unwrap();
    home.refused(1, &["-i", &at], &["holds no action"]);
}

#[test]
fn names_that_are_not_text_are_refused_and_not_replaced() {
    use std::os::unix::ffi::OsStrExt as _;
    let home = Home::new();
    let odd = std::ffi::OsStr::from_bytes(b"/srv/caf\xe9");
    let mut mig = Command::new(env!("CARGO_BIN_EXE_mig"));
    mig.args(["file", "-p", "-path"]).arg(odd).env_clear().env("HOME", home.0.path());
    let output = mig.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{stderr}");
    assert!(stderr.contains("error: argument 4 is not UTF-8: /srv/caf"), "{stderr}");
    assert!(stderr.contains("hint: "), "{stderr}");
}

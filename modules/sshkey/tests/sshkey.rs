//! The module on trees of keys made by OpenSSH and OpenSSL.
#![cfg(test)]

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Instant;

use mig_host::LocalHost;
use mig_module::{Budget, DynModule as _, ModuleResult, ParsedArgs};
use mig_module_sshkey::SshKey;
use serde_json::{Value, json};
use tempfile::TempDir;

fn sample_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn sample(name: &str) -> String {
    std::fs::read_to_string(sample_path(name)).unwrap()
}

/// What `ssh-keygen -l` says of a sample: MD5 and SHA-256.
fn fingerprints(name: &str) -> (String, String) {
    let all = sample("fingerprints.txt");
    let line = all.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
    let mut words = line.split(' ').skip(1).map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

/// A home directory with these files.
fn home(files: &[(&str, &str)]) -> (TempDir, LocalHost) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join("home/me").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let host = LocalHost::new(dir.path());
    (dir, host)
}

fn run(host: &LocalHost, params: Value) -> ModuleResult {
    SshKey.run_json(host, params, &Budget::new(None, 2))
}

/// Name below the home directory, type, encrypted, MD5 and SHA-256.
type Entry = (String, String, bool, String, String);

fn entries(result: &ModuleResult) -> Vec<Entry> {
    let keys = result.elements["keys"].as_array().cloned().unwrap_or_default();
    let entry = |key: &Value| {
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        (
            text("path").replace("/home/me/", ""),
            text("type"),
            key["encrypted"].as_bool().unwrap(),
            text("fingerprint_md5"),
            text("fingerprint_sha256"),
        )
    };
    keys.iter().map(entry).collect()
}

fn found(files: &[(&str, &str)]) -> Vec<Entry> {
    let (_dir, host) = home(files);
    let result = run(&host, json!({}));
    assert!(result.success);
    entries(&result)
}

fn entry(name: &str, kind: &str, encrypted: bool, of: Option<&str>) -> Entry {
    let (md5, sha256) = of.map(fingerprints).unwrap_or_default();
    (name.to_owned(), kind.to_owned(), encrypted, md5, sha256)
}

#[test]
fn refuses_depths_that_make_no_sense() {
    let (_dir, host) = home(&[]);
    for depth in [-1, 1001] {
        let result = run(&host, json!({ "maxdepth": depth }));
        assert!(!result.success && result.elements.is_null());
        assert!(result.errors.unwrap()[0].contains("maxdepth should be specified from 0-1000"));
    }
    assert!(!run(&host, json!({ "paths": "x" })).success);
}

#[test]
fn both_halves_of_a_key_have_one_fingerprint() {
    for name in ["rsa", "dsa", "ecdsa256", "ecdsa384", "ecdsa521", "ed25519", "rsa_openssh"] {
        let public = format!("{name}.pub");
        let keys = found(&[("id", &sample(name)), ("id.pub", &sample(&public))]);
        assert_eq!(
            keys,
            [
                entry("id", "private", false, Some(&public)),
                entry("id.pub", "public", false, Some(&public))
            ]
        );
    }
    for (name, public) in [("rsa_pkcs8", "rsa.pub"), ("ecdsa256_pkcs8", "ecdsa256.pub")] {
        let keys = found(&[("id", &sample(name))]);
        assert_eq!(keys, [entry("id", "private", false, Some(public))], "{name}");
    }
}

#[test]
fn encrypted_keys_are_told_as_such() {
    for name in ["rsa_encrypted", "rsa_pkcs8_encrypted"] {
        let keys = found(&[("id", &sample(name))]);
        assert_eq!(keys, [entry("id", "private", true, None)], "{name}");
    }
    // In OpenSSH's own form the public half can be read.
    let keys = found(&[("id", &sample("ed25519_encrypted"))]);
    assert_eq!(keys, [entry("id", "private", true, Some("ed25519_encrypted.pub"))]);
}

#[test]
fn keys_whose_public_half_would_have_to_be_computed_are_still_found() {
    for name in ["ed25519_pkcs8", "dsa_pkcs8"] {
        let keys = found(&[("id", &sample(name))]);
        assert_eq!(keys, [entry("id", "private", false, None)], "{name}");
    }
}

#[test]
fn a_certificate_has_the_fingerprint_of_the_whole() {
    let keys = found(&[("id-cert.pub", &sample("cert.pub"))]);
    assert_eq!(keys, [entry("id-cert.pub", "public", false, Some("cert.pub"))]);
}

#[test]
fn every_line_of_authorized_keys_counts() {
    let two = format!("{}{}", sample("dsa.pub"), sample("rsa.pub"));
    let keys = found(&[(".ssh/authorized_keys", &two)]);
    let name = ".ssh/authorized_keys";
    assert_eq!(
        keys,
        [
            entry(name, "authorizedkeys", false, Some("dsa.pub")),
            entry(name, "authorizedkeys", false, Some("rsa.pub"))
        ]
    );
}

#[test]
fn only_garbage_is_an_error() {
    let mixed = format!(
        "# comment\n\n{}command=\"x y\",no-pty {}\r\n{}\r\nthis is garbage\nand more\n",
        sample("ed25519.pub"),
        sample("rsa_openssh.pub").trim_end(),
        sample("rsa.pub"),
    );
    let (_dir, host) = home(&[("authorized_keys2", &mixed), ("authorized_keys.bak", &mixed)]);
    let result = run(&host, json!({}));
    assert_eq!(
        result.errors.as_deref().unwrap(),
        ["/home/me/authorized_keys2 contained unparsable data"]
    );
    // A copy under another name is a file with a public key.
    assert_eq!(
        entries(&result),
        [
            entry("authorized_keys.bak", "public", false, Some("ed25519.pub")),
            entry("authorized_keys2", "authorizedkeys", false, Some("ed25519.pub")),
            entry("authorized_keys2", "authorizedkeys", false, Some("rsa_openssh.pub")),
            entry("authorized_keys2", "authorizedkeys", false, Some("rsa.pub")),
        ]
    );
}

#[test]
fn what_only_speaks_of_keys_is_none() {
    let header = "-----BEGIN RSA PRIVATE KEY-----\nnothing of the kind\n";
    let key = sample("rsa.pub");
    let files = [
        ("notes", format!("my key is {key}")),
        ("known_hosts", format!("host.example.net {key}")),
        ("junk", header.to_owned()),
        ("junk2", format!("{header}-----END RSA PRIVATE KEY-----\n")),
        ("cut", sample("rsa")[..300].to_owned()),
        (
            "certificate",
            "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n".to_owned(),
        ),
        ("empty", String::new()),
    ];
    let files: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(found(&files), []);
}

#[test]
fn only_files_up_to_a_mebibyte_are_looked_at() {
    let key = sample("rsa.pub");
    let padded = |size: usize| format!("{key}{}", "x".repeat(size - key.len()));
    let (_dir, host) = home(&[("fits", &padded(1_048_576)), ("too-large", &padded(1_048_577))]);
    let result = run(&host, json!({}));
    assert_eq!(entries(&result), [entry("fits", "public", false, Some("rsa.pub"))]);
    let statistics = &result.statistics;
    assert_eq!((&statistics["filescount"], &statistics["toolarge"]), (&json!(1), &json!(1)));
}

#[test]
fn a_missing_path_is_no_failure() {
    let (_dir, host) = home(&[]);
    let result = run(&host, json!({ "paths": ["/nowhere"] }));
    assert!(result.success && !result.foundanything);
    assert_eq!(result.elements, json!({ "keys": null }));
    assert_eq!(result.errors.unwrap(), ["cannot read /nowhere: no such file or directory"]);
    // Home directories need not be there.
    let empty = tempfile::tempdir().unwrap();
    let result = run(&LocalHost::new(empty.path()), json!({ "paths": null, "maxdepth": 0 }));
    assert!(result.success && result.errors.is_none(), "{result:?}");
}

#[test]
fn levels_are_counted_from_the_path() {
    let key = sample("rsa.pub");
    let deep = "1/2/3/4/5/6/7/8/9/";
    let (_dir, host) = home(&[("k", &key), ("1/k", &key), (&format!("{deep}k"), &key)]);
    let count = |params: Value| entries(&run(&host, params)).len();
    // `/home` is the first level.
    assert_eq!(count(json!({ "maxdepth": 1 })), 0);
    assert_eq!(count(json!({ "maxdepth": 2 })), 1);
    assert_eq!(count(json!({ "maxdepth": 3 })), 2);
    assert_eq!(count(json!({})), 2);
    assert_eq!(count(json!({ "maxdepth": 1000 })), 3);
}

#[test]
fn links_to_files_count_and_links_to_directories_do_not() {
    let (dir, host) = home(&[("real/k", &sample("rsa.pub"))]);
    let me = dir.path().join("home/me");
    symlink("real/k", me.join("link")).unwrap();
    symlink("real", me.join("directory")).unwrap();
    symlink("nowhere", me.join("broken")).unwrap();
    symlink("/dev/zero", me.join("device")).unwrap();
    let result = run(&host, json!({}));
    let paths: Vec<String> = entries(&result).into_iter().map(|entry| entry.0).collect();
    assert_eq!(paths, ["link", "real/k"]);
    assert_eq!(result.errors, None);
}

#[test]
fn overlapping_paths_report_a_file_once() {
    let (_dir, host) = home(&[("k", &sample("rsa.pub"))]);
    let paths = ["/home/me/", "/home", "/home/me/k", "//home//./me", "/home/me/k"];
    let result = run(&host, json!({ "paths": paths }));
    assert_eq!(entries(&result).len(), 1);
}

#[test]
fn relative_paths_stay_relative() {
    let params = json!({ "paths": ["./tests/data/"] });
    let result = run(&LocalHost::default(), params);
    let keys = result.elements["keys"].as_array().unwrap();
    assert!(keys.iter().any(|key| key["path"] == "tests/data/rsa.pub"));
    assert!(keys.iter().all(|key| key["path"].as_str().unwrap().starts_with("tests/data/")));
}

#[test]
fn many_candidates_are_all_returned() {
    let key = sample("ed25519.pub");
    let names: Vec<String> = (0..1500).map(|n| format!("k{n:04}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), key.as_str())).collect();
    let (_dir, host) = home(&files);
    let result = run(&host, json!({}));
    assert_eq!(entries(&result).len(), 1500);
    assert_eq!(result.errors, None);
    // A small result says what is missing.
    let budget = Budget::new(None, 1).with_result_bytes(10_000);
    let result = SshKey.run_json(&host, json!({}), &budget);
    let returned = entries(&result).len() as u64;
    assert!((1..1500).contains(&returned));
    assert_eq!(result.statistics["notreturned"], 1500 - returned);
    assert!(result.errors.unwrap()[0].contains("were not returned"));
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let (dir, host) = home(&[("id", &sample("rsa"))]);
    // Links that lead to each other: nobody can read those.
    symlink("b", dir.path().join("home/me/a")).unwrap();
    symlink("a", dir.path().join("home/me/b")).unwrap();
    let result = run(&host, json!({}));
    assert!(result.success);
    assert_eq!(entries(&result).len(), 1);
    let errors = result.errors.unwrap();
    assert_eq!(errors.len(), 2);
    assert!(errors[0].starts_with("cannot read /home/me/a: too many levels of symbolic links"));
    assert_eq!(result.statistics["openfailed"], 2);
}

#[test]
fn a_passed_deadline_is_reported() {
    let (_dir, host) = home(&[("id", &sample("rsa"))]);
    let result = SshKey.run_json(&host, json!({}), &Budget::new(Some(Instant::now()), 2));
    assert!(result.success && !result.foundanything);
    assert!(result.errors.unwrap()[0].contains("time limit"));
}

#[test]
fn privacy_masks_paths() {
    let (_dir, host) = home(&[("authorized_keys", &format!("{}junk\n", sample("rsa.pub")))]);
    let mut result = run(&host, json!({}));
    let before = entries(&result);
    SshKey.mask(&mut result);
    let after = entries(&result);
    assert_eq!(after[0].0, "masked");
    assert_eq!((&after[0].1, &after[0].4), (&before[0].1, &before[0].4));
    assert_eq!(result.errors.unwrap(), ["masked"]);
}

#[test]
fn prints_like_the_original() {
    let files = [("a", sample("rsa")), ("b", sample("rsa_encrypted")), ("c", sample("rsa.pub"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(n, text)| (*n, text.as_str())).collect();
    let (_dir, host) = home(&files);
    let result = run(&host, json!({ "paths": ["/home", "/nowhere"] }));
    let (md5, sha256) = fingerprints("rsa.pub");
    let expected = [
        format!("/home/me/a [private] encrypted=false md5fp={md5} sha256fp={sha256}"),
        "/home/me/b [private] encrypted=true md5fp=unknown sha256fp=unknown".to_owned(),
        format!("/home/me/c [public] md5fp={md5} sha256fp={sha256}"),
    ];
    assert_eq!(SshKey.print(&result, true).unwrap(), expected);
    let all = SshKey.print(&result, false).unwrap();
    assert_eq!(all[3..], ["cannot read /nowhere: no such file or directory"]);
    // The original has no statistics.
    let old = ModuleResult { elements: json!({ "keys": null }), ..ModuleResult::default() };
    assert!(SshKey.print(&old, false).unwrap().is_empty());
}

#[test]
fn the_command_line_needs_no_option() {
    let parse = |args: &[&str]| {
        SshKey.parse_args(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    };
    let params = |paths: Value, depth: i64| {
        Ok(ParsedArgs::Params(json!({ "paths": paths, "maxdepth": depth })))
    };
    assert_eq!(parse(&[]), params(Value::Null, 0));
    assert_eq!(
        parse(&["-path", "/a", "-path=/b", "-maxdepth", "3"]),
        params(json!(["/a", "/b"]), 3)
    );
    for args in [["-maxdepth", "1001"], ["-maxdepth", "-1"], ["-maxdepth", "1.5"], ["-deep", "1"]] {
        assert!(parse(&args).is_err(), "{args:?}");
    }
    assert!(matches!(parse(&["help"]), Ok(ParsedArgs::Help(_))));
}

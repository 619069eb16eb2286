//! The module on trees that look like hosts, and on this machine.
#![cfg(test)]
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mig_host::LocalHost;
use mig_module::{Budget, DynModule as _, ModuleResult, ParsedArgs};
use mig_module_pkg::Pkg;
use serde_json::{Value, json};
use tempfile::TempDir;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn paragraph(name: &str, status: &str, version: &str, arch: &str, more: &str) -> String {
    format!(
        "Package: {name}\nStatus: {status}\nPriority: optional\nArchitecture: {arch}\n\
         {more}Version: {version}\nDescription: a package\n Version: 9\n\n"
    )
}

const II: &str = "install ok installed";
const SAME: &str = "Multi-Arch: same\n";

/// A Debian host with a foreign architecture, and an rpm database beside it.
fn host() -> (TempDir, LocalHost) {
    let dir = tempfile::tempdir().unwrap();
    let long = "n".repeat(250);
    let status = [
        paragraph("dpkg", II, "1.21.22", "amd64", "Multi-Arch: foreign\n"),
        paragraph("libc6", II, "2.36-9+deb12u14", "amd64", SAME),
        paragraph("libc6-dev", II, "2.36-9+deb12u14", "amd64", SAME),
        paragraph("bind9", II, "1:9.9.5", "amd64", ""),
        paragraph("zero", II, "0:4.5", "all", ""),
        paragraph("wine32", II, "8.0", "i386", "Multi-Arch: foreign\n"),
        paragraph("held", "hold ok installed", "1", "amd64", ""),
        paragraph("removed", "deinstall ok config-files", "1", "amd64", ""),
        paragraph("unpacked", "install ok unpacked", "1", "amd64", ""),
        format!("Package: damaged\nStatus: {II}\nArchitecture: all\n\n"),
        paragraph(&long, II, "1", "all", ""),
    ];
    write(dir.path(), "var/lib/dpkg/status", &status.concat());
    write(dir.path(), "var/lib/dpkg/arch", "amd64\ni386\n");
    let host = LocalHost::new(dir.path());
    (dir, host)
}

fn add_rpm(root: &Path) {
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../crates/mig-host/tests/data/rpm/Packages.db");
    std::fs::create_dir_all(root.join("usr/lib/sysimage/rpm")).unwrap();
    std::fs::copy(samples, root.join("usr/lib/sysimage/rpm/Packages.db")).unwrap();
}

fn run(host: &LocalHost, params: Value) -> ModuleResult {
    Pkg.run_json(host, params, &Budget::unlimited())
}

fn ask(host: &LocalHost, names: &[&str], version: &str) -> ModuleResult {
    run(host, json!({ "pkgmatch": { "matches": names }, "vermatch": version }))
}

fn column(result: &ModuleResult, key: &str) -> Vec<String> {
    let packages = result.elements["packages"].as_array().unwrap();
    packages.iter().map(|package| package[key].as_str().unwrap_or("-").to_owned()).collect()
}

fn names(host: &LocalHost, expressions: &[&str]) -> Vec<String> {
    let result = ask(host, expressions, "");
    assert!(result.success && result.errors.is_none(), "{result:?}");
    column(&result, "name")
}

#[test]
fn refuses_queries_without_names_or_with_bad_ones() {
    let (_dir, host) = host();
    for (params, reason) in [
        (json!({}), "must specify at least one package to match"),
        (json!({ "pkgmatch": { "matches": null } }), "must specify at least one package"),
        (json!({ "pkgmatch": { "matches": [] } }), "must specify at least one package"),
        (json!({ "pkgmatch": { "matches": ["("] } }), "pkgmatch: invalid regular expression"),
        (
            json!({ "pkgmatch": { "matches": ["a"] }, "vermatch": "![" }),
            "vermatch: invalid regular expression",
        ),
        (json!({ "pkgmatch": { "matches": "a" } }), "cannot read the parameters"),
    ] {
        let result = run(&host, params.clone());
        assert!(!result.success && !result.foundanything);
        assert_eq!(result.elements, Value::Null);
        assert_eq!(result.statistics["execruntime"], "");
        assert!(result.errors.unwrap()[0].contains(reason), "{params}");
    }
}

#[test]
fn names_are_those_dpkg_prints() {
    let (_dir, host) = host();
    assert_eq!(names(&host, &["^dpkg$"]), ["dpkg"]);
    assert_eq!(names(&host, &["^libc6$"]), [""; 0]);
    assert_eq!(names(&host, &["^libc6:"]), ["libc6:amd64"]);
    assert_eq!(names(&host, &["wine"]), ["wine32:i386"]);
    assert_eq!(names(&host, &["nnnn"])[0].len(), 250);
    for missing in ["^held", "^removed", "^unpacked", "^damaged"] {
        assert!(names(&host, &[missing]).is_empty(), "{missing}");
    }
}

#[test]
fn what_matches_twice_is_listed_twice() {
    let (_dir, host) = host();
    let found = names(&host, &["^libc6", "^libc6-dev"]);
    assert_eq!(found, ["libc6:amd64", "libc6-dev:amd64", "libc6-dev:amd64"]);
}

#[test]
fn versions_filter_and_turn_round() {
    let (_dir, host) = host();
    let version = |text| column(&ask(&host, &["^libc6:", "^bind9", "^zero"], text), "version");
    assert_eq!(version(""), ["2.36-9+deb12u14", "1:9.9.5", "4.5"]);
    assert_eq!(version(r"^2\."), ["2.36-9+deb12u14"]);
    assert_eq!(version(r"!^2\."), ["1:9.9.5", "4.5"]);
    // Alone it is what is looked for.
    assert_eq!(version("!"), [""; 0]);
}

#[test]
fn everything_is_counted() {
    let (dir, host) = host();
    let all = ask(&host, &[""], "");
    assert_eq!(column(&all, "name").len(), 7);
    assert_eq!(all.statistics["examined"], 7);
    assert_eq!(all.statistics["damaged"], 1);
    assert!(!all.statistics["execruntime"].as_str().unwrap().is_empty());
    assert_eq!(all.statistics.get("containers"), None);
    // A database that is there and cannot be used is an error, not silence.
    write(dir.path(), "var/lib/rpm/Packages", "junk");
    let result = ask(&host, &["^dpkg$"], "");
    assert!(result.success && result.foundanything);
    let errors = result.errors.unwrap();
    assert!(errors[0].starts_with("cannot read /var/lib/rpm/Packages: "), "{errors:?}");
}

#[test]
fn rpm_packages_come_first() {
    let (dir, host) = host();
    add_rpm(dir.path());
    let result = ask(&host, &["^dpkg$|beta|gpg-pubkey|^gamma"], "");
    let mut kinds = column(&result, "type");
    assert_eq!(kinds.pop().unwrap(), "dpkg");
    assert_eq!(kinds, ["rpm"; 3]);
    for package in result.elements["packages"].as_array().unwrap() {
        match package["name"].as_str().unwrap() {
            "beta-tools" => assert_eq!(package["version"], "1:9.9.5-4.el9"),
            "gpg-pubkey" => assert_eq!(package["arch"], "(none)"),
            _ => {}
        }
    }
}

#[test]
fn a_host_without_managers_has_no_packages() {
    let dir = tempfile::tempdir().unwrap();
    let result = ask(&LocalHost::new(dir.path()), &[""], "");
    assert!(result.success && !result.foundanything && result.errors.is_none());
    assert_eq!(result.elements, json!({ "packages": [] }));
}

#[test]
fn alpine_packages_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let installed = "P:musl\nV:1.2.4-r2\nA:x86_64\n\nP:busybox\nV:1.36.1-r5\nA:x86_64\n";
    write(dir.path(), "lib/apk/db/installed", installed);
    let result = ask(&LocalHost::new(dir.path()), &["musl"], "");
    let musl = json!({ "name": "musl", "version": "1.2.4-r2", "type": "apk", "arch": "x86_64" });
    assert_eq!(result.elements, json!({ "packages": [musl] }));
}

#[test]
fn containers_are_looked_into_when_asked_for() {
    let (dir, host) = host();
    let id = "4f".repeat(32);
    let mounts = format!("var/lib/docker/image/overlay2/layerdb/mounts/{id}/mount-id");
    write(dir.path(), &mounts, "layer1");
    let merged = dir.path().join("var/lib/docker/overlay2/layer1/merged");
    write(&merged, "lib/apk/db/installed", "P:openssl\nV:3.1.4-r5\nA:x86_64\n");
    // A container that points at its host's packages is not believed.
    let trap = dir.path().join("var/lib/lxc/trap/rootfs");
    std::fs::create_dir_all(trap.join("var/lib/dpkg")).unwrap();
    let status = dir.path().join("var/lib/dpkg/status");
    std::os::unix::fs::symlink(status, trap.join("var/lib/dpkg/status")).unwrap();
    let query = json!({ "pkgmatch": { "matches": ["^openssl$|^dpkg$"] }, "containers": true });
    let result = run(&host, query);
    let found: Vec<_> =
        column(&result, "name").into_iter().zip(column(&result, "container")).collect();
    assert_eq!(found, [("dpkg".to_owned(), "-".to_owned()), ("openssl".to_owned(), id.clone())]);
    assert_eq!(result.statistics["containers"], 2);
    let lines = Pkg.print(&result, true).unwrap();
    assert_eq!(lines[0], "pkgmatch name=dpkg version=1.21.22 type=dpkg arch=amd64");
    let line =
        format!("pkgmatch name=openssl version=3.1.4-r5 type=apk arch=x86_64 container={id}");
    assert_eq!(lines[1], line);
    assert_eq!(names(&host, &["^openssl$"]), [""; 0]);
}

#[test]
fn a_result_stays_within_its_size() {
    let (_dir, host) = host();
    let budget = Budget::unlimited().with_result_bytes(400);
    let result = Pkg.run_json(&host, json!({ "pkgmatch": { "matches": [""] } }), &budget);
    let returned = column(&result, "name").len() as u64;
    assert!((1..7).contains(&returned));
    assert_eq!(result.statistics["notreturned"], 7 - returned);
    assert!(result.errors.unwrap()[0].contains("were not returned"));
}

#[test]
fn a_passed_deadline_is_reported() {
    let (_dir, host) = host();
    let budget = Budget::new(Some(Instant::now()), 1);
    let result = Pkg.run_json(&host, json!({ "pkgmatch": { "matches": [""] } }), &budget);
    let errors = result.errors.unwrap();
    assert!(errors[0].starts_with("cannot read /var/lib/dpkg/status: the time was over"));
}

#[test]
fn privacy_changes_nothing() {
    let (_dir, host) = host();
    let result = ask(&host, &["^dpkg$"], "");
    let mut masked = result.clone();
    Pkg.mask(&mut masked);
    assert_eq!(masked, result);
}

#[test]
fn prints_like_the_original() {
    let (_dir, host) = host();
    let result = ask(&host, &["^libc6:"], "");
    let line = "pkgmatch name=libc6:amd64 version=2.36-9+deb12u14 type=dpkg arch=amd64";
    assert_eq!(Pkg.print(&result, true).unwrap(), [line]);
    let all = Pkg.print(&result, false).unwrap();
    assert_eq!(all[0], line);
    assert!(all[1].starts_with("Statistics: runtime ") && all.len() == 2);
    let failed = ask(&host, &["("], "");
    assert!(Pkg.print(&failed, true).unwrap().is_empty());
    let all = Pkg.print(&failed, false).unwrap();
    assert_eq!((all.len(), all[1].as_str()), (2, "Statistics: runtime "));
    // Results of the original have fewer statistics.
    let old = ModuleResult {
        foundanything: true,
        success: true,
        elements: json!({ "packages": [{ "name": "a", "version": "1", "type": "rpm", "arch": "b" }] }),
        statistics: json!({ "execruntime": "61.7ms" }),
        errors: None,
    };
    let lines = Pkg.print(&old, false).unwrap();
    assert_eq!(lines, ["pkgmatch name=a version=1 type=rpm arch=b", "Statistics: runtime 61.7ms"]);
}

#[test]
fn options_become_parameters() {
    let parse = |args: &[&str]| {
        Pkg.parse_args(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(
        parse(&["-name", "foo", "-version", "!^1"]).unwrap(),
        ParsedArgs::Params(json!({ "pkgmatch": { "matches": ["foo"] }, "vermatch": "!^1" }))
    );
    assert_eq!(
        parse(&["-name=a", "-name", "b", "-containers"]).unwrap(),
        ParsedArgs::Params(
            json!({ "pkgmatch": { "matches": ["a", "b"] }, "vermatch": "", "containers": true })
        )
    );
    assert!(parse(&["-version", "1"]).is_err());
    assert!(parse(&["-name", "("]).is_err());
    for args in [&[][..], &["help"]] {
        assert!(matches!(parse(args), Ok(ParsedArgs::Help(_))));
    }
}

#[test]
fn many_packages_and_expressions_take_little_time() {
    let dir = tempfile::tempdir().unwrap();
    let status: String =
        (0..5_000).map(|n| paragraph(&format!("package-{n}"), II, "1.2-3", "all", "")).collect();
    write(dir.path(), "var/lib/dpkg/status", &status);
    let expressions: Vec<String> = (0..50).map(|n| format!("^package-{n}$")).collect();
    let begun = Instant::now();
    let result = run(
        &LocalHost::new(dir.path()),
        json!({ "pkgmatch": { "matches": expressions }, "vermatch": r"^1\." }),
    );
    let elapsed = begun.elapsed();
    assert_eq!(result.elements["packages"].as_array().unwrap().len(), 50);
    println!("5000 packages and 50 expressions took {elapsed:?}");
    // Without optimisation, on a busy machine.
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

/// Where this machine has dpkg, both lists are the same, order included.
#[test]
#[expect(clippy::disallowed_methods, reason = "the tool to compare with")]
fn this_machine_has_what_dpkg_says() {
    let mut dpkg = std::process::Command::new("dpkg-query");
    dpkg.args(["-W", "-f", "${db:Status-Abbrev}|${binary:Package}|${Version}|${Architecture}\n"]);
    let Ok(output) = dpkg.output() else {
        println!("skipped: no dpkg on this machine");
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("ii |")).collect();
    let result = ask(&LocalHost::default(), &[""], "");
    let packages = result.elements["packages"].as_array().unwrap();
    let found: Vec<String> = packages
        .iter()
        .filter(|package| package["type"] == "dpkg")
        .map(|package| {
            let text = |key: &str| package[key].as_str().unwrap();
            format!("{}|{}|{}", text("name"), text("version"), text("arch"))
        })
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(found, expected);
}

//! Files in running containers.

use std::os::unix::fs::symlink;
use std::path::Path;

use mig_host::LocalHost;
use mig_module::{Budget, DynModule, ModuleResult};
use mig_module_file::{File, Search, select};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A host with a container of Docker and a hostile one, which is not mounted by
/// Docker and so needs no more than a directory.
struct Machine {
    _dir: TempDir,
    host: LocalHost,
}

const ID: &str = "4fe2a1b0c9d84fe2a1b0c9d84fe2a1b0c9d84fe2a1b0c9d84fe2a1b0c9d80000";

fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        write(&at("etc/passwd"), "root:x:0\n");
        write(&at("etc/shadow"), "root:secret\n");
        let mount = format!("var/lib/docker/image/overlay2/layerdb/mounts/{ID}/mount-id");
        write(&at(&mount), "layer1");
        let merged = at("var/lib/docker/overlay2/layer1/merged");
        write(&merged.join("etc/passwd"), "app::1000\nroot:x:0\n");
        write(&merged.join("data/etc/motd"), "hello\n");
        symlink("/data/etc/motd", merged.join("etc/motd")).unwrap();
        symlink("/data", merged.join("srv")).unwrap();
        let trap = at("var/lib/lxc/trap/rootfs");
        write(&trap.join("etc/issue"), "mine\n");
        // Wherever these lead, it is inside: there is no such file there.
        symlink("/etc/shadow", trap.join("etc/shadow")).unwrap();
        symlink("../../../../../../etc/shadow", trap.join("etc/relative")).unwrap();
        symlink(at("etc/shadow"), trap.join("etc/absolute")).unwrap();
        symlink(at("etc"), trap.join("opt")).unwrap();
        let host = LocalHost::new(dir.path());
        Self { _dir: dir, host }
    }

    #[expect(clippy::needless_pass_by_value, reason = "every caller has just made it")]
    fn run(&self, searches: Value, privacy: bool) -> ModuleResult {
        let budget = Budget::new(None, 2);
        let mut result = File.run_json(&self.host, json!({ "searches": searches }), &budget);
        if privacy {
            File.mask(&mut result);
        }
        result
    }
}

fn search(paths: &[&str], checks: Value, options: Value) -> Value {
    let mut search = checks;
    search["paths"] = json!(paths);
    search["options"] = options;
    json!({ "s": search })
}

fn options(matchall: bool) -> Value {
    json!({ "matchall": matchall, "containers": true })
}

/// Files and the containers they are in.
fn found(result: &ModuleResult) -> Vec<(String, String)> {
    let entries = result.elements["s"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pairs = entries.iter().map(|entry| (text(&entry["file"]), text(&entry["container"])));
    pairs.filter(|(file, _)| !file.is_empty()).collect()
}

fn pair(file: &str, container: &str) -> (String, String) {
    (file.to_owned(), container.to_owned())
}

#[test]
fn the_same_paths_are_searched_in_each_container() {
    let machine = Machine::new();
    let names = json!({ "names": ["^(passwd|issue|motd)$"] });
    let result = machine.run(search(&["/etc"], names.clone(), options(true)), false);
    let expected = [
        pair("/etc/passwd", ""),
        pair("/etc/motd", ID),
        pair("/etc/passwd", ID),
        pair("/etc/issue", "trap"),
    ];
    assert_eq!(found(&result), expected);
    assert_eq!(result.statistics["containers"], 2);
    assert_eq!(result.statistics["totalhits"], 4);
    let lines = File.print(&result, true).unwrap();
    assert!(lines[0].ends_with(" in search 's'"), "{lines:?}");
    assert!(
        lines[2].starts_with("/etc/passwd [") && lines[2].ends_with(&format!(" container={ID}"))
    );
    // Nobody asked for them.
    let result = machine.run(search(&["/etc"], names, json!({ "matchall": true })), false);
    assert_eq!(found(&result), [pair("/etc/passwd", "")]);
    assert_eq!(result.statistics.get("containers"), None);
}

#[test]
fn content_and_checksums_are_those_of_the_container() {
    let machine = Machine::new();
    let empty_password = json!({ "contents": ["^[^:]*::"] });
    let result = machine.run(search(&["/etc"], empty_password, options(false)), false);
    assert_eq!(found(&result), [pair("/etc/passwd", ID)]);
    // The path leads through a link of the container.
    let content = json!({ "contents": ["^hello$"] });
    let mut wanted = options(true);
    wanted["returnsha256"] = json!(true);
    let result = machine.run(search(&["/srv/etc"], content, wanted), false);
    assert_eq!(found(&result), [pair("/srv/etc/motd", ID)]);
    let sum = &result.elements["s"][0]["fileinfo"]["sha256"];
    assert_eq!(sum, "5891B5B522D5DF086D0FF0B110FBD9D21BB4FC7163AF34D08286A2E846F6BE03");
    // A file of its own instead of a directory.
    let result =
        machine.run(search(&["/etc/motd"], json!({ "names": ["."] }), options(true)), false);
    assert_eq!(found(&result), [pair("/etc/motd", ID)]);
}

#[test]
fn nothing_leads_out_of_a_container() {
    let machine = Machine::new();
    let secret = json!({ "contents": ["secret"] });
    let result = machine.run(search(&["/etc", "/opt"], secret, options(true)), false);
    assert_eq!(found(&result), [pair("/etc/shadow", "")]);
    let errors = result.errors.unwrap();
    for name in ["absolute", "relative", "shadow"] {
        let text = format!("/etc/{name} in container trap: ");
        assert!(errors.iter().any(|error| error.contains(&text)), "{name}: {errors:?}");
    }
}

#[test]
fn searches_of_one_action_choose_for_themselves() {
    let machine = Machine::new();
    let both = json!({
        "s": { "paths": ["/etc"], "names": ["^passwd$"], "options": options(true) },
        "t": { "paths": ["/etc"], "names": ["^passwd$"], "options": { "matchall": true } },
    });
    let result = machine.run(both, false);
    assert_eq!(result.elements["s"].as_array().unwrap().len(), 2);
    assert_eq!(result.elements["t"].as_array().unwrap().len(), 1);
    // A limit counts for all of them together.
    let mut limited = options(true);
    limited["matchlimit"] = json!(1);
    let result = machine.run(search(&["/etc"], json!({ "names": ["."] }), limited), false);
    assert_eq!(found(&result).len(), 1);
}

#[test]
fn privacy_hides_names_of_files_in_containers() {
    let machine = Machine::new();
    let names = json!({ "names": ["^motd$"] });
    let result = machine.run(search(&["/etc"], names, options(false)), true);
    assert_eq!(found(&result), [pair("masked", ID)]);
}

#[test]
fn a_selection_is_of_the_host_alone() {
    let machine = Machine::new();
    let search: Search = serde_json::from_value(json!({
        "paths": ["/etc"], "names": ["."], "options": options(true)
    }))
    .unwrap();
    let budget = Budget::new(None, 1);
    let error = select(&machine.host, &search, &budget, &|| Box::new(|_| {})).unwrap_err();
    assert!(error.one_line().contains("containers"), "{error:?}");
}

//! The module on this machine and on trees that look like one.
#![cfg(test)]

use std::time::{Duration, Instant};

use mig_host::LocalHost;
use mig_module::process::{ServeOptions, parameters_message, serve_until_stopped};
use mig_module::{Budget, DynModule as _, ModuleResult, Registry};
use mig_module_example::Example;
use serde_json::{Value, json};

fn run(params: Value) -> ModuleResult {
    Example.run_json(&LocalHost::default(), params, &Budget::unlimited())
}

#[test]
fn refuses_names_that_are_none() {
    let long = "x".repeat(64);
    for name in ["bad_host!", "", "a..b", "-a.net", "a-.net", "a b", ".", long.as_str()] {
        let result = run(json!({ "lookuphost": ["localhost", name] }));
        assert!(!result.success && result.elements.is_null(), "{name}");
        assert!(result.errors.unwrap()[0].contains("is not a valid FQDN"), "{name}");
    }
    assert!(!run(json!({ "lookuphost": "localhost" })).success);
}

#[test]
fn nothing_asked_is_nothing_found() {
    let result = run(json!({}));
    assert!(result.success && !result.foundanything);
    assert_eq!(result.elements, json!({}));
    assert_eq!((result.statistics, result.errors), (json!({ "stufffound": 0 }), None));
}

#[test]
fn everything_asked_is_reported() {
    let result =
        run(json!({ "gethostname": true, "getaddresses": true, "lookuphost": ["localhost"] }));
    assert!(result.success && result.foundanything, "{result:?}");
    let elements = &result.elements;
    assert!(!elements["hostname"].as_str().unwrap().is_empty());
    let looked_up = elements["lookeduphost"]["localhost"].as_array().unwrap();
    assert!(looked_up.iter().any(|ip| ip == "127.0.0.1" || ip == "::1"));
    let addresses = elements["addresses"].as_array().cloned().unwrap_or_default();
    assert!(addresses.iter().all(|ip| ip != "127.0.0.1/8" && ip != "::1/128"));
    assert_eq!(result.statistics["stufffound"], addresses.len() + 1);
}

#[test]
fn addresses_are_those_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let net = dir.path().join("proc/net");
    std::fs::create_dir_all(&net).unwrap();
    std::fs::create_dir_all(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/hostname"), "web1\n").unwrap();
    let trie = "|-- 192.0.2.2\n/32 host LOCAL\n|-- 127.0.0.1\n/32 host LOCAL\n";
    std::fs::write(net.join("fib_trie"), trie).unwrap();
    let host = LocalHost::new(dir.path());
    let params = json!({ "gethostname": true, "getaddresses": true });
    let result = Example.run_json(&host, params, &Budget::unlimited());
    assert_eq!(result.elements, json!({ "hostname": "web1", "addresses": ["192.0.2.2/32"] }));
    let lines = Example.print(&result, false).unwrap();
    assert_eq!(lines, ["hostname is web1", "address is 192.0.2.2/32", "stat: 2 stuff found"]);
    assert_eq!(Example.print(&result, true).unwrap(), lines[..2]);
}

#[test]
fn a_failing_look_up_keeps_the_rest() {
    let empty = tempfile::tempdir().unwrap();
    let host = LocalHost::new(empty.path());
    let params =
        json!({ "getaddresses": true, "lookuphost": ["no-such-host.invalid", "localhost"] });
    let result = Example.run_json(&host, params, &Budget::unlimited());
    assert!(!result.success);
    assert!(result.elements["lookeduphost"]["localhost"].is_array());
    let errors = result.errors.clone().unwrap();
    assert!(errors[0].starts_with("cannot read /proc/net/fib_trie"), "{errors:?}");
    assert!(errors[1].starts_with("cannot look up no-such-host.invalid: "), "{errors:?}");
    let lines = Example.print(&result, false).unwrap();
    assert!(lines.iter().any(|line| line.starts_with("error: cannot look up")));
    assert!(lines.iter().any(|line| line.starts_with("lookedup host localhost has IP ")));
}

#[test]
fn a_stop_message_ends_the_run_quickly() {
    let names: Vec<String> = (0..200).map(|n| format!("no-such-host-{n}.invalid")).collect();
    let mut input = parameters_message(&json!({ "lookuphost": names }));
    input.extend(b"\n{\"class\":\"stop\"}\n");
    let registry = Registry::new(vec![Box::new(Example)]);
    let mut output = Vec::new();
    let begun = Instant::now();
    let input = std::io::Cursor::new(input);
    serve_until_stopped(&registry, "example", ServeOptions::default(), input, &mut output).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let result: ModuleResult = serde_json::from_slice(&output).unwrap();
    assert!(!result.success && result.elements.is_null());
    assert_eq!(result.errors.unwrap(), ["stop message received, terminating early"]);
}

#[test]
fn there_is_no_command_line() {
    assert!(Example.parse_args(&["-x".to_owned()]).is_err());
}

/// The guide for authors shows this crate, all of it and nothing else.
#[test]
fn the_guide_shows_every_line() {
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    let guide = read("../../docs/guide/writing-a-module.md");
    let blocks = guide.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let shown: Vec<String> = blocks.flat_map(lines).collect();
    assert_eq!(shown, lines(&read("src/lib.rs")));
}

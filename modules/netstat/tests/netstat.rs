//! The module on a tree that looks like a host, and on this machine.
#![cfg(test)]
#![cfg(target_os = "linux")]

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use mig_host::LocalHost;
use mig_module::process::{ServeOptions, parameters_message, serve_on};
use mig_module::{Budget, DynModule as _, ModuleResult, ParsedArgs, Registry};
use mig_module_netstat::Netstat;
use serde_json::{Value, json};
use tempfile::TempDir;

const TCP: &str = "  sl  local_address rem_address   st\n\
    0: 00000000:0016 00000000:0000 0A 0 0\n\
    1: 0F02000A:0016 0202000A:D431 01 0 0\n\
    2: 0100007F:0035 00000000:0000 0A 0 0\n\
    bad row\n";
const TCP6: &str = "  sl  local_address remote_address st\n\
    0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0 0\n\
    1: 0000000000000000FFFF00000F02000A:0050 0000000000000000FFFF00000902000A:C001 01 0 0\n\
    2: 00000000000000000000000001000000:0050 00000000000000000000000001000000:C002 01 0 0\n";
const UDP: &str = "header\n0: 00000000:0044 00000000:0000 07 0 0\n";
const ARP: &str = "IP address HW type Flags HW address Mask Device\n\
    10.0.2.2 0x1 0x2 52:55:0a:00:02:02 * eth0\n\
    10.0.2.9 0x1 0x0 00:00:00:00:00:00 * eth0\nshort\n";

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A host with tables, two network namespaces and two interfaces.
fn host() -> (TempDir, LocalHost) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (name, table) in [("tcp", TCP), ("tcp6", TCP6), ("udp", UDP), ("arp", ARP)] {
        write(root, &format!("proc/net/{name}"), table);
    }
    let trie = "|-- 10.0.2.15\n/32 host LOCAL\n|-- 127.0.0.1\n/32 host LOCAL\n";
    write(root, "proc/net/fib_trie", trie);
    write(root, "proc/net/if_inet6", "00000000000000000000000000000001 01 80 10 80 lo\n");
    write(root, "sys/class/net/eth0/address", "aa:bb:00:12:34:56\n");
    write(root, "sys/class/net/lo/address", "00:00:00:00:00:00\n");
    for (pid, namespace) in [("1", "net:[1]"), ("40", "net:[2]"), ("41", "net:[2]")] {
        std::fs::create_dir_all(root.join("proc").join(pid).join("ns")).unwrap();
        symlink(namespace, root.join("proc").join(pid).join("ns/net")).unwrap();
    }
    // Process 40 has just ended: only 41 can answer for its namespace.
    for (pid, port) in [("1", "0016"), ("41", "1F90")] {
        let table = format!("header\n0: 00000000:{port} 00000000:0000 0A 0 0\n");
        write(root, &format!("proc/{pid}/net/tcp"), &table);
        write(root, &format!("proc/{pid}/net/udp"), "header\n");
        write(root, &format!("proc/{pid}/net/arp"), ARP);
    }
    let host = LocalHost::new(root);
    (dir, host)
}

fn run(host: &LocalHost, params: Value) -> ModuleResult {
    Netstat.run_json(host, params, &Budget::unlimited())
}

fn on_tree(params: Value) -> ModuleResult {
    let (_dir, host) = host();
    run(&host, params)
}

#[test]
fn no_query_finds_nothing() {
    let result = on_tree(json!({}));
    assert!(result.success && !result.foundanything);
    assert_eq!((result.elements, result.errors), (json!({}), None));
}

#[test]
fn refuses_bad_queries() {
    for params in [
        json!({"listeningport": ["abc"]}),
        json!({"listeningport": ["70000"]}),
        json!({"listeningport": ["-1"]}),
        json!({"listeningport": [""]}),
        json!({"listeningport": [22]}),
        json!({"localip": ["1.2.3.4/99"]}),
        json!({"connectedip": ["1.2.3"]}),
        json!({"neighborip": ["01.2.3.4"]}),
        json!({"localmac": ["("]}),
        json!({"neighbormac": ["["]}),
    ] {
        let result = on_tree(params.clone());
        assert!(!result.success && !result.foundanything, "{params}");
        assert_eq!((result.elements, result.statistics), (Value::Null, Value::Null));
        assert_eq!(result.errors.unwrap().len(), 1);
    }
}

#[test]
fn ports_are_found_in_any_state_and_a_bad_row_is_an_error() {
    let result = on_tree(json!({"listeningport": ["22", "80", "9", "22", "68"]}));
    let listening = &result.elements["listeningport"];
    assert_eq!(
        listening["22"],
        json!([{"localaddr": "0.0.0.0", "localport": 22, "namespace": "default"},
            {"localaddr": "10.0.2.15", "localport": 22, "namespace": "default"}])
    );
    assert_eq!(listening["80"].as_array().unwrap().len(), 3);
    assert_eq!(listening["68"][0]["localaddr"], json!("0.0.0.0"));
    assert_eq!(listening["9"], Value::Null);
    assert_eq!(listening.as_object().unwrap().len(), 4);
    let errors = result.errors.unwrap();
    assert_eq!(errors[0], "row 5 of tcp is malformed");
    // There is no table of IPv6 datagrams here, which is no error.
    assert_eq!(errors.len(), 1);
    assert_eq!(result.statistics["totalhits"], json!(6));
    assert_eq!(result.statistics["examined"], json!(8));
}

#[test]
fn connections_are_found_by_their_remote_address() {
    let result = on_tree(json!({"connectedip": ["10.0.2.0/24", "0.0.0.0/0", "::1", "9.9.9.9"]}));
    let connected = &result.elements["connectedip"];
    let tuple = json!({"localaddr": "10.0.2.15", "localport": 22, "remoteaddr": "10.0.2.2",
        "remoteport": 54321, "namespace": "default"});
    let mapped = json!({"localaddr": "10.0.2.15", "localport": 80, "remoteaddr": "10.0.2.9",
        "remoteport": 49153, "namespace": "default"});
    assert_eq!(connected["10.0.2.0/24"], json!([tuple, mapped]));
    let all = connected["0.0.0.0/0"].as_array().unwrap();
    assert_eq!(all.len(), 5);
    let listener = all.iter().find(|element| element["localport"] == json!(53)).unwrap();
    assert_eq!(listener["remoteaddr"], json!("0.0.0.0"));
    assert_eq!(listener.get("remoteport"), None);
    assert_eq!(connected["::1"][0]["remoteport"], json!(49154));
    assert_eq!(connected["9.9.9.9"], Value::Null);
}

#[test]
fn own_and_neighbouring_addresses_are_found() {
    let result = on_tree(json!({
        "localmac": ["^AA:BB", "^$", "zz"],
        "localip": ["127.0.0.0/8", "127.0.0.1", "::1", "::0001", "10.9.9.9"],
        "neighbormac": ["^52:55", "^52:55:0A"],
        "neighborip": ["0.0.0.0/0", "10.0.2.2", "::/0"],
    }));
    let elements = &result.elements;
    assert_eq!(elements["localmac"]["^AA:BB"], json!([{"localmacaddr": "aa:bb:00:12:34:56"}]));
    assert_eq!(elements["localmac"]["^$"], Value::Null);
    for query in ["127.0.0.0/8", "127.0.0.1"] {
        assert_eq!(elements["localip"][query], json!([{"localaddr": "127.0.0.1"}]));
    }
    for query in ["::1", "::0001"] {
        assert_eq!(elements["localip"][query], json!([{"localaddr": "::1"}]));
    }
    assert_eq!(elements["localip"]["10.9.9.9"], Value::Null);
    assert_eq!(
        elements["neighbormac"]["^52:55"],
        json!([{"remotemacaddr": "52:55:0a:00:02:02", "remoteaddr": "10.0.2.2", "namespace": "default"}])
    );
    assert_eq!(elements["neighbormac"]["^52:55:0A"], Value::Null);
    assert_eq!(elements["neighborip"]["0.0.0.0/0"].as_array().unwrap().len(), 2);
    assert_eq!(elements["neighborip"]["::/0"], Value::Null);
}

#[test]
fn all_namespaces_are_looked_at_through_whoever_lives() {
    let result = on_tree(json!({"listeningport": ["8080", "22"], "namespaces": true}));
    let listening = &result.elements["listeningport"];
    assert_eq!(
        listening["8080"],
        json!([{"localaddr": "0.0.0.0", "localport": 8080, "namespace": "net:[2]"}])
    );
    assert_eq!(listening["22"][0]["namespace"], json!("net:[1]"));
    assert_eq!(result.errors, None);
    let lines = Netstat
        .print(&ModuleResult { elements: result.elements, ..ModuleResult::default() }, true)
        .unwrap();
    assert!(
        lines.contains(
            &"found listening port 8080 for netstat listeningport:'8080' namespace:[net:[2]]"
                .to_owned()
        )
    );
}

#[test]
fn a_missing_table_is_an_error_and_the_others_answer() {
    let (dir, host) = host();
    std::fs::remove_file(dir.path().join("proc/net/udp")).unwrap();
    let result = run(&host, json!({"listeningport": ["22"]}));
    assert!(result.success && result.foundanything);
    let errors = result.errors.unwrap();
    assert!(errors.contains(&"cannot read /proc/net/udp: no such file or directory".to_owned()));
}

#[test]
fn privacy_masks_remote_addresses_of_connections() {
    let (_dir, host) = host();
    let registry = Registry::new(vec![Box::new(Netstat)]);
    let params = json!({"connectedip": ["10.0.2.0/24"], "neighborip": ["10.0.2.2"]});
    let options = ServeOptions { privacy: true, ..ServeOptions::default() };
    let mut output = Vec::new();
    let input = parameters_message(&params);
    serve_on(&host, &registry, "netstat", &options, input.as_slice(), &mut output).unwrap();
    let result: ModuleResult = serde_json::from_slice(&output).unwrap();
    for element in result.elements["connectedip"]["10.0.2.0/24"].as_array().unwrap() {
        assert_eq!(element["remoteaddr"], json!("masked"));
        assert!(element["remoteport"].as_u64().unwrap() > 0);
    }
    assert_eq!(result.elements["neighborip"]["10.0.2.2"][0]["remoteaddr"], json!("10.0.2.2"));
}

#[test]
fn prints_like_the_original() {
    let result = on_tree(json!({"connectedip": ["10.0.2.2", "9.9.9.9"], "localmac": ["zz"],
        "neighborip": ["1.1.1.1", "10.0.2.2"], "localip": ["10.0.2.15"]}));
    let found = Netstat.print(&result, true).unwrap();
    assert_eq!(
        found,
        [
            "found neighbor IP 10.0.2.2 52:55:0a:00:02:02 for netstat neighborIP:'10.0.2.2'",
            "found local ip 10.0.2.15 for netstat localip:'10.0.2.15'",
            "found connected tuple 10.0.2.2:54321 with local tuple 10.0.2.15:22 for netstat connectedip:'10.0.2.2'",
        ]
    );
    let lines = Netstat.print(&result, false).unwrap();
    for line in [
        "did not find anything for netstat neighborIP:'1.1.1.1'",
        "did not find anything for netstat connectedip:'9.9.9.9'",
        "error: row 5 of tcp is malformed",
    ] {
        assert!(lines.iter().any(|known| known == line), "{line} in {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.contains("localmac")));
    assert!(lines.last().unwrap().starts_with("Statistics: total hits 3 examined "));
}

#[test]
fn options_become_parameters() {
    let parse =
        |line: &str| Netstat.parse_args(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(
        parse("-ci 1.2.3.4 -lp 22"),
        Ok(ParsedArgs::Params(
            json!({"connectedip": ["1.2.3.4"], "listeningport": ["22"], "namespaces": false})
        ))
    );
    assert!(parse("-namespaces true -lp 22").is_err());
    assert!(parse("-lp 70000").is_err());
    assert!(matches!(parse("help"), Ok(ParsedArgs::Help(_))));
}

#[test]
fn a_hundred_thousand_sockets_are_read_once() {
    let (dir, host) = host();
    let row = |row: u32| format!("{row}: 0100007F:0016 {:08X}:D431 01 0 0", row.swap_bytes());
    let rows: Vec<String> = (0..100_000).map(row).collect();
    let table = format!("header\n{}\n", rows.join("\n"));
    write(dir.path(), "proc/net/tcp", &table);
    let queries: Vec<String> = (0..50).map(|net| format!("0.{net}.0.0/16")).collect();
    let begun = Instant::now();
    let result = run(&host, json!({ "connectedip": queries }));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(result.statistics["examined"].as_u64().unwrap() >= 100_000);
    // One network has more than is returned for one query.
    assert_eq!(result.elements["connectedip"]["0.0.0.0/16"].as_array().unwrap().len(), 10_000);
    assert!(result.errors.unwrap()[0].contains("were not returned (limit = 10000)"));
}

#[test]
fn this_machine_shows_its_own_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (_server, _) = listener.accept().unwrap();
    let from = client.local_addr().unwrap().port();
    let params = json!({"listeningport": [port.to_string(), from.to_string(), "1"],
        "connectedip": ["127.0.0.1"], "localip": ["127.0.0.1"]});
    let result = run(&LocalHost::default(), params);
    let elements = &result.elements;
    assert!(elements["listeningport"][port.to_string()].is_array());
    assert!(elements["listeningport"][from.to_string()].is_array());
    assert_eq!(elements["localip"]["127.0.0.1"][0]["localaddr"], json!("127.0.0.1"));
    let pairs: Vec<(u64, u64)> = elements["connectedip"]["127.0.0.1"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["localport"].as_u64().unwrap(), e["remoteport"].as_u64().unwrap()))
        .collect();
    let (port, from) = (u64::from(port), u64::from(from));
    assert!(pairs.contains(&(port, from)) && pairs.contains(&(from, port)));
}

//! The module against time servers on the loopback interface.

#![cfg(test)]

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mig_host::LocalHost;
use mig_module::{Budget, DynModule, ParsedArgs};
use mig_module_timedrift::{TimeDrift, sntp};
use mig_types::{ModuleResult, Timestamp};
use serde_json::{Value, json};

/// What a server makes of a request: `None` is silence.
type Behaviour = fn(&[u8], u64) -> Option<Vec<u8>>;

struct Server {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(address: &str, behaviour: Behaviour) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 100];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                // An empty datagram ends the server.
                if length == 0 {
                    break;
                }
                if let Some(answer) = behaviour(&buffer[..length], sntp::from_timestamp(now())) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Self { address, thread: Some(thread) }
    }

    fn name(&self) -> String {
        self.address.ip().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&[], self.address).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The clock of the host stands still, so that only the servers differ.
fn now() -> Timestamp {
    Timestamp::parse("2026-03-01T12:00:00.123456789Z").unwrap()
}

fn answer(request: &[u8], time: u64) -> Vec<u8> {
    assert_eq!((request.len(), request[0]), (48, 0x1b));
    let mut packet = vec![0; 48];
    (packet[0], packet[1]) = (0x1c, 2);
    packet[24..32].copy_from_slice(&request[40..]);
    packet[32..40].copy_from_slice(&time.to_be_bytes());
    packet[40..].copy_from_slice(&time.to_be_bytes());
    packet
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of a behaviour")]
fn exact(request: &[u8], now: u64) -> Option<Vec<u8>> {
    Some(answer(request, now))
}

fn silent(_: &[u8], _: u64) -> Option<Vec<u8>> {
    None
}

const HOUR: u64 = 3600 << 32;

fn run_below(root: &Path, servers: &[&Server], drift: &str, patience: Duration) -> ModuleResult {
    let port = servers.first().map_or(9, |server| server.address.port());
    assert!(servers.iter().all(|server| server.address.port() == port));
    let names = servers.iter().map(|server| server.name()).collect();
    let module = TimeDrift::asking(names, port, patience);
    let host = LocalHost::new(root).frozen_at(now());
    module.run_json(&host, json!({ "drift": drift }), &Budget::unlimited())
}

fn run(servers: &[&Server], drift: &str) -> ModuleResult {
    let empty = tempfile::tempdir().unwrap();
    run_below(empty.path(), servers, drift, Duration::from_secs(20))
}

fn local_time(result: &ModuleResult) -> Timestamp {
    Timestamp::parse(result.elements["localtime"].as_str().unwrap()).unwrap()
}

#[test]
fn refuses_limits_that_are_no_durations() {
    for drift in ["5", "1d", "x", "-5s"] {
        let result = run(&[], drift);
        assert!(!result.success && !result.foundanything, "{drift}");
        assert_eq!((&result.elements, &result.statistics), (&Value::Null, &Value::Null));
        assert!(result.errors.unwrap()[0].contains("'drift'"), "{drift}");
    }
}

#[test]
fn without_a_limit_only_the_local_time_is_told() {
    for parameters in [json!({}), json!({ "drift": "" }), json!({ "drift": null })] {
        let host = LocalHost::default().frozen_at(now());
        let result = TimeDrift::default().run_json(&host, parameters, &Budget::unlimited());
        assert!(result.success && result.foundanything && result.errors.is_none());
        assert_eq!(result.elements.as_object().unwrap().len(), 2, "{}", result.elements);
        assert_eq!(result.elements["hascheckeddrift"], false);
        assert_eq!(local_time(&result), now());
        assert_eq!(result.statistics.as_object().unwrap().len(), 1);
    }
}

#[test]
fn a_right_clock_is_no_finding_even_without_configuration_files() {
    let server = Server::start("127.0.0.1:0", exact);
    let result = run(&[&server], "5s");
    assert!(result.success && !result.foundanything && result.errors.is_none(), "{result:?}");
    assert_eq!(result.elements["hascheckeddrift"], true);
    assert_eq!(result.elements["iswithindrift"], true);
    let lines = TimeDrift::default().print(&result, false).unwrap();
    assert!(lines[0].starts_with("local time is "));
    assert_eq!(lines[1], "local time is within acceptable drift from NTP servers");
    assert!(lines[2].starts_with("stat: execution time was "));
    let stat = format!("stat: {} responded in ", server.name());
    assert!(lines[3].starts_with(&stat) && lines[3].contains(" +0000 UTC. local time drifts by "));
    assert_eq!(lines[4], "timedrift module has succeeded");
    assert_eq!(TimeDrift::default().print(&result, true).unwrap(), lines[..2]);
}

#[test]
fn a_wrong_clock_is_the_finding() {
    let ahead = Server::start("127.0.0.1:0", |request, now| Some(answer(request, now + HOUR)));
    let behind = Server::start("127.0.0.1:0", |request, now| Some(answer(request, now - HOUR)));
    for (server, side, about) in [(&ahead, "behind", "59m5"), (&behind, "ahead of", "1h0m")] {
        let result = run(&[server], "5s");
        assert!(result.success && result.foundanything, "{result:?}");
        assert_eq!(result.elements.get("iswithindrift"), None);
        let drift = result.elements["drifts"][0].as_str().unwrap();
        let start = format!("Local time is {side} ntp host 127.0.0.1 by ");
        let by = drift.strip_prefix(&start).unwrap_or_else(|| panic!("{drift}"));
        // Half of the round trip goes one way or the other.
        assert!(by.starts_with(about) || by.starts_with("1h0m0"), "{by}");
        let lines = TimeDrift::default().print(&result, true).unwrap();
        assert_eq!(lines[1..], ["local time is out of sync from NTP servers", drift]);
        assert!(!run(&[server], "2h").foundanything);
    }
}

#[test]
fn the_next_server_is_asked_when_one_is_silent() {
    let first = Server::start("127.0.0.1:0", silent);
    let second = Server::start(&format!("127.0.0.2:{}", first.address.port()), exact);
    let empty = tempfile::tempdir().unwrap();
    let servers = [&first, &second];
    let result = run_below(empty.path(), &servers, "5s", Duration::from_secs(1));
    assert!(result.success && result.errors.is_none(), "{result:?}");
    let stats = result.statistics["ntpstats"].as_array().unwrap();
    assert_eq!(stats.len(), 2);
    let unreachable = json!({
        "host": "127.0.0.1", "time": "0001-01-01T00:00:00Z",
        "latency": "", "drift": "", "reachable": false,
    });
    assert_eq!(stats[0], unreachable);
    assert_eq!((&stats[1]["host"], &stats[1]["reachable"]), (&json!("127.0.0.2"), &json!(true)));
    let lines = TimeDrift::default().print(&result, false).unwrap();
    assert!(lines.contains(&"stat: 127.0.0.1 was unreachable".to_owned()));
}

#[test]
fn nobody_answering_is_a_failure_in_bounded_time() {
    let server = Server::start("127.0.0.1:0", silent);
    let empty = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let result = run_below(empty.path(), &[&server], "5s", Duration::from_millis(300));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(!result.success && !result.foundanything);
    assert_eq!(result.elements["hascheckeddrift"], false);
    assert_eq!(result.elements["iswithindrift"], true);
    let errors = result.errors.clone().unwrap();
    assert_eq!(errors, ["cannot ask time server 127.0.0.1: no answer in time"]);
    let lines = TimeDrift::default().print(&result, false).unwrap();
    assert_eq!(lines[1..3], ["error:", errors[0].as_str()]);
    assert_eq!(lines.last().unwrap(), "timedrift module has failed");
}

#[test]
fn answers_that_make_no_sense_are_not_believed() {
    let cases: [(Behaviour, &str); 5] = [
        (|request, _| Some(answer(request, 1 << 32)), "carries no time"),
        (|request, _| Some(answer(request, 1)), "carries no time"),
        (|request, now| Some(answer(request, now)[..47].to_vec()), "shorter than 48 bytes"),
        (|request, _| Some(request.to_vec()), "mode 3"),
        (
            |request, now| {
                let mut packet = answer(request, now);
                packet[1] = 0;
                Some(packet)
            },
            "not synchronised",
        ),
    ];
    for (behaviour, reason) in cases {
        let server = Server::start("127.0.0.1:0", behaviour);
        let result = run(&[&server], "5s");
        assert!(!result.success, "{reason}");
        assert!(result.errors.clone().unwrap()[0].contains(reason), "{result:?}");
    }
}

#[test]
fn the_servers_of_the_host_come_first_and_once() {
    let server = Server::start("127.0.0.1:0", silent);
    let port = server.address.port();
    let second = Server::start(&format!("127.0.0.2:{port}"), silent);
    let third = Server::start(&format!("127.0.0.3:{port}"), silent);
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    let text = "server 127.0.0.3 iburst\n#server 127.0.0.9\npool 127.0.0.2\n";
    std::fs::write(root.path().join("etc/ntp.conf"), text).unwrap();
    let public = [&server, &second, &third];
    let result = run_below(root.path(), &public, "5s", Duration::from_millis(50));
    let stats = result.statistics["ntpstats"].as_array().unwrap();
    let hosts: Vec<_> = stats.iter().map(|stat| stat["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["127.0.0.3", "127.0.0.2", "127.0.0.1"]);
}

#[test]
fn a_passed_deadline_ends_the_run() {
    let module = TimeDrift::asking(vec!["127.0.0.1".to_owned()], 9, Duration::from_secs(5));
    let budget = Budget::new(Some(Instant::now()), 1);
    let result = module.run_json(&LocalHost::default(), json!({ "drift": "5s" }), &budget);
    assert!(result.errors.unwrap()[0].contains("time limit"));
}

#[test]
fn the_command_line_needs_no_option() {
    let parse = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        TimeDrift::default().parse_args(&args)
    };
    let parameters = |drift: &str| Ok(ParsedArgs::Params(json!({ "drift": drift })));
    assert_eq!(parse(&[]), parameters(""));
    assert_eq!(parse(&["-drift", "5s"]), parameters("5s"));
    for value in ["", "5", "1d", "-5s"] {
        let error = parse(&["-drift", value]).unwrap_err();
        assert_eq!(error.to_string(), "invalid drift duration. try help.");
    }
    for word in ["help", "-h"] {
        assert!(matches!(parse(&[word]), Ok(ParsedArgs::Help(_))));
    }
}

//! The module against sockets on the loopback interface.
#![cfg(test)]

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use mig_host::LocalHost;
use mig_module::process::{ServeOptions, parameters_message, serve_until_stopped};
use mig_module::{Budget, DynModule as _, ModuleResult, ParsedArgs, Registry};
use mig_module_ping::Ping;
use serde_json::{Value, json};

fn run(params: Value) -> ModuleResult {
    Ping.run_json(&LocalHost::default(), params, &Budget::unlimited())
}

fn ask(protocol: &str, destination: &str, port: u16, more: &Value) -> ModuleResult {
    let mut params = json!({
        "destination": destination, "destinationport": port, "protocol": protocol, "count": 2,
    });
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    run(params)
}

fn latencies(result: &ModuleResult) -> Vec<f64> {
    assert!(result.success && result.errors.is_none(), "{result:?}");
    let all = result.elements["latencies"].as_array().cloned().unwrap_or_default();
    all.iter().map(|latency| latency.as_f64().unwrap()).collect()
}

/// A port of the loopback interface where nobody listens.
fn closed_tcp(address: &str) -> u16 {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn refuses_what_makes_no_sense() {
    for (params, reason) in [
        (json!({}), "destination IP is invalid"),
        (json!({ "destination": "127.0.0.1", "protocol": "TCP" }), "not a supported ping protocol"),
        (
            json!({ "destination": "127.0.0.1", "protocol": "udp", "destinationport": 70_000 }),
            "udp ping requires a valid destination port between 0 and 65535, got 70000",
        ),
        (json!({ "destination": 7, "protocol": "tcp" }), "cannot read the parameters"),
        (
            json!({ "destination": "no-such-host.invalid", "protocol": "icmp" }),
            "destination IP is invalid: no-such-host.invalid",
        ),
    ] {
        let result = run(params.clone());
        assert!(!result.success && !result.foundanything);
        assert_eq!((&result.elements, &result.statistics), (&Value::Null, &Value::Null));
        assert!(result.errors.clone().unwrap()[0].contains(reason), "{params}: {result:?}");
    }
}

#[test]
fn a_name_is_not_looked_up_where_the_action_is_written() {
    let args = ["-d", "no-such-host.invalid", "-p", "icmp"].map(str::to_owned);
    assert!(Ping.parse_args(&args).is_ok());
}

#[test]
fn an_open_port_answers() {
    for address in ["127.0.0.1", "::1"] {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let result = ask("tcp", address, port, &json!({}));
        let all = latencies(&result);
        assert!(result.foundanything && all.len() == 2);
        assert!(all.iter().all(|latency| *latency > 0.0 && *latency < 9_999_999.0));
        let resolved = format!("{address}:{port} ({address})");
        assert_eq!(result.elements["resolvedhost"], json!(resolved));
        assert_eq!(
            (&result.elements["failures"], &result.statistics),
            (&Value::Null, &Value::Null)
        );
    }
}

#[test]
fn a_closed_port_refuses() {
    let port = closed_tcp("127.0.0.1");
    let result = ask("tcp", "127.0.0.1", port, &json!({}));
    assert_eq!(latencies(&result), [-1.0, -1.0]);
    assert!(!result.foundanything);
    let lines = Ping.print(&result, false).unwrap();
    let host = format!("127.0.0.1:{port} (127.0.0.1)");
    assert_eq!(lines[0], format!("tcp ping of {host} failed. Target is no reachable."));
    assert_eq!(lines[1], "ping #1 failed, target was unreachable");
    assert!(Ping.print(&result, true).unwrap().is_empty());

    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let result = ask("udp", "127.0.0.1", closed, &json!({ "count": 1 }));
    assert_eq!(latencies(&result), [-1.0]);
    assert!(!result.foundanything);
}

#[test]
fn a_queue_that_is_full_says_nothing() {
    // The kernel drops what does not fit a listener's queue, as a black hole does.
    let listener = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    rustix::net::bind(&listener, &any).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = rustix::net::getsockname(&listener).unwrap();
    let address = std::net::SocketAddr::try_from(address).unwrap();
    let mut held = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300))
    {
        held.push(stream);
        assert!(held.len() < 100, "the queue is never full");
    }
    let begun = Instant::now();
    let more = json!({ "timeout": 0.5, "count": 1 });
    let result = ask("tcp", "127.0.0.1", address.port(), &more);
    assert_eq!(latencies(&result), [9_999_999.0]);
    assert!(!result.foundanything && begun.elapsed() >= Duration::from_millis(600));
    let lines = Ping.print(&result, false).unwrap();
    assert_eq!(lines[1], "ping #1 failed, connection timed out");
}

#[test]
fn a_datagram_without_answer_may_have_arrived() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let begun = Instant::now();
    let result = ask("udp", "127.0.0.1", port, &json!({ "timeout": 0.2, "count": 1 }));
    assert_eq!(latencies(&result), [9_999_999.0]);
    assert!(result.foundanything);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let mut buffer = [0; 64];
    let length = silent.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"Ping!Ping!Ping!");
    let lines = Ping.print(&result, false).unwrap();
    assert!(lines[0].ends_with("succeeded. Target is reachable."));
    assert_eq!(lines[1], "ping #1 may have succeeded (no udp response)");
}

#[test]
fn a_datagram_with_an_answer_arrived() {
    for address in ["127.0.0.1", "::1"] {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let echo = std::thread::spawn(move || {
            for _ in 0..2 {
                let mut buffer = [0; 64];
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                socket.send_to(&buffer[..length], from).unwrap();
            }
        });
        let result = ask("udp", address, port, &json!({}));
        echo.join().unwrap();
        assert!(result.foundanything);
        assert!(latencies(&result).iter().all(|latency| *latency > 0.0 && *latency < 5_000.0));
    }
}

#[test]
fn echo_requests_are_answered_by_this_machine() {
    for address in ["127.0.0.1", "::1"] {
        let to: IpAddr = address.parse().unwrap();
        let result = ask("icmp", address, 0, &json!({ "destinationport": -1 }));
        let all = latencies(&result);
        assert_eq!(result.elements["resolvedhost"], json!(format!("{address} ({address})")));
        if let Err(error) = mig_host::net::echo::Socket::open(to) {
            // Then the reason is in the result.
            let failures = result.elements["failures"].to_string();
            assert!(all == [0.0, 0.0] && failures.contains("ping #1 failed with error"), "{error}");
            continue;
        }
        assert!(result.foundanything, "{result:?}");
        assert!(all.iter().all(|latency| *latency > 0.0 && *latency < 5_000.0), "{all:?}");
        let lines = Ping.print(&result, false).unwrap();
        assert!(lines[1].starts_with("ping #1 succeeded in ") && lines[1].ends_with("ms"));
    }
}

#[test]
fn other_failures_have_a_text() {
    // An address of no machine: it cannot be connected to.
    let result = ask("tcp", "255.255.255.255", 9, &json!({ "count": 1 }));
    assert_eq!(latencies(&result), [0.0]);
    let failure = result.elements["failures"][0].as_str().unwrap().to_owned();
    assert!(failure.starts_with("ping #1 failed with error: "));
    let lines = Ping.print(&result, false).unwrap();
    assert_eq!(lines[1..], ["ping #1 failed, reason unknown".to_owned(), failure]);
}

#[test]
fn names_are_looked_up_on_the_endpoint() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let result = ask("tcp", "localhost", port, &json!({ "count": 1 }));
    assert!(result.success);
    let resolved = result.elements["resolvedhost"].as_str().unwrap();
    assert!(resolved.starts_with(&format!("localhost:{port} (")), "{resolved}");
}

#[test]
fn counts_are_cut_to_whole_numbers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = |count: Value| {
        let result = ask("tcp", "127.0.0.1", port, &json!({ "count": count }));
        assert!(result.success);
        result.elements["latencies"].as_array().map(Vec::len)
    };
    assert_eq!(count(json!(0)), Some(3));
    assert_eq!(count(Value::Null), Some(3));
    assert_eq!(count(json!(2.9)), Some(2));
    assert_eq!(count(json!(-1)), None);
}

#[test]
fn what_was_learnt_before_the_deadline_is_kept() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let params = json!({ "destination": "127.0.0.1", "destinationport": port, "protocol": "udp",
        "timeout": 0.1, "count": 1000 });
    let deadline = Instant::now() + Duration::from_secs(1);
    let result = Ping.run_json(&LocalHost::default(), params, &Budget::new(Some(deadline), 1));
    assert!(result.success && result.foundanything);
    assert!(result.errors.unwrap()[0].contains("time limit"));
    let probes = result.elements["latencies"].as_array().unwrap().len();
    assert!((1..=10).contains(&probes), "{probes}");
}

#[test]
fn a_stop_message_ends_a_long_run() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let params = json!({ "destination": "127.0.0.1", "destinationport": port, "protocol": "udp",
        "timeout": 300, "count": 1000 });
    let mut input = parameters_message(&params);
    input.extend(b"\n{\"class\":\"stop\"}\n");
    let registry = Registry::new(vec![Box::new(Ping)]);
    let mut output = Vec::new();
    let begun = Instant::now();
    let input = std::io::Cursor::new(input);
    serve_until_stopped(&registry, "ping", ServeOptions::default(), input, &mut output).unwrap();
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    let result: ModuleResult = serde_json::from_slice(&output).unwrap();
    assert!(!result.success && result.elements.is_null());
    assert_eq!(result.errors.unwrap(), ["stop message received, terminating early"]);
}

#[test]
fn prints_results_of_the_original() {
    let old = ModuleResult {
        foundanything: true,
        success: true,
        elements: json!({ "latencies": [4.414_543, 0.733_365], "protocol": "tcp",
            "resolvedhost": "127.0.0.1:18080 (127.0.0.1)", "failures": null }),
        ..ModuleResult::default()
    };
    let head = "tcp ping of 127.0.0.1:18080 (127.0.0.1) succeeded. Target is reachable.";
    assert_eq!(Ping.print(&old, true).unwrap(), [head]);
    let all = Ping.print(&old, false).unwrap();
    assert_eq!(all, [head, "ping #1 succeeded in 4ms", "ping #2 succeeded in 1ms"]);
    let failed = ModuleResult::failed("no");
    assert_eq!(
        Ping.print(&failed, false).unwrap(),
        [" ping of  failed. Target is no reachable.", "no"]
    );
}

#[test]
fn options_become_parameters() {
    let parse = |args: &[&str]| {
        Ping.parse_args(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    };
    let Ok(ParsedArgs::Params(params)) = parse(&["-d", "8.8.8.8"]) else { panic!("parameters") };
    assert_eq!(
        params.to_string(),
        json!({ "destination": "8.8.8.8", "destinationport": -1, "protocol": "icmp", "count": 3,
            "timeout": 5 })
        .to_string()
    );
    let Ok(ParsedArgs::Params(params)) =
        parse(&["-d", "x", "-dp", "443", "-p", "tcp", "-c", "2", "-t", "0.5"])
    else {
        panic!("parameters")
    };
    assert_eq!(
        params,
        json!({ "destination": "x", "destinationport": 443, "protocol": "tcp", "count": 2,
            "timeout": 0.5 })
    );
    for args in [&["-d", "x", "-p", "tcp"][..], &["-d", "x", "-dp", "a"]] {
        assert!(parse(args).is_err(), "{args:?}");
    }
    for args in [&[][..], &["help"]] {
        assert!(matches!(parse(args), Ok(ParsedArgs::Help(_))));
    }
}

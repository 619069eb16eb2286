//! The network face: who may do what, and outages.

use std::time::{Duration, Instant};

use mig_relay::{LocalRelay, Relay as _, RelayConfig, RelayError, Route, Source, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cut::CutWire;
use crate::fixture::{
    DEADLINE, Fixture, HOUR, Kind, Server, Tls, gather, message, numbers, publish, publish_numbers,
    tags, unique_queueloc,
};

#[tokio::test]
async fn agents_and_workers_are_refused_what_is_not_theirs() {
    let fixture = Fixture::start(Kind::WsPlain).await;
    let queueloc = unique_queueloc();
    let command = |relay: &str| message(Route::Agent(queueloc.clone()), relay.to_owned(), HOUR);
    let event = || message(Route::Event("agent.new".to_owned()), "x", HOUR);
    let own = Source::Agent(queueloc.clone());
    let mut listening = fixture.agent.consume(own.clone(), 1).await.unwrap();

    for outcome in fixture.agent.publish(vec![command("agent"), event()]).await {
        assert!(matches!(outcome, Err(RelayError::Refused { .. })), "{outcome:?}");
    }
    let result = || message(Route::Results, "x", HOUR);
    for outcome in fixture.worker.publish(vec![command("worker"), event(), result()]).await {
        assert!(matches!(outcome, Err(RelayError::Refused { .. })), "{outcome:?}");
    }
    let events = Source::Events { queue: "migevent.x".into(), key: "agent.new".into() };
    let forged = Source::Events { queue: "mig.agt.results".into(), key: "x".into() };
    for source in [Source::Results, Source::Heartbeats, events, forged.clone()] {
        let refused = fixture.agent.consume(source, 1).await.err();
        assert!(matches!(refused, Some(RelayError::Refused { .. })), "{refused:?}");
    }
    for source in [Source::Results, Source::Heartbeats, own, forged] {
        let refused = fixture.worker.consume(source, 1).await.err();
        assert!(matches!(refused, Some(RelayError::Refused { .. })), "{refused:?}");
    }
    let refused = fixture.agent.delete_if_unused(&queueloc).await;
    assert!(matches!(refused, Err(RelayError::Refused { .. })));
    assert!(matches!(fixture.agent.declare().await, Err(RelayError::Refused { .. })));

    // None of it reached the agent, and the connection still serves.
    publish(&*fixture.scheduler, Route::Agent(queueloc.clone()), "7").await;
    assert_eq!(numbers(&gather(&mut listening, 1).await), [7]);
    fixture.stop().await;
}

#[tokio::test]
async fn wrong_passwords_and_foreign_authorities_are_refused_at_once() {
    let relay = LocalRelay::memory().await.unwrap();
    relay.declare().await.unwrap();
    let server = Server::start(relay, "127.0.0.1:0", Some(Tls::new())).await;
    let mut password = server.config("agent");
    password.address = format!("wss://agent:wrong@{}", server.address);
    let mut authority = server.config("agent");
    authority.ca_pem = Some(Tls::new().ca_pem.into_bytes());
    let mut public = server.config("agent");
    public.ca_pem = None;
    for config in [password, authority, public] {
        let start = Instant::now();
        let agent = connect(&config).await.unwrap();
        let mut outcome = agent.publish(vec![message(Route::Results, "x", HOUR)]).await;
        let outcome = outcome.pop().unwrap();
        assert!(matches!(outcome, Err(RelayError::Refused { .. })), "{outcome:?}");
        let refused = agent.consume(Source::Agent(unique_queueloc()), 1).await.err();
        assert!(matches!(refused, Some(RelayError::Refused { .. })), "{refused:?}");
        assert!(start.elapsed() < Duration::from_secs(5));
        agent.close().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn an_absent_relay_is_unavailable_in_bounded_time() {
    // Port 1 of loopback: nobody listens.
    let mut config = RelayConfig::new("ws://a:b@127.0.0.1:1");
    config.connect_timeout = Duration::from_millis(300);
    let start = Instant::now();
    let agent = connect(&config).await.unwrap();
    let outcomes = agent
        .publish(vec![message(Route::Results, "x", HOUR), message(Route::Results, "y", HOUR)])
        .await;
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        assert!(matches!(outcome, Err(RelayError::Unavailable { .. })), "{outcome:?}");
    }
    let consumer = agent.consume(Source::Agent(unique_queueloc()), 1).await;
    assert!(matches!(consumer.err(), Some(RelayError::Unavailable { .. })));
    assert!(start.elapsed() < Duration::from_secs(5));
    agent.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_publishers_survive_a_server_restart() {
    let relay = LocalRelay::memory().await.unwrap();
    relay.declare().await.unwrap();
    let server = Server::start(relay.clone(), "127.0.0.1:0", None).await;
    let (config, address) = (server.config("agent"), server.address.clone());
    let agent = connect(&config).await.unwrap();
    let queueloc = unique_queueloc();
    let mut consumer = agent.consume(Source::Agent(queueloc.clone()), 10).await.unwrap();
    publish_numbers(&relay, &Route::Agent(queueloc.clone()), 0..3).await;
    let held = gather(&mut consumer, 3).await;
    consumer.ack(&[held[0].tag]).await.unwrap();

    server.stop().await;
    publish_numbers(&relay, &Route::Agent(queueloc), 3..4).await;
    let server = Server::start(relay.clone(), &address, None).await;
    let again = gather(&mut consumer, 3).await;
    assert_eq!(numbers(&again), [1, 2, 3]);
    assert!(again[0].redelivered && again[1].redelivered && !again[2].redelivered);
    // Old tags settle nothing.
    consumer.ack(&tags(&held)).await.unwrap();
    consumer.ack(&tags(&again)).await.unwrap();
    publish(&*agent, Route::Results, "back").await;
    agent.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_over_cut_connections() {
    let relay = LocalRelay::memory().await.unwrap();
    relay.declare().await.unwrap();
    let server = Server::start(relay.clone(), "127.0.0.1:0", None).await;
    let wire = CutWire::to(server.address.clone()).await;
    let mut config = server.config("agent");
    config.address = config.address.replace(&server.address, &format!("127.0.0.1:{}", wire.port));
    let agent = connect(&config).await.unwrap();
    let mut results = relay.consume(Source::Results, 0).await.unwrap();
    for round in 0..3_u32 {
        let start = Instant::now();
        for n in round * 100..round * 100 + 100 {
            if n % 100 == 50 {
                wire.cut();
            }
            // What a caller does: the same message until it is taken.
            loop {
                let sent = agent.publish(vec![message(Route::Results, n.to_string(), HOUR)]).await;
                match &sent[0] {
                    Ok(()) => break,
                    Err(RelayError::Unavailable { .. }) => {}
                    Err(other) => panic!("{other:?}"),
                }
                assert!(start.elapsed() < DEADLINE);
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 300 {
        let batch = gather(&mut results, 1).await;
        seen.extend(numbers(&batch));
        results.ack(&tags(&batch)).await.unwrap();
    }
    agent.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_noticed_and_left() {
    let relay = LocalRelay::memory().await.unwrap();
    relay.declare().await.unwrap();
    let server = Server::start(relay.clone(), "127.0.0.1:0", None).await;
    let wire = CutWire::to(server.address.clone()).await;
    let mut config = server.config("agent");
    config.address = config.address.replace(&server.address, &format!("127.0.0.1:{}", wire.port));
    config.heartbeat = Duration::from_secs(1);
    config.connect_timeout = Duration::from_secs(1);
    let agent = connect(&config).await.unwrap();
    publish(&*agent, Route::Results, "before").await;
    wire.die();
    // Noticed by the missing pongs, long before an answer is given up.
    let start = Instant::now();
    let sent = agent.publish(vec![message(Route::Results, "into the void", HOUR)]).await;
    assert!(matches!(sent.as_slice(), [Err(RelayError::Unavailable { .. })]), "{sent:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
    wire.cut();
    let start = Instant::now();
    while agent.publish(vec![message(Route::Results, "after", HOUR)]).await[0].is_err() {
        assert!(start.elapsed() < DEADLINE);
    }
    agent.close().await;
    server.stop().await;
}

#[tokio::test]
async fn strangers_are_answered_briefly_and_hung_up_on() {
    let relay = LocalRelay::memory().await.unwrap();
    let server = Server::start(relay, "127.0.0.1:0", None).await;
    // "agent:correct horse: battery/staple@"
    let good = "YWdlbnQ6Y29ycmVjdCBob3JzZTogYmF0dGVyeS9zdGFwbGVA";
    let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let cases = [
        ("not even HTTP\r\n\r\n".to_owned(), ""),
        (format!("{upgrade}\r\n"), "HTTP/1.1 401"),
        (format!("{upgrade}Authorization: Basic YTpi\r\n\r\n"), "HTTP/1.1 401"),
        (format!("{upgrade}Authorization: Basic {good}\r\n\r\n"), "HTTP/1.1 400"),
        // Let in, and then a violation.
        (
            format!(
                "{upgrade}Authorization: Basic {good}\r\n\
                 Sec-WebSocket-Protocol: mig-relay.v1\r\n\r\n"
            ),
            "HTTP/1.1 101",
        ),
    ];
    for (request, expected) in cases {
        let mut stream = tokio::net::TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        if expected.ends_with("101") {
            while !response.ends_with(b"\r\n\r\n") {
                response.push(stream.read_u8().await.unwrap());
            }
            // A text frame, unmasked: both are violations.
            stream.write_all(b"\x81\x02hi").await.unwrap();
        }
        let read = stream.read_to_end(&mut response);
        let read = tokio::time::timeout(DEADLINE, read).await.expect("hung up in time");
        assert!(read.is_ok() || expected.is_empty(), "{read:?}");
        let response = String::from_utf8_lossy(&response);
        assert!(response.starts_with(expected), "{expected}: {response}");
    }
    server.stop().await;
}

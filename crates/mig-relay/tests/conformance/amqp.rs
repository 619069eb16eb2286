//! RabbitMQ: the suite, the names and properties peers rely on, permissions
//! and outages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{ConnectionProperties, ExchangeKind};
use mig_relay::{Consumer, Delivery, Relay, RelayConfig, RelayError, Route, Source, connect};
use mig_testservices::{Account, RabbitMq};

use crate::cut::CutWire;
use crate::fixture::{
    DEADLINE, Fixture, HOUR, Kind, amqp_config, drain, gather, message, numbers, publish,
    publish_numbers, tags, unique_queueloc,
};
use crate::promises;

/// The scheduler's configuration; says so when no broker is given.
fn scheduler_config() -> Option<RelayConfig> {
    let config = amqp_config("MIG_TEST_AMQP_URL");
    if config.is_none() {
        println!("skipped: MIG_TEST_AMQP_URL is not set");
    }
    config
}

macro_rules! in_order {
    ($fixture:expr; $($promise:ident),+ $(,)?) => {
        $(
            for source in [Source::Results, Source::Heartbeats] {
                drain(&*$fixture.scheduler, source).await;
            }
            println!(stringify!($promise));
            promises::$promise($fixture).await;
        )+
    };
}

/// One after the other, and what else uses the central queues of the broker
/// with them: they are the same for everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept() {
    let Some(config) = scheduler_config() else { return };
    let fixture = Fixture::start(Kind::Amqp).await;
    let shared = &fixture;
    crate::each_promise!(in_order, shared);
    a_cut_connection_loses_nothing(&config).await;
    a_dead_wire_is_noticed_and_left(&config).await;
    fixture.stop().await;
}

/// `config` through a wire that can be cut.
async fn through_a_wire(config: &RelayConfig) -> (RelayConfig, CutWire) {
    let url = url::Url::parse(&config.address).unwrap();
    let wire = CutWire::to(format!("localhost:{}", url.port().unwrap())).await;
    let mut through = url.clone();
    through.set_port(Some(wire.port)).unwrap();
    let mut config = config.clone();
    config.address = through.to_string();
    (config, wire)
}

async fn a_cut_connection_loses_nothing(config: &RelayConfig) {
    let (through, wire) = through_a_wire(config).await;
    let relay = connect(&through).await.unwrap();
    let mut results = relay.consume(Source::Results, 50).await.unwrap();
    let agent = connect(&amqp_config("MIG_TEST_AMQP_AGENT_URL").unwrap()).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..3_u32 {
        publish_numbers(&*agent, &Route::Results, round * 200..round * 200 + 200).await;
        let before = gather(&mut results, 50).await;
        wire.cut();
        // Into the cut: whether it was taken or not, it comes again or not.
        let _ = results.ack(&tags(&before)).await;
        while seen.len() < (round as usize + 1) * 200 {
            let batch = gather(&mut results, 1).await;
            ack_if_still_ours(&mut results, &batch).await;
            seen.extend(numbers(&batch));
            seen.extend(numbers(&before));
        }
    }
    assert_eq!(seen.len(), 600);
    agent.close().await;
    relay.close().await;
}

/// What came over a connection that is lost meanwhile cannot be acknowledged,
/// and comes again.
async fn ack_if_still_ours(consumer: &mut Box<dyn Consumer>, deliveries: &[Delivery]) {
    match consumer.ack(&tags(deliveries)).await {
        Ok(()) | Err(RelayError::Unavailable { .. }) => {}
        Err(other) => panic!("{other:?}"),
    }
}

async fn a_dead_wire_is_noticed_and_left(config: &RelayConfig) {
    let (mut through, wire) = through_a_wire(config).await;
    through.heartbeat = Duration::from_secs(2);
    through.connect_timeout = Duration::from_secs(2);
    let queueloc = unique_queueloc();
    let agent = connect(&amqp_config("MIG_TEST_AMQP_AGENT_URL").unwrap()).await.unwrap();
    let _listening = agent.consume(Source::Agent(queueloc.clone()), 0).await.unwrap();
    let relay = connect(&through).await.unwrap();
    publish(&*relay, Route::Agent(queueloc.clone()), "before").await;
    wire.die();
    let start = Instant::now();
    let void = vec![message(Route::Agent(queueloc.clone()), "void", HOUR)];
    let sent = relay.publish(void).await;
    assert!(matches!(sent.as_slice(), [Err(RelayError::Unavailable { .. })]), "{sent:?}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    wire.cut();
    let start = Instant::now();
    let after = || vec![message(Route::Agent(queueloc.clone()), "after", HOUR)];
    while relay.publish(after()).await[0].is_err() {
        assert!(start.elapsed() < DEADLINE);
    }
    relay.close().await;
    agent.close().await;
}

#[tokio::test]
async fn refusals_are_told_from_absences() {
    let Some(scheduler) = scheduler_config() else { return };
    let mut wrong_password = scheduler.clone();
    let mut url = url::Url::parse(&scheduler.address).unwrap();
    url.set_password(Some("wrong")).unwrap();
    wrong_password.address = url.to_string();
    let mut wrong_vhost = scheduler.clone();
    let mut url = url::Url::parse(&scheduler.address).unwrap();
    url.set_path("/nowhere");
    wrong_vhost.address = url.to_string();
    let mut no_certificate = scheduler.clone();
    (no_certificate.cert_pem, no_certificate.key_pem) = (None, None);
    let mut foreign_authority = scheduler.clone();
    foreign_authority.ca_pem = Some(crate::fixture::Tls::new().ca_pem.into_bytes());
    for (name, config) in [
        ("password", wrong_password),
        ("vhost", wrong_vhost),
        ("certificate", no_certificate),
        ("authority", foreign_authority),
    ] {
        let relay = connect(&config).await.unwrap();
        let start = Instant::now();
        loop {
            let sent = vec![message(Route::Results, "x", HOUR)];
            match relay.publish(sent).await.pop().unwrap() {
                Err(RelayError::Refused { .. }) => break,
                // The broker closes with the client's bytes unread: the reset can
                // overtake the alert that tells why, and the next attempt tells.
                Err(RelayError::Unavailable { .. }) if start.elapsed() < DEADLINE => {}
                other => panic!("{name}: {other:?}"),
            }
        }
        relay.close().await;
    }
    let mut nobody = RelayConfig::new("amqp://a:b@127.0.0.1:1/mig");
    nobody.connect_timeout = Duration::from_millis(300);
    let relay = connect(&nobody).await.unwrap();
    let outcome = relay.publish(vec![message(Route::Results, "x", HOUR)]).await.pop().unwrap();
    assert!(matches!(outcome, Err(RelayError::Unavailable { .. })), "{outcome:?}");
    relay.close().await;
}

#[tokio::test]
async fn an_agent_may_not_command_others_nor_read_results() {
    if scheduler_config().is_none() {
        return;
    }
    let fixture = Fixture::start(Kind::Amqp).await;
    let queueloc = unique_queueloc();
    let own = Source::Agent(queueloc.clone());
    let mut listening = fixture.agent.consume(own, 1).await.unwrap();
    let forged = message(Route::Agent(queueloc.clone()), "0", HOUR);
    let outcome = fixture.agent.publish(vec![forged]).await.pop().unwrap();
    assert!(matches!(outcome, Err(RelayError::Refused { .. })), "{outcome:?}");
    let refused = fixture.agent.consume(Source::Results, 1).await.err();
    assert!(matches!(refused, Some(RelayError::Refused { .. })), "{refused:?}");
    assert!(matches!(fixture.agent.declare().await, Err(RelayError::Refused { .. })));
    // A refusal concerns its channel only.
    publish(&*fixture.scheduler, Route::Agent(queueloc), "7").await;
    assert_eq!(numbers(&gather(&mut listening, 1).await), [7]);
    fixture.stop().await;
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the broker's own tool looks at what was declared")]
async fn peers_find_what_they_declare_themselves() {
    let Some(config) = scheduler_config() else { return };
    let Ok(ctl) = std::env::var("MIG_TEST_AMQP_CTL") else {
        println!("skipped: MIG_TEST_AMQP_CTL is not set");
        return;
    };
    let fixture = Fixture::start(Kind::Amqp).await;
    let queueloc = unique_queueloc();
    let _listening = fixture.agent.consume(Source::Agent(queueloc.clone()), 1).await.unwrap();
    let vhost = url::Url::parse(&config.address).unwrap().path()[1..].to_owned();
    let list = |what: &str, columns: &[&str]| {
        let output = std::process::Command::new(&ctl)
            .args(["-q", "-p", &vhost, what, "--no-table-headers"])
            .args(columns)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let queues = list("list_queues", &["name", "durable", "auto_delete", "arguments"]);
    for name in ["mig.agt.results", "mig.agt.heartbeats", &queueloc.queue()] {
        let wanted = format!("{name}\ttrue\tfalse\t[]");
        assert!(queues.lines().any(|line| line == wanted), "{wanted}\n{queues}");
    }
    let exchanges = list(
        "list_exchanges",
        &["name", "type", "durable", "auto_delete", "internal", "arguments"],
    );
    for (name, kind) in [("toagents", "direct"), ("toschedulers", "direct"), ("toworkers", "topic")]
    {
        let wanted = format!("{name}\t{kind}\ttrue\tfalse\tfalse\t[]");
        assert!(exchanges.lines().any(|line| line == wanted), "{wanted}\n{exchanges}");
    }
    let bindings =
        list("list_bindings", &["source_name", "destination_name", "routing_key", "arguments"]);
    for (exchange, queue) in [
        ("toschedulers", "mig.agt.results".to_owned()),
        ("toschedulers", "mig.agt.heartbeats".to_owned()),
        ("toagents", queueloc.queue()),
    ] {
        let wanted = format!("{exchange}\t{queue}\t{queue}\t[]");
        assert!(bindings.lines().any(|line| line == wanted), "{wanted}\n{bindings}");
    }
    fixture.stop().await;
}

/// A node of our own: for what would disturb others, or needs an empty broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_broker_is_killed_and_comes_back() {
    if scheduler_config().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut broker = RabbitMq::start(dir.path()).unwrap();
    let config = |account| {
        let mut config = RelayConfig::new(broker.amqps_url(account));
        config.ca_pem = Some(broker.ca_pem().as_bytes().to_vec());
        config.cert_pem = Some(broker.client_cert_pem().as_bytes().to_vec());
        config.key_pem = Some(broker.client_key_pem().as_bytes().to_vec());
        config
    };
    let (as_scheduler, mut as_agent) = (config(Account::Scheduler), config(Account::Agent));
    as_agent.connect_timeout = Duration::from_secs(2);
    let queueloc = unique_queueloc();
    let agent = connect(&as_agent).await.unwrap();
    an_agent_waits_for_the_first_scheduler(&agent, &as_scheduler, &queueloc).await;
    properties_are_those_of_the_peers(&broker, &agent).await;

    let scheduler = connect(&as_scheduler).await.unwrap();
    let mut commands = agent.consume(Source::Agent(queueloc.clone()), 10).await.unwrap();
    let mut results = scheduler.consume(Source::Results, 1000).await.unwrap();
    let route = Route::Agent(queueloc);
    publish_numbers(&*scheduler, &route, 0..5).await;
    let held = gather(&mut commands, 5).await;
    publish_numbers(&*agent, &Route::Results, 0..2000).await;
    broker.kill9().unwrap();
    let start = Instant::now();
    let sent = agent.publish(vec![message(Route::Results, "2000", HOUR)]).await;
    assert!(matches!(sent.as_slice(), [Err(RelayError::Unavailable { .. })]), "{sent:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
    broker.restart().unwrap();

    // Every confirmed message is still there, and nobody was restarted.
    let again = gather(&mut commands, 5).await;
    assert_eq!(numbers(&again), numbers(&held));
    ack_if_still_ours(&mut commands, &again).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2000 {
        let batch = gather(&mut results, 1).await;
        ack_if_still_ours(&mut results, &batch).await;
        seen.extend(numbers(&batch));
    }
    let start = Instant::now();
    while agent.publish(vec![message(Route::Results, "2001", HOUR)]).await[0].is_err() {
        assert!(start.elapsed() < DEADLINE);
    }
    for relay in [&agent, &scheduler] {
        relay.close().await;
    }
    broker.stop().unwrap();
}

async fn an_agent_waits_for_the_first_scheduler(
    agent: &Arc<dyn Relay>,
    as_scheduler: &RelayConfig,
    queueloc: &mig_types::QueueLoc,
) {
    // No exchange yet: to be tried again, for reader and publisher alike.
    let source = Source::Agent(queueloc.clone());
    let waiting = agent.consume(source.clone(), 1).await.err();
    assert!(matches!(waiting, Some(RelayError::Unavailable { .. })), "{waiting:?}");
    let early = agent.publish(vec![message(Route::Heartbeats, "early", HOUR)]).await;
    assert!(matches!(early.as_slice(), [Err(RelayError::Unroutable { .. })]), "{early:?}");
    let scheduler = connect(as_scheduler).await.unwrap();
    scheduler.declare().await.unwrap();
    scheduler.declare().await.unwrap();
    agent.consume(source, 1).await.unwrap();
    publish(&**agent, Route::Heartbeats, "in time").await;
    scheduler.close().await;
}

/// Reads our heartbeat as another program would.
async fn properties_are_those_of_the_peers(broker: &RabbitMq, agent: &Arc<dyn Relay>) {
    let peer = lapin::Connection::connect_with_runtime(
        &broker.amqp_url(Account::Scheduler),
        ConnectionProperties::default(),
        async_rs::Runtime::tokio_current(),
    )
    .await
    .unwrap();
    let channel = peer.create_channel().await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let exchange = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default;
    channel
        .exchange_declare("toschedulers".into(), ExchangeKind::Direct, exchange, none())
        .await
        .unwrap();
    channel.queue_declare("mig.agt.heartbeats".into(), durable, none()).await.unwrap();
    let ttl = Duration::from_mins(50);
    agent.publish(vec![message(Route::Heartbeats, "second", ttl)]).await.remove(0).unwrap();
    let mut last = None;
    let take = BasicGetOptions { no_ack: true };
    while let Some(got) = channel.basic_get("mig.agt.heartbeats".into(), take).await.unwrap() {
        last = Some(got.delivery);
    }
    let got = last.unwrap();
    assert_eq!(got.data, b"second");
    assert_eq!(
        (got.exchange.as_str(), got.routing_key.as_str()),
        ("toschedulers", "mig.agt.heartbeats")
    );
    let expected = lapin::BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_delivery_mode(2)
        .with_expiration("3000000".into())
        .with_timestamp(got.properties.timestamp().unwrap());
    // These and no other.
    assert_eq!(got.properties, expected);
    assert!(got.properties.timestamp().unwrap() > 1_700_000_000);
    peer.close(200, "OK".into()).await.unwrap();
}

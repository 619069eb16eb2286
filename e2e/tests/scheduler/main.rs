//! The program `mig-scheduler` as its operator meets it, on PostgreSQL and
//! RabbitMQ over TLS: start, monitoring, events, hang-up, orderly end; duplicate
//! agents; targets that take too long.

mod drain;
mod duplicates;
mod slow;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use mig_e2e::sql::Psql;
use mig_relay::{Message, Relay, RelayConfig, Route, Source};
use mig_testkit::{Backends, TestPlatform, until};
use mig_testservices::{Account, RabbitMq};
use serde_json::json;

const PATIENCE: Duration = Duration::from_mins(1);

/// What a first start logs, in this order, other lines between.
const START: [&str; 28] = [
    "[debug] leaving initChannels()",
    "[debug] leaving initDirectories()",
    "[info] Database connection opened",
    "[debug] leaving initDB()",
    "[info] AMQP connection opened",
    "[debug] leaving initRelay()",
    "[debug] leaving makeSecring()",
    "[info] no key found in database. generating a private key for user migscheduler",
    "[info] created migscheduler identity with ID ",
    "[debug] leaving makeSchedulerInvestigator()",
    "[debug] loaded scheduler private key from database",
    "[info] Loaded scheduler investigator with key id ",
    "[debug] leaving initSecring()",
    "[info] mig.ProcessLog() routine started",
    "[info] processNewAction() routine started",
    "[info] sendCommands() routine started",
    "[info] terminateCommand() routine started",
    "[info] updateAction() routine started",
    "[info] agents heartbeats listener initialized",
    "[info] agents heartbeats listener routine started",
    "[info] agents results listener initialized",
    "[info] agents results listener routine started",
    "[info] collector routine started",
    "[info] periodic routine started",
    "[info] queue cleanup routine started",
    "[info] killDupAgents() routine started",
    "[info] relay heartbeating routine started",
    "[info] initiating periodic run",
];

fn assert_in_order(log: &str, wanted: &[&str]) {
    let mut lines = log.lines();
    for text in wanted {
        assert!(lines.any(|line| line.contains(text)), "{text:?} is missing or too early:\n{log}");
    }
}

fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn broker(platform: &TestPlatform) -> anyhow::Result<&RabbitMq> {
    let Backends::Servers(servers) = &platform.backends else { bail!("no RabbitMQ") };
    Ok(&servers.rabbitmq)
}

fn database(platform: &TestPlatform) -> anyhow::Result<Psql> {
    let Backends::Servers(servers) = &platform.backends else { bail!("no PostgreSQL") };
    Ok(Psql::superuser(&servers.postgres))
}

/// Writes a variant of the scheduler's configuration under another name.
fn variant(platform: &TestPlatform, name: &str, change: [&str; 2]) -> anyhow::Result<()> {
    let plain = fs::read_to_string(platform.directory().join("scheduler.cfg"))?;
    let [from, to] = change;
    anyhow::ensure!(plain.contains(from), "no {from:?} in {plain}");
    fs::write(platform.directory().join(name), plain.replacen(from, to, 1))?;
    Ok(())
}

async fn relay(platform: &TestPlatform, account: Account) -> anyhow::Result<Arc<dyn Relay>> {
    let rabbitmq = broker(platform)?;
    let mut config = RelayConfig::new(rabbitmq.amqps_url(account));
    config.ca_pem = Some(fs::read(rabbitmq.ca_path())?);
    config.cert_pem = Some(fs::read(rabbitmq.client_cert_path())?);
    config.key_pem = Some(fs::read(rabbitmq.client_key_path())?);
    Ok(mig_relay::connect(&config).await?)
}

#[test]
fn the_scheduler_is_operated_as_the_guide_says() -> anyhow::Result<()> {
    let mut platform = TestPlatform::servers()?;
    let mut first = platform.servers.remove(0);
    first.wait_log("periodic run done in ")?;
    first.wait_log("QueuesCleanup(): done in ")?;
    assert_in_order(&first.log(), &START);
    assert_in_order(
        &first.log(),
        &["QueuesCleanup(): found 0 offline endpoints between ", "QueuesCleanup(): done in "],
    );
    let status = first.terminate(PATIENCE)?;
    assert!(status.success(), "{status}\n{}", first.log());
    assert!(first.log().trim_end().ends_with("[info] scheduler stopped"), "{}", first.log());

    // Again, with a log file, monitoring and a whitelist.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let log = platform.directory().join("scheduler.log");
    let path = platform.directory().join("observed.cfg");
    let plain = fs::read_to_string(platform.directory().join("scheduler.cfg"))?;
    let config = plain
        .replace("mode = stdout", &format!("mode = file\nfile = \"{}\"", log.display()))
        .replace("[agent]\n", "[agent]\nwhitelist = whitelist.txt\n");
    let config = format!("{config}[metrics]\nlisten = \"{address}\"\n");
    fs::write(&path, &config)?;
    fs::write(platform.directory().join("whitelist.txt"), "linux.listed\n")?;
    platform.start_server("mig-scheduler", "observed.cfg")?;
    let mut second = platform.servers.pop().context("just started")?;
    second.wait_listening(address)?;
    let logged = |text: &str| {
        let what = format!("{text:?} in {}", log.display());
        until(&what, PATIENCE, || fs::read_to_string(&log).ok()?.contains(text).then_some(()))
    };
    logged("agents heartbeats listener reads its queue")?;
    assert!(!fs::read_to_string(&log)?.contains("generating a private key"));
    assert!(get(address, "/healthz")?.starts_with("HTTP/1.1 200 "));
    assert!(get(address, "/readyz")?.starts_with("HTTP/1.1 200 "));

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(events(&platform))?;
    logged("- - - [warning] getHeartbeats(): Agent 'linux.stranger' is not authorized")?;
    for line in [
        r#"mig_scheduler_heartbeats_total{outcome="stored"} 1"#,
        r#"mig_scheduler_heartbeats_total{outcome="whitelist"} 1"#,
        r#"mig_scheduler_queue_messages{queue="heartbeats"} 0.0"#,
        r#"mig_scheduler_queue_messages{queue="results"} 0.0"#,
        "mig_scheduler_commands_in_flight 0.0",
        r#"mig_scheduler_pass_duration_seconds_count{pass="periodic"} "#,
    ] {
        let shown = || get(address, "/metrics").ok()?.contains(line).then_some(());
        until(line, PATIENCE, shown)
            .with_context(|| get(address, "/metrics").unwrap_or_default())?;
    }

    // The log file is moved away, the level raised.
    let old = platform.directory().join("scheduler.log.old");
    fs::rename(&log, &old)?;
    fs::write(&path, config.replace("level = debug", "level = warning"))?;
    second.hang_up()?;
    until("a new log file", PATIENCE, || log.exists().then_some(()))?;
    let moved = fs::metadata(&old)?.len();
    // The passes go on, and say nothing any more.
    let runs = |text: &str| {
        let metrics = get(address, "/metrics").ok()?;
        let line = metrics.lines().find(|line| line.starts_with(text))?.to_owned();
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    let periodic = r#"mig_scheduler_pass_duration_seconds_count{pass="periodic"}"#;
    let before = runs(periodic).context("no count of runs")?;
    until("the run under way", PATIENCE, || (runs(periodic)? > before + 1).then_some(()))?;
    let quiet_since = fs::read_to_string(&log)?.len();
    until("two more runs", PATIENCE, || (runs(periodic)? > before + 3).then_some(()))?;
    let said = fs::read_to_string(&log)?.split_off(quiet_since);
    assert!(!said.contains("initiating periodic run"), "{said}");
    assert_eq!(fs::metadata(&old)?.len(), moved, "still written to");
    assert!(second.terminate(PATIENCE)?.success());
    Ok(())
}

/// What event workers hear, through queues they bound themselves.
async fn events(platform: &TestPlatform) -> anyhow::Result<()> {
    let worker = relay(platform, Account::Worker).await?;
    let agent = relay(platform, Account::Agent).await?;
    let mut heard = Vec::new();
    for (queue, key) in [
        ("migevent.worker.agent_intel", "agent.new"),
        ("migevent.worker.agent_verif", "agent.authentication.failure"),
        ("migevent.worker.life", "scheduler.heartbeat"),
    ] {
        let source = Source::Events { queue: queue.to_owned(), key: key.to_owned() };
        heard.push(worker.consume(source, 10).await?);
    }
    let beat = |queueloc: &str| {
        let now = mig_runtime::clock::Clock::now(&mig_runtime::clock::SystemClock);
        // Spaces and unknown members must arrive as they were sent.
        let body = json!({
            "name": "host", "queueloc": queueloc, "mode": "daemon", "version": "1", "pid": 7,
            "heartbeatts": now, "environment": {"os": "linux"}, "novelty": [1, 2],
        });
        Bytes::from(format!(" {body} "))
    };
    let (known, stranger) = (beat("linux.listed"), beat("linux.stranger"));
    let ttl = Duration::from_mins(5);
    for body in [&known, &stranger] {
        let message = Message { route: Route::Heartbeats, body: body.clone(), ttl };
        agent.publish(vec![message]).await.remove(0)?;
    }
    for (consumer, expected) in heard.iter_mut().zip([&known, &stranger]) {
        let batch = consumer.next_batch(1, Duration::from_millis(1));
        let batch = tokio::time::timeout(PATIENCE, batch).await.context("no event")??;
        assert_eq!(batch[0].body, *expected);
    }
    let consumer = heard.last_mut().context("three consumers")?;
    let batch = consumer.next_batch(1, Duration::from_millis(1));
    let batch = tokio::time::timeout(PATIENCE * 2, batch).await.context("no sign of life")??;
    let text = String::from_utf8(batch[0].body.to_vec())?;
    let rest = text.strip_prefix("host='").context("no host")?;
    let (_, rest) = rest.split_once("' pid='").context("no pid")?;
    let (_, time) = rest.split_once('\'').context("no end of the pid")?;
    mig_types::Timestamp::parse(time)?;
    worker.close().await;
    agent.close().await;
    Ok(())
}

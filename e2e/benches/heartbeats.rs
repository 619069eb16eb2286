//! How many heartbeats a second a real `mig-scheduler` takes from RabbitMQ into
//! a durable PostgreSQL, with a whitelist of 20,000 lines and 20 expressions:
//! from a full queue, and while they are published on the same machine; beside
//! it what a bare loop reaches, the lag, the memory under a backlog, and whether
//! an outage of the database loses anything.
//!
//! Prints the figures last and fails when a goal is missed.
//! `MIG_BENCH_SECONDS` and `MIG_BENCH_BACKLOG` make it shorter.

#![expect(clippy::print_stdout, reason = "figures are what a bench is run for")]

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use mig_e2e::measure::{Http, cpu_ms, cpu_ms_with_children, percentile, resident_kib};
use mig_relay::{Consumer, Message, Relay, RelayConfig, Route, Source};
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_testkit::{Backends, Servers, TestPlatform, until_async};
use mig_testservices::Account;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

const AGENTS: u64 = 6000;
/// Of a hundred agents, so many are in the whitelist by their own line, and so
/// many by an expression; the others are not.
const EXACT: u64 = 80;
const MATCHED: u64 = 18;
const LINES: u64 = 20_000;
const EXPRESSIONS: u64 = 20;

/// Runs of each kind, taking turns.
const RUNS: usize = 3;
const WARM_UP: Duration = Duration::from_secs(4);
/// Published and not yet stored, while the highest rate is looked for.
const AHEAD: u64 = 8000;
const PUBLISHERS: u64 = 2;
/// Messages a publisher hands over at once.
const BATCH: u64 = 250;

/// Away for this long, at this many heartbeats a second.
const OUTAGE: Duration = Duration::from_secs(20);
const OUTAGE_RATE: u64 = 200;

/// The goals.
const MIN_RATE: f64 = 10_000.0;
const MIN_RATIO: f64 = 0.5;
const MAX_LAG: Duration = Duration::from_secs(1);
const MAX_RESIDENT_KIB: u64 = 200 * 1024;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("heartbeats: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<bool> {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(true);
    }
    tokio::runtime::Runtime::new()?.block_on(measure())
}

fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    std::env::var(name).map_or(Ok(default), |text| text.parse().context(name.to_owned()))
}

async fn measure() -> anyhow::Result<bool> {
    let span = Duration::from_secs(number("MIG_BENCH_SECONDS", 20)?);
    let backlog = number("MIG_BENCH_BACKLOG", 500_000)?;
    let mut bench = Bench::start()?;

    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        bare.push(bench.bare(span).await?);
        ours.push(bench.scheduler(span).await?);
    }
    let best = |runs: &[Run]| median(runs.iter().map(|run| run.rate).collect());
    let (rate, floor) = (best(&ours), best(&bare));
    let lags = bench.lags(rate * 0.9, span).await?;
    let bare_drained = bench.bare_backlog(backlog).await?;
    let (resident, drained) = bench.backlog(backlog).await?;
    let (sent, arrived) = bench.outage().await?;

    for (name, runs) in [("scheduler", &ours), ("bare loop", &bare)] {
        for run in runs {
            println!(
                "{name}: {:.0} heartbeats/s; CPU each: {:.3} ms reader, {:.3} ms PostgreSQL",
                run.rate, run.reader_ms, run.postgres_ms
            );
        }
    }
    let lag = percentile(&lags, 100);
    let share = rate / floor.max(1.0);
    let verdicts = [
        (
            format!("{drained:.0} heartbeats/s into PostgreSQL from {backlog} that wait"),
            drained >= MIN_RATE,
        ),
        (
            format!(
                "{:.2} of the bare loop's {bare_drained:.0} heartbeats/s from as many",
                drained / bare_drained
            ),
            drained >= MIN_RATIO * bare_drained,
        ),
        (
            format!(
                "{rate:.0} heartbeats/s while they are published on the same machine, median of \
                 {RUNS}: {share:.2} of the bare loop's {floor:.0}"
            ),
            share >= MIN_RATIO,
        ),
        (
            format!(
                "insertion lag at {:.0} heartbeats/s: p50 {:.0} ms, p95 {:.0} ms, max {:.0} ms",
                rate * 0.9,
                percentile(&lags, 50).as_secs_f64() * 1e3,
                percentile(&lags, 95).as_secs_f64() * 1e3,
                lag.as_secs_f64() * 1e3
            ),
            lag < MAX_LAG && !lags.is_empty(),
        ),
        (
            format!("{} MiB resident at most with {backlog} heartbeats waiting", resident / 1024),
            resident < MAX_RESIDENT_KIB,
        ),
        (
            format!(
                "{arrived} of {sent} heartbeats stored across {} s without PostgreSQL",
                OUTAGE.as_secs()
            ),
            arrived == sent,
        ),
    ];
    for (text, good) in &verdicts {
        println!("{text}: {}", if *good { "goal met" } else { "goal missed" });
    }
    Ok(verdicts.iter().all(|(_, good)| *good))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What one run measured.
struct Run {
    /// Heartbeats a second.
    rate: f64,
    /// Processor time of one heartbeat.
    reader_ms: f64,
    postgres_ms: f64,
}

struct Bench {
    platform: TestPlatform,
    pool: PgPool,
    metrics: SocketAddr,
    /// Bodies' text before and after the time, by agent.
    bodies: Arc<Vec<(String, String)>>,
}

fn queueloc(agent: u64) -> String {
    match agent % 100 {
        kind if kind < EXACT => format!("linux.exact{agent}.example.net.58b3mndjmbb00"),
        kind if kind < EXACT + MATCHED => {
            format!("linux.re{}host{agent}.example.net.58b3mndjmbb00", agent % EXPRESSIONS)
        }
        _ => format!("linux.stranger{agent}.example.net.58b3mndjmbb00"),
    }
}

/// A heartbeat as agents send it, around the time.
fn body(queueloc: &str, pid: u64) -> (String, String) {
    let name = queueloc.split('.').nth(1).unwrap_or_default();
    (
        format!(
            r#"{{"name":"{name}.example.net","queueloc":"{queueloc}","mode":"daemon","version":"20190913-0.9e7e4f5.prod","pid":{pid},"starttime":"2026-01-23T07:11:12.655633403Z","destructiontime":"0001-01-01T00:00:00Z","heartbeatts":""#
        ),
        r#"","refreshts":"2026-01-23T07:08:42.637095346Z","environment":{"init":"systemd","ident":"Debian 12 bookworm","os":"linux","arch":"amd64","isproxied":false,"addresses":["192.0.2.2/24","fd00::2/64","fe80::fc:ff:fe00:1/64"],"publicip":"192.0.2.2","aws":{},"modules":["ping","sshkey","fswatch","netstat","pkg","scribe","timedrift","agentdestroy","file"]},"tags":{"operator":"example.net"}}"#
            .to_owned(),
    )
}

fn message(body: &(String, String), now: &str) -> Message {
    Message {
        route: Route::Heartbeats,
        body: Bytes::from(format!("{}{now}{}", body.0, body.1)),
        ttl: Duration::from_hours(1),
    }
}

impl Bench {
    fn start() -> anyhow::Result<Self> {
        let mut platform = TestPlatform::servers()?;
        platform.servers.clear();
        let directory = platform.directory().to_owned();
        let mut whitelist = String::new();
        for agent in (0..).filter(|agent| agent % 100 < EXACT).take(usize::try_from(LINES)?) {
            writeln!(whitelist, "{}", queueloc(agent))?;
        }
        for number in 0..EXPRESSIONS {
            writeln!(
                whitelist,
                r"re:linux\.re{number}(host|probe|outage)[0-9]{{1,9}}\.example\.net\.[a-z0-9]{{13}}"
            )?;
        }
        fs::write(directory.join("whitelist"), whitelist)?;
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = fs::read_to_string(directory.join("scheduler.cfg"))?
            .replace("timeout = 60s\n", "timeout = 24h\nwhitelist = \"whitelist\"\n")
            .replace("heartbeatfreq = 2s", "heartbeatfreq = 300s")
            .replace("level = debug", "level = info")
            + &format!("[metrics]\nlisten = {metrics}\n");
        let config = without_tls(&config, servers(&platform)?);
        fs::write(directory.join("bench.cfg"), config)?;
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect_lazy(&servers(&platform)?.postgres.url())?;
        let bodies = (0..AGENTS).map(|agent| body(&queueloc(agent), 1000 + agent)).collect();
        Ok(Self { platform, pool, metrics, bodies: Arc::new(bodies) })
    }

    /// Starts a scheduler and waits until it is ready. Its process number.
    fn start_scheduler(&mut self) -> anyhow::Result<u32> {
        self.platform.start_server("mig-scheduler", "bench.cfg")?;
        let scheduler = self.platform.servers.last_mut().context("no scheduler")?;
        scheduler.wait_listening(self.metrics)?;
        Ok(scheduler.pid())
    }

    fn stop_scheduler(&mut self) -> anyhow::Result<()> {
        for mut server in self.platform.servers.drain(..) {
            server.terminate(Duration::from_mins(1))?;
        }
        Ok(())
    }

    /// Heartbeats the scheduler is done with.
    fn taken(&self) -> anyhow::Result<u64> {
        let (status, text) =
            Http::connect(self.metrics, "connection: close\r\n")?.get("/metrics")?;
        anyhow::ensure!(status == 200, "metrics: {status}");
        let text = String::from_utf8(text)?;
        let lines = text.lines().filter(|line| line.starts_with("mig_scheduler_heartbeats_total"));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// The highest rate of the scheduler.
    async fn scheduler(&mut self, span: Duration) -> anyhow::Result<Run> {
        let pid = self.start_scheduler()?;
        let taken = Arc::new(AtomicU64::new(0));
        let publishers = Publishers::start(self, Pace::Ahead(Arc::clone(&taken))).await?;
        self.follow(&taken, WARM_UP).await?;
        let before = self.reading(pid)?;
        let (first, begun) = (self.taken()?, Instant::now());
        self.follow(&taken, span).await?;
        let (last, took) = (self.taken()?, begun.elapsed());
        let after = self.reading(pid)?;
        publishers.stop().await?;
        self.drain(&taken).await?;
        self.stop_scheduler()?;
        Ok(figures(last - first, took, before, after))
    }

    /// Tells the publishers how far the scheduler is.
    async fn follow(&self, taken: &AtomicU64, span: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            taken.store(self.taken()?, Ordering::Relaxed);
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until nothing more comes.
    async fn drain(&self, taken: &AtomicU64) -> anyhow::Result<()> {
        until_async("the end of the backlog", Duration::from_mins(5), async || {
            let now = self.taken().ok()?;
            let before = taken.swap(now, Ordering::Relaxed);
            sleep(Duration::from_millis(500)).await;
            (now == before).then_some(())
        })
        .await
    }

    fn reading(&self, pid: u32) -> anyhow::Result<(u64, u64)> {
        let postgres = servers(&self.platform)?.postgres.pid().context("no PostgreSQL")?;
        Ok((cpu_ms(pid)?, cpu_ms_with_children(postgres)?))
    }

    /// The same without a scheduler: read a batch, write it in one statement,
    /// acknowledge it. Nothing is checked.
    async fn bare(&mut self, span: Duration) -> anyhow::Result<Run> {
        let relay = connect(servers(&self.platform)?, Account::Scheduler).await?;
        relay.declare().await?;
        let mut consumer = relay.consume(Source::Heartbeats, 2000).await?;
        let taken = Arc::new(AtomicU64::new(0));
        let publishers = Publishers::start(self, Pace::Ahead(Arc::clone(&taken))).await?;
        let pid = std::process::id();
        let mut reading = None;
        let begun = Instant::now();
        let run = loop {
            let stored = self.bare_batch(&mut *consumer).await?;
            let count = taken.fetch_add(stored, Ordering::Relaxed) + stored;
            match &reading {
                None if begun.elapsed() >= WARM_UP => {
                    reading = Some((self.reading(pid)?, count, Instant::now()));
                }
                Some((before, first, since)) if since.elapsed() >= span => {
                    let after = self.reading(pid)?;
                    break figures(count - first, since.elapsed(), *before, after);
                }
                _ => {}
            }
        };
        publishers.stop().await?;
        // What is left must not be counted for the next run.
        let idle = Duration::from_secs(2);
        while let Ok(batch) =
            tokio::time::timeout(idle, consumer.next_batch(1000, Duration::from_millis(50))).await
        {
            let tags: Vec<u64> = batch?.iter().map(|delivery| delivery.tag).collect();
            consumer.ack(&tags).await?;
        }
        drop(consumer);
        relay.close().await;
        Ok(run)
    }

    /// Reads, writes and acknowledges one batch; how many heartbeats it had.
    async fn bare_batch(&self, consumer: &mut dyn Consumer) -> anyhow::Result<u64> {
        let batch = consumer.next_batch(1000, Duration::from_millis(50)).await?;
        let beats: Vec<Value> = batch
            .iter()
            .map(|delivery| serde_json::from_slice(&delivery.body))
            .collect::<Result<_, _>>()?;
        self.upsert(&beats).await?;
        let tags: Vec<u64> = batch.iter().map(|delivery| delivery.tag).collect();
        consumer.ack(&tags).await?;
        Ok(batch.len() as u64)
    }

    /// The bare loop over a full queue, as [`Bench::backlog`]; heartbeats a
    /// second.
    async fn bare_backlog(&mut self, count: u64) -> anyhow::Result<f64> {
        Publishers::start(self, Pace::Count(count)).await?.finish().await?;
        let relay = connect(servers(&self.platform)?, Account::Scheduler).await?;
        let mut consumer = relay.consume(Source::Heartbeats, 2000).await?;
        let begun = Instant::now();
        let mut taken = 0;
        while taken < count {
            anyhow::ensure!(begun.elapsed() < Duration::from_mins(15), "the backlog stays");
            taken += self.bare_batch(&mut *consumer).await?;
        }
        let took = begun.elapsed();
        drop(consumer);
        relay.close().await;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(count as f64 / took.as_secs_f64())
    }

    async fn upsert(&self, beats: &[Value]) -> anyhow::Result<()> {
        // One row cannot be written twice by one statement.
        let mut rows = std::collections::BTreeMap::new();
        for beat in beats {
            let text = |name: &str| beat[name].as_str().unwrap_or_default().to_owned();
            let pid = beat["pid"].as_i64().unwrap_or_default();
            rows.insert(
                (text("queueloc"), pid),
                (
                    text("name"),
                    text("version"),
                    beat["environment"].to_string(),
                    beat["tags"].to_string(),
                ),
            );
        }
        let (mut locs, mut pids) = (Vec::new(), Vec::new());
        let (mut names, mut versions, mut environments, mut tags) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((loc, pid), (name, version, environment, tag)) in rows {
            locs.push(loc);
            pids.push(pid);
            names.push(name);
            versions.push(version);
            environments.push(environment);
            tags.push(tag);
        }
        sqlx::query(
            "insert into agents (id, name, queueloc, mode, version, pid, starttime, \
             destructiontime, heartbeattime, refreshtime, status, environment, tags) \
             select 1000000 + pid, name, queueloc, 'daemon', version, pid, now(), 'infinity', now(), \
             now(), 'online', environment::json, tags::json \
             from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[]) \
             as r (queueloc, pid, name, version, environment, tags) \
             on conflict (queueloc, pid) where status <> 'offline' do update \
             set heartbeattime = excluded.heartbeattime, status = excluded.status",
        )
        .bind(locs)
        .bind(pids)
        .bind(names)
        .bind(versions)
        .bind(environments)
        .bind(tags)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// From publishing a heartbeat until its row can be read, at a rate.
    async fn lags(&mut self, rate: f64, span: Duration) -> anyhow::Result<Vec<Duration>> {
        self.start_scheduler()?;
        let publishers = Publishers::start(self, Pace::Rate(rate)).await?;
        sleep(WARM_UP).await;
        let relay = connect(servers(&self.platform)?, Account::Agent).await?;
        let end = Instant::now() + span;
        let mut lags = Vec::new();
        for probe in 0.. {
            if Instant::now() >= end {
                break;
            }
            let loc =
                format!("linux.re{}probe{probe}.example.net.58b3mndjmbb00", probe % EXPRESSIONS);
            let beat = message(&body(&loc, 7), &SystemClock.now().to_string());
            let begun = Instant::now();
            relay.publish(vec![beat]).await.remove(0)?;
            until_async("a heartbeat in the database", Duration::from_mins(1), async || {
                let row = sqlx::query("select 1 from agents where queueloc = $1").bind(&loc);
                row.fetch_optional(&self.pool).await.ok()?.map(drop)
            })
            .await?;
            lags.push(begun.elapsed());
            sleep(Duration::from_millis(100)).await;
        }
        publishers.stop().await?;
        relay.close().await;
        self.drain(&AtomicU64::new(0)).await?;
        self.stop_scheduler()?;
        lags.sort_unstable();
        Ok(lags)
    }

    /// Highest memory while so many heartbeats wait, in KiB, and how fast they
    /// are taken.
    async fn backlog(&mut self, count: u64) -> anyhow::Result<(u64, f64)> {
        Publishers::start(self, Pace::Count(count)).await?.finish().await?;
        let pid = self.start_scheduler()?;
        let begun = Instant::now();
        let mut highest = 0;
        while self.taken()? < count {
            highest = highest.max(resident_kib(pid)?);
            anyhow::ensure!(begun.elapsed() < Duration::from_mins(15), "the backlog stays");
            sleep(Duration::from_millis(100)).await;
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        self.stop_scheduler()?;
        Ok((highest, rate))
    }

    /// Heartbeats, each of another agent, sent while the database is killed and
    /// back; how many were sent and how many arrived.
    async fn outage(&mut self) -> anyhow::Result<(u64, u64)> {
        self.start_scheduler()?;
        let relay = connect(servers(&self.platform)?, Account::Agent).await?;
        let (calm, rest) = (Duration::from_secs(3), Duration::from_secs(5));
        let (mut sent, mut away, mut back) = (0, false, false);
        let begun = Instant::now();
        let mut tick = interval(Duration::from_millis(100));
        while begun.elapsed() < calm + OUTAGE + rest {
            tick.tick().await;
            let now = SystemClock.now().to_string();
            let mut batch = Vec::new();
            for _ in 0..OUTAGE_RATE / 10 {
                let loc =
                    format!("linux.re{}outage{sent}.example.net.58b3mndjmbb00", sent % EXPRESSIONS);
                batch.push(message(&body(&loc, 9), &now));
                sent += 1;
            }
            for outcome in relay.publish(batch).await {
                outcome?;
            }
            if !away && begun.elapsed() >= calm {
                servers_mut(&mut self.platform)?.postgres.kill9()?;
                away = true;
            }
            if !back && begun.elapsed() >= calm + OUTAGE {
                servers_mut(&mut self.platform)?.postgres.restart()?;
                back = true;
            }
        }
        let arrived = || async {
            let sql = "select count(*) from agents where queueloc like 'linux.re%outage%'";
            sqlx::query_scalar::<_, i64>(sql).fetch_one(&self.pool).await
        };
        let all = until_async("every heartbeat", Duration::from_mins(2), async || {
            arrived().await.ok().filter(|count| u64::try_from(*count) == Ok(sent))
        })
        .await;
        let count = match all {
            Ok(count) => count,
            Err(_) => arrived().await?,
        };
        relay.close().await;
        self.stop_scheduler()?;
        Ok((sent, u64::try_from(count)?))
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn figures(count: u64, took: Duration, before: (u64, u64), after: (u64, u64)) -> Run {
    let each = |ms: u64| ms as f64 / count.max(1) as f64;
    Run {
        rate: count as f64 / took.as_secs_f64(),
        reader_ms: each(after.0.saturating_sub(before.0)),
        postgres_ms: each(after.1.saturating_sub(before.1)),
    }
}

fn servers(platform: &TestPlatform) -> anyhow::Result<&Servers> {
    match &platform.backends {
        Backends::Servers(servers) => Ok(servers),
        Backends::Embedded => bail!("no servers"),
    }
}

fn servers_mut(platform: &mut TestPlatform) -> anyhow::Result<&mut Servers> {
    match &mut platform.backends {
        Backends::Servers(servers) => Ok(servers),
        Backends::Embedded => bail!("no servers"),
    }
}

async fn connect(servers: &Servers, account: Account) -> anyhow::Result<Arc<dyn Relay>> {
    Ok(mig_relay::connect(&RelayConfig::new(servers.rabbitmq.amqp_url(account))).await?)
}

/// The configuration with the plain port: everybody here shares the processors,
/// and what is measured is not TLS.
fn without_tls(config: &str, servers: &Servers) -> String {
    let rabbitmq = &servers.rabbitmq;
    let mut inside = false;
    let mut text = String::new();
    for line in config.lines() {
        if line.starts_with('[') {
            inside = line == "[mq]";
        }
        let line = match line.split('=').next().map(str::trim) {
            Some("host") if inside => "host = 127.0.0.1".to_owned(),
            Some("port") if inside => format!("port = {}", rabbitmq.plain_port()),
            Some("usetls") if inside => "usetls = off".to_owned(),
            Some("cacert" | "tlscert" | "tlskey") if inside => continue,
            _ => line.to_owned(),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// How fast to publish.
enum Pace {
    /// As fast as somebody takes, a little ahead of what was taken.
    Ahead(Arc<AtomicU64>),
    /// So many a second.
    Rate(f64),
    /// So many, as fast as the broker takes them.
    Count(u64),
}

/// Tasks that publish heartbeats of all agents in turn.
struct Publishers {
    tasks: JoinSet<anyhow::Result<()>>,
    stop: Arc<AtomicBool>,
}

impl Publishers {
    async fn start(bench: &Bench, pace: Pace) -> anyhow::Result<Self> {
        let (mut tasks, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        let (pace, published) = (Arc::new(pace), Arc::new(AtomicU64::new(0)));
        let begun = Instant::now();
        for _ in 0..PUBLISHERS {
            let relay = connect(servers(&bench.platform)?, Account::Agent).await?;
            let (pace, published, stop) =
                (Arc::clone(&pace), Arc::clone(&published), Arc::clone(&stop));
            let bodies = Arc::clone(&bench.bodies);
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let first = published.fetch_add(BATCH, Ordering::Relaxed);
                    if !turn(&pace, first, begun, &stop).await {
                        break;
                    }
                    let now = SystemClock.now().to_string();
                    let batch = (first..first + BATCH)
                        .filter_map(|number| bodies.get(usize::try_from(number % AGENTS).ok()?))
                        .map(|body| message(body, &now))
                        .collect();
                    for outcome in relay.publish(batch).await {
                        outcome?;
                    }
                }
                relay.close().await;
                Ok(())
            });
        }
        Ok(Self { tasks, stop })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish().await
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Waits until it is the turn of heartbeat `first`; `false` when there is none.
async fn turn(pace: &Pace, first: u64, begun: Instant, stop: &AtomicBool) -> bool {
    match pace {
        Pace::Count(count) => first < *count,
        Pace::Ahead(taken) => {
            while first > taken.load(Ordering::Relaxed) + AHEAD {
                if stop.load(Ordering::Relaxed) {
                    return false;
                }
                sleep(Duration::from_millis(2)).await;
            }
            true
        }
        Pace::Rate(rate) => {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let due = Duration::from_secs_f64(first as f64 / rate);
            sleep(due.saturating_sub(begun.elapsed())).await;
            !stop.load(Ordering::Relaxed)
        }
    }
}

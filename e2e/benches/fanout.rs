//! One light action to thousands of simulated agents: from the start of the
//! POST until every result is stored. Real servers; the simulator, the broker
//! and the database share the machine with them.
//!
//! In the same run, after each action, over the same queues and with the same bodies, a
//! bare loop of publish, send back, consume: the broker's own floor. Prints the figures
//! last and fails when a result is missing or a goal is.

#![expect(clippy::print_stdout, reason = "figures are what a bench is run for")]

use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use mig_e2e::swarm::{self, Swarm};
use mig_swarm::{Audit, Question, ask, audit, floor};
use mig_testkit::{Backends, PlatformOptions, RelayAccess, TestPlatform, cpu_time, resident};
use mig_testservices::Account;
use mig_types::{ActionId, Command, CommandStatus, Timestamp, wire};
use mimalloc::MiMalloc;

/// As in `mig-swarm`: the simulator shares the machine with what it measures.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Rounds: an action that warms up, one that counts, and the bare loop.
const ROUNDS: usize = 5;
const LIMIT: Duration = Duration::from_mins(10);
/// After thousands of queues were made or used, a broker works on for a quarter of a
/// minute, in bouts: their processes write statistics and give back memory. It is quiet
/// when it needs less than [`QUIET`] of a core at each of so many looks.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 12;
const QUIET: f64 = 0.1;

/// What the original took for 5,000 agents on a machine like the one the goals
/// were set on: wall clock, and CPU of scheduler and database.
const ORIGINAL_AGENTS: f64 = 5000.0;
const ORIGINAL_WALL: f64 = 14.1;
const ORIGINAL_CPU: f64 = 6.5 + 3.8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    RabbitMq,
    BuiltIn,
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "rabbitmq" => Ok(Self::RabbitMq),
            "builtin" => Ok(Self::BuiltIn),
            _ => bail!("no relay is called '{text}': rabbitmq or builtin"),
        }
    }
}

/// CPU time of each part.
#[derive(Debug, Default, Clone, Copy)]
struct Cpu {
    servers: Duration,
    api: Duration,
    database: Duration,
    broker: Duration,
}

impl Cpu {
    fn now(platform: &TestPlatform) -> Self {
        let of = |program: &str| platform.processes(program).map(|p| cpu_time(p.pid())).sum();
        let mut cpu = Self::default();
        match &platform.backends {
            Backends::Embedded => cpu.servers = of("mig-standalone"),
            Backends::Servers(servers) => {
                cpu.servers = of("mig-scheduler");
                cpu.api = of("mig-api");
                cpu.database = servers.postgres.pid().map(cpu_time).unwrap_or_default();
                cpu.broker = servers.rabbitmq.pid().map(cpu_time).unwrap_or_default();
            }
        }
        cpu
    }

    /// Adds what was used between two looks.
    fn add(&mut self, before: Self, after: Self) {
        self.servers += after.servers.saturating_sub(before.servers);
        self.api += after.api.saturating_sub(before.api);
        self.database += after.database.saturating_sub(before.database);
        self.broker += after.broker.saturating_sub(before.broker);
    }

    fn each(self, rounds: u32) -> Self {
        Self {
            servers: self.servers / rounds,
            api: self.api / rounds,
            database: self.database / rounds,
            broker: self.broker / rounds,
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "servers {:.2} s", self.servers.as_secs_f64())?;
        if !self.broker.is_zero() {
            write!(
                f,
                ", database {:.2} s, broker {:.2} s, API {:.2} s",
                self.database.as_secs_f64(),
                self.broker.as_secs_f64(),
                self.api.as_secs_f64()
            )?;
        }
        Ok(())
    }
}

struct Figures {
    kind: Kind,
    agents: usize,
    walls: Vec<Duration>,
    floors: Vec<Duration>,
    /// The broker's CPU for one run of the bare loop.
    floor_broker: Duration,
    cpu: Cpu,
    memory: u64,
    audit: Audit,
}

fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64()
}

async fn measure(kind: Kind, agents: usize) -> anyhow::Result<Figures> {
    let options = PlatformOptions::crowd();
    let mut platform = match kind {
        Kind::RabbitMq => TestPlatform::servers_with(options)?,
        Kind::BuiltIn => TestPlatform::embedded_with(options)?,
    };
    let swarm = Swarm::start(&platform, agents, LIMIT, |plan| {
        // The times of others' heartbeats are not what is measured.
        plan.heartbeat = Duration::from_mins(10);
    })
    .await?;
    eprintln!("fanout: {agents} agents listen");

    let program = match kind {
        Kind::RabbitMq => "mig-scheduler",
        Kind::BuiltIn => "mig-standalone",
    };
    let (mut cpu, mut floor_broker) = (Cpu::default(), Duration::ZERO);
    let (mut walls, mut floors, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    let mut memory = 0;
    for _ in 0..ROUNDS {
        // What a scheduler does for the first time is not measured.
        let warm = one_action(&swarm).await?.0;
        settled(&platform).await?;
        let before = Cpu::now(&platform);
        let (id, took) = one_action(&swarm).await?;
        cpu.add(before, Cpu::now(&platform));
        eprintln!("fanout: {:.2} s", took.as_secs_f64());
        walls.push(took);
        ids.extend([warm, id]);
        memory = platform.processes(program).map(|process| resident(process.pid())).sum();
        if kind == Kind::RabbitMq {
            let floor = bare(&mut platform, &swarm, id).await?;
            eprintln!("fanout: floor {:.2} s", floor.0.as_secs_f64());
            floors.push(floor.0);
            floor_broker += floor.1;
        }
    }
    let rounds = u32::try_from(ROUNDS)?;
    let (cpu, floor_broker) = (cpu.each(rounds), floor_broker / rounds);
    let audit = audit(&swarm.api, swarm.fleet.plan(), swarm.fleet.book(), &ids).await?;
    let tally = swarm.fleet.book().tally();
    ensure!(tally.refused + tally.unreadable == 0, "agents refused commands: {tally:?}");
    swarm.fleet.stop().await;
    Ok(Figures { kind, agents, walls, floors, floor_broker, cpu, memory, audit })
}

/// Waits until the broker has no work left, so that what is measured begins alike.
async fn settled(platform: &TestPlatform) -> anyhow::Result<()> {
    let Backends::Servers(servers) = &platform.backends else { return Ok(()) };
    let broker = || servers.rabbitmq.pid().map(cpu_time).unwrap_or_default();
    let start = Instant::now();
    let mut quiet = 0;
    while quiet < LOOKS {
        let before = broker();
        tokio::time::sleep(LOOK).await;
        let busy = broker().saturating_sub(before).as_secs_f64() / LOOK.as_secs_f64();
        quiet = if busy < QUIET { quiet + 1 } else { 0 };
        ensure!(start.elapsed() < LIMIT, "the broker does not become quiet");
    }
    Ok(())
}

async fn one_action(swarm: &Swarm) -> anyhow::Result<(ActionId, Duration)> {
    let question = Question {
        target: swarm.fleet.plan().target(),
        actions: 1,
        every: Duration::ZERO,
        validity: Duration::from_mins(30),
        limit: LIMIT,
        stubborn: false,
    };
    let asked = ask(&swarm.api, swarm.signer.as_ref(), &swarm.clock, &question, &|_| {}).await?;
    let asked = asked.first().context("nothing was launched")?;
    Ok((asked.id, asked.took.context("the action did not end in time")?))
}

/// One bare loop, while no scheduler takes the answers, and the broker's CPU for it.
async fn bare(
    platform: &mut TestPlatform,
    swarm: &Swarm,
    action: ActionId,
) -> anyhow::Result<(Duration, Duration)> {
    let body = body(swarm, action).await?;
    platform.stop_server("mig-scheduler")?;
    settled(platform).await?;
    let Backends::Servers(servers) = &platform.backends else { bail!("no broker") };
    let rabbitmq = &servers.rabbitmq;
    let access = RelayAccess {
        url: rabbitmq.amqps_url(Account::Scheduler),
        ca: Some(rabbitmq.ca_path()),
        certificate: Some((rabbitmq.client_cert_path(), rabbitmq.client_key_path())),
    };
    let relay = mig_relay::connect(&swarm::relay(&access)?).await?;
    let broker = || rabbitmq.pid().map(cpu_time).unwrap_or_default();
    let before = broker();
    let floor = floor(relay.as_ref(), &swarm.fleet, &body, LIMIT).await?;
    let used = broker().saturating_sub(before);
    relay.close().await;
    platform.start_server("mig-scheduler", "scheduler.cfg")?;
    Ok((floor.took, used))
}

/// A command of the action as it went to its agent.
async fn body(swarm: &Swarm, action: ActionId) -> anyhow::Result<Bytes> {
    let query = mig_client::CommandQuery::of(action);
    let mut page: Vec<Command> = swarm.api.commands_page(&query, 0, 1).await?;
    let mut command = page.pop().context("the action has no command")?;
    command.status = CommandStatus::Sent;
    command.results = None;
    command.finishtime = Timestamp::ZERO;
    // Told to investigators alone. With them a body would be too long for the broker to
    // keep it as it keeps commands.
    command.action.investigators.clear();
    Ok(Bytes::from(wire::to_vec(&command)?))
}

impl Figures {
    /// Prints the figures; whether every promise is kept.
    #[expect(clippy::cast_precision_loss, reason = "counts of agents are small")]
    fn tell(&self) -> bool {
        let Audit { lost, doubled, unaccounted, altered, miscounted, commands, .. } = self.audit;
        let wall = median(&self.walls);
        let scale = self.agents as f64 / ORIGINAL_AGENTS;
        let relay = match self.kind {
            Kind::RabbitMq => "RabbitMQ over TLS and PostgreSQL",
            Kind::BuiltIn => "the built-in relay and SQLite",
        };
        println!(
            "swarm: {} agents, {relay}, {ROUNDS} actions, each after one to warm up",
            self.agents
        );
        println!("swarm: POST to all results stored: {wall:.2} s (median)");
        println!(
            "swarm: {:.2} times as fast as the original's {:.1} s, taken on another day",
            ORIGINAL_WALL * scale / wall,
            ORIGINAL_WALL * scale
        );
        println!("swarm: CPU for each action: {}", self.cpu);
        if !self.floor_broker.is_zero() {
            println!(
                "swarm: the broker's CPU in the bare loop: {:.2} s",
                self.floor_broker.as_secs_f64()
            );
        }
        println!("swarm: resident at the end: {} MiB", self.memory >> 20);
        let mut goals = vec![(
            format!("no result lost, doubled or changed, of {commands}"),
            self.audit.is_clean(),
        )];
        match self.kind {
            Kind::RabbitMq => {
                let floor = median(&self.floors);
                // Each action against the bare loop that followed it: what else goes on
                // on a machine changes within minutes.
                let pairs = self.walls.iter().zip(&self.floors);
                let mut ratios: Vec<f64> =
                    pairs.map(|(wall, floor)| wall.as_secs_f64() / floor.as_secs_f64()).collect();
                ratios.sort_by(f64::total_cmp);
                let ratio = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::INFINITY);
                let own = (self.cpu.servers + self.cpu.database).as_secs_f64();
                println!(
                    "swarm: the broker's own floor: {floor:.2} s (median), ratio {ratio:.2} \
                     (median of {ratios:.2?})"
                );
                goals.push((
                    "3 times as fast as the original".into(),
                    wall * 3.0 <= ORIGINAL_WALL * scale,
                ));
                goals.push(("at most 1.3 times the floor".into(), ratio <= 1.3));
                goals.push((
                    format!(
                        "scheduler and database {own:.2} s of CPU, a fifth of {:.1} s",
                        ORIGINAL_CPU * scale
                    ),
                    own * 5.0 <= ORIGINAL_CPU * scale,
                ));
            }
            Kind::BuiltIn => {
                let goal = 2.0 * scale.max(0.1);
                goals.push((format!("within {goal:.1} s"), wall <= goal));
            }
        }
        println!(
            "swarm: {lost} results lost, {doubled} doubled, {unaccounted} agents unaccounted, \
             {altered} altered, {miscounted} actions miscounted"
        );
        let mut kept = true;
        for (goal, reached) in goals {
            println!("goal: {goal}: {}", if reached { "met" } else { "missed" });
            kept &= reached;
        }
        kept
    }
}

/// The arguments `--agents N` and `--relay rabbitmq|builtin`.
fn arguments() -> anyhow::Result<Option<(Kind, usize)>> {
    let (mut kind, mut agents) = (Kind::RabbitMq, 1000);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--agents" => agents = value()?.parse().context("--agents takes a number")?,
            "--relay" => kind = value()?.parse()?,
            // `cargo test --benches` only asks whether it starts.
            "--test" => return Ok(None),
            _ => {}
        }
    }
    Ok(Some((kind, agents)))
}

fn main() -> ExitCode {
    let run = || -> anyhow::Result<bool> {
        let Some((kind, agents)) = arguments()? else { return Ok(true) };
        let runtime = tokio::runtime::Runtime::new()?;
        Ok(runtime.block_on(measure(kind, agents))?.tell())
    };
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fanout: {error:#}");
            ExitCode::FAILURE
        }
    }
}

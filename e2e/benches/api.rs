//! How long investigators wait for lists and searches on a large database: a
//! real `mig-api` on PostgreSQL that `mig-swarm seed` filled.
//!
//! Prints the figures last and fails when a request kind misses the goal.
//! `MIG_BENCH_COMMANDS` makes the database smaller.

#![expect(clippy::print_stdout, reason = "figures are what a bench is run for")]

use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mig_e2e::measure::{Http, percentile};
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_sign::token;
use mig_testkit::{Backends, TestPlatform, binary};
use serde_json::Value;

const COMMANDS: u64 = 1_000_000;
/// Requests of a kind before counting starts, and counted ones.
const WARM_UP: usize = 3;
const REQUESTS: usize = 40;
/// 95 of 100 requests of each kind must be answered within.
const GOAL: Duration = Duration::from_millis(50);

/// A kind of request; `#` in the query is a number that changes each time, and
/// `{…}` the identifier of something that exists.
const KINDS: &[(&str, &str)] = &[
    ("dashboard", "dashboard"),
    ("action by id", "action?actionid={action}"),
    ("command by id", "command?commandid={command}"),
    ("agent by id", "agent?agentid={agent}"),
    ("investigator by id", "investigator?investigatorid={investigator}"),
    ("actions", "search?type=action"),
    ("actions, deep page", "search?type=action&offset=15#"),
    ("actions by name", "search?type=action&actionname=IOC%25campaign%20%25"),
    ("actions by exact name", "search?type=action&actionname=ntp%20drift%20of%20servers#"),
    ("actions by status", "search?type=action&status=completed"),
    ("actions by threat family", "search?type=action&threatfamily=mal%25"),
    ("actions by investigator", "search?type=action&investigatorid={investigator}"),
    ("actions by investigator's name", "search?type=action&investigatorname=Alice%25"),
    ("actions by agent's name", "search?type=action&agentname=web#%25"),
    ("actions by agent's name, all", "search?type=action&agentname=%25example%25"),
    ("actions by agent", "search?type=action&agentid={agent}"),
    ("actions of ten days", "search?type=action{window}"),
    ("actions, none", "search?type=action&actionname=nothing%20of%20that%20name%25"),
    ("commands", "search?type=command"),
    ("commands, page 1,000", "search?type=command&offset=1000##"),
    ("commands of an action", "search?type=command&actionid={action}"),
    ("commands of an action, found", "search?type=command&foundanything=true&actionid={action}"),
    (
        "commands of an action, not found",
        "search?type=command&foundanything=false&actionid={action}",
    ),
    ("commands of an action, failed", "search?type=command&status=failed&actionid={action}"),
    ("commands by agent", "search?type=command&agentid={agent}"),
    ("commands by action's name", "search?type=command&actionname=IOC%25"),
    ("commands by agent's name", "search?type=command&agentname=web#%25"),
    ("commands by agent's name, all", "search?type=command&agentname=%25example%25"),
    ("commands by investigator", "search?type=command&investigatorid={investigator}"),
    ("commands by investigator's name", "search?type=command&investigatorname=Bob%25"),
    ("commands by status", "search?type=command&status=timeout"),
    ("commands by status, deep page", "search?type=command&status=success&offset=100##"),
    ("commands found", "search?type=command&foundanything=true"),
    ("commands of ten days", "search?type=command{window}"),
    ("commands of ten days, found", "search?type=command&foundanything=true{window}"),
    ("commands, none", "search?type=command&investigatorname=nobody%25"),
    ("agents", "search?type=agent"),
    ("agents, deep page", "search?type=agent&offset=300##"),
    ("agents by name", "search?type=agent&agentname=web#%25"),
    ("agents by status", "search?type=agent&status=online"),
    ("agents by version", "search?type=agent&agentversion=2018%25"),
    ("agents by action", "search?type=agent&actionid={action}"),
    ("agents by action's name", "search?type=agent&actionname=IOC%25"),
    ("agents by investigator's name", "search?type=agent&investigatorname=Alice%25"),
    ("agents by target, status", "search?type=agent&target=status%3D%27online%27"),
    ("agents by target, name", "search?type=agent&target=name%20LIKE%20%27web#%25%27"),
    (
        "agents by target, environment and tags",
        "search?type=agent&target=environment-%3E%3E%27os%27%3D%27linux%27%20AND%20tags-%3E%3E%27operator%27%3D%27it%27",
    ),
    ("investigators", "search?type=investigator"),
    ("investigators by name", "search?type=investigator&investigatorname=A%25"),
    ("investigators by action", "search?type=investigator&actionid={action}"),
    ("investigators by agent's name", "search?type=investigator&agentname=web#%25"),
    ("manifests", "search?type=manifest"),
    ("manifests by name", "search?type=manifest&manifestname=agent%25"),
    ("loaders", "search?type=loader"),
    ("loaders by name", "search?type=loader&loadername=loader%25"),
    ("loaders by agent's name", "search?type=loader&agentname=web%25"),
];

/// Identifiers of what exists, to ask for.
struct Known {
    actions: Vec<u64>,
    commands: Vec<u64>,
    agents: Vec<u64>,
    investigators: Vec<u64>,
    /// Ten days a month ago, as parameters.
    window: String,
}

impl Known {
    fn read(http: &mut Http) -> anyhow::Result<Self> {
        let mut ids = |kind: &str, offset: usize| -> anyhow::Result<Vec<u64>> {
            let path = format!("/api/v1/search?type={kind}&limit=60&offset={offset}");
            let (status, body) = http.get(&path)?;
            anyhow::ensure!(status == 200, "{path}: {status}");
            let document: Value = serde_json::from_slice(&body)?;
            let items = document["collection"]["items"].as_array().context("no items")?;
            let found = items.iter().filter_map(|item| {
                let data = item["data"].as_array()?.iter().find(|datum| datum["name"] == kind)?;
                data["value"]["id"].as_u64()
            });
            Ok(found.collect())
        };
        let now = SystemClock.now();
        let day = Duration::from_hours(24);
        let midnight = |time: mig_types::Timestamp| {
            let text = time.to_string();
            format!("{}T00:00:00Z", text.split('T').next().unwrap_or_default())
        };
        Ok(Self {
            actions: ids("action", 10)?,
            commands: ids("command", 5000)?,
            agents: ids("agent", 100)?,
            investigators: ids("investigator", 3)?,
            window: format!(
                "&after={}&before={}",
                midnight(now - day * 40),
                midnight(now - day * 30)
            ),
        })
    }

    fn path(&self, query: &str, number: usize) -> String {
        let one =
            |ids: &[u64]| ids.get(number % ids.len().max(1)).copied().unwrap_or(0).to_string();
        let query = query
            .replace("{action}", &one(&self.actions))
            .replace("{command}", &one(&self.commands))
            .replace("{agent}", &one(&self.agents))
            .replace("{investigator}", &one(&self.investigators))
            .replace("{window}", &self.window)
            .replace('#', &(number % 10).to_string());
        format!("/api/v1/{query}")
    }
}

/// A connection to the API as an investigator makes it.
fn connect(platform: &TestPlatform) -> anyhow::Result<Http> {
    let now = SystemClock.now();
    let text = token::text(now, 1);
    let signature = platform.investigator("alice")?.key.sign(text.as_bytes(), now)?;
    let header = format!("x-pgpauthorization: {}\r\n", token::assemble(&text, &signature));
    let url = platform.api_url();
    let address = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let address: SocketAddr = address.parse()?;
    Http::connect(address, &header)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "starts the program that fills the database")]
fn run() -> anyhow::Result<bool> {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(true);
    }
    let commands = match std::env::var("MIG_BENCH_COMMANDS") {
        Ok(text) => text.parse().context("MIG_BENCH_COMMANDS")?,
        Err(_) => COMMANDS,
    };
    let mut platform = TestPlatform::servers()?;
    // Or it would find out that none of the agents is there.
    platform.servers.retain(|server| server.is("mig-api"));
    let Backends::Servers(servers) = &platform.backends else { bail!("no database") };
    let begun = Instant::now();
    let status = Command::new(binary("mig-swarm")?)
        .args(["seed", "--commands", &commands.to_string(), "--database", &servers.postgres.url()])
        .status()?;
    anyhow::ensure!(status.success(), "mig-swarm seed ended with {status}");
    println!("{commands} commands seeded in {:.0} s", begun.elapsed().as_secs_f64());

    let known = Known::read(&mut connect(&platform)?)?;
    let mut table = Vec::new();
    for (kind, query) in KINDS {
        // Tokens are good for some minutes only.
        let mut http = connect(&platform)?;
        let mut times = Vec::with_capacity(REQUESTS);
        let mut bytes = 0;
        for number in 0..WARM_UP + REQUESTS {
            let path = known.path(query, number);
            let start = Instant::now();
            let (status, body) = http.get(&path)?;
            let took = start.elapsed();
            // Nothing found is an answer, too.
            anyhow::ensure!(matches!(status, 200 | 404), "{path}: {status}");
            if number >= WARM_UP {
                times.push(took);
                bytes += body.len();
            }
        }
        times.sort_unstable();
        table.push((kind, times, bytes / REQUESTS));
    }

    let mut good = true;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{:40} {:>8} {:>8} {:>8} {:>8}", "request", "p50 ms", "p95 ms", "max ms", "bytes");
    for (kind, times, bytes) in &table {
        let slow = percentile(times, 95);
        let mark = if slow < GOAL { "" } else { "  missed" };
        println!(
            "{kind:40} {:8.1} {:8.1} {:8.1} {bytes:8}{mark}",
            ms(percentile(times, 50)),
            ms(slow),
            ms(percentile(times, 100))
        );
        good &= slow < GOAL;
    }
    println!(
        "goal: p95 of {} request kinds under {} ms with {commands} commands: {}",
        table.len(),
        GOAL.as_millis(),
        if good { "met" } else { "missed" }
    );
    Ok(good)
}

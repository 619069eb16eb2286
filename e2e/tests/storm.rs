//! Many agents, many actions, and no quiet moment: two schedulers of which
//! either is killed every few seconds, a broker and a database that crash on
//! the way. Every agent's answer is stored once, and is its own.
//!
//! `MIG_STORM_AGENTS` (100) and `MIG_STORM_ACTIONS` (6) make it larger;
//! `MIG_STORM_CRASHES` (0) says whether broker and database crash as well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mig_e2e::swarm::Swarm;
use mig_runtime::random;
use mig_swarm::{Question, ask, audit};
use mig_testkit::{Backends, PlatformOptions, TestPlatform};
use mig_types::{ActionId, ActionStatus};

const LIMIT: Duration = Duration::from_mins(30);
/// Between two launches.
const EVERY: Duration = Duration::from_secs(3);

/// A number from the environment, or else `default`.
fn setting(name: &str, default: usize) -> anyhow::Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

/// What was done to the platform.
#[derive(Debug, Default)]
struct Faults {
    schedulers: usize,
    brokers: usize,
    databases: usize,
}

/// Kills one of the two schedulers and starts it again.
fn kill_a_scheduler(platform: &mut TestPlatform) -> anyhow::Result<()> {
    let places: Vec<usize> = platform
        .servers
        .iter()
        .enumerate()
        .filter(|(_, server)| server.is("mig-scheduler"))
        .map(|(place, _)| place)
        .collect();
    ensure!(places.len() == 2, "two schedulers run");
    let second = random::u64() % 2 == 1;
    let place = *places.get(usize::from(second)).context("a scheduler")?;
    let mut victim = platform.servers.remove(place);
    victim.kill9();
    // Each has a spool of its own.
    let config = victim.argument_after("-c").context("its configuration")?;
    platform.start_server("mig-scheduler", &config)?;
    Ok(())
}

/// Breaks things while actions are launched, until each kind has broken once
/// or `over` says that nothing is left to break.
fn rage(
    platform: &mut TestPlatform,
    actions: usize,
    crashes: usize,
    over: &dyn Fn() -> Option<usize>,
) -> anyhow::Result<Faults> {
    let mut faults = Faults::default();
    let begun = Instant::now();
    while let Some(done) = over() {
        ensure!(begun.elapsed() < LIMIT, "{done} of {actions} actions are over; {faults:?}");
        let launching = begun.elapsed() < EVERY * u32::try_from(actions)?;
        if !launching && faults.brokers >= crashes && faults.databases >= crashes {
            break;
        }
        // Not a wait for a condition: the moments of the faults are the point.
        std::thread::sleep(Duration::from_millis(2000 + random::u64() % 4000));
        kill_a_scheduler(platform)?;
        faults.schedulers += 1;
        let Backends::Servers(servers) = &mut platform.backends else { bail!("no servers") };
        // Early: while actions are still being launched.
        if faults.brokers < crashes {
            servers.rabbitmq.kill9()?;
            servers.rabbitmq.restart()?;
            faults.brokers += 1;
        } else if faults.databases < crashes {
            servers.postgres.kill9()?;
            servers.postgres.restart()?;
            faults.databases += 1;
        }
    }
    Ok(faults)
}

#[test]
fn chaos_in_a_storm_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let agents = setting("MIG_STORM_AGENTS", 100)?;
    let actions = setting("MIG_STORM_ACTIONS", 6)?;
    let crashes = setting("MIG_STORM_CRASHES", 0)?.min(1);
    let mut platform = TestPlatform::servers_with(PlatformOptions::crowd())?;
    platform.add_scheduler()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let swarm = runtime.block_on(Swarm::start(&platform, agents, LIMIT, |plan| {
        plan.behaviour.delay = Duration::ZERO..=Duration::from_secs(3);
    }))?;
    let swarm = Arc::new(swarm);
    let question = Question {
        target: swarm.fleet.plan().target(),
        actions,
        every: EVERY,
        validity: Duration::from_hours(1),
        limit: LIMIT,
        stubborn: true,
    };
    let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let asking = runtime.spawn({
        let (swarm, done) = (Arc::clone(&swarm), Arc::clone(&done));
        async move {
            let tell = |over| done.store(over, std::sync::atomic::Ordering::Relaxed);
            ask(&swarm.api, swarm.signer.as_ref(), &swarm.clock, &question, &tell).await
        }
    });
    let over = || (!asking.is_finished()).then(|| done.load(std::sync::atomic::Ordering::Relaxed));
    let faults = rage(&mut platform, actions, crashes, &over)?;
    let asked = runtime.block_on(asking)??;
    let open: Vec<ActionId> =
        asked.iter().filter(|asked| asked.took.is_none()).map(|asked| asked.id).collect();
    ensure!(open.is_empty() && asked.len() == actions, "{} launched, open: {open:?}", asked.len());

    // A launch whose answer was lost may have reached the database all the
    // same: its action counts as well.
    let ids =
        runtime.block_on(launched(&swarm, &asked.iter().map(|a| a.id).collect::<Vec<_>>()))?;
    let audit =
        runtime.block_on(audit(&swarm.api, swarm.fleet.plan(), swarm.fleet.book(), &ids))?;
    let tally = swarm.fleet.book().tally();
    println!(
        "chaos on {agents} simulated agents and two schedulers: {} actions, {} commands, {} kills \
         of schedulers, {} broker and {} database crashes, {} commands delivered again: {} results \
         lost, {} doubled, {} agents unaccounted",
        audit.actions,
        audit.commands,
        faults.schedulers,
        faults.brokers,
        faults.databases,
        tally.repeated,
        audit.lost,
        audit.doubled,
        audit.unaccounted
    );
    ensure!(audit.is_clean(), "{audit:?}");
    ensure!(
        faults.brokers == crashes && faults.databases == crashes && faults.schedulers > 0,
        "{faults:?}"
    );
    ensure!(tally.refused + tally.unreadable == 0, "{tally:?}");
    Ok(())
}

/// All actions agents heard of, with those that were launched.
async fn launched(swarm: &Swarm, asked: &[ActionId]) -> anyhow::Result<Vec<ActionId>> {
    let mut ids = swarm.fleet.book().actions();
    ids.extend(asked);
    ids.sort_unstable();
    ids.dedup();
    for id in &ids {
        mig_testkit::until_async("every action to end", LIMIT, || async {
            let action = swarm.api.action(*id).await.ok()?;
            action.status.is_some_and(ActionStatus::is_final).then_some(())
        })
        .await?;
    }
    Ok(ids)
}

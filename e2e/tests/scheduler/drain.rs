//! The orderly end with results in hand, and what workers hear of results.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use mig_e2e::sql::{Held, Psql};
use mig_relay::{Message, Route, Source};
use mig_testkit::{Managed, TestPlatform, until};
use mig_testservices::Account;
use serde_json::json;

use super::{PATIENCE, broker, database, relay};

const RESULTS: usize = 600;
/// What a scheduler may take from the relay before it has stored any.
const PREFETCH: usize = 250;
/// A stop takes this long when what is in hand cannot be finished: 15 s for
/// that, 2 s for the leases, and the rest for a busy machine.
const DRAIN: Duration = Duration::from_secs(15);
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// An action in flight to so many agents, as a scheduler leaves it behind.
const IN_FLIGHT: &str = "
    insert into actions (id, name, target, description, threat, operations, validfrom,
        expireafter, starttime, finishtime, lastupdatetime, status, syntaxversion, pgpsignatures)
    values (1, 'drain', 'true', '{}', '{}', '[{\"module\":\"file\",\"parameters\":{}}]',
        now() - interval '1 minute', now() + interval '1 hour', now(), now(), now(),
        'inflight', 2, '[]');
    insert into agents (id, name, queueloc, mode, version, pid, starttime, heartbeattime,
        refreshtime, status, environment, tags)
    select n, 'sim' || n, 'linux.sim' || n, 'daemon', '1', n, now(), now(), now(), 'online',
        '{}', '{}' from generate_series(1, 600) n;
    insert into commands (id, actionid, agentid, status, results, starttime, finishtime,
        queueloc)
    select n, 1, n, 'sent', '[]', now(), now(), 'linux.sim' || n
    from generate_series(1, 600) n;";

/// What an agent answers, with members and spaces that only an echo keeps.
fn answer(command: usize) -> Bytes {
    let body = json!({
        "id": command, "status": "success", "novelty": [1, 2],
        "agent": { "name": format!("sim{command}"), "queueloc": format!("linux.sim{command}") },
        "results": [{ "foundanything": true, "success": true, "elements": null,
            "statistics": null, "errors": null }],
    });
    Bytes::from(body.to_string().replacen('{', "{ ", 1))
}

fn stored(psql: &Psql) -> anyhow::Result<usize> {
    psql.count("select count(*) from commands where status = 'success'")
}

/// Messages that wait in the queue of results, and those a consumer has.
fn queued(platform: &TestPlatform) -> anyhow::Result<(usize, usize)> {
    let columns = ["name", "messages_ready", "messages_unacknowledged"];
    let list =
        broker(platform)?.ctl(&[&["list_queues", "-q", "-p", "mig"][..], &columns].concat())?;
    let line = list.lines().find_map(|line| line.strip_prefix("mig.agt.results\t"));
    let (ready, taken) = line.and_then(|line| line.split_once('\t')).context("no queue")?;
    Ok((ready.trim().parse()?, taken.trim().parse()?))
}

/// Starts a scheduler that cannot store results; returns once it has tried.
fn start_stuck(platform: &mut TestPlatform, psql: &Psql) -> anyhow::Result<(Managed, Held)> {
    let held = psql.hold("lock table commands in exclusive mode")?;
    let waiting = |granted: &str| {
        let sql = format!(
            "select count(*) from pg_locks where relation = 'commands'::regclass \
             and mode = '{granted}'"
        );
        psql.count(&sql).ok().filter(|count| *count > 0).map(drop)
    };
    until("the lock", PATIENCE, || waiting("ExclusiveLock"))?;
    platform.start_server("mig-scheduler", "scheduler.cfg")?;
    let scheduler = platform.servers.pop().context("just started")?;
    // The statement that stores a batch is refused its lock.
    let blocked = "select count(*) from pg_locks l join pg_stat_activity a using (pid) \
                   where l.relation = 'commands'::regclass and not l.granted \
                   and a.query like '%r.seq%'";
    until("a batch in hand", PATIENCE, || {
        psql.count(blocked).ok().filter(|count| *count > 0).map(drop)
    })
    .with_context(|| scheduler.log())?;
    Ok((scheduler, held))
}

#[test]
fn a_stop_with_results_in_hand_loses_none_and_keeps_its_time() -> anyhow::Result<()> {
    let mut platform = TestPlatform::servers()?;
    let psql = database(&platform)?;
    let mut first = platform.servers.remove(0);
    first.wait_log("agents results listener reads its queue")?;
    ensure!(first.terminate(PATIENCE)?.success(), "{}", first.log());
    psql.ask(IN_FLIGHT)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(publish(&platform, 1..=RESULTS))?;
    until("all results in the queue", PATIENCE, || {
        (queued(&platform).ok()? == (RESULTS, 0)).then_some(())
    })?;

    // Asked to stop while the database makes it wait, it finishes what it has.
    let (mut scheduler, held) = start_stuck(&mut platform, &psql)?;
    let begun = Instant::now();
    scheduler.signal_term()?;
    held.release()?;
    let status = scheduler.terminate(DRAIN_LIMIT)?;
    let took = begun.elapsed();
    ensure!(status.success() && took < DRAIN, "{status} after {took:?}\n{}", scheduler.log());
    let finished = stored(&psql)?;
    ensure!((1..=PREFETCH).contains(&finished), "{finished} were in hand");
    ensure!(!scheduler.log().contains("did not finish in time"), "{}", scheduler.log());
    until("the relay to take back the rest", PATIENCE, || {
        (queued(&platform).ok()? == (RESULTS - finished, 0)).then_some(())
    })
    .with_context(|| format!("{finished} stored, queue {:?}", queued(&platform)))?;

    // Where the wait does not end, the stop does, and the relay keeps them all.
    let (mut scheduler, held) = start_stuck(&mut platform, &psql)?;
    let begun = Instant::now();
    let status = scheduler.terminate(DRAIN_LIMIT)?;
    let took = begun.elapsed();
    ensure!(status.success() && took >= DRAIN, "{status} after {took:?}\n{}", scheduler.log());
    ensure!(scheduler.log().contains("did not finish in time; their work is redone"));
    held.release()?;
    // The server may have ended the statement after its client was gone.
    until("the relay to have the rest", PATIENCE, || {
        let (ready, taken) = queued(&platform).ok()?;
        (taken == 0 && ready + stored(&psql).ok()? >= RESULTS).then_some(())
    })?;

    platform.start_server("mig-scheduler", "scheduler.cfg")?;
    until("all results stored", PATIENCE, || (stored(&psql).ok()? == RESULTS).then_some(()))?;
    let once = psql.ask("select count(distinct finish_seq), max(finish_seq) from commands")?;
    assert_eq!(once, format!("{RESULTS}|{RESULTS}"), "each is counted once");
    let status = || psql.ask("select status from actions where id = 1").ok();
    until("the action completed", PATIENCE, || (status()? == "completed").then_some(()))?;
    until("an empty queue", PATIENCE, || (queued(&platform).ok()? == (0, 0)).then_some(()))?;
    runtime.block_on(heard(&platform, &psql))
}

async fn publish(
    platform: &TestPlatform,
    commands: std::ops::RangeInclusive<usize>,
) -> anyhow::Result<()> {
    let agent = relay(platform, Account::Agent).await?;
    let ttl = Duration::from_mins(5);
    let messages = commands.map(|id| Message { route: Route::Results, body: answer(id), ttl });
    for outcome in agent.publish(messages.collect()).await {
        outcome?;
    }
    agent.close().await;
    Ok(())
}

/// A worker hears of a result on `toworkers`, byte by byte as it came.
async fn heard(platform: &TestPlatform, psql: &Psql) -> anyhow::Result<()> {
    let worker = relay(platform, Account::Worker).await?;
    let key = "command.results".to_owned();
    let source = Source::Events { queue: "migevent.worker.results".to_owned(), key };
    let mut events = worker.consume(source, 10).await?;
    // One more command of an action that is not over.
    psql.ask(
        "update actions set status = 'inflight'; update commands set status = 'sent', \
         finish_seq = null where id = 7",
    )?;
    publish(platform, 7..=7).await?;
    let batch = events.next_batch(1, Duration::from_millis(1));
    let batch = tokio::time::timeout(PATIENCE, batch).await.context("no event")??;
    assert_eq!(batch[0].body, answer(7));
    // What is no result of any command is no event: the next one is.
    publish(platform, 9999..=9999).await?;
    publish(platform, 7..=7).await?;
    let batch = events.next_batch(1, Duration::from_millis(1));
    let batch = tokio::time::timeout(PATIENCE, batch).await.context("no second event")??;
    assert_eq!(batch[0].body, answer(7));
    worker.close().await;
    Ok(())
}

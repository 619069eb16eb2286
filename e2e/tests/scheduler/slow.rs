//! A target that asks for more than the database can give in time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mig_testkit::{AgentOptions, TestPlatform};
use mig_types::{Acl, AclEntry};

use super::{PATIENCE, database, variant};

/// A million elements, none of which a target may skip.
const LOAD: &str = "
    insert into actions (id, name, target, validfrom, expireafter, status, pgpsignatures)
    values (1, 'load', 'true', now(), now(), 'completed', '[]');
    insert into agents (id, name, queueloc, mode, version, pid, starttime, heartbeattime,
        refreshtime, status)
    select n, 'n', 'linux.n' || n, 'daemon', '1', n, now(), now(), now(), 'offline'
    from generate_series(1, 20000) n;
    insert into commands (id, actionid, agentid, status, results, starttime)
    select n, 1, n, 'success', (select json_agg(json_build_object('foundanything', e > 60))
        from generate_series(1, 50) e), now() from generate_series(1, 20000) n;";
const TARGET: &str = "status='online' and id NOT IN (select agentid from commands, \
    json_array_elements(commands.results) as r where actionid=1 and \
    r#>>'{foundanything}' = 'true')";

#[test]
fn a_target_that_takes_too_long_is_refused_and_the_investigator_told() -> anyhow::Result<()> {
    let mut platform = TestPlatform::servers()?;
    let mut scheduler = platform.servers.remove(0);
    ensure!(scheduler.terminate(PATIENCE)?.success(), "{}", scheduler.log());
    database(&platform)?.ask(LOAD)?;
    let hasty = "[postgres]\ntargettimeout = 150ms\n";
    variant(&platform, "hasty.cfg", ["[postgres]\n", hasty])?;
    platform.start_server("mig-scheduler", "hasty.cfg")?;
    platform.servers.rotate_right(1);
    let people = platform.investigators.iter().map(|person| person.weighing(1)).collect();
    let mut acl = Acl::default();
    acl.insert("default", AclEntry { minimumweight: 1, investigators: people });
    platform.start_agent(&AgentOptions { name: "one".into(), acl, ..AgentOptions::default() })?;
    platform.wait_agents(1)?;

    // The API has the usual 30 s for its preview, the scheduler does not.
    let question = ["file", "-t", TARGET, "-path", "/etc", "-name", "^passwd$"];
    let begun = Instant::now();
    let refused = platform.mig("alice", &question)?;
    let reason = "target cannot be evaluated: it takes the database longer than 150ms";
    ensure!(refused.code != Some(0) && refused.stderr.contains(reason), "{refused:#?}");
    ensure!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let log = platform.servers[0].log();
    ensure!(log.contains("is invalid: target cannot be evaluated"), "{log}");
    // The limit is the target's alone.
    let quick = platform.mig("alice", &["file", "-path", "/etc", "-name", "^passwd$"])?;
    ensure!(quick.stderr.contains("1 sent, 1 done, 1 succeeded"), "{quick:#?}");

    // The same with the API's own limit: the preview is refused already.
    let mut api = platform.servers.pop().context("no API")?;
    ensure!(api.terminate(PATIENCE)?.success(), "{}", api.log());
    let place = platform.directory().join("api.cfg");
    let config = std::fs::read_to_string(&place)?;
    std::fs::write(&place, config.replace("[postgres]\n", hasty))?;
    platform.start_server("mig-api", "api.cfg")?;
    platform.wait_api()?;
    let refused = platform.mig("alice", &question)?;
    let reason = "it takes the database longer than 150ms, which is the limit";
    ensure!(refused.code != Some(0) && refused.stderr.contains(reason), "{refused:#?}");
    Ok(())
}

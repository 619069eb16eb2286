//! Two agents on one endpoint: the scheduler's order ends the older one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mig_testkit::{AgentOptions, Managed, TestPlatform, binary, until};
use mig_types::{Acl, AclEntry, AclInvestigator};

use super::{PATIENCE, database, variant};

/// Either agent may take an order; one that gets its own end refuses, and the
/// order is given again after three heartbeats.
const ROUNDS: Duration = Duration::from_mins(3);

/// A copy of the program in an agent's directory, started there: the order
/// removes the file as well. It is the only program of its kind.
fn start_copy(name: &str, directory: &Path) -> anyhow::Result<(Managed, PathBuf)> {
    let program = directory.join(format!("mig-agent-{name}"));
    fs::copy(binary("mig-agent")?, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let config = directory.join("mig-agent.cfg").display().to_string();
    let arguments = ["-c", &config, "-d"];
    let agent = Managed::start(&format!("agent-{name}"), &program, &arguments, &[], directory)?;
    Ok((agent, program))
}

/// A second directory with the identity, the keys and the settings of the
/// first: a machine that was cloned.
fn clone(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to.join("run"))?;
    fs::create_dir_all(to.join("agentkeys"))?;
    for name in ["run/.migqueueloc", "run/.migagtid", "acl.cfg"] {
        fs::copy(from.join(name), to.join(name))?;
    }
    for key in fs::read_dir(from.join("agentkeys"))? {
        let key = key?;
        fs::copy(key.path(), to.join("agentkeys").join(key.file_name()))?;
    }
    let config = fs::read_to_string(from.join("mig-agent.cfg"))?;
    let place = |path: &Path| path.display().to_string();
    fs::write(to.join("mig-agent.cfg"), config.replace(&place(from), &place(to)))?;
    Ok(())
}

/// Agents obey the scheduler for this module, and alice for all others.
fn acl(platform: &TestPlatform) -> anyhow::Result<Acl> {
    let psql = database(platform)?;
    let scheduler = "select pgpfingerprint from investigators where name = 'migscheduler'";
    let fingerprint = until("the scheduler's identity", PATIENCE, || {
        psql.ask(scheduler).ok().filter(|text| !text.is_empty())
    })?;
    let mut acl = Acl::default();
    let scheduler = AclInvestigator { fingerprint: fingerprint.parse()?, weight: 1 };
    let investigators = [("migscheduler".to_owned(), scheduler)].into();
    acl.insert("agentdestroy", AclEntry { minimumweight: 1, investigators });
    let investigators = [platform.investigator("alice")?.weighing(1)].into();
    acl.insert("default", AclEntry { minimumweight: 1, investigators });
    Ok(acl)
}

#[test]
fn the_older_of_two_agents_on_an_endpoint_is_ended() -> anyhow::Result<()> {
    let mut platform = TestPlatform::servers()?;
    let psql = database(&platform)?;
    let acl = acl(&platform)?;
    let key = psql.ask(
        "select convert_from(publickey, 'UTF8') from investigators where name = 'migscheduler'",
    )?;
    let options = AgentOptions { name: "twin".to_owned(), acl, ..AgentOptions::default() };
    platform.start_agent(&options)?;
    let mut agent = platform.agents.pop().context("just started")?;
    let queueloc = agent.queueloc()?;
    // Keys are read at the start, so it starts again, as a copy; not before it
    // is up, or a process of its start may still hold its journal.
    platform.wait_agents(1)?;
    agent.process.kill9();
    let run = agent.run_directory();
    let place = run.parent().context("no directory")?;
    fs::write(place.join("agentkeys/migscheduler"), key)?;
    let (mut first, first_program) = start_copy("first", place)?;
    let online = |pid: u32| {
        let sql = format!(
            "select count(*) from agents where queueloc = '{queueloc}' and pid = {pid} \
             and status = 'online'"
        );
        psql.count(&sql).ok().filter(|count| *count == 1).map(drop)
    };
    until("the first agent online", PATIENCE, || online(first.pid()))
        .with_context(|| first.log())?;
    let cloned = platform.directory().join("agent-clone");
    clone(place, &cloned)?;
    let (mut second, second_program) = start_copy("second", &cloned)?;
    until("the second agent online", PATIENCE, || online(second.pid()))
        .with_context(|| second.log())?;

    let mut scheduler = platform.servers.remove(0);
    ensure!(scheduler.terminate(PATIENCE)?.success(), "{}", scheduler.log());
    let switch = "[agent]\ndetectmultiagents = on\nkilldupagents = on\n";
    variant(&platform, "killing.cfg", ["[agent]\n", switch])?;
    platform.start_server("mig-scheduler", "killing.cfg")?;
    // The API stays last.
    platform.servers.rotate_right(1);
    let ended = until("the end of the older agent", ROUNDS, || (!first.is_running()).then_some(()));
    ended.with_context(|| format!("{}\n{}", platform.servers[0].log(), second.log()))?;
    ensure!(second.is_running(), "the younger agent is gone as well: {}", second.log());
    ensure!(second_program.exists(), "the younger agent's program is gone");
    ensure!(!first_program.exists(), "the older agent's program is still there");

    let row = format!("select status from agents where pid = {}", first.pid());
    let statuses = psql.ask(&row)?;
    ensure!(statuses.lines().last() == Some("destroyed"), "{statuses}");
    let order = "select count(*) from actions a join commands c on c.actionid = a.id \
                 where a.name = 'Kill agent twin' and c.status = 'success' \
                 and c.results::text like '%has been killed%'";
    until("the order's result", PATIENCE, || (psql.count(order).ok()? == 1).then_some(()))?;
    let warned = platform.servers[0].log();
    ensure!(warned.contains("several agents run on") && warned.contains("is ordered to end"));

    // The endpoint is one again, and answers once.
    let answer = platform.mig("alice", &["file", "-path", "/etc", "-name", "^passwd$"])?;
    ensure!(answer.stderr.contains("1 sent, 1 done, 1 succeeded"), "{answer:#?}");
    Ok(())
}

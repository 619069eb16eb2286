//! A platform built with nothing but the operator's scripts: database, roles,
//! certificates, broker accounts, and the programs on top of them.

use std::fs;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mig_e2e::operator::{Database, Platform, program, succeed};
use mig_relay::Source;
use mig_testkit::{AgentOptions, TestAgent, TestInvestigator, until};
use mig_types::{Acl, AclEntry};

const PATIENCE: Duration = Duration::from_mins(2);

/// Every statement that must work and every one that must not; how many.
fn grants_are_exact(database: &Database) -> anyhow::Result<usize> {
    const ALLOWED: &[(&str, bool, &str)] = &[
        ("migscheduler", false, "select privatekey from investigators"),
        ("migscheduler", false, "update commands set status = status"),
        ("migscheduler", true, "select * from agents, commands, actions, signatures"),
        ("migapi", false, "select name, apikey from investigators"),
        ("migapi", false, "update agents set status = status"),
        ("migapi", false, "delete from manifestsig"),
        ("migapi", false, "select job, leased_until from mig_leases"),
        ("migapi", true, "select id, env, tags, expectenv, loadername, queueloc from loaders"),
        ("migapi", true, "select id, name, publickey from investigators"),
        ("migadmin", false, "create table t (i int); drop table t"),
    ];
    const REFUSED: &[(&str, bool, &str)] = &[
        ("migapi", false, "select privatekey from investigators"),
        ("migapi", false, "select * from investigators"),
        ("migapi", false, "update commands set status = 'success'"),
        ("migapi", false, "insert into commands select * from commands"),
        ("migapi", false, "delete from actions"),
        ("migapi", false, "update actions set target = 'true'"),
        ("migapi", false, "insert into investigators (name, privatekey) values ('x', '')"),
        ("migapi", false, "create table t (i int)"),
        ("migapi", false, "update mig_leases set leased_until = now()"),
        ("migapi", true, "select apikey from investigators"),
        ("migapi", true, "select privatekey from investigators"),
        ("migapi", true, "select loaderkey from loaders"),
        ("migapi", true, "update agents set status = 'online'"),
        ("migscheduler", true, "delete from agents"),
        ("migscheduler", true, "insert into agents_stats (timestamp) values (now())"),
        ("migscheduler", false, "delete from commands"),
        ("migscheduler", false, "update investigators set permissions = 524287"),
        ("migscheduler", false, "update manifests set status = 'active'"),
        ("migscheduler", false, "create role other"),
        ("migadmin", false, "create role other"),
    ];
    for (login, read_only, statement) in ALLOWED {
        let output = database.ask(login, *read_only, statement)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{login} {read_only} {statement}: {error}");
    }
    for (login, read_only, statement) in REFUSED {
        let output = database.ask(login, *read_only, statement)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success() && error.contains("permission denied"),
            "{login} {read_only} {statement}: {error}"
        );
    }
    Ok(ALLOWED.len() + REFUSED.len())
}

#[test]
fn the_scripts_make_a_platform_that_answers() -> anyhow::Result<()> {
    let platform = Platform::create()?;
    let statements = grants_are_exact(&platform.database)?;
    let scratch = platform.directory();
    fs::write(scratch.join("whitelist"), "linux.nobody.0\n")?;
    platform.write_scheduler("admin.cfg", 0)?;
    platform.write_scheduler("scheduler.cfg", 2)?;
    platform.write_api("api.cfg", "on")?;
    let migrated = program("mig-scheduler", scratch)?
        .args(["-migrate", "-c", "admin.cfg"])
        .output()
        .context("mig-scheduler -migrate")?;
    ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let scheduler = platform.start("scheduler", "mig-scheduler", "scheduler.cfg")?;
    scheduler.wait_log("created migscheduler identity with ID 1 and key ID ")?;
    let alice = TestInvestigator::create("alice", scratch)?;
    let key = alice.public_key_file();
    succeed(
        program("mig-api", scratch)?
            .args(["-c", "api.cfg", "--add-investigator", "alice"])
            .arg(&key),
    )?;
    let mut server = platform.start("api", "mig-api", "api.cfg")?;
    server.wait_listening(platform.api)?;
    let url = platform.api_url();
    alice.configure(&url)?;

    let mut acl = Acl::default();
    let entry = AclEntry { minimumweight: 1, investigators: [alice.weighing(1)].into() };
    acl.insert("default".to_owned(), entry);
    let options = AgentOptions { name: "first".to_owned(), acl, ..AgentOptions::default() };
    let access = platform.relay_access();
    let agent = TestAgent::start(&options, &[&alice], &access, &url, scratch)?;

    // Not on the list: refused, until the operator adds the line.
    let queueloc = agent.queueloc()?;
    scheduler.wait_log(&format!("getHeartbeats(): Agent '{queueloc}' is not authorized"))?;
    fs::write(scratch.join("whitelist"), format!("{queueloc}\n"))?;
    let mig = |args: &[&str]| -> anyhow::Result<Output> {
        let mut command = program("mig", scratch)?;
        command.args(args).env("HOME", alice.home()).env("MIG_YES", "1");
        command.env("MIG_SIGNING_KEY", alice.secret_key_file()).env_remove("MIG_CONFIG");
        Ok(command.output()?)
    };
    until("the agent online", PATIENCE, || {
        let seen = mig(&["file", "-t", "status='online'", "--dry-run", "-path", "/etc"]).ok()?;
        (String::from_utf8_lossy(&seen.stdout).lines().count() == 1).then_some(())
    })?;
    let answer = mig(&["file", "-path", "/etc", "-name", "^passwd$", "-content", "^root"])?;
    let said = String::from_utf8_lossy(&answer.stdout).into_owned()
        + &String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.success() && said.contains("/etc/passwd"), "{said}");

    // Nobody needed more than the scripts gave; agents may not read the rest.
    let log = platform.broker.log()?;
    ensure!(!log.contains("ACCESS_REFUSED") && !log.contains("refused"), "{log}");
    let runtime = tokio::runtime::Runtime::new()?;
    for source in [Source::Results, Source::Heartbeats] {
        let refused = runtime
            .block_on(platform.broker.refuses_agent(source.clone(), &platform.certificates))?;
        ensure!(refused, "the agents' account reads {source:?}");
    }
    for program in [&scheduler, &server] {
        let log = program.log();
        if log.contains("permission denied") {
            bail!("a role lacks a right: {log}");
        }
    }
    println!("operators: {statements} statements by role, each as granted; first answer given");
    Ok(())
}

//! The servers start, survive a crash, and leave nothing behind.

#![cfg(unix)]

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use mig_testservices::{
    Account, Permissions, Postgres, RabbitMq, postgres_bin, rabbitmq_bin, wait_until,
};
use rustix::process::{Pid, test_kill_process};

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_ok())
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Processes whose command line names `directory`.
fn processes_in(directory: &Path) -> Vec<String> {
    let name = directory.to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&name)).collect()
}

fn assert_nothing_left(directory: &Path) {
    let gone = || Ok(processes_in(directory).is_empty());
    if let Err(error) = wait_until("the end of all processes", Duration::from_secs(20), gone) {
        panic!("{error}: {:?}", processes_in(directory));
    }
}

#[test]
fn postgres_comes_back_after_a_crash_and_leaves_nothing() {
    if let Err(error) = postgres_bin() {
        println!("skipped: {error}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut server = Postgres::start(directory.path()).unwrap();
    let (url, port, pid) = (server.url(), server.port(), server.pid().unwrap());
    assert!(is_alive(pid) && is_open(port));
    assert_eq!(url, format!("postgres://postgres@127.0.0.1:{port}/postgres"));

    server.kill9().unwrap();
    assert!(server.pid().is_none() && !is_open(port));
    server.restart().unwrap();
    assert!(server.url() == url && is_open(port) && server.pid() != Some(pid));

    drop(server);
    assert!(!is_open(port));
    assert_nothing_left(directory.path());
}

#[test]
fn postgres_says_why_it_cannot_start() {
    if let Err(error) = postgres_bin() {
        println!("skipped: {error}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut server = Postgres::start(directory.path()).unwrap();
    server.stop().unwrap();
    let settings = directory.path().join("postgres/data/postgresql.conf");
    std::fs::write(settings, "nonsense = on\n").unwrap();
    let error = format!("{:#}", server.restart().unwrap_err());
    assert!(error.contains("nonsense"), "{error}");
    assert_nothing_left(directory.path());
}

#[test]
fn rabbitmq_has_the_guides_users_and_survives_a_crash() {
    if let Err(error) = rabbitmq_bin() {
        println!("skipped: {error}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut node = RabbitMq::start_with(directory.path(), Permissions::Guide).unwrap();
    let pid = node.pid().unwrap();
    assert!(is_alive(pid) && is_open(node.tls_port()) && is_open(node.plain_port()));
    assert!(node.amqps_url(Account::Agent).starts_with("amqps://agent:"));

    let users = node.ctl(&["-q", "list_users", "--no-table-headers"]).unwrap();
    let mut names: Vec<_> = users.lines().filter_map(|line| line.split('\t').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["admin", "agent", "scheduler", "worker"]);
    let granted = node.ctl(&["-q", "list_permissions", "-p", "mig", "--no-table-headers"]).unwrap();
    assert!(
        granted.contains(
            "agent\t^mig\\.agt\\..*$\t^(toschedulers|mig\\.agt\\..*)$\t^(toagents|mig\\.agt\\..*)$"
        ),
        "{granted}"
    );
    let password = node.password(Account::Worker).to_owned();
    node.ctl(&["authenticate_user", "worker", &password]).unwrap();
    assert!(node.ctl(&["authenticate_user", "worker", "wrong"]).is_err());

    node.kill9().unwrap();
    assert!(!is_alive(pid) && !is_open(node.plain_port()) && node.pid().is_none());
    node.restart().unwrap();
    assert!(is_open(node.tls_port()));

    let (plain, tls) = (node.plain_port(), node.tls_port());
    drop(node);
    assert!(!is_open(plain) && !is_open(tls));
    assert_nothing_left(directory.path());
}

//! Answers on the screen as soon as they are stored, and thousands of them in
//! little memory: on PostgreSQL and RabbitMQ.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mig_e2e::sql::Psql;
use mig_e2e::terminal::Terminal;
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_testkit::{Backends, TestPlatform, until};
use mig_types::{Timestamp, wire};

use crate::signals::freeze;
use crate::surroundings::into_head;
use crate::{Lab, followed};

/// From the first answer's being stored to its line on the terminal.
const GOAL: Duration = Duration::from_millis(300);
const QUESTIONS: usize = 7;

const COMMANDS: usize = 10_000;
/// Each has one command of the action.
const AGENTS: usize = COMMANDS;
/// Resident memory of `mig` while it prints them.
const MOST_MEMORY: u64 = 64 << 20;

/// What the rows belong to.
const ACTION: &str = "3000001";

/// A finished action with that many commands, all begun in the same moment.
const ROWS: &str = r#"
insert into agents (id, name, queueloc, mode, version, pid, starttime, destructiontime,
    heartbeattime, refreshtime, status, environment, tags)
select 1000000 + n, 'web' || n || '.example.net', 'linux.web' || n, 'daemon', '1', n,
    now() - interval '1 day', '9998-01-11 11:11:11+00', now() - interval '1 day',
    now() - interval '1 day', 'offline', '{"os":"linux","arch":"amd64"}', '{"operator":"it"}'
from generate_series(1, {agents}) as n;
insert into actions (id, name, target, description, threat, operations, validfrom, expireafter,
    starttime, finishtime, lastupdatetime, status, syntaxversion, pgpsignatures)
values ({action}, 'file -path /etc -name ^passwd$ ', 'status=''online''', '{}', '{}',
    '[{"module":"file","parameters":{"searches":{"s1":{"paths":["/etc"],"names":["^passwd$"],"options":{"matchall":true,"maxdepth":1000,"macroal":false,"mismatch":null,"matchlimit":1000}}}}}]',
    now() - interval '1 hour', now() + interval '1 hour', now() - interval '1 hour',
    now() - interval '1 minute', now() - interval '1 minute', 'completed', 2, '["none"]');
insert into commands (id, actionid, agentid, status, results, starttime, finishtime, queueloc,
    finish_seq)
select 2000000 + n, {action}, 1000001 + n % {agents}, 'success',
    format('[{"foundanything":true,"success":true,"elements":{"s1":[{"file":"/etc/passwd-%s","search":{"paths":["/etc"],"names":["^passwd$"],"options":{"matchall":true,"maxdepth":1000,"macroal":false,"mismatch":null,"matchlimit":1000}},"fileinfo":{"lastmodified":"2026-01-02 03:04:05 +0000 UTC","mode":"-rw-r--r--","size":%s}}]},"statistics":{"exectime":"1.2ms","filescount":1200,"openfailed":0,"totalhits":1},"errors":null}]', n, n)::json,
    '2026-01-02 03:04:05+00', now(), 'linux.web' || (1 + n % {agents}), n
from generate_series(1, {commands}) as n;
analyze;
"#;

fn seed(platform: &TestPlatform) -> anyhow::Result<()> {
    let Backends::Servers(servers) = &platform.backends else { anyhow::bail!("no database") };
    let sql = ROWS
        .replace("{agents}", &AGENTS.to_string())
        .replace("{action}", ACTION)
        .replace("{commands}", &COMMANDS.to_string());
    let done = Psql::superuser(&servers.postgres).run(&[&sql])?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

#[test]
fn answers_stream_in_time_and_in_little_memory() -> anyhow::Result<()> {
    let mut lab = Lab { platform: TestPlatform::servers()? };
    lab.join(&["web1", "web2"])?;
    first_lines(&lab)?;
    seed(&lab.platform)?;
    ten_thousand(&lab)?;
    readers_that_leave(&lab)
}

/// One agent answers and the other does not: the line is there all the same.
fn first_lines(lab: &Lab) -> anyhow::Result<()> {
    let at = lab.evidence(&["passwd"])?;
    freeze(&lab.platform, "web2")?;
    let mut delays = Vec::new();
    for _ in 0..QUESTIONS {
        let question = ["file", "-y", "-path", &at, "-name", "^passwd$"];
        let mut terminal = lab.terminal("mig", &question, 160)?;
        let line = format!("web1 {at}/passwd [");
        let seen = until("the first line", Duration::from_mins(1), || {
            terminal.raw().contains(&line).then(|| SystemClock.now())
        })?;
        let id = followed(&terminal.raw())?;
        terminal.keys("\u{3}")?;
        ensure!(terminal.end()?.success(), "{}", terminal.raw());
        let stored = stored(lab, &id)?;
        // Clocks of one machine; a look at the terminal is taken every 20 ms.
        delays.push(if seen > stored { seen.since(stored) } else { Duration::ZERO });
    }
    delays.sort_unstable();
    println!("first line after the first answer was stored: {delays:?}");
    let median = delays.get(QUESTIONS / 2).context("no figures")?;
    ensure!(*median <= GOAL, "median {median:?}, goal {GOAL:?}");
    Ok(())
}

/// When the only answer to an action was stored.
fn stored(lab: &Lab, id: &str) -> anyhow::Result<Timestamp> {
    let conditions = format!("actionid={id} status=success");
    let lines = lab.mig(&["command", "list", &conditions, "--ndjson"])?;
    let commands: Vec<mig_types::Command> = lines
        .stdout
        .lines()
        .map(|line| wire::from_slice(line.as_bytes()))
        .collect::<Result<_, _>>()?;
    ensure!(commands.len() == 1, "{lines:#?}");
    Ok(commands.first().context("no command")?.finishtime)
}

/// Standard output, and the most memory the program had while it wrote.
fn watched(mut command: Command, errors: &std::path::Path) -> anyhow::Result<(String, u64)> {
    command.stdout(Stdio::piped()).stderr(File::create(errors)?);
    let mut child = command.spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut stdout = child.stdout.take().context("no output")?;
    let (mut text, mut most, mut piece) = (Vec::new(), 0, [0; 16_384]);
    while let count @ 1.. = stdout.read(&mut piece)? {
        text.extend_from_slice(piece.get(..count).unwrap_or_default());
        most = most.max(high_water(&std::fs::read_to_string(&status).unwrap_or_default()));
    }
    let ended = child.wait()?;
    let said = std::fs::read_to_string(errors)?;
    ensure!(ended.success(), "{command:?} ended with {ended}: {said}");
    ensure!(most > 0, "no figures of {command:?}");
    Ok((String::from_utf8(text)?, most))
}

/// `VmHWM` of `/proc/<pid>/status`, bytes.
fn high_water(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

fn ten_thousand(lab: &Lab) -> anyhow::Result<()> {
    let errors = lab.platform.directory().join("errors");
    let mut figures = Vec::new();
    let mut print = |args: &[&str]| -> anyhow::Result<String> {
        let (text, most) = watched(lab.program("mig", args)?, &errors)?;
        figures.push(format!("mig {}: {} MiB", args.join(" "), most >> 20));
        ensure!(most < MOST_MEMORY, "{figures:?}");
        Ok(text)
    };
    for args in [&["results", ACTION][..], &["follow", ACTION]] {
        let text = print(args)?;
        // Each once and none missing: every line names another file.
        let files: BTreeSet<&str> =
            text.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!((text.lines().count(), files.len()), (COMMANDS, COMMANDS), "{args:?}");
        let agents: BTreeSet<&str> =
            text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(agents.len(), AGENTS);
        let said = std::fs::read_to_string(&errors)?;
        ensure!(said.contains("10000 agents have found results"), "{said}");
    }
    for word in ["results", "follow"] {
        let lines = print(&[word, ACTION, "--ndjson"])?;
        let mut ids = BTreeSet::new();
        let (results, summary) = lines.trim_end().rsplit_once('\n').context("no lines")?;
        for line in results.lines() {
            let result: serde_json::Value = serde_json::from_str(line)?;
            ids.insert(result["command"].as_u64().context("no command")?);
        }
        assert_eq!((results.lines().count(), ids.len()), (COMMANDS, COMMANDS));
        let summary: serde_json::Value = serde_json::from_str(summary)?;
        assert_eq!((&summary["found"], &summary["results"]), (&COMMANDS.into(), &COMMANDS.into()));
    }
    let rows = print(&["results", ACTION, "--csv"])?;
    assert_eq!(rows.lines().count(), COMMANDS + 1);

    let orders = lab.platform.directory().join("orders");
    std::fs::write(&orders, format!("action {ACTION}\nresults found\nlist\n"))?;
    let mut console = lab.program("mig-console", &["-q"])?;
    console.stdin(File::open(&orders)?);
    let (text, most) = watched(console, &errors)?;
    figures.push(format!("mig-console, results and list: {} MiB", most >> 20));
    assert_eq!(text.matches(" in search 's1'\n").count(), COMMANDS);
    ensure!(text.contains("10000 agents have returned\n"), "the list is not whole");
    println!("{COMMANDS} results of {AGENTS} agents: {figures:#?}");
    ensure!(most < MOST_MEMORY, "{figures:?}");
    Ok(())
}

fn readers_that_leave(lab: &Lab) -> anyhow::Result<()> {
    for args in [&["results", ACTION][..], &["results", ACTION, "--ndjson"], &["follow", ACTION]] {
        let outcome = into_head(lab, "mig", args, "")?;
        ensure!(outcome.stdout.ends_with("\ncodes 0 0\n"), "{args:?}: {outcome:#?}");
        assert_eq!(outcome.stdout.lines().count(), 2, "{args:?}");
        // What is said before the first line is no complaint.
        let is_quiet = outcome.stderr.lines().all(|line| line.starts_with("Following action ID"));
        ensure!(is_quiet, "{args:?}: {outcome:#?}");
    }
    // Ctrl-C while they are printed: they stop, and the code says so.
    let mut terminal: Terminal = lab.terminal("mig", &["results", ACTION], 160)?;
    terminal.wait(" in search 's1'")?;
    terminal.keys("\u{3}")?;
    let status = terminal.end()?;
    ensure!(status.code() == Some(130), "{status}");
    let shown = terminal.raw().matches(" in search 's1'").count();
    ensure!(shown < COMMANDS, "{shown} of {COMMANDS}");
    Ok(())
}

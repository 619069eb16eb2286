//! The guide's first investigation, with the programs people run: on the
//! embedded pair, and on PostgreSQL with RabbitMQ over TLS.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mig_testkit::{
    AgentOptions, Backends, Outcome, Servers, TestInvestigator, TestPlatform, until,
};
use mig_types::{Acl, AclEntry};

fn entry(people: &[TestInvestigator], minimumweight: i64) -> AclEntry {
    AclEntry {
        minimumweight,
        investigators: people.iter().map(|person| person.weighing(1)).collect(),
    }
}

/// Starts three agents; `netstat` takes two investigators on each.
fn agents(platform: &mut TestPlatform) -> anyhow::Result<()> {
    let mut acl = Acl::default();
    acl.insert("default", entry(&platform.investigators, 1));
    acl.insert("netstat", entry(&platform.investigators, 2));
    for (name, operator) in [("web1", "it"), ("db1", "it"), ("lab1", "lab")] {
        platform.start_agent(&AgentOptions {
            name: name.to_owned(),
            tags: vec![("operator".to_owned(), operator.to_owned())],
            acl: acl.clone(),
            settings: Vec::new(),
            ..AgentOptions::default()
        })?;
    }
    platform.wait_agents(3)
}

/// Files to find, away from what other programs change.
fn evidence(directory: &Path) -> anyhow::Result<String> {
    let etc = directory.join("evidence");
    std::fs::create_dir_all(&etc)?;
    std::fs::write(etc.join("passwd"), "root:x:0:0:root:/root:/bin/bash\nbob:x:1:1::/:/bin/sh\n")?;
    std::fs::write(etc.join("passwd-"), "root:x:0:0:root:/root:/bin/bash\n")?;
    std::fs::write(etc.join("group"), "root:x:0:\n")?;
    Ok(etc.display().to_string())
}

fn lines(outcome: &Outcome) -> Vec<&str> {
    let mut lines: Vec<&str> = outcome.stdout.lines().collect();
    lines.sort_unstable();
    lines
}

/// Everything an investigator does on the first day; returns the findings of
/// the first question without what differs between two runs.
fn first_day(platform: &mut TestPlatform) -> anyhow::Result<Vec<String>> {
    agents(platform)?;
    let etc = evidence(platform.directory())?;
    let question = ["file", "-path", &etc, "-name", "^passwd$", "-content", "^root"];

    let mut typed = platform.mig_command("alice", &question)?;
    let found: Outcome = typed.env_remove("MIG_YES").output()?.into();
    assert_eq!(found.code, Some(0), "{found:#?}");
    assert_eq!(lines(&found).len(), 3, "{found:#?}");
    for (line, agent) in lines(&found).iter().zip(["db1", "lab1", "web1"]) {
        assert!(line.starts_with(&format!("{agent} {etc}/passwd [lastmodified:")), "{line}");
        assert!(line.ends_with(", size:53] in search 's1'"), "{line}");
        assert!(line.contains("+0000 UTC, mode:-rw-r--r--"), "{line}");
    }
    for text in [
        "[notice] no target specified, defaulting to all online agents",
        "3 agents will be targeted. ctrl+c to cancel. launching in",
        "Following action ID ",
        "100.0% done in ",
        "3 sent, 3 done, 3 succeeded",
        "3 agents have found results",
    ] {
        assert!(found.stderr.contains(text), "no {text:?} in {}", found.stderr);
    }

    let nothing =
        platform.mig("alice", &["file", "--fail-on", "none", "-path", &etc, "-name", "^nope$"])?;
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(7), ""), "{nothing:#?}");

    two_investigators(platform)?;
    targets(platform, &etc)?;
    mistakes(platform)?;
    json(platform, &etc)?;
    let api = platform.servers.last().map(mig_testkit::Managed::log).unwrap_or_default();
    let line = "POST HTTP/1.1 /api/v1/action/create/ resp_code=202 resp_size=";
    let accesses = api.lines().filter(|entry| entry.contains(line));
    for entry in accesses.clone() {
        assert!(entry.contains("[info] src=127.0.0.1 category=investigator auth=["), "{entry}");
        assert!(entry.contains(" user-agent=MIG Client cmd-"), "{entry}");
    }
    assert!(accesses.count() > 5, "the access log shows each launch");
    Ok(lines(&found).into_iter().map(|line| line.replace(&etc, "/etc")).collect())
}

/// Rules with an include, through the executable beside the agent's own; an agent
/// without it says what is missing.
fn rules(platform: &mut TestPlatform) -> anyhow::Result<()> {
    let etc = evidence(platform.directory())?;
    // Named before agents are asked for it.
    mig_testkit::binary("mig-yara").context(
        "run: cargo build --package mig-yara --features engine (make test does it by itself)",
    )?;
    let folder = platform.directory().join("rules");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(
        folder.join("helper.yar"),
        "private rule helper { strings: $a = \"root:x:\" condition: $a at 0 }",
    )?;
    let main = folder.join("main.yar");
    std::fs::write(
        &main,
        "include \"helper.yar\"\nrule accounts { condition: helper and filesize > 20 }\n\
         rule shell { strings: $a = /\\/bin\\/(ba)?sh\\n/ condition: #a > 1 or ($a and helper) }\n",
    )?;
    let rules = main.display().to_string();
    let files = format!("-path '{etc}' -name .");
    let args = ["yara", "--strict", "-t", "name='web1'", "-rules", &rules, "-files", &files];
    let found = platform.mig("alice", &args)?;
    assert_eq!(found.code, Some(0), "{found:#?}");
    assert_eq!(
        lines(&found),
        [
            format!("web1 {etc}/passwd [accounts,shell]"),
            format!("web1 {etc}/passwd- [accounts,shell]")
        ],
        "{found:#?}"
    );
    assert!(found.stderr.contains("1 sent, 1 done, 1 succeeded"), "{found:#?}");

    std::fs::write(&main, "rule a {\n condition: b }\n")?;
    let args = ["yara", "-show", "all", "-t", "name='web1'", "-rules", &rules, "-files", &files];
    let wrong = platform.mig("alice", &args)?;
    let said = wrong.stdout.clone() + &wrong.stderr;
    assert!(
        said.contains("cannot compile rules: line 2, column 13: unknown identifier"),
        "{wrong:#?}"
    );

    // Nothing beside this agent, and nothing where it is told to look.
    let mut acl = Acl::default();
    acl.insert("default", entry(&platform.investigators, 1));
    platform.start_agent(&AgentOptions {
        name: "bare1".to_owned(),
        acl,
        settings: vec![format!("moduledir = \"{}\"", folder.display())],
        ..AgentOptions::default()
    })?;
    platform.wait_agents(4)?;
    let args = ["yara", "--strict", "-t", "name='bare1'", "-rules", &rules, "-files", &files];
    let missing = platform.mig("alice", &args)?;
    assert_eq!(missing.code, Some(6), "{missing:#?}");
    let said = missing.stdout.clone() + &missing.stderr;
    assert!(said.contains("module yara is unavailable: mig-yara is not installed"), "{missing:#?}");
    Ok(())
}

fn two_investigators(platform: &TestPlatform) -> anyhow::Result<()> {
    let ports = ["netstat", "--strict", "-e", "10m", "-lp", "65535"];
    let alone = platform.mig("alice", &ports)?;
    assert_eq!(alone.code, Some(6), "{alone:#?}");
    assert!(alone.stderr.contains("netstat needs weight 2"), "the reason is shown: {alone:#?}");
    assert!(alone.stderr.contains("3 failed"), "{alone:#?}");

    let signed = platform.mig("alice", &["netstat", "-s", "-e", "10m", "-lp", "65535"])?;
    assert_eq!(signed.code, Some(0), "{signed:#?}");
    let file = platform.directory().join("signed.json");
    std::fs::write(&file, &signed.stdout)?;
    let path = file.display().to_string();
    let both = platform.mig("bob", &["-i", &path, "--strict"])?;
    assert_eq!(both.code, Some(0), "{both:#?}");
    assert!(both.stderr.contains("3 sent, 3 done, 3 succeeded"), "{both:#?}");

    // The same person twice is still one.
    let twice = platform.mig("alice", &["-i", &path, "--strict"])?;
    assert_ne!(twice.code, Some(0), "{twice:#?}");
    Ok(())
}

fn targets(platform: &TestPlatform, etc: &str) -> anyhow::Result<()> {
    for (target, names) in [
        ("tags->>'operator'='lab'", &["lab1"][..]),
        ("tags->>'operator'='it' and name like 'web%'", &["web1"]),
        ("name ilike 'DB1' or name='lab1'", &["db1", "lab1"]),
        ("environment->>'os'='linux' and status='online'", &["db1", "lab1", "web1"]),
        ("allonline", &["db1", "lab1", "web1"]),
    ] {
        let outcome = platform
            .mig("alice", &["file", "--strict", "-t", target, "-path", etc, "-name", "^group$"])?;
        assert_eq!(outcome.code, Some(0), "{target}: {outcome:#?}");
        let found: Vec<&str> =
            lines(&outcome).iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(found, names, "{target}");
    }
    let nobody = platform.mig("alice", &["file", "-t", "name='nobody'", "-path", etc])?;
    assert_eq!(nobody.code, Some(5), "{nobody:#?}");
    assert!(nobody.stderr.contains("no agent matches"), "{nobody:#?}");
    let wrong = platform.mig("alice", &["file", "-t", "nam='x'", "-path", etc])?;
    assert_ne!(wrong.code, Some(0));
    assert!(wrong.stderr.contains("column"), "the position is shown: {wrong:#?}");
    Ok(())
}

fn mistakes(platform: &TestPlatform) -> anyhow::Result<()> {
    for (args, code) in [
        (&["fille", "-path", "/etc"][..], 1),
        (&["file", "-path", "/etc", "stray", "-name", "x"], 2),
        (&["file", "-path", "/etc", "-content", "("], 1),
        (&["file", "-show", "some", "-path", "/etc"], 2),
    ] {
        let outcome = platform.mig("alice", args)?;
        assert!(matches!(outcome.code, Some(1 | 2)), "{args:?} wants {code}: {outcome:#?}");
        assert!(outcome.stderr.starts_with("error: "), "{outcome:#?}");
        assert!(outcome.stdout.is_empty(), "{outcome:#?}");
    }
    Ok(())
}

fn json(platform: &TestPlatform, etc: &str) -> anyhow::Result<()> {
    let outcome = platform.mig("bob", &["file", "--json", "-path", etc, "-name", "^group$"])?;
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout)?;
    let summary = &document["summary"];
    assert_eq!((&summary["counters"]["success"], &summary["found"]), (&3.into(), &3.into()));
    assert_eq!(summary["complete"], true);
    assert_eq!(document["results"].as_array().map(Vec::len), Some(3));
    Ok(())
}

/// Findings without times, which differ from run to run.
fn comparable(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .map(|line| {
            let (head, tail) = line.split_once("[lastmodified:").unwrap_or((line, ""));
            format!("{head}{}", tail.split_once(", ").map_or("", |(_, rest)| rest))
        })
        .collect()
}

/// Waits until the doctor ends with that code and line: servers need a moment
/// to notice.
fn doctor_says(platform: &TestPlatform, code: i32, line: &str) -> anyhow::Result<()> {
    let mut last = None;
    let said = until(line, Duration::from_mins(1), || {
        let outcome = platform.mig("alice", &["doctor"]).ok()?;
        let found = outcome.code == Some(code) && outcome.stdout.contains(line);
        last = Some(outcome);
        found.then_some(())
    });
    said.with_context(|| format!("{last:#?}"))
}

/// Broker, scheduler, database: each is taken away, named, and given back.
fn what_is_away_is_named(platform: &mut TestPlatform) -> anyhow::Result<()> {
    let well = "everything is in place";
    let database = "BROKEN  database: the API says: database is not reachable";
    doctor_says(platform, 0, well)?;
    backends(platform)?.rabbitmq.stop()?;
    doctor_says(platform, 4, "BROKEN  broker: the scheduler does not reach the relay")?;
    backends(platform)?.rabbitmq.restart()?;
    doctor_says(platform, 0, well)?;
    backends(platform)?.postgres.stop()?;
    doctor_says(platform, 4, database)?;
    backends(platform)?.postgres.restart()?;
    doctor_says(platform, 0, well)?;
    platform.stop_server("mig-scheduler")?;
    doctor_says(platform, 4, "BROKEN  broker: no scheduler works")
}

fn backends(platform: &mut TestPlatform) -> anyhow::Result<&mut Servers> {
    match &mut platform.backends {
        Backends::Servers(servers) => Ok(servers),
        Backends::Embedded => bail!("no servers"),
    }
}

#[test]
fn both_pairs_of_backends_give_the_same_answers() {
    let mut embedded = TestPlatform::embedded().unwrap();
    let first = first_day(&mut embedded).unwrap();
    rules(&mut embedded).unwrap();
    drop(embedded);
    let mut servers = TestPlatform::servers().unwrap();
    doctor_says(&servers, 5, "BROKEN  agents: no agent has ever been heard of").unwrap();
    let second = first_day(&mut servers).unwrap();
    what_is_away_is_named(&mut servers).unwrap();
    assert_eq!(comparable(&first), comparable(&second));
}

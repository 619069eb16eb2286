//! Every format of every word that prints data.

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use mig_e2e::operator::tool;
use mig_e2e::terminal::Terminal;
use mig_terminal::text::width;
use mig_testkit::Outcome;
use serde_json::Value;

use super::{ALICE, Lab, SEARCH};

const FORMATS: [&str; 6] = ["text", "table", "json", "ndjson", "csv", "name"];

/// Words that print data, and a text that stands in all they print but names.
type Words = Vec<(Vec<String>, &'static str)>;

fn line(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn every_word_prints_what_it_has_in_every_format() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    let evidence = lab.platform.directory().join("evidence");
    fs::create_dir_all(&evidence)?;
    for name in ["=1+1", "say \"x\", y"] {
        fs::write(evidence.join(name), "x")?;
    }
    let at = evidence.display().to_string();
    let question = ["file", "-path", &at, "-name", ".", "--no-follow"];
    let id = lab.expect(0, ALICE, &question, &[])?.stdout.trim().to_owned();
    let followed = lab.expect(0, ALICE, &["follow", &id, "-o", "csv"], &[])?;
    ensure!(records(&followed.stdout)?.len() == 3, "{followed:#?}");
    answers(&lab, &id, &at)?;
    let words = words(&lab, &id)?;
    for (words, text) in &words {
        formats(&lab, words, text)?;
    }
    rows(&lab, &id)?;
    environment(&lab, &id)?;
    silence(&lab, &at)?;
    searched(&lab)?;
    narrow(&lab, &words)?;
    away(&lab)
}

fn words(lab: &Lab, id: &str) -> anyhow::Result<Words> {
    let agent = lab.expect(0, ALICE, &["agents", "-o", "csv", "--columns", "id"], &[])?;
    let agent = agent.stdout.lines().nth(1).context("no agent")?.to_owned();
    let conditions = format!("actionid={id}");
    let command = lab.expect(0, ALICE, &["command", "list", &conditions, "-o", "name"], &[])?;
    let command = command.stdout.trim().to_owned();
    lab.expect(0, ALICE, &["loader", "create", "-name", "web1.example.net"], &[])?;
    let loader = lab.expect(0, ALICE, &["loader", "list", "-o", "name"], &[])?.stdout;
    let file = lab.platform.directory().join("mig-agent");
    fs::write(&file, "an agent")?;
    let archive = lab.file("content.tar.gz");
    let packed = tool("tar")
        .args(["-czf", &archive, "-C"])
        .arg(lab.platform.directory())
        .arg("mig-agent")
        .status()?;
    ensure!(packed.success());
    let create = ["manifest", "create", "-name", "linux-1", "-target", "env#>>'{os}'='linux'"];
    let create = [&create[..], &["-content", &archive]].concat();
    let manifest = lab.expect(0, ALICE, &create, &[])?.stdout;
    Ok([
        (line(&["agents"]), "web1"),
        (line(&["agents", "-t", "allonline"]), "web1"),
        (line(&["agent", "list", "name=web*"]), "web1"),
        (line(&["agent", "show", &agent]), "web1"),
        (line(&["agent", "actions", &agent]), "file -path"),
        (line(&["actions"]), "file -path"),
        (line(&["action", "list"]), "file -path"),
        (line(&["action", "show", id]), "file -path"),
        (line(&["action", id]), "file -path"),
        (line(&["command", "list", &conditions]), "file -path"),
        (line(&["command", "show", &command]), "=1+1"),
        (line(&["results", id]), "=1+1"),
        (line(&["action", "results", id]), "=1+1"),
        (line(&["follow", id]), "=1+1"),
        (line(&["search", "agent", "name=web1"]), "web1"),
        (line(&["search", "command", &conditions]), "file -path"),
        (line(&["search", "investigator", "name=alice"]), "alice"),
        (line(&["investigator", "list"]), "alice"),
        (line(&["loader", "list"]), "web1.example.net"),
        (line(&["loader", "show", loader.trim()]), "web1.example.net"),
        (line(&["manifest", "list"]), "linux-1"),
        (line(&["manifest", "show", manifest.trim()]), "linux-1"),
        (line(&["manifest", "loaders", manifest.trim()]), ""),
        (line(&["target", "check", "allonline"]), "linux"),
        (line(&["doctor"]), "agents"),
        (line(&["status"]), ""),
        (line(&["search", "agent", "name=nobody"]), ""),
    ]
    .into())
}

/// The cells of records of RFC 4180.
fn records(text: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let mut all = Vec::new();
    for line in text.lines() {
        let (mut cells, mut quoted) = (vec![String::new()], false);
        let mut letters = line.chars().peekable();
        while let Some(c) = letters.next() {
            let cell = cells.last_mut().context("no cell")?;
            match c {
                '"' if quoted && letters.peek() == Some(&'"') => cell.extend(letters.next()),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                c => cell.push(c),
            }
        }
        ensure!(!quoted, "an open quote: {line}");
        all.push(cells);
    }
    Ok(all)
}

/// What a word prints is of that format, with the option on either side.
fn formats(lab: &Lab, words: &[String], text: &str) -> anyhow::Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for format in FORMATS {
        let before = [&["-o", format][..], &words[..]].concat();
        if words == ["status"] && format == "name" {
            lab.expect(2, ALICE, &before, &["printed as text, table, json, ndjson or csv"])?;
            continue;
        }
        for args in [before, [&words[..], &["--output", format]].concat()] {
            let outcome = lab.expect(0, ALICE, &args, &[])?;
            is_of(format, &outcome).with_context(|| format!("{args:?}: {outcome:#?}"))?;
            ensure!(format == "name" || outcome.stdout.contains(text), "{args:?}: {outcome:#?}");
        }
    }
    for (flag, format) in [("--json", "json"), ("--ndjson", "ndjson"), ("--csv", "csv")] {
        let outcome = lab.expect(0, ALICE, &[&words[..], &[flag]].concat(), &[])?;
        is_of(format, &outcome).with_context(|| format!("{words:?} {flag}: {outcome:#?}"))?;
    }
    let both = [&words[..], &["--json", "-o", "csv"]].concat();
    lab.expect(2, ALICE, &both, &["disagree"])?;
    Ok(())
}

fn is_of(format: &str, outcome: &Outcome) -> anyhow::Result<()> {
    let text = &outcome.stdout;
    match format {
        "json" => {
            serde_json::from_str::<Value>(text)?;
            ensure!(text.lines().count() == 1, "more than one line");
        }
        "ndjson" => {
            for line in text.lines() {
                ensure!(serde_json::from_str::<Value>(line)?.is_object(), "{line}");
            }
        }
        "csv" => {
            let records = records(text)?;
            let heading = records.first().context("no heading")?;
            ensure!(heading.iter().all(|name| !name.is_empty() && *name == name.to_lowercase()));
            ensure!(records.iter().all(|cells| cells.len() == heading.len()), "ragged rows");
        }
        "table" => {
            let heading = text.lines().next().context("no heading")?;
            ensure!(heading == heading.to_uppercase(), "{heading}");
        }
        "name" => {
            for line in text.lines() {
                ensure!(!line.is_empty() && !line.contains([' ', '\t']), "{line}");
            }
        }
        _ => {}
    }
    Ok(())
}

/// Columns, their order, and the heading.
fn rows(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let said = |args: &[&str]| anyhow::Ok(lab.expect(0, ALICE, args, &[])?.stdout);
    assert_eq!(said(&["agents", "-o", "csv", "--columns", "os,name"])?, "os,name\nlinux,web1\n");
    assert_eq!(said(&["agents", "--columns", "name,os"])?, "NAME  OS\nweb1  linux\n");
    assert_eq!(said(&["-o", "name", "agents"])?, "web1\n");
    assert_eq!(said(&["results", id, "-o", "name"])?, "web1\n");
    let bare = ["agents", "--columns", "name,os", "--no-header"];
    assert_eq!(said(&bare)?, "web1  linux\n");
    let text = said(&["agents", "--no-header"])?;
    ensure!(!text.contains("Name") && text.contains("   web1 "), "{text}");
    let lines = ["results", id, "-o", "csv", "--columns", "line", "--no-header"];
    let up = records(&said(&[&lines[..], &["--sort", "line"]].concat())?)?;
    let mut down = records(&said(&[&lines[..], &["--sort", "-line"]].concat())?)?;
    down.reverse();
    ensure!(up.len() == 2 && up == down, "{up:?} {down:?}");
    let found = up.iter().flatten().any(|cell| cell.contains("/say \"x\", y ["));
    ensure!(found, "{up:?}");
    let table = said(&["results", id, "-o", "table", "--sort", "line"])?;
    ensure!(
        table.starts_with("AGENT  STATUS   MODULE  FOUND  LINE\nweb1   success  file    true   /")
    );
    for args in [
        &["agents", "--columns", "colour"][..],
        &["agents", "--sort", "colour"],
        &["results", id, "--columns", "colour"],
        &["file", "--columns", "colour", "-path", "/etc", "-name", "x"],
        &["file", "--dry-run", "--sort", "line", "-path", "/etc", "-name", "x"],
    ] {
        lab.expect(2, ALICE, args, &["there is no column", ", only "])?;
    }
    lab.expect(2, ALICE, &["agents", "-o", "json", "--columns", "name"], &["table and csv"])?;
    lab.expect(2, ALICE, &["agents", "-o", "yaml"], &["text, table, json, ndjson, csv or name"])?;
    lab.expect(2, ALICE, &["action", "export", id, "-o", "csv"], &["printed as text or json"])?;
    lab.expect(2, ALICE, &["config", "macros", "--json"], &["printed as text"])?;
    Ok(())
}

/// What programs are told of results: a line for each answer, and one for all.
fn answers(lab: &Lab, id: &str, at: &str) -> anyhow::Result<()> {
    let told = |args: &[&str]| -> anyhow::Result<Vec<Value>> {
        let lines = lab.expect(0, ALICE, &[args, &["--output", "ndjson"]].concat(), &[])?.stdout;
        let lines: Vec<Value> =
            lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let whole = lab.expect(0, ALICE, &[args, &["--output", "json"]].concat(), &[])?.stdout;
        let whole: Value = serde_json::from_str(&whole)?;
        let results = whole["results"].as_array().context("no results")?;
        let comparable = |value: &Value| {
            let mut value = value.clone();
            // A question that is asked twice is another one each time.
            for name in ["action", "command", "statistics"] {
                value[name] = Value::Null;
            }
            // Nor is it the same time.
            if value["module"] == "timedrift" {
                value["elements"] = Value::Null;
            }
            value
        };
        let document: Vec<Value> =
            results.iter().chain([&whole["summary"]]).map(comparable).collect();
        ensure!(lines.iter().map(comparable).eq(document), "{lines:#?} {whole:#?}");
        Ok(lines)
    };
    let several = ["file", "--search", "a: -path /etc -name ^passwd$ -maxdepth 1"];
    let two = lab.file("two-operations.json");
    let printed = lab.expect(0, ALICE, &[&several[..], &["-p"]].concat(), &[])?;
    let mut action: Value = serde_json::from_str(&printed.stdout)?;
    let drift = serde_json::json!({ "module": "timedrift", "parameters": { "drift": "" } });
    action["operations"].as_array_mut().context("no operations")?.push(drift);
    fs::write(&two, action.to_string())?;
    for args in [
        &["results", id][..],
        &["follow", id],
        &["action", "results", id],
        &["action", "follow", id],
        &["file", "-path", at, "-name", "."],
        // Whatever is shown to people, programs get everything.
        &["file", "-show", "notfound", "-path", at, "-name", "."],
        &["file", "-t", "local", "-path", at, "-name", "."],
    ] {
        let lines = told(args)?;
        ensure!(lines.len() == 2, "{args:?}: {lines:#?}");
        let (result, summary) = (&lines[0], &lines[1]);
        ensure!(result["elements"]["s1"].as_array().is_some_and(|found| found.len() == 2));
        let name = if args.contains(&"local") { "local" } else { "web1" };
        assert_eq!(result["agent"]["name"], name, "{args:?}");
        assert_eq!((&result["operation"], &result["module"]), (&0.into(), &"file".into()));
        assert_eq!(summary["counters"], serde_json::json!({ "sent": 1, "done": 1, "success": 1 }));
        assert_eq!((&summary["found"], &summary["complete"]), (&1.into(), &true.into()));
    }
    let lines = told(&["-i", &two])?;
    let told_of: Vec<_> = lines.iter().map(|line| (&line["operation"], &line["module"])).collect();
    let null = Value::Null;
    let (file, drift) = ("file".into(), "timedrift".into());
    assert_eq!(told_of, [(&0.into(), &file), (&1.into(), &drift), (&null, &null)]);
    assert_eq!((&lines[2]["results"], &lines[2]["found"]), (&2.into(), &1.into()));
    // An agent that refuses is told of, too.
    let refused = told(&["netstat", "-lp", "1"])?;
    assert_eq!((&refused[0]["status"], &refused[0]["found"]), (&"failed".into(), &false.into()));
    ensure!(refused[0]["errors"][0].is_string(), "{refused:#?}");
    assert_eq!(refused[1]["unsuccessful"], serde_json::json!({ "failed": ["web1"] }));
    assert_eq!((&refused[1]["notfound"], &refused[1]["complete"]), (&0.into(), &true.into()));
    Ok(())
}

/// `MIG_OUTPUT` is a default and no more.
fn environment(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let run = |value: &str, args: &[&str]| -> anyhow::Result<Outcome> {
        Ok(lab.command("alice", "mig", args)?.env("MIG_OUTPUT", value).output()?.into())
    };
    assert_eq!(run("name", &["agents"])?.stdout, "web1\n");
    assert_eq!(run("name", &["agents", "--columns", "name", "--no-header"])?.stdout, "web1\n");
    ensure!(run("name", &["agents", "-o", "text"])?.stdout.contains("Last Heartbeat"));
    let exported = run("csv", &["action", "export", id])?;
    ensure!(exported.stdout.starts_with("{\n    \"id\""), "{exported:#?}");
    // What is no data is not meant.
    assert_eq!(run("csv", &["config", "macros"])?.stdout, "allonline\n");
    let printed = run("csv", &["file", "-p", "-path", "/etc", "-name", "x"])?;
    ensure!(printed.stdout.starts_with("{\n    \"id\""), "{printed:#?}");
    for args in [&["status"][..], &["agents"]] {
        let odd = run("yaml", args)?;
        ensure!(odd.code == Some(2) && odd.stderr.contains("MIG_OUTPUT must be"), "{odd:#?}");
    }
    // A preference, and not a demand: that is an option's.
    let note = "[notice] MIG_OUTPUT=name is not possible here: this is text\n";
    let near = run("name", &["status"])?;
    ensure!(near.code == Some(0) && near.stdout.contains("summary"), "{near:#?}");
    assert_eq!(near.stderr, note);
    let near = run("name", &["status", "--quiet"])?;
    ensure!(near.code == Some(0) && near.stderr.is_empty(), "{near:#?}");
    let wish = run("csv", &["status", "-o", "name"])?;
    ensure!(wish.code == Some(2) && wish.stderr.contains("-o name is not possible"), "{wish:#?}");
    Ok(())
}

/// A question in every format; notes and progress are left out on demand.
fn silence(lab: &Lab, at: &str) -> anyhow::Result<()> {
    for format in FORMATS {
        let question = ["-o", format, "file", "--quiet", "-path", at, "-name", "1"];
        let outcome = lab.expect(0, ALICE, &question, &[])?;
        ensure!(outcome.stderr.is_empty(), "{question:?}: {outcome:#?}");
        is_of(format, &outcome).with_context(|| format!("{question:?}: {outcome:#?}"))?;
        ensure!(format == "name" || outcome.stdout.contains("=1+1"), "{question:?}: {outcome:#?}");
    }
    let dry = ["file", "--quiet", "--dry-run", "-path", at, "-name", "x"];
    assert_eq!(lab.expect(0, ALICE, &dry, &[])?.stdout, "web1\n");
    let dry = [&dry[..], &["--output", "csv", "--columns", "name"]].concat();
    assert_eq!(lab.expect(0, ALICE, &dry, &[])?.stdout, "name\nweb1\n");
    let posted = ["file", "--no-follow", "-path", at, "-name", "x", "--json"];
    let posted = lab.expect(0, ALICE, &posted, &[])?;
    ensure!(serde_json::from_str::<Value>(&posted.stdout)?["id"].is_number(), "{posted:#?}");
    let local = ["-o", "csv", "file", "-t", "local", "-path", at, "-name", "1"];
    let local = lab.expect(0, ALICE, &local, &["agent,status,module,found,line\nlocal,success"])?;
    is_of("csv", &local)?;
    // Errors stay.
    let refused = lab.expect(5, ALICE, &["agents", "--quiet", "-t", "name='x'"], &["error: "])?;
    ensure!(!refused.stderr.contains("[notice]"), "{refused:#?}");

    let question = |progress: &'static str| {
        let how = ["--progress", progress, "-path", at, "-name", "^nothing$"];
        [&["file"][..], &how].concat()
    };
    let plain = lab.expect(0, ALICE, &question("plain"), &[" 1/1 100.0%"])?;
    ensure!(!plain.stderr.contains('\r'), "{plain:#?}");
    let none = lab.expect(0, ALICE, &question("none"), &["0 agent has found results"])?;
    ensure!(!none.stderr.contains("status="), "{none:#?}");
    for (progress, bar, lines) in
        [("auto", true, false), ("plain", false, true), ("none", false, false)]
    {
        let command = lab.command("alice", "mig", &question(progress))?;
        let mut terminal = Terminal::start(&command, 100)?;
        ensure!(terminal.end()?.success(), "{}", terminal.raw());
        terminal.wait("0 agent has found results")?;
        let raw = terminal.raw();
        ensure!(raw.contains(" 1 / 1 [") == bar, "{progress}: {raw}");
        ensure!(raw.contains("status=") == lines, "{progress}: {raw}");
    }
    // Colours by option and variables; a pipe has none of itself.
    for (option, variables, painted) in [
        ("auto", &[][..], false),
        ("always", &[("NO_COLOR", "1")], true),
        ("auto", &[("CLICOLOR_FORCE", "1")], true),
        ("auto", &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ("never", &[("CLICOLOR_FORCE", "1")], false),
    ] {
        let args = ["file", "--color", option, "-path", at, "-name", "x"];
        let mut command = lab.command("alice", "mig", &args)?;
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        let outcome: Outcome = command.output()?.into();
        ensure!(outcome.code == Some(0), "{outcome:#?}");
        let is_painted = outcome.stderr.contains("\u{1b}[");
        ensure!(is_painted == painted, "{option} {variables:?}: {outcome:#?}");
    }
    Ok(())
}

/// The small program for agents has the same formats.
fn searched(lab: &Lab) -> anyhow::Result<()> {
    for format in FORMATS {
        for option in ["-o", "--output"] {
            let args = ["-p", "name=web*", option, format];
            let outcome = lab.expect(0, SEARCH, &args, &["web1"])?;
            is_of(format, &outcome).with_context(|| format!("{args:?}: {outcome:#?}"))?;
        }
    }
    let fields = "name,id,status,version,mode,os,arch,pid,starttime,heartbeattime,tags,environment";
    lab.expect(0, SEARCH, &["-t", "allonline", "--csv"], &[fields])?;
    lab.expect(2, SEARCH, &["-t", "allonline", "--columns", "colour"], &["there is no column"])?;
    lab.expect(2, SEARCH, &["-t", "allonline", "--json", "--csv"], &["disagree"])?;
    Ok(())
}

/// No table is wider than its terminal.
fn narrow(lab: &Lab, words: &Words) -> anyhow::Result<()> {
    for columns in [80_u16, 40, 20] {
        for (words, _) in words {
            let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
            args.extend(["-o", "table"]);
            let whole = lab.expect(0, ALICE, &args, &[])?.stdout;
            let command = lab.command("alice", "mig", &args)?;
            let mut terminal = Terminal::start(&command, columns)?;
            ensure!(terminal.end()?.success(), "{args:?}: {}", terminal.raw());
            // Its heading is no shorter than that.
            terminal.wait(whole.get(..2).context("no table")?)?;
            let table: Vec<String> = terminal
                .lines()
                .into_iter()
                .skip_while(|line| line.is_empty() || *line != line.to_uppercase())
                .take_while(|line| !line.contains("agent has") && !line.contains("done in"))
                .collect();
            ensure!(!table.is_empty(), "{args:?}: {}", terminal.raw());
            for line in table {
                let is_in = width(line.trim_end()) <= usize::from(columns);
                ensure!(is_in, "{args:?} in {columns}: {line:?}");
            }
        }
    }
    // Unless it is not to be cut.
    let wide = ["agents", "-o", "table", "--wide", "--columns", "environment"];
    let mut terminal = Terminal::start(&lab.command("alice", "mig", &wide)?, 40)?;
    ensure!(terminal.end()?.success());
    terminal.wait("\"arch\"")
}

/// An API that is not there is asked as often as was said, and each time is told.
fn away(lab: &Lab) -> anyhow::Result<()> {
    let migrc = lab.file("away.migrc");
    fs::write(&migrc, "[api]\nurl = http://127.0.0.1:1/api/v1/\n")?;
    let args = ["agents", "-c", &migrc, "--retry", "1", "--connect-timeout", "2s"];
    let told = lab.expect(4, ALICE, &args, &["asking again in ", "(1 of 1)"])?;
    assert_eq!(told.stderr.matches("[notice] ").count(), 1, "{told:#?}");
    let quiet = lab.expect(4, ALICE, &[&args[..], &["--quiet"]].concat(), &["error: "])?;
    ensure!(!quiet.stderr.contains("[notice]"), "{quiet:#?}");
    let mut command = lab.command("alice", "mig", &["agents", "-c", &migrc])?;
    let once: Outcome = command.stdin(Stdio::null()).output()?.into();
    ensure!(once.code == Some(4) && !once.stderr.contains("[notice]"), "{once:#?}");
    lab.expect(2, ALICE, &["agents", "--retry", "often"], &["a number up to 100"])?;
    lab.expect(2, ALICE, &["agents", "--connect-timeout", "5"], &["-connect-timeout"])?;
    Ok(())
}

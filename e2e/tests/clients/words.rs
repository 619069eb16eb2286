//! Words with verbs: what the console asks in dialogs, in one line each.

use std::fs;

use anyhow::Context as _;
use mig_e2e::operator::tool;
use mig_e2e::terminal::Terminal;
use mig_testkit::TestInvestigator;
use mig_types::Action;

use super::{ALICE, Lab};

#[test]
fn words_do_in_one_line_what_the_console_asks_for() -> anyhow::Result<()> {
    let lab = Lab::new()?;
    targets(&lab)?;
    let id = actions(&lab)?;
    completed(&lab, &id)?;
    agents(&lab, &id)?;
    investigators(&lab)?;
    loaders(&lab)?;
    manifests(&lab)?;
    many(&lab)?;
    wide(&lab)?;
    first_run(&lab)
}

fn targets(lab: &Lab) -> anyhow::Result<()> {
    let texts =
        ["target    status='online'", "agents    1 can be", "system    linux 1", "agent     web1"];
    lab.expect(0, ALICE, &["target", "check", "allonline"], &texts)?;
    let json = lab.expect(0, ALICE, &["target", "check", "name='web1'", "--json"], &[])?;
    let value: serde_json::Value = serde_json::from_str(&json.stdout)?;
    assert_eq!((&value["agents"], &value["names"][0]), (&1.into(), &"web1".into()));
    lab.expect(5, ALICE, &["target", "check", "name='nobody'"], &["agents    0 can be asked"])?;
    lab.expect(1, ALICE, &["target", "check", "name ="], &["the target is refused at"])?;
    lab.expect(2, ALICE, &["target", "check"], &["the target is missing"])?;
    lab.expect(2, ALICE, &["target", "check", "a", "b"], &["unexpected word \"b\""])?;
    lab.expect(2, ALICE, &["target"], &["usage: mig target check"])?;
    lab.expect(0, ALICE, &["target", "-h"], &["usage: mig target check"])?;
    Ok(())
}

/// Launches one, explained and kept; its identifier.
fn actions(lab: &Lab) -> anyhow::Result<String> {
    let kept = lab.file("kept.json");
    let question = [
        "file",
        "-t",
        "allonline",
        "--explain",
        "--save",
        &kept,
        "-path",
        "/etc",
        "-name",
        "^passwd$",
        "-maxdepth",
        "1",
    ];
    let texts = [
        "[notice] target: status='online'",
        "1 agents match the target status='online' now.",
        "  module file (",
        "They may begin from 20",
        "/etc/passwd [lastmodified:",
    ];
    lab.expect(0, ALICE, &question, &texts)?;
    lab.expect(1, ALICE, &question, &["kept.json", "nothing was sent"])?;
    let signed: Action = serde_json::from_slice(&fs::read(&kept)?)?;
    assert_eq!(signed.pgpsignatures.len(), 1);

    let several = ["file", "--search", "users: -path /etc -name ^passwd$ -maxdepth 1"];
    let several = [&several[..], &["--search", "groups: -path /etc -name '^group$'"]].concat();
    let texts = ["in search 'users'", "in search 'groups'"];
    lab.expect(0, ALICE, &several, &texts)?;
    let yaml = lab.file("by-hand.yaml");
    let text = "name: by hand\ntarget: status='online'\noperations:\n- module: file\n  \
                parameters:\n    searches:\n      s1:\n        paths: [/etc]\n        \
                names: ['^passwd$']\n        options: {matchall: true, maxdepth: 1}\n";
    fs::write(&yaml, text)?;
    lab.expect(0, ALICE, &["-i", &yaml, "--strict"], &["/etc/passwd [lastmodified:"])?;
    let launched = lab.expect(0, ALICE, &["action", "launch", &kept, "--no-follow"], &[])?;
    let id = launched.stdout.trim().to_owned();
    lab.expect(0, ALICE, &["action", "follow", &id], &["/etc/passwd", "1 sent, 1 done"])?;
    lab.expect(0, ALICE, &["action", "results", &id], &["/etc/passwd"])?;
    lab.expect(0, ALICE, &["action", "show", &id], &["status    completed"])?;
    lab.expect(0, ALICE, &["action", "list", "limit=5"], &[&id])?;
    let again = lab.expect(0, ALICE, &["action", &id, "--as-command"], &[])?;
    assert_eq!(again.stdout, "mig file -path /etc -name '^passwd$' -maxdepth 1\n");
    let exported = lab.expect(0, ALICE, &["action", "export", &id], &[])?;
    let exported: Action = serde_json::from_str(&exported.stdout)?;
    assert_eq!(
        (&exported.name, &exported.target, &exported.operations, &exported.pgpsignatures),
        (&signed.name, &signed.target, &signed.operations, &signed.pgpsignatures)
    );
    lab.expect(2, ALICE, &["action", "launch"], &["needs the path"])?;
    let found = ["search", "command", "where", "agentname=web*", "and", "foundanything=true"];
    lab.expect(0, ALICE, &found, &["   file -t allonline --explain"])?;
    lab.expect(2, ALICE, &["search", "command", "where", "colour=red"], &["'colour'"])?;
    lab.expect(2, ALICE, &["search"], &["usage: mig search"])?;
    Ok(id)
}

/// What was launched completes in the shell, without API and without key.
fn completed(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let ids = lab.expect(0, ALICE, &["completions", "ids"], &[])?;
    assert_eq!(ids.stdout.lines().next(), Some(id), "{ids:#?}");
    let script = lab.expect(0, ALICE, &["completions", "bash"], &[])?.stdout;
    let begin = &id[..id.len() - 1];
    let asked = format!(
        "{script}\nCOMP_WORDS=(mig results {begin}) COMP_CWORD=2; _mig; echo \"${{COMPREPLY[@]}}\"; \
         COMP_WORDS=(mig loader en) COMP_CWORD=2; _mig; echo \"${{COMPREPLY[@]}}\""
    );
    let mig = lab.command("alice", "mig", &[])?;
    let programs = std::path::Path::new(mig.get_program()).parent().context("no directory")?;
    let mut path = std::ffi::OsString::from(programs);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let home = lab.platform.investigator("alice")?.home().to_owned();
    let answer = tool("bash").args(["-c", &asked]).env("PATH", path).env("HOME", home).output()?;
    let lines = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(lines.starts_with(id), "{answer:?}");
    assert_eq!(lines.lines().nth(1), Some("enable"), "{answer:?}");
    // Ids that follow each other may differ in their last digit only.
    let alike = ids.stdout.split_inclusive('\n').filter(|known| known.starts_with(begin));
    let alike: String = alike.collect();
    // Shells that ask each time.
    for (words, told) in [
        (["=results", &format!("={begin}")], alike),
        (["=loader", "=en"], "enable\n".to_owned()),
        (["=-t", "="], "allonline\n".to_owned()),
        (["=nothing", "=x"], String::new()),
    ] {
        let args = [&["completions", "for"][..], &words].concat();
        assert_eq!(lab.expect(0, ALICE, &args, &[])?.stdout, told, "{words:?}");
    }
    lab.expect(0, ALICE, &["completions", "elvish"], &["edit:completion:arg-completer[mig]"])?;
    lab.expect(0, ALICE, &["completions", "powershell"], &["Register-ArgumentCompleter"])?;
    Ok(())
}

fn agents(lab: &Lab, action: &str) -> anyhow::Result<()> {
    lab.expect(0, ALICE, &["agent", "list", "-t", "allonline"], &["   web1 "])?;
    let found = lab.expect(0, ALICE, &["agent", "list", "--json"], &["\"name\":\"web1\""])?;
    let agents: serde_json::Value = serde_json::from_str(found.stdout.trim())?;
    let id = agents[0]["id"].to_string();
    lab.expect(0, ALICE, &["agent", "show", &id], &["name       web1", "environment {"])?;
    lab.expect(0, ALICE, &["agent", "actions", &id], &["file -t allonline"])?;
    lab.expect(2, ALICE, &["agent", "show"], &["the id of an agent is missing"])?;
    lab.expect(2, ALICE, &["agent", "sho", &id], &["unknown word \"sho\""])?;
    let conditions = format!("actionid={action}");
    let found = lab.expect(0, ALICE, &["command", "list", &conditions, "--json"], &[])?;
    let commands: serde_json::Value = serde_json::from_str(found.stdout.trim())?;
    let id = commands[0]["id"].to_string();
    lab.expect(0, ALICE, &["command", "show", &id], &["web1 /etc/passwd"])?;
    lab.expect(0, ALICE, &["command", "show", &id, "--csv"], &["web1,success,file,true,"])?;
    lab.expect(1, ALICE, &["command", "show", "1"], &["error: "])?;
    Ok(())
}

fn investigators(lab: &Lab) -> anyhow::Result<()> {
    let grace = TestInvestigator::create("grace", lab.platform.directory())?;
    let key = grace.public_key_file().display().to_string();
    let create = ["investigator", "create", "-name", "Grace Field", "-pubkey", &key];
    let granted = [&create[..], &["-permissions", "PermLoader"]].concat();
    let texts = ["grace <grace@example.net>", "successfully created with ID "];
    let created = lab.expect(0, ALICE, &granted, &texts)?;
    let id = created.stdout.trim().rsplit(' ').next().context("no id")?.to_owned();
    let texts = ["name           Grace Field", "permissions    Default,PermLoader"];
    lab.expect(0, ALICE, &["investigator", "show", &id], &texts)?;
    lab.expect(1, ALICE, &granted, &["error: "])?;
    lab.expect(2, ALICE, &[&create[..], &["-permissions", "all,root"]].concat(), &["\"root\""])?;
    lab.expect(2, ALICE, &["investigator", "create", "-pubkey", &key], &["-name is missing"])?;
    let secret = grace.secret_key_file().display().to_string();
    let bad = ["investigator", "create", "-name", "Mallory", "-pubkey", &secret];
    lab.expect(1, ALICE, &bad, &["must not leave your machine"])?;
    let armored = lab.expect(0, ALICE, &["investigator", "pubkey", &id], &[])?;
    assert!(armored.stdout.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"), "{armored:#?}");

    let set = |more: &[&'static str]| {
        let mut line = vec!["investigator", "set", id.as_str()];
        line.extend(more);
        line
    };
    let api = lab.expect(0, ALICE, &set(&["-apikey", "active"]), &["not shown again"])?;
    let key = api.stdout.trim().to_owned();
    let mut command = lab.command("alice", "mig", &["investigator", "show", "1"])?;
    let listed = command.env_remove("MIG_SIGNING_KEY").env("MIG_API_KEY", &key).output()?;
    assert!(!listed.status.success(), "only administrators look at investigators: {listed:?}");
    let mut command = lab.command("alice", "mig", &["loader", "list", "--json"])?;
    let listed = command.env_remove("MIG_SIGNING_KEY").env("MIG_API_KEY", &key).output()?;
    assert!(listed.status.success(), "{listed:?}");
    let off = set(&["-status", "disabled", "-apikey", "disabled", "-permissions", "none"]);
    lab.expect(0, ALICE, &off, &["status set to disabled", "permissions set to Default\n"])?;
    lab.expect(0, ALICE, &["investigator", "list", "status=disabled"], &["Grace Field"])?;
    lab.expect(2, ALICE, &set(&[]), &["nothing to set"])?;
    lab.expect(2, ALICE, &set(&["-status", "gone"]), &["active or disabled"])?;
    Ok(())
}

fn loaders(lab: &Lab) -> anyhow::Result<()> {
    let create = ["loader", "create", "-name", "web1.example.net"];
    let created = lab.expect(0, ALICE, &create, &["successfully created (id ", "is disabled"])?;
    let id = created.stderr.split_once("(id ").and_then(|(_, rest)| rest.split_once(')'));
    let id = id.context("no id")?.0.to_owned();
    let key = created.stdout.trim().to_owned();
    assert!(key.len() > 30, "{created:#?}");
    let changed = lab.expect(0, ALICE, &["loader", "key", &id], &["Loader key changed"])?;
    assert_ne!(changed.stdout.trim(), key);
    lab.expect(0, ALICE, &["loader", "enable", &id], &["Loader has been enabled"])?;
    let condition = "env#>>'{os}'='linux'";
    lab.expect(0, ALICE, &["loader", "expectenv", &id, condition], &["match set"])?;
    let shown = lab.expect(0, ALICE, &["loader", "show", &id], &["\"enabled\":true", "linux"])?;
    assert!(!shown.stdout.contains(changed.stdout.trim()), "{shown:#?}");
    lab.expect(0, ALICE, &["loader", "disable", &id], &["Loader has been disabled"])?;
    lab.expect(0, ALICE, &["loader", "list"], &["web1.example.net", "false"])?;
    lab.expect(2, ALICE, &["loader", "create"], &["-name is missing"])?;
    lab.expect(2, ALICE, &["loader", "enable", &id, "5"], &["unexpected word \"5\""])?;
    Ok(())
}

fn manifests(lab: &Lab) -> anyhow::Result<()> {
    let directory = lab.platform.directory();
    fs::write(directory.join("mig-agent"), "an agent")?;
    let archive = lab.file("content.tar.gz");
    let packed =
        tool("tar").args(["-czf", &archive, "-C"]).arg(directory).arg("mig-agent").status();
    assert!(packed?.success());
    let content = ["-target", "env#>>'{os}'='linux'", "-content"];
    let create = [&["manifest", "create", "-name", "linux-1"], &content[..]].concat();
    let created = lab.expect(0, ALICE, &[&create[..], &[&archive]].concat(), &["sign it with"])?;
    let id = created.stdout.trim().to_owned();
    lab.expect(0, ALICE, &["manifest", "sign", &id], &["signature has been accepted"])?;
    let sums = lab.expect(0, ALICE, &["manifest", "shasum", &id], &["  mig-agent"])?;
    let own = tool("sha256sum").arg(directory.join("mig-agent")).output()?;
    let own = String::from_utf8_lossy(&own.stdout).into_owned();
    assert_eq!(sums.stdout.split(' ').next(), own.split(' ').next(), "{sums:#?}");
    let texts = ["\"content\":\"...\"", "\"name\":\"linux-1\""];
    lab.expect(0, ALICE, &["manifest", "show", &id], &texts)?;
    lab.expect(0, ALICE, &["manifest", "entry", &id], &["\"sha256\":\""])?;
    lab.expect(0, ALICE, &["manifest", "loaders", &id], &[])?;
    let copy = lab.file("copy.tar.gz");
    lab.expect(0, ALICE, &["manifest", "fetch", &id, "-to", &copy], &["bytes written"])?;
    assert_eq!(fs::read(&copy)?, fs::read(&archive)?);
    lab.expect(1, ALICE, &["manifest", "fetch", &id, "-to", &copy], &["cannot write"])?;
    let printed = lab.command("alice", "mig", &["manifest", "fetch", &id, "-to", "-"])?.output()?;
    assert_eq!(printed.stdout, fs::read(&archive)?);
    lab.expect(0, ALICE, &["manifest", "reset", &id], &["has been reset"])?;
    lab.expect(0, ALICE, &["manifest", "disable", &id], &["has been disabled"])?;
    lab.expect(0, ALICE, &["manifest", "list"], &["linux-1", "disabled"])?;
    let bad = [&create[..], &["/etc/hostname"]].concat();
    lab.expect(1, ALICE, &bad, &["archive"])?;
    lab.expect(2, ALICE, &create[..4], &["-target is missing"])?;
    Ok(())
}

/// Where agents are many, their number has to be typed.
fn many(lab: &Lab) -> anyhow::Result<()> {
    let question = ["file", "--countdown", "0", "-path", "/etc", "-name", "^passwd$"];
    for (answer, text) in [("1", "1 agent has found results"), ("2", "cancelled, nothing was sent")]
    {
        let mut command = lab.command("alice", "mig", &question)?;
        command.env_remove("MIG_YES").env("MIG_CONFIRM_ABOVE", "0");
        let mut terminal = Terminal::start(&command, 100)?;
        terminal.wait("type their number to go on>")?;
        terminal.keys(&format!("{answer}\r"))?;
        terminal.wait(text)?;
        assert_eq!(terminal.end()?.code(), Some(if answer == "1" { 0 } else { 130 }));
    }
    Ok(())
}

/// What is as wide as can be is warned of; what is asked of exit codes is told by them.
fn wide(lab: &Lab) -> anyhow::Result<()> {
    let everything = ["file", "--dry-run", "-path", "/", "-name", "^x$"];
    let warning = "[warning] file begins at the root of the file system on every agent";
    lab.expect(0, ALICE, &everything, &[warning])?;
    for narrower in [&["-maxdepth", "1"][..], &["--quiet"]] {
        let told = lab.expect(0, ALICE, &[&everything[..], narrower].concat(), &[])?;
        assert!(!told.stderr.contains("[warning]"), "{told:#?}");
    }
    let named = ["file", "--dry-run", "-t", "name='web1'", "-path", "/", "-name", "^x$"];
    assert!(!lab.expect(0, ALICE, &named, &[])?.stderr.contains("[warning]"));

    let question = ["file", "-path", "/etc", "-name", "^passwd$", "-maxdepth", "1"];
    lab.expect(7, ALICE, &[&question[..], &["--fail-on", "found"]].concat(), &["/etc/passwd"])?;
    lab.expect(0, ALICE, &[&question[..], &["--fail-on", "none"]].concat(), &["/etc/passwd"])?;
    // The agent wants a second signature.
    let refused = ["netstat", "--strict", "-lp", "1"];
    lab.expect(6, ALICE, &refused, &["1 sent, 1 done, 1 failed", "failed: web1"])?;
    let late = lab.file("late.json");
    let text = r#"{"name":"late","target":"status='online'","validfrom":"2016-08-27T00:00:00Z",
        "expireafter":"2016-08-27T01:00:00Z","operations":[{"module":"timedrift","parameters":
        {"drift":""}}]}"#;
    fs::write(&late, text)?;
    let texts = ["in the past (2016-08-27T01:00:00Z)", "hint: sign it anew, with a longer -e"];
    lab.expect(1, ALICE, &["-i", &late], &texts)?;
    Ok(())
}

/// Every client offers to write the configuration that is missing.
fn first_run(lab: &Lab) -> anyhow::Result<()> {
    let url = lab.platform.api_url();
    let Some(gpg) = mig_e2e::gnupg::GnuPg::new()? else {
        anyhow::bail!("gpg is not installed");
    };
    let key = gpg.generate("ada", ["rsa2048", "sign", "never"], &[])?;
    for (at, name, rest) in [
        ("one", "mig", &["status"][..]),
        ("two", "mig-console", &[]),
        ("three", "mig-agent-search", &["-t", "allonline"]),
    ] {
        let file = lab.file(at);
        let mut command = lab.command("alice", name, &[rest, &["-c", &file]].concat())?;
        command.env("GNUPGHOME", gpg.home());
        let mut terminal = Terminal::start(&command, 200)?;
        terminal.wait("no configuration found at")?;
        terminal.wait("generate a new configuration file at")?;
        terminal.keys("\r")?;
        terminal
            .wait(&format!("found key \"ada <ada@example.net>\" with fingerprint \"{key}\"."))?;
        terminal.keys("y\r")?;
        terminal.wait(&format!("using key \"{key}\""))?;
        terminal.keys("http://127.0.0.1:1/\r")?;
        terminal.wait("API connection failed: ")?;
        terminal.keys(&format!("{url}\r"))?;
        terminal.wait("created configuration file at")?;
        terminal.wait(if name == "mig-agent-search" { "web1; " } else { "summary" })?;
        if name == "mig-console" {
            terminal.prompt("mig>")?;
            terminal.keys("exit\r")?;
        }
        assert!(terminal.end()?.success(), "{}", terminal.raw());
        assert!(fs::read_to_string(&file)?.contains(key.as_str()));
    }
    let no = lab.file("none");
    let mut terminal = Terminal::start(&lab.command("alice", "mig", &["status", "-c", &no])?, 200)?;
    terminal.wait("(Y/n)>")?;
    terminal.keys("n\r")?;
    terminal.wait("no configuration at")?;
    assert_eq!(terminal.end()?.code(), Some(2));
    let mut terminal = Terminal::start(&lab.command("alice", "mig", &["status", "-c", &no])?, 200)?;
    terminal.wait("(Y/n)>")?;
    terminal.keys("\u{3}")?;
    terminal.wait("interrupted, nothing was done")?;
    assert_eq!(terminal.end()?.code(), Some(130));
    assert!(!std::path::Path::new(&no).exists());
    Ok(())
}

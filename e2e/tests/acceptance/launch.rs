//! One question: in which words it is asked and answered, and where they go.

use anyhow::ensure;
use regex::Regex;

use crate::{Lab, followed};

/// What differs from run to run, and the plain progress lines that stand where
/// there is no terminal.
fn normalised(text: &str) -> anyhow::Result<String> {
    let mut kept: String = text
        .lines()
        .filter(|line| !line.starts_with("status="))
        .flat_map(|line| [line.trim_end(), "\n"])
        .collect();
    for (expression, name) in [
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? \+0000 UTC", "<time>"),
        (r"\b\d{8,20}\b", "<id>"),
        (r"\b-?\d+(\.\d+)?(ms|s|µs)\b", "<duration>"),
        (r"size:\d+", "size:<n>"),
    ] {
        kept = Regex::new(expression)?.replace_all(&kept, name).into_owned();
    }
    Ok(kept)
}

#[test]
fn the_first_question_is_answered_in_the_words_people_know() -> anyhow::Result<()> {
    let lab = Lab::new(&["web1"])?;
    // As the guide has it: no target, and the files of the machine itself.
    let question = ["file", "-path", "/etc", "-name", "^passwd$", "-content", "^root"];
    let asked = lab.mig(&question)?;
    ensure!(asked.code == Some(0), "{asked:#?}");
    assert_eq!(
        normalised(&asked.stderr)?,
        "[notice] no target specified, defaulting to all online agents\n\
         1 agents will be targeted. ctrl+c to cancel. launching in 5 4 3 2 1 GO\n\
         Following action ID <id>.\n\
         100.0% done in <duration>\n\
         1 sent, 1 done, 1 succeeded\n\
         1 agent has found results\n"
    );
    assert_eq!(
        normalised(&asked.stdout)?,
        "web1 /etc/passwd [lastmodified:<time>, mode:-rw-r--r--, size:<n>] in search 's1'\n"
    );
    for text in [&asked.stdout, &asked.stderr] {
        ensure!(!text.contains('\u{1b}') && !text.contains('\r'), "{text:?}");
    }
    colours(&lab)?;
    everything(&lab, &question)
}

/// Colours are for a terminal, and only where they are wanted.
fn colours(lab: &Lab) -> anyhow::Result<()> {
    let question =
        ["file", "--countdown", "1", "-path", "/etc", "-name", "^passwd$", "-content", "^root"];
    let mut terminal = lab.terminal("mig", &question, 100)?;
    ensure!(terminal.end()?.success());
    terminal.wait("1 agent has found results")?;
    let raw = terminal.raw();
    for painted in [
        "\u{1b}[33m1 agents will be targeted. ctrl+c to cancel. launching in \u{1b}[0m",
        "\u{1b}[33m1\u{1b}[0m",
        "\u{1b}[33mGO\u{1b}[0m",
        "\u{1b}[34m100.0% done in ",
        "\u{1b}[34m1 sent, 1 done, 1 succeeded\u{1b}[0m",
        "\u{1b}[31m1 agent has found results\u{1b}[0m",
    ] {
        ensure!(raw.contains(painted), "no {painted:?} in {raw:?}");
    }
    ensure!(raw.contains(&format!("\u{1b}[34mFollowing action ID {}.", followed(&raw)?)));
    // Findings are data: never painted.
    ensure!(raw.contains("web1 /etc/passwd [lastmodified:"), "{raw:?}");
    // The bar, at the end.
    ensure!(Regex::new(r"\r 1 / 1 \[=+\] 100\.00% \d+/s \d+s")?.is_match(&raw), "{raw:?}");

    for (name, value, option) in [
        ("NO_COLOR", "1", "--color=auto"),
        ("TERM", "dumb", "--color=auto"),
        ("TERM", "xterm", "--color=never"),
        ("TERM", "xterm", "--no-color"),
    ] {
        let mut command =
            lab.program("mig", &[&["file", "-y", option], &question[3..]].concat())?;
        command.env(name, value);
        let mut terminal = mig_e2e::terminal::Terminal::start(&command, 100)?;
        ensure!(terminal.end()?.success(), "{}", terminal.raw());
        terminal.wait("1 agent has found results")?;
        ensure!(!terminal.raw().contains("\u{1b}["), "{name}={value} {option}: {}", terminal.raw());
    }
    let painted = lab.mig(&[&["file", "-y", "--color=always"], &question[3..]].concat())?;
    ensure!(painted.stderr.contains("\u{1b}[31m1 agent has found"), "{painted:#?}");
    ensure!(!painted.stdout.contains('\u{1b}'), "{painted:#?}");
    Ok(())
}

/// `-show` decides what is printed, and is looked at before anything is asked.
fn everything(lab: &Lab, question: &[&str]) -> anyhow::Result<()> {
    let rest = question.get(1..).unwrap_or_default();
    let all = lab.mig(&[&["file", "-y", "-show", "all"], rest].concat())?;
    ensure!(all.stdout.contains("web1 Statistics: ") && all.code == Some(0), "{all:#?}");
    ensure!(all.stdout.ends_with("web1 command success\n"), "{all:#?}");
    ensure!(all.stderr.ends_with("1 agent has all results\n"), "{all:#?}");
    let nothing =
        lab.mig(&["file", "-y", "-show", "notfound", "-path", "/etc", "-name", "^no$"])?;
    ensure!(nothing.stdout.contains("web1 0 match found in search 's1'\n"), "{nothing:#?}");
    ensure!(nothing.stderr.ends_with("1 agent has notfound results\n"), "{nothing:#?}");
    let wrong = lab.mig(&[&["file", "-y", "-show", "some"], rest].concat())?;
    ensure!(wrong.code == Some(2) && !wrong.stderr.contains("Following"), "{wrong:#?}");
    Ok(())
}

#[test]
fn a_hostile_file_name_does_not_reach_the_terminal() -> anyhow::Result<()> {
    let lab = Lab::new(&["web1"])?;
    let name = "a\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{9b}31mb";
    let at = lab.evidence(&[name])?;
    let question = ["-path", &at, "-name", "^a"];
    let id = lab.asked(&question)?;
    let harmless = "a\\x1b[2J\\x1b]0;owned\\x07\\r\\u009b31mb [lastmodified:";
    let ask = [&["file", "-y"], &question[..]].concat();
    let results = ["results", &id];
    for (name, args) in [("mig", &ask[..]), ("mig", &results)] {
        let mut terminal = lab.terminal(name, args, 200)?;
        ensure!(terminal.end()?.success(), "{}", terminal.raw());
        terminal.wait("1 agent has found results")?;
        let raw = terminal.raw();
        ensure!(raw.contains(harmless), "{raw:?}");
        for evil in ["\u{1b}[2J", "\u{1b}]0", "\u{7}", "\u{9b}"] {
            ensure!(!raw.contains(evil), "{evil:?} in {raw:?}");
        }
    }
    let prompt = format!("action {}>", id.parse::<u64>()? % 1000);
    let mut console = lab.terminal("mig-console", &[], 200)?;
    console.prompt("mig>")?;
    console.answer(&format!("action {id}"), &prompt)?;
    let shown = console.answer("results found", &prompt)?.join("\n");
    ensure!(shown.contains(harmless), "{shown:?}");
    ensure!(!console.raw().contains("\u{1b}]0") && !console.raw().contains('\u{9b}'));
    drop(console);

    // For programs the name is what it is.
    let lines = lab.mig(&["results", &id, "--ndjson"])?;
    let line = lines.stdout.lines().next().unwrap_or_default();
    let result: serde_json::Value = serde_json::from_str(line)?;
    let found = result["elements"]["s1"][0]["file"].as_str().unwrap_or_default();
    assert_eq!(found, format!("{at}/{name}"));
    ensure!(!lines.stdout.contains(['\u{1b}', '\u{9b}']), "{lines:#?}");
    let rows = lab.mig(&["results", &id, "--csv"])?;
    ensure!(rows.stdout.contains("owned") && !rows.stdout.contains('\u{1b}'), "{rows:#?}");
    Ok(())
}

#[test]
fn an_action_travels_as_a_file_between_two_people() -> anyhow::Result<()> {
    let lab = Lab::new(&["web1"])?;
    let at = lab.evidence(&["passwd"])?;
    let file = lab.platform.directory().join("act.json");
    let path = file.display().to_string();
    for compress in [&[][..], &["-z"]] {
        // Printed by one, launched by the other.
        let rest = ["-t", "name='web1'", "-e", "10m", "-path", &at, "-name", "^passwd$"];
        let printed = lab.mig(&[&["file", "-p"], compress, &rest].concat())?;
        ensure!(printed.stdout.contains("\"pgpsignatures\": null"), "{printed:#?}");
        std::fs::write(&file, &printed.stdout)?;
        let done = lab.platform.mig("bob", &["-i", &path, "--strict"])?;
        ensure!(done.code == Some(0), "{done:#?}");
        ensure!(done.stdout.starts_with(&format!("web1 {at}/passwd [")), "{done:#?}");

        // Signed by one, by the other too, and launched.
        let signed = lab.mig(&[&["file", "-s"], compress, &rest].concat())?;
        std::fs::write(&file, &signed.stdout)?;
        let done = lab.platform.mig("bob", &["-i", &path, "--strict"])?;
        ensure!(done.code == Some(0), "{done:#?}");
        ensure!(done.stdout.starts_with(&format!("web1 {at}/passwd [")), "{done:#?}");
        let left = "[notice] action already had validity time period, which was left as is";
        ensure!(done.stderr.contains(left), "{done:#?}");
        let id = followed(&done.stderr)?;
        let about = lab.mig(&["action", &id])?;
        let signers = about.stdout.lines().filter(|line| line.starts_with("signed by "));
        assert_eq!(signers.count(), 2, "{about:#?}");

        // Whoever has signed already launches it without signing again.
        let signed = lab.mig(&[&["file", "-s"], compress, &rest].concat())?;
        std::fs::write(&file, &signed.stdout)?;
        let done = lab.mig(&["-i", &path, "-y", "--strict"])?;
        ensure!(done.code == Some(0), "{done:#?}");
        ensure!(done.stderr.contains("carries a signature of"), "{done:#?}");
    }
    Ok(())
}

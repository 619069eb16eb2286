//! Terminals, pipes, locales, homes and clocks that are not as they should be:
//! each gets its answer, or a sentence to act on and the right exit code.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use mig_e2e::operator::tool;
use mig_e2e::terminal::Terminal;
use mig_testkit::Outcome;

use crate::Lab;
use crate::signals::ends_with_ctrl_d;

/// Columns that a line takes, without colours.
fn width(line: &str) -> usize {
    line.trim_end().chars().count()
}

#[test]
fn tables_fit_narrow_terminals() -> anyhow::Result<()> {
    let lab = Lab::new(&["a-long-name.of-a-machine.in-the-lab.example.net"])?;
    let at = lab.evidence(&["passwd"])?;
    let id = lab.asked(&["-t", "name like '%.example.net'", "-path", &at, "-name", "^passwd$"])?;
    for columns in [80_u16, 40] {
        let room = usize::from(columns);
        for args in [&["actions"][..], &["agents"], &["agents", "-t", "allonline"], &["status"]] {
            let mut terminal = lab.terminal("mig", args, columns)?;
            ensure!(terminal.end()?.success(), "{}", terminal.raw());
            terminal.wait(if args[0] == "status" { "Latest Actions" } else { "ID" })?;
            for line in terminal.lines() {
                // Sentences wrap; what stands in columns does not.
                let is_prose = line.contains("endpoints") || line.contains("agents match");
                ensure!(is_prose || width(&line) <= room, "{args:?} in {columns}: {line:?}");
            }
            let whole = if args[0].starts_with("agents") { "online" } else { id.as_str() };
            ensure!(terminal.raw().contains(whole), "{args:?} in {columns}: {}", terminal.raw());
        }
        let question = ["file", "-y", "-path", &at, "-name", "^passwd$"];
        let mut terminal = lab.terminal("mig", &question, columns)?;
        ensure!(terminal.end()?.success(), "{}", terminal.raw());
        terminal.wait("1 agent has found results")?;
        let bars: Vec<String> = terminal
            .raw()
            .split(['\r', '\n'])
            .filter(|line| line.starts_with(" 1 / 1 ") || line.starts_with(" 0 / 1 "))
            .map(str::to_owned)
            .collect();
        ensure!(!bars.is_empty(), "{}", terminal.raw());
        for bar in bars {
            ensure!(bar.chars().count() <= room, "{columns}: {bar:?}");
        }

        let mut console = lab.terminal("mig-console", &[], columns)?;
        console.prompt("mig>")?;
        let prompt = format!("action {}>", id.parse::<u64>()? % 1000);
        for (order, next) in [
            ("status", "mig>"),
            ("search action", "mig>"),
            ("search agent", "mig>"),
            (format!("action {id}").as_str(), prompt.as_str()),
            ("list", &prompt),
        ] {
            for line in console.answer(order, next)? {
                let is_table = line.contains("+ --") || line.contains(" [") || line.contains(&id);
                ensure!(!is_table || width(&line) <= room, "{order} in {columns}: {line:?}");
            }
        }
        ends_with_ctrl_d(&mut console)?;
    }
    // Where nobody looks, columns are as wide as they always were.
    let whole = lab.mig(&["agents"])?;
    ensure!(whole.stdout.contains("a-long-name.of-a-machine.in..."), "{whole:#?}");
    Ok(())
}

/// Standard output of a program into `head -1`, and both exit codes.
pub(crate) fn into_head(
    lab: &Lab,
    name: &str,
    args: &[&str],
    input: &str,
) -> anyhow::Result<Outcome> {
    let command = lab.program(name, args)?;
    let mut shell = tool("bash");
    shell.args(["-c", "\"$@\" | head -1; echo \"codes ${PIPESTATUS[*]}\"", "bash"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    shell.current_dir(lab.platform.directory());
    let mut child =
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // A console that has left reads no more.
    drop(child.stdin.take().context("no input")?.write_all(input.as_bytes()));
    Ok(child.wait_with_output()?.into())
}

#[test]
fn a_reader_that_leaves_is_no_failure() -> anyhow::Result<()> {
    let lab = Lab::new(&["web1"])?;
    let orders = "help\n".repeat(2000);
    for (name, args, input) in [
        ("mig", &["help"][..], ""),
        ("mig", &["man"], ""),
        ("mig", &["status"], ""),
        ("mig-agent-search", &["-p", "name=%"], ""),
        ("mig-console", &[], orders.as_str()),
    ] {
        let outcome = into_head(&lab, name, args, input)?;
        ensure!(outcome.stdout.ends_with("codes 0 0\n"), "{name} {args:?}: {outcome:#?}");
        ensure!(outcome.stderr.is_empty(), "{name} {args:?}: {outcome:#?}");
    }
    Ok(())
}

#[test]
fn names_are_whole_in_any_locale() -> anyhow::Result<()> {
    let lab = Lab::new(&["web1"])?;
    let at = lab.evidence(&["żółw.txt"])?;
    let question = ["file", "-y", "-path", &at, "-name", "^żółw"];
    for locale in ["C", "POSIX", "pl_PL.ISO-8859-2", ""] {
        let mut mig = lab.program("mig", &question)?;
        mig.env("LANG", locale).env("LC_ALL", locale);
        let outcome = mig.output()?;
        ensure!(outcome.status.success(), "{locale}: {outcome:?}");
        let stdout = String::from_utf8(outcome.stdout)?;
        ensure!(stdout.starts_with(&format!("web1 {at}/żółw.txt [lastmodified:")), "{stdout}");
        let mut console = lab.program("mig-console", &["-q"])?;
        console.env("LC_ALL", locale).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = console.spawn()?;
        let input = "search action where name=*żółw*\n".as_bytes();
        child.stdin.take().context("no input")?.write_all(input)?;
        let shown = String::from_utf8(child.wait_with_output()?.stdout)?;
        ensure!(shown.contains("+ - Status - +"), "{locale}: {shown}");
    }
    Ok(())
}

#[test]
fn without_a_home_the_configuration_is_named() -> anyhow::Result<()> {
    let lab = Lab::new(&["web1"])?;
    let migrc = lab.platform.investigator("alice")?.home().join(".migrc").display().to_string();
    for home in [None, Some(""), Some("/nonexistent")] {
        let without = |name: &str, args: &[&str]| -> anyhow::Result<Outcome> {
            let mut command = lab.program(name, args)?;
            match home {
                Some(home) => command.env("HOME", home),
                None => command.env_remove("HOME"),
            };
            Ok(command.output()?.into())
        };
        // The account may have a home, and even a configuration there.
        let shown = without("mig", &["config", "show"])?;
        let is_missing = shown.stderr.contains(".migrc") && shown.stderr.contains("hint: ");
        ensure!(shown.code == Some(0) || (shown.code == Some(2) && is_missing), "{shown:#?}");
        if home == Some("/nonexistent") {
            for (name, args) in [
                ("mig", &["file", "-y", "-path", "/etc"][..]),
                ("mig-console", &[]),
                ("mig-agent-search", &["-p", "name=%"]),
            ] {
                let lost = without(name, args)?;
                let text = "error: no configuration at /nonexistent/.migrc\nhint: mig config init";
                ensure!(lost.code == Some(2) && lost.stderr.contains(text), "{name}: {lost:#?}");
            }
        }
        // Named, it is all that is needed.
        let question =
            ["file", "-y", "-c", &migrc, "-path", "/etc", "-name", "^passwd$", "-maxdepth", "1"];
        let found = without("mig", &question)?;
        ensure!(
            found.code == Some(0) && found.stdout.starts_with("web1 /etc/passwd"),
            "{found:#?}"
        );
        let console = without("mig-console", &["-q", "-c", &migrc])?;
        ensure!(console.code == Some(0), "{console:#?}");
    }
    // A history that cannot be kept is told once, and changes nothing.
    let mut command = lab.program("mig-console", &["-c", &migrc])?;
    command.env("HOME", "/nonexistent");
    let mut console = Terminal::start(&command, 100)?;
    console.prompt("mig>")?;
    console.answer("status", "mig>")?;
    let told = console.answer("help", "mig>")?.join("\n");
    let all = console.raw();
    assert_eq!(all.matches("failed to save history to").count(), 1, "{told}\n{all}");
    ends_with_ctrl_d(&mut console)
}

/// An API that lets nobody in and believes that it is two hours earlier, or
/// later.
fn other_time(date: &str) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/api/v1/", listener.local_addr()?);
    let body = "{\"collection\":{\"error\":{\"code\":\"1\",\"message\":\"token is expired\"}}}";
    let answer = format!(
        "HTTP/1.1 401 Unauthorized\r\ndate: {date}\r\ncontent-length: {}\r\nconnection: close\r\n\
         \r\n{body}",
        body.len()
    );
    // Ends with the test's process.
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut request = [0; 16_384];
            drop(connection.read(&mut request));
            drop(connection.write_all(answer.as_bytes()));
        }
    });
    Ok(url)
}

#[test]
fn a_wrong_clock_is_named() -> anyhow::Result<()> {
    let lab = Lab::new(&[])?;
    let migrc = lab.platform.directory().join("other-time.migrc");
    let at = migrc.display().to_string();
    for (date, way) in [
        ("Mon, 01 Jan 2024 00:00:00 GMT", "ahead of its own"),
        ("Thu, 01 Jan 2099 00:00:00 GMT", "behind its own"),
    ] {
        fs::write(&migrc, format!("[api]\nurl = {}\n", other_time(date)?))?;
        for (name, args) in [
            ("mig", &["file", "-c", &at, "-y", "-path", "/etc"][..]),
            ("mig", &["actions", "-c", &at]),
            ("mig-agent-search", &["-c", &at, "-p", "name=%"]),
            ("mig-console", &["-c", &at]),
        ] {
            let outcome = lab.run(name, args)?;
            let said = outcome.stderr.lines().find(|line| line.starts_with("error: "));
            let said = said.unwrap_or_default();
            ensure!(outcome.code == Some(3), "{name} {args:?}: {outcome:#?}");
            ensure!(said.starts_with("error: 401 from http://127.0.0.1:"), "{outcome:#?}");
            let way = format!("{way}: token is expired");
            ensure!(said.contains(": our clock is ") && said.ends_with(&way), "{outcome:#?}");
            ensure!(outcome.stderr.contains("hint: set the clock of this machine"), "{outcome:#?}");
        }
    }
    Ok(())
}

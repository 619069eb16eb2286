//! Ctrl-C at every stage.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mig_e2e::terminal::Terminal;
use mig_testkit::TestPlatform;
use rustix::process::{Pid, Signal, kill_process};

use crate::{Lab, followed};

/// Stops an agent so that it answers nothing and is online all the same.
pub(crate) fn freeze(platform: &TestPlatform, name: &str) -> anyhow::Result<()> {
    let agent = platform.agents.iter().find(|agent| agent.name() == name).context("no agent")?;
    let pid = i32::try_from(agent.process.pid()).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.context("no process id")?, Signal::STOP)?)
}

const CTRL_C: &str = "\u{3}";

#[test]
fn ctrl_c_before_the_launch_sends_nothing() -> anyhow::Result<()> {
    let lab = Lab::new(&["web1"])?;
    let mut terminal = lab.terminal("mig", &["file", "--countdown", "60", "-path", "/etc"], 80)?;
    terminal.wait("launching in 60")?;
    terminal.keys(CTRL_C)?;
    let status = terminal.end()?;
    ensure!(status.code() == Some(130), "{status}: {}", terminal.raw());
    terminal.wait("error: cancelled, nothing was sent")?;
    let none = lab.mig(&["actions"])?;
    ensure!(none.stdout.is_empty() && none.stderr.contains("no result"), "{none:#?}");

    // The same while the API is asked whom it would reach.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let migrc = lab.platform.directory().join("silent.migrc");
    let url = format!("[api]\nurl = http://{}/api/v1/\n", silent.local_addr()?);
    std::fs::write(&migrc, url)?;
    let at = migrc.display().to_string();
    for args in [&["file", "-c", &at, "-path", "/etc"][..], &["results", "7", "-c", &at]] {
        let mut terminal = lab.terminal("mig", args, 80)?;
        // It has connected, and will wait for an answer.
        let connection = silent.accept()?;
        terminal.keys(CTRL_C)?;
        let status = terminal.end()?;
        ensure!(status.code() == Some(130), "{status}: {}", terminal.raw());
        drop(connection);
    }
    Ok(())
}

#[test]
fn ctrl_c_while_following_leaves_what_came_and_the_action_running() -> anyhow::Result<()> {
    let lab = Lab::new(&["web1", "web2"])?;
    let at = lab.evidence(&["passwd"])?;
    freeze(&lab.platform, "web2")?;
    let question = ["file", "-y", "-path", &at, "-name", "^passwd$"];
    let mut terminal = lab.terminal("mig", &question, 100)?;
    // The other one has not answered, and does not keep this from the screen.
    terminal.wait(&format!("web1 {at}/passwd [lastmodified:"))?;
    terminal.keys(CTRL_C)?;
    let status = terminal.end()?;
    ensure!(status.success(), "{status}: {}", terminal.raw());
    terminal.wait("[notice] stopped following action, but agents may still be running.")?;
    let id = followed(&terminal.raw())?;
    for text in [
        "fetching available results:",
        &format!("hint: mig follow {id} goes on with it"),
        "50.0% done in ",
        "2 sent, 1 done, 1 in flight, 1 succeeded",
        "1 agent has found results",
    ] {
        terminal.wait(text)?;
    }
    told_to_programs(&lab, &id, &at)?;
    // It goes on, for whoever follows it then.
    let args = ["follow", &id, "--timeout", "1s"];
    let again = lab.mig(&args)?;
    ensure!(again.code == Some(0) && again.stdout.starts_with("web1 "), "{again:#?}");
    ensure!(again.stderr.contains("the time to follow is over"), "{again:#?}");
    console_stays(&lab, &id)
}

/// Programs are told what came, and that it is not everything.
fn told_to_programs(lab: &Lab, id: &str, at: &str) -> anyhow::Result<()> {
    let summary = format!("{{\"type\":\"summary\",\"schema\":1,\"action\":{id},");
    let rest = "\"found\":1,\"notfound\":0,\"unsuccessful\":{},\"complete\":false}";
    // As it came, and not when all have; a document waits for all.
    for (format, seen, end) in [
        ("ndjson", format!("{at}/passwd"), rest),
        ("json", "Following action ID ".to_owned(), "\"complete\":false}}"),
    ] {
        let mut terminal = lab.terminal("mig", &["follow", id, "-o", format], 1000)?;
        terminal.wait(&seen)?;
        ensure!(!terminal.raw().contains("summary"), "{}", terminal.raw());
        terminal.keys(CTRL_C)?;
        ensure!(terminal.end()?.success(), "{}", terminal.raw());
        terminal.wait(&summary)?;
        terminal.wait(end)?;
    }
    // So they are when nobody follows any more.
    for args in [&["results", id][..], &["follow", id, "--timeout", "1s"]] {
        let told = lab.mig(&[args, &["-o", "ndjson"]].concat())?;
        ensure!(told.code == Some(0) && told.stdout.lines().count() == 2, "{told:#?}");
        ensure!(told.stdout.ends_with(&format!("{rest}\n")), "{told:#?}");
    }
    Ok(())
}

/// In the console ctrl-c ends what it does, and never the console.
fn console_stays(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let mut console = lab.terminal("mig-console", &[], 100)?;
    console.prompt("mig>")?;
    console.answer("create action", "launcher>")?;
    for order in ["setname again", "settarget allonline"] {
        console.answer(order, "launcher>")?;
    }
    console.answer("addoperation timedrift", "drift>")?;
    console.answer("none", "launcher>")?;
    console.answer("launch", "continue? (y/n)>")?;
    console.keys("y\r")?;
    console.wait("Following action ID ")?;
    console.keys(CTRL_C)?;
    console.wait("[notice] stopped following action, but agents may still be running.")?;
    console.wait("Entering action reader mode.")?;
    let launched = followed(&console.raw())?;
    ensure!(launched != id, "{}", console.raw());
    let prompt = format!("action {}>", launched.parse::<u64>()? % 1000);
    console.prompt(&prompt)?;
    // A line is given up, and nothing else.
    console.keys("detai\u{3}")?;
    console.prompt(&prompt)?;
    ends_with_ctrl_d(&mut console)
}

pub(crate) fn ends_with_ctrl_d(console: &mut Terminal) -> anyhow::Result<()> {
    mig_testkit::until("the console's end", Duration::from_mins(1), || {
        console.keys("\u{4}").ok();
        console.raw().contains("Gators are going back underwater.").then_some(())
    })?;
    ensure!(console.end()?.success(), "{}", console.raw());
    Ok(())
}

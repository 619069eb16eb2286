//! The history of orders is the file that readline reads and writes.

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use mig_e2e::operator::{succeed, tool};

use crate::Lab;
use crate::signals::ends_with_ctrl_d;

#[test]
fn readline_reads_our_history_and_we_read_its() -> anyhow::Result<()> {
    let lab = Lab::new(&[])?;
    let home = lab.platform.investigator("alice")?.home().to_owned();
    let file = home.join(".mig_history");
    let path = file.display().to_string();
    // Bash keeps its history with the library that is part of readline.
    let write = "set -o history; history -c; history -s 'search agent where name=web*'; \
                 history -s 'action 12'; history -w \"$HISTFILE\"; unset HISTFILE";
    let mut bash = tool("bash");
    bash.args(["--norc", "-c", write]).env("HISTFILE", &path).stdin(Stdio::null());
    succeed(&mut bash)?;
    assert_eq!(fs::read_to_string(&file)?, "search agent where name=web*\naction 12\n");

    let mut console = lab.terminal("mig-console", &[], 120)?;
    console.prompt("mig>")?;
    let shown = console.answer("history", "mig>")?;
    let newest: Vec<&str> = shown.iter().map(|line| line.trim_end()).collect();
    let expected = ["mig> history", "history", "action 12", "search agent where name=web*"];
    assert_eq!(newest, expected);
    // The arrow finds it, and a question's answer is not remembered.
    console.keys("\u{1b}[A\u{1b}[A\u{1b}[A")?;
    console.wait("mig> search agent where name=web*")?;
    console.keys("\r")?;
    console.prompt("mig>")?;
    console.answer("create loader", "name>")?;
    console.keys("\u{3}")?;
    console.prompt("mig>")?;
    ends_with_ctrl_d(&mut console)?;

    let read = "set -o history; history -c; history -r \"$HISTFILE\"; history";
    let mut bash = tool("bash");
    bash.args(["--norc", "-c", read]).env("HISTFILE", &path).stdin(Stdio::null());
    let listed = succeed(&mut bash)?;
    let entries: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.trim_start().split_once("  ").map(|(_, entry)| entry))
        .collect();
    let expected = [
        "search agent where name=web*",
        "action 12",
        "history",
        "search agent where name=web*",
        "create loader",
    ];
    assert_eq!(entries, expected, "{listed}");
    let mode = fs::metadata(&file).context("no history")?.permissions();
    ensure!(!mode.readonly());
    Ok(())
}

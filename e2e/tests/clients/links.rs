//! Identifiers that lead to a page, on terminals that have such.

use std::time::Duration;

use mig_e2e::terminal::Terminal;
use mig_testkit::until;

use super::Lab;

const WEB: &str = "https://mig.example.net/actions/{id}";

/// What a terminal gets that says of itself what these variables say.
fn shown(
    lab: &Lab,
    args: &[&str],
    variables: &[(&str, &str)],
    text: &str,
) -> anyhow::Result<String> {
    let mut command = lab.command("alice", "mig", args)?;
    command.env("VTE_VERSION", "6800").env("MIG_WEB_URL", WEB);
    command.env_remove("FORCE_HYPERLINK").env_remove("CLICOLOR_FORCE");
    command.envs(variables.iter().copied());
    let mut terminal = Terminal::start(&command, 120)?;
    let status = terminal.end()?;
    assert!(status.success(), "{args:?}: {}", terminal.raw());
    let what = format!("{text:?} of {args:?} {variables:?} in {:?}", terminal.raw());
    until(&what, Duration::from_secs(10), || Some(terminal.raw()).filter(|raw| raw.contains(text)))
}

/// An action's id leads to its page, and nowhere else than on such a terminal.
pub(super) fn pages(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let page = WEB.replace("{id}", id);
    let link = format!("\x1b]8;;{page}\x1b\\{id}\x1b]8;;\x1b\\");
    for args in [
        &["actions"][..],
        &["-o", "table", "actions", "--columns", "id,status"],
        &["action", id],
        &["status"],
        &["follow", id],
    ] {
        shown(lab, args, &[], &link)?;
    }
    for (args, variables) in [
        (&["action", id][..], &[("MIG_WEB_URL", "")][..]),
        (&["action", id], &[("TERM", "dumb")]),
        (&["action", id], &[("NO_COLOR", "1")]),
        (&["action", id], &[("VTE_VERSION", "")]),
        (&["action", id], &[("MIG_WEB_URL", "javascript:{id}")]),
        (&["action", id, "--color", "never"], &[]),
        (&["action", id, "-o", "json"], &[]),
    ] {
        let raw = shown(lab, args, variables, id)?;
        assert!(!raw.contains("\x1b]8"), "{args:?} {variables:?}: {raw:?}");
    }
    let mut piped = lab.command("alice", "mig", &["--color", "always", "action", id])?;
    let piped = piped.env("FORCE_HYPERLINK", "1").env("MIG_WEB_URL", WEB).output()?;
    let piped = String::from_utf8_lossy(&piped.stdout).into_owned();
    assert!(piped.contains(id) && !piped.contains('\x1b'), "{piped:?}");
    Ok(())
}

//! The launcher's `edit`: the action in the editor that somebody likes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use mig_e2e::terminal::Terminal;

use crate::Lab;
use crate::signals::ends_with_ctrl_d;

/// An editor: it notes what it was given, and does what its orders say.
fn editor(folder: &Path) -> anyhow::Result<(String, std::path::PathBuf)> {
    let (script, orders) = (folder.join("editor"), folder.join("orders"));
    let text = "orders=$1; path=$2\n\
                [ -t 0 ] && [ -t 1 ] && echo terminal > \"$orders.seen\"\n\
                stat -c %a \"$(dirname \"$path\")\" >> \"$orders.seen\"\n\
                echo \"$path\" > \"$orders.path\"\n\
                . \"$orders\"\n";
    fs::write(&script, text)?;
    // With an argument, as `code --wait` has one.
    Ok((format!("bash '{}' '{}'", script.display(), orders.display()), orders))
}

#[test]
fn an_action_is_edited_and_taken_back_when_it_makes_sense() -> anyhow::Result<()> {
    let lab = Lab::new(&["web1"])?;
    let at = lab.evidence(&["passwd", "group"])?;
    let (editor, orders) = editor(lab.platform.directory())?;
    let mut command = lab.program("mig-console", &[])?;
    command.env("EDITOR", &editor).env("TMPDIR", lab.platform.directory());
    let mut console = Terminal::start(&command, 160)?;
    console.prompt("mig>")?;
    let launcher = "launcher>";
    for (order, prompt) in [
        ("create action", launcher),
        ("setname first draft", launcher),
        ("settarget name='web1'", launcher),
        ("addoperation file", "label>"),
        ("s1", "search 's1'>"),
        (&format!("path {at}"), "search 's1'>"),
        ("name ^passwd$", "search 's1'>"),
        ("done", "label>"),
        ("done", launcher),
        ("settimes now 10m", launcher),
        ("sign", launcher),
    ] {
        console.answer(order, prompt)?;
    }

    // Looked at and left as it was: the signature still fits.
    fs::write(&orders, "true\n")?;
    let said = console.answer("edit", launcher)?.join("\n");
    ensure!(said.contains("[notice] nothing was changed"), "{said}");
    let seen = fs::read_to_string(orders.with_extension("seen"))?;
    ensure!(seen.starts_with("terminal\n700\n"), "{seen}");
    // What nobody signs may change.
    fs::write(
        &orders,
        "sed -i 's/\"description\": {}/\"description\": {\"url\":\"wiki\"}/' \"$path\"\n",
    )?;
    let said = console.answer("edit", launcher)?.join("\n");
    ensure!(!said.contains("dropped"), "{said}");
    let details = console.answer("details", launcher)?.join("\n");
    ensure!(details.contains("URL      wiki"), "{details}");

    // Broken, seen, edited again, given up: the draft is what it was.
    fs::write(&orders, "echo '{\"name\": ' > \"$path\"\n")?;
    let said = console.answer("edit", "edit it again? (y/n)>")?.join("\n");
    ensure!(said.contains("error: that is no action: "), "{said}");
    fs::write(&orders, "cat > \"$path\" <<'END'\n{\"target\": \"nam like\"}\nEND\n")?;
    let said = console.answer("y", "edit it again? (y/n)>")?.join("\n");
    ensure!(said.contains("error: the target is refused at "), "{said}");
    fs::write(
        &orders,
        "echo '{\"operations\":[{\"module\":\"file\",\"parameters\":{\"searches\":{\"s1\":{\"paths\":[\"/etc\"],\"names\":[\"(\"]}}}}]}' > \"$path\"\n",
    )?;
    let said = console.answer("y", "edit it again? (y/n)>")?.join("\n");
    ensure!(said.contains("error: operation 0, file: "), "{said}");
    let said = console.answer("n", launcher)?.join("\n");
    ensure!(said.contains("abort, the action is as it was"), "{said}");

    // A change that makes sense costs the signature, and is what is sent.
    fs::write(
        &orders,
        "sed -i 's/first draft/second draft/; s/\\^passwd\\$/^group$/' \"$path\"\n",
    )?;
    let said = console.answer("edit", launcher)?.join("\n");
    let notice = "[notice] the action changed: 1 signatures that no longer fit were dropped";
    ensure!(said.contains(notice), "{said}");
    let path = fs::read_to_string(orders.with_extension("path"))?;
    ensure!(!Path::new(path.trim()).exists(), "{path} stays behind");
    console.answer("launch", "continue? (y/n)>")?;
    console.keys("y\r")?;
    console.wait("Action 'second draft' successfully launched with ID '")?;
    console.wait("1 sent, 1 done, 1 succeeded")?;
    let raw = console.raw();
    let id = crate::followed(&raw).context("no action")?;
    let prompt = format!("action {}>", id.parse::<u64>()? % 1000);
    console.prompt(&prompt)?;
    let found = console.answer("results found", &prompt)?.join("\n");
    ensure!(found.contains(&format!("web1 {at}/group [")), "{found}");
    ends_with_ctrl_d(&mut console)?;
    without_an_editor(&lab)
}

fn without_an_editor(lab: &Lab) -> anyhow::Result<()> {
    for (editor, sentence) in [
        ("/nonexistent/editor", "error: cannot start the editor /nonexistent/editor: "),
        ("false", "error: the editor false ended with exit status: 1; nothing was changed"),
        ("'open", "error: EDITOR: a quote is left open"),
    ] {
        let mut command = lab.program("mig-console", &[])?;
        command.env("VISUAL", editor).env("EDITOR", "true");
        let mut console = Terminal::start(&command, 160)?;
        console.prompt("mig>")?;
        console.answer("create action", "launcher>")?;
        let said = console.answer("edit", "launcher>")?.join("\n");
        ensure!(said.contains(sentence), "{said}");
        let said = console.answer("edit now", "launcher>")?.join("\n");
        ensure!(said.contains("error: 'edit' takes no \"now\""), "{said}");
    }
    Ok(())
}

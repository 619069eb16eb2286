//! `config.toml`.

use std::fs;

use super::{ALICE, Lab};

/// Options come before variables, variables before the file, the file before defaults;
/// what is wrong in it is told by every program.
pub(super) fn every_run(lab: &Lab) -> anyhow::Result<()> {
    let home = lab.platform.investigator("alice")?.home().to_owned();
    let path = home.join(".config/mig/config.toml");
    fs::create_dir_all(home.join(".config/mig"))?;
    fs::write(&path, "output = \"json\"\nconfirm_above = 7\nretry = 2\n")?;
    let begins = |args: &[&str], variable: Option<&str>, text: &str| -> anyhow::Result<()> {
        let mut command = lab.command("alice", "mig", args)?;
        command.envs(variable.map(|value| ("MIG_OUTPUT", value)));
        let printed = String::from_utf8(command.output()?.stdout)?;
        assert!(printed.starts_with(text), "{args:?} {variable:?}: {printed}");
        Ok(())
    };
    let agents = ["agents", "name=web1"];
    begins(&agents, None, "[{\"id\":")?;
    begins(&agents, Some("name"), "web1\n")?;
    begins(&["-o", "csv", "agents", "name=web1"], Some("name"), "name,id,")?;
    let found = lab.expect(0, ("alice", "mig-agent-search"), &["-p", "name=web1"], &[])?;
    assert!(found.stdout.starts_with("[{\"id\":"), "{found:#?}");
    let named = path.display().to_string();
    let mut command = lab.command("alice", "mig", &["config", "show"])?;
    let shown = String::from_utf8(command.env("MIG_RETRY", "5").output()?.stdout)?;
    for line in ["#\toutput = json (config.toml)", "#\tretry = 5 (MIG_RETRY)", &named] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let order = format!("{named} is in order");
    lab.expect(0, ALICE, &["config", "check"], &[&order])?;

    fs::write(&path, "retry = 2\n\ncolour = \"never\"\n")?;
    let fault = format!("error: {named}:3: unknown key \"colour\"; known are ca_file, color, ");
    for (who, args) in [
        (ALICE, &["agents"][..]),
        (ALICE, &["config", "check"]),
        (ALICE, &["config", "show"]),
        (ALICE, &["file", "-t", "local", "-path", "/etc", "-name", "x"]),
        (("alice", "mig-console"), &[]),
        (("alice", "mig-agent-search"), &["-p", "name=x"]),
    ] {
        lab.expect(2, who, args, &[&fault])?;
    }
    lab.expect(2, ALICE, &["doctor"], &["BROKEN  config: ", ":3: unknown key"])?;
    lab.expect(0, ALICE, &["help"], &["usage: mig"])?;
    fs::remove_file(&path)?;
    Ok(())
}

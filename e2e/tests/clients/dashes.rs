//! `-` in the place of a file.

use std::fs::{self, File};

use anyhow::Context as _;
use mig_testkit::Outcome;
use mig_types::Action;

use super::{Lab, until};

/// Runs a program of alice with a file as its standard input.
fn fed(lab: &Lab, name: &str, args: &[&str], path: &str) -> anyhow::Result<Outcome> {
    let mut command = lab.command("alice", name, args)?;
    Ok(command.stdin(File::open(path)?).output()?.into())
}

/// Actions, keys and access lists come from standard input and go to standard
/// output, which has nothing else then.
pub(super) fn streams(lab: &Lab, unsigned: &str) -> anyhow::Result<()> {
    let acl = lab.acl.display().to_string();
    let signed = fed(lab, "mig", &["sign", "-", "-o", "-", "--acl", &acl], unsigned)?;
    assert_eq!(signed.code, Some(0), "{signed:#?}");
    let action: Action = serde_json::from_str(&signed.stdout)?;
    assert_eq!(action.pgpsignatures.len(), 1, "{signed:#?}");
    let path = lab.file("piped.json");
    fs::write(&path, &signed.stdout)?;

    let keyring = lab.platform.investigator("alice")?.public_key_file().display().to_string();
    for (name, args) in [
        ("mig", &["verify", &path, "-keyring", "-"][..]),
        ("mig-action-verifier", &["-a", &path, "-keyring", "-"]),
    ] {
        let valid = fed(lab, name, args, &keyring)?;
        assert_eq!(valid.code, Some(0), "{valid:#?}");
        assert!(valid.stdout.starts_with("Valid signature\n"), "{valid:#?}");
    }
    let weighed = fed(lab, "mig", &["sign", &path, "--check", "--acl", "-"], &acl)?;
    assert_eq!(weighed.code, Some(0), "{weighed:#?}");
    let twice = fed(lab, "mig", &["verify", "-", "-keyring", "-"], &path)?;
    assert_eq!(twice.code, Some(2), "{twice:#?}");
    assert!(twice.stderr.contains("can stand for one file only"), "{twice:#?}");

    // What was signed and sent, and nothing beside it.
    let saving = ["--save", "-", "file", "-t", "name='web1'", "-path", "/etc", "-name", "^passwd$"];
    let clash =
        lab.expect(2, super::ALICE, &saving, &["no room for results", "hint: --save <file>"])?;
    assert!(clash.stdout.is_empty(), "{clash:#?}");
    let mut alone = vec!["--no-follow"];
    alone.extend(saving);
    let sent = lab.expect(0, super::ALICE, &alone, &[])?;
    let saved: Action = serde_json::from_str(&sent.stdout)?;
    assert_eq!(saved.pgpsignatures.len(), 1, "{sent:#?}");
    let id = sent.stderr.lines().find_map(|line| line.strip_prefix("action "));
    let id = id.context("no id")?.to_owned();
    let ended = until("the action", std::time::Duration::from_mins(1), || {
        let told = lab.run("alice", "mig", &["action", &id]).ok()?;
        told.stdout.contains("status    completed").then_some(())
    });
    ended?;
    alone.insert(0, "--json");
    lab.expect(2, super::ALICE, &alone, &["no room for the id as json"])?;
    Ok(())
}

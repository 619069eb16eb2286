//! What people read when something fails: one sentence, and with `-v` what is
//! behind it.

use std::fs;

use anyhow::Context as _;
use mig_testkit::Outcome;

use super::{ALICE, Lab, VERIFIER};

/// Lines on standard error that begin with that word.
fn lines<'a>(stderr: &'a str, word: &str) -> Vec<&'a str> {
    stderr.lines().filter(|line| line.starts_with(word)).collect()
}

/// Causes are for the curious; the reason is for everybody.
pub(super) fn sentences(lab: &Lab) -> anyhow::Result<()> {
    let path = lab.file("nobody.migrc");
    fs::write(&path, "[api]\nurl = \"http://127.0.0.1:1/api/v1/\"\n")?;
    let reason = "error: cannot reach the API at http://127.0.0.1:1/api/v1/";
    for (program, args) in [
        (ALICE, &["agents", "-c", &path][..]),
        (ALICE, &["action", "1", "-c", &path]),
        (ALICE, &["file", "-c", &path, "-path", "/etc", "-name", "x"]),
        (("alice", "mig-agent-search"), &["-c", &path, "-p", "name=x"]),
        (("alice", "mig-console"), &["-c", &path]),
    ] {
        let told = lab.expect(4, program, args, &[reason, ": connection refused\n"])?;
        assert_eq!(lines(&told.stderr, "error: ").len(), 1, "{told:#?}");
        assert!(lines(&told.stderr, "cause: ").is_empty(), "{told:#?}");
        let mut loud = args.to_vec();
        loud.insert(0, "-v");
        let told = lab.expect(4, program, &loud, &[reason, ": connection refused\n"])?;
        let causes = lines(&told.stderr, "cause: ");
        assert!(
            causes.len() > 1 && causes.iter().any(|line| line.contains("os error")),
            "{told:#?}"
        );
    }
    // Where the reason is alone, there is no more to tell.
    let told = lab.expect(2, VERIFIER, &["-v", "-a", "/nonexistent"], &["No such file"])?;
    assert!(lines(&told.stderr, "cause: ").is_empty(), "{told:#?}");
    Ok(())
}

/// `-vv` shows what goes to the API and comes back, and nothing that opens a door.
pub(super) fn bodies(lab: &Lab) -> anyhow::Result<()> {
    let quiet = lab.expect(0, ALICE, &["status", "-v"], &["GET /api/v1/dashboard?: 200"])?;
    assert!(!quiet.stderr.contains("collection"), "{quiet:#?}");
    let told = lab.expect(0, ALICE, &["status", "-vv"], &["[debug] < {\"collection\":{"])?;
    let token = told.stderr.lines().find(|line| line.contains("> X-PGPAUTHORIZATION: 1;20"));
    let token = token.context("no token")?;
    assert!(token.ends_with(";***") && token.matches(';').count() == 3, "{token}");

    let found = lab.expect(0, ALICE, &["investigator", "list", "name=alice", "-o", "name"], &[])?;
    let id = found.stdout.trim().to_owned();
    let change = |state: &str| {
        let args = ["investigator", "set", &id, "-apikey", state, "-vv"];
        lab.expect(0, ALICE, &args, &["> id=", "> apikey=***"])
    };
    let made = change("active")?;
    let key = made.stdout.trim().to_owned();
    assert_eq!(key.len(), 32, "{made:#?}");
    assert!(made.stderr.contains("\"apikey\":\"***\""), "{made:#?}");
    let mut command = lab.command("alice", "mig", &["agents", "-vv"])?;
    let used: Outcome = command.env("MIG_API_KEY", &key).output()?.into();
    assert_eq!(used.code, Some(0), "{used:#?}");
    assert!(used.stderr.contains("> X-MIGAPIKEY: ***"), "{used:#?}");
    for told in [&made.stderr, &used.stderr, &change("disabled")?.stderr] {
        assert!(!told.contains(&key), "{told}");
    }

    // Of what is large, the beginning.
    let at = lab.file("large.json");
    let path = format!("/etc/{}", "x".repeat(200));
    let mut question = vec!["-p", "file", "-t", "name='web1'", "-name", "^x$"];
    (0..200).for_each(|_| question.extend(["-path", &path]));
    fs::write(&at, lab.expect(0, ALICE, &question, &[])?.stdout)?;
    let sent = lab.run("alice", "mig", &["-i", &at, "-vv", "--no-follow"])?;
    let line = sent.stderr.lines().find(|line| line.contains("> action={"));
    let line = line.context("no action")?;
    assert!(line.contains(" bytes more)") && line.len() < 20_000, "{}", line.len());
    Ok(())
}

//! What people read when something fails: one sentence, and with `-v` what is
//! behind it.

use std::fs;

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
        loud.insert(if program.1 == "mig" { 1 } else { 0 }, "-v");
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

//! What the programs say of themselves, and what they print, as documents.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::command::cargo;

/// Writes the reference, the manual pages, the completions, and transcripts of the
/// cheat sheet that are not right any more; the tests that compare them do it.
pub(crate) fn run() -> Result<ExitCode> {
    // With the examples: cargo then takes what `make test` has compiled.
    let built =
        cargo().args(["build", "--quiet", "--workspace", "--bins", "--examples"]).status()?;
    if !built.success() {
        bail!("the programs do not build");
    }
    let test = ["test", "--quiet", "--workspace", "--test", "documents"];
    let written = cargo().args(test).env("MIG_WRITE_REFERENCE", "1").status()?;
    if !written.success() {
        bail!("a program does not say what it does");
    }
    println!("wrote docs/reference and docs/guide/cheat-sheet.md");
    Ok(ExitCode::SUCCESS)
}

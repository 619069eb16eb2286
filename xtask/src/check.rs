//! Everything that can be said about the code without running it.

use std::process::ExitCode;

use anyhow::Result;

use crate::command::cargo;
use crate::deps;

/// Runs every check, even after one has failed, and names the failed ones.
pub(crate) fn run() -> Result<ExitCode> {
    let mut failed = Vec::new();
    for (name, arguments) in [
        ("format", ["fmt", "--all", "--check"].as_slice()),
        ("clippy", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        // Its dependencies have been looked at, and are larger with its features.
        (
            "clippy of mig-yara",
            &[
                "clippy",
                "--quiet",
                "--package",
                "mig-yara",
                "--features",
                "engine",
                "--all-targets",
                "--no-deps",
                "--",
                "-D",
                "warnings",
            ],
        ),
        ("documentation", &["doc", "--quiet", "--workspace", "--no-deps"]),
    ] {
        eprintln!("check: {name}");
        let status = cargo().args(arguments).env("RUSTDOCFLAGS", "-D warnings").status()?;
        if !status.success() {
            failed.push(name);
        }
    }
    eprintln!("check: dependency directions");
    let faults = deps::faults()?;
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        failed.push("dependency directions");
    }
    if failed.is_empty() {
        println!("check: format, clippy, documentation and dependency directions are in order");
        Ok(ExitCode::SUCCESS)
    } else {
        println!("check: failed: {}", failed.join(", "));
        Ok(ExitCode::FAILURE)
    }
}

//! The table of promises names tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use mig_e2e::operator::repository;

const TABLE: &str = include_str!("../../../docs/compatibility-clients.md");

/// `suite::test` of each mark in the table's last column.
fn tests() -> Vec<&'static str> {
    let rows = TABLE.lines().filter(|line| line.starts_with("| "));
    rows.filter_map(|row| row.trim_end_matches('|').rsplit_once("| ").map(|(_, cell)| cell))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|mark| mark.contains("::"))
        .collect()
}

/// Every Rust file below a directory.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn every_test_that_the_table_names_exists() -> anyhow::Result<()> {
    let mut files = Vec::new();
    for part in ["crates", "e2e"] {
        sources(&repository().join(part), &mut files)?;
    }
    let texts: Vec<(String, String)> = files
        .iter()
        .map(|path| Ok((path.display().to_string(), fs::read_to_string(path)?)))
        .collect::<anyhow::Result<_>>()?;
    let named = tests();
    ensure!(named.len() > 40, "{} tests in the table", named.len());
    for test in named {
        let (suite, name) = test.rsplit_once("::").context("no suite")?;
        let function = format!("fn {name}(");
        // The suite is a file or folder, or the crate of a unit test.
        let place = suite.rsplit("::").next().unwrap_or(suite);
        let is_there = texts.iter().any(|(path, text)| {
            let parts: Vec<&str> = path.split(['/', '.']).collect();
            parts.contains(&place) && text.contains(&function)
        });
        ensure!(is_there, "there is no test {test}");
    }
    Ok(())
}

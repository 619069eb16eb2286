//! Where the servers' programs are.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Directory of `postgres` and `initdb`.
///
/// # Errors
///
/// When no place has them; the message names the package.
pub fn postgres_bin() -> Result<PathBuf> {
    if let Some(path) = from_environment("MIG_POSTGRES_BIN", "postgres")? {
        return Ok(path);
    }
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for parent in ["/usr/lib/postgresql", "/usr/local/lib/postgresql"] {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let version = entry.file_name().to_string_lossy().parse().unwrap_or(0);
            found.push((version, entry.path().join("bin")));
        }
    }
    found.sort();
    let mut candidates: Vec<PathBuf> = found.into_iter().rev().map(|(_, path)| path).collect();
    candidates.extend(search_path());
    let usable = |path: &PathBuf| has(path, "postgres") && has(path, "initdb");
    match candidates.into_iter().find(usable) {
        Some(path) => Ok(path),
        None => bail!(
            "PostgreSQL is not installed: install the package postgresql, or set MIG_POSTGRES_BIN \
             to the directory of postgres and initdb"
        ),
    }
}

/// Directory of `rabbitmq-server` and `rabbitmqctl`: the scripts themselves,
/// not the wrappers in `sbin`, which change to another account and lose the
/// environment.
///
/// # Errors
///
/// When no place has them; the message names the package.
pub fn rabbitmq_bin() -> Result<PathBuf> {
    if let Some(path) = from_environment("MIG_RABBITMQ_BIN", "rabbitmq-server")? {
        return Ok(path);
    }
    let places = ["/usr/lib/rabbitmq/bin", "/opt/homebrew/sbin", "/usr/local/opt/rabbitmq/sbin"];
    let usable = |path: &PathBuf| has(path, "rabbitmq-server") && has(path, "rabbitmqctl");
    match places.into_iter().map(PathBuf::from).find(usable) {
        Some(path) => Ok(path),
        None => bail!(
            "RabbitMQ is not installed: install the package rabbitmq-server, or set \
             MIG_RABBITMQ_BIN to the directory of rabbitmq-server and rabbitmqctl"
        ),
    }
}

/// The daemon for smartcards.
///
/// # Errors
///
/// When no place has it; the message names the package.
pub fn pcscd() -> Result<PathBuf> {
    let mut places = search_path().chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    match places.find(|path| has(path, "pcscd")) {
        Some(path) => Ok(path.join("pcscd")),
        None => bail!("pcscd is not installed: install the package pcscd"),
    }
}

/// Its driver for a reader that is software.
///
/// # Errors
///
/// When no place has it; the message names the package.
pub fn virtual_reader() -> Result<PathBuf> {
    let mut places = ["/usr/lib/pcsc/drivers/serial", "/usr/local/lib/pcsc/drivers/serial"]
        .into_iter()
        .map(PathBuf::from);
    match places.find(|path| has(path, "libifdvpcd.so")) {
        Some(path) => Ok(path.join("libifdvpcd.so")),
        None => bail!("the virtual reader is not installed: install the package vsmartcard-vpcd"),
    }
}

/// `GnuPG`'s own half of smartcards.
///
/// # Errors
///
/// When no place has it; the message names the package.
pub fn scdaemon() -> Result<PathBuf> {
    let mut places = ["/usr/lib/gnupg", "/usr/libexec", "/usr/lib/gnupg2", "/usr/local/libexec"]
        .into_iter()
        .map(PathBuf::from);
    match places.find(|path| has(path, "scdaemon")) {
        Some(path) => Ok(path.join("scdaemon")),
        None => bail!("scdaemon is not installed: install the package scdaemon"),
    }
}

/// The Erlang port mapper, which `RabbitMQ` needs.
pub(crate) fn epmd() -> Result<PathBuf> {
    let mut places: Vec<PathBuf> = search_path().collect();
    for parent in ["/usr/lib/erlang", "/usr/local/lib/erlang", "/opt/homebrew/lib/erlang"] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        places.extend(entries.map(|entry| entry.path().join("bin")));
    }
    match places.into_iter().find(|path| has(path, "epmd")) {
        Some(path) => Ok(path.join("epmd")),
        None => bail!("epmd is not installed: it comes with Erlang, package erlang-base"),
    }
}

fn from_environment(variable: &str, program: &str) -> Result<Option<PathBuf>> {
    let Some(path) = std::env::var_os(variable).map(PathBuf::from) else { return Ok(None) };
    if !has(&path, program) {
        bail!("{variable} is {}, which has no {program}", path.display());
    }
    Ok(Some(path))
}

fn search_path() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

fn has(directory: &Path, program: &str) -> bool {
    directory.join(program).is_file()
}

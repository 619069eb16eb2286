#![doc = include_str!("../README.md")]

mod elements;
pub mod keys;
mod walk;

pub use elements::{Elements, Key, Params, Statistics};

use std::time::Instant;

use mig_host::environment::go_os;
use mig_module::args::{self, Flag, Outcome};
use mig_module::{Budget, Host, Module, ModuleError, Needs, Parsed, Report, UsageError};
use mig_types::duration;

use crate::keys::{Found, Kind};

const FLAGS: [Flag; 2] = [("path", args::Kind::List), ("maxdepth", args::Kind::Number)];

const HELP: &str = "\
sshkey looks for SSH private keys, public keys and authorized_keys entries and
returns their fingerprints. It needs no option.

  -path <string>    where to look, repeatable [default: home directories]
  -maxdepth <int>   levels of directories, up to 1000 [default: 8]

Example: sshkey -path /home -path /etc/ssh
";

/// Levels of directories when none are given, and at most.
const DEPTH: i64 = 8;
const MAX_DEPTH: i64 = 1000;

/// Bytes of a key's member names, quotes and commas in a result.
const KEY_BYTES: usize = 220;

/// The `sshkey` module. Stateless: one value serves every run.
#[derive(Debug, Clone, Copy, Default)]
pub struct SshKey;

impl Module for SshKey {
    const NAME: &'static str = "sshkey";
    const SUMMARY: &'static str = "looks for SSH keys and who may log in with them";
    type Params = Params;
    type Elements = Elements;
    type Statistics = Statistics;

    // Paths can be anywhere, so the default: every file, and nothing but files.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn validate(&self, params: &Params) -> Result<(), ModuleError> {
        if !(0..=MAX_DEPTH).contains(&params.maxdepth) {
            return Err(ModuleError::invalid(format!(
                "maxdepth should be specified from 0-{MAX_DEPTH}, got {}",
                params.maxdepth
            )));
        }
        Ok(())
    }

    fn run(
        &self,
        host: &dyn Host,
        params: &Params,
        budget: &Budget,
    ) -> Result<Report<Elements, Statistics>, ModuleError> {
        let begun = Instant::now();
        let is_default = params.paths.is_empty();
        let mut roots: Vec<String> =
            if is_default { homes() } else { params.paths.iter().map(|p| clean(p)).collect() };
        roots.sort();
        roots.dedup();
        let depth = if params.maxdepth == 0 { DEPTH } else { params.maxdepth };
        let outcome = walk::walk(host, &roots, !is_default, depth, budget);
        let mut statistics = outcome.statistics;
        let mut errors = outcome.errors;
        let mut elements = Elements::default();
        let mut bytes_left = budget.result_bytes();
        for (path, found) in outcome.files {
            let path = walk::text(&path);
            for key in found {
                match bytes_left.checked_sub(KEY_BYTES + path.len()) {
                    Some(left) => {
                        bytes_left = left;
                        elements.keys.push(element(&path, key));
                    }
                    None => statistics.notreturned += 1,
                }
            }
        }
        if statistics.notreturned > 0 {
            let count = statistics.notreturned;
            errors.push(format!("{count} keys were not returned: the result is too large"));
        }
        if outcome.was_cut {
            errors.push(ModuleError::Deadline.one_line());
        }
        statistics.exectime = duration::format(begun.elapsed());
        Ok(Report {
            foundanything: !elements.keys.is_empty(),
            success: true,
            elements: Some(elements),
            statistics: Some(statistics),
            errors,
        })
    }

    fn mask(&self, report: &mut Report<Elements, Statistics>) {
        for key in report.elements.iter_mut().flat_map(|elements| &mut elements.keys) {
            "masked".clone_into(&mut key.path);
        }
        // They name files.
        for error in &mut report.errors {
            "masked".clone_into(error);
        }
    }

    fn parse_args(&self, args: &[String]) -> Result<Parsed<Params>, UsageError> {
        if args.first().is_some_and(|word| word == "help") {
            return Ok(Parsed::Help);
        }
        let given = match args::parse_or_empty(&FLAGS, args)? {
            Outcome::Help => return Ok(Parsed::Help),
            Outcome::Options(given) => given,
        };
        let depth = given.number("maxdepth", 0.0);
        if depth.fract() != 0.0 {
            return Err(UsageError::new(format!("maxdepth must be a whole number, got {depth}")));
        }
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is checked after")]
        let maxdepth = depth as i64;
        Ok(Parsed::Params(Params { paths: given.list("path"), maxdepth }))
    }

    fn print(&self, report: &Report<Elements, Statistics>, found_only: bool) -> Vec<String> {
        let keys = report.elements.iter().flat_map(|elements| &elements.keys);
        let mut lines: Vec<String> = keys.map(line).collect();
        if !found_only {
            lines.extend(report.errors.iter().cloned());
        }
        lines
    }

    fn help(&self) -> String {
        HELP.to_owned()
    }
}

fn element(path: &str, found: Found) -> Key {
    let (kind, encrypted) = match found.kind {
        Kind::Private { encrypted } => ("private", encrypted),
        Kind::Public => ("public", false),
        Kind::AuthorizedKeys => ("authorizedkeys", false),
    };
    let (fingerprint_md5, fingerprint_sha256) =
        found.fingerprints.map(|prints| (prints.md5, prints.sha256)).unwrap_or_default();
    Key {
        fingerprint_md5,
        fingerprint_sha256,
        path: path.to_owned(),
        encrypted,
        kind: kind.to_owned(),
    }
}

fn line(key: &Key) -> String {
    let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let encrypted = match key.kind.as_str() {
        "private" => format!(" encrypted={}", key.encrypted),
        _ => String::new(),
    };
    format!(
        "{} [{}]{encrypted} md5fp={} sha256fp={}",
        key.path,
        key.kind,
        known(&key.fingerprint_md5),
        known(&key.fingerprint_sha256)
    )
}

/// Where people's keys are on this system.
fn homes() -> Vec<String> {
    let homes: &[&str] = match go_os() {
        "linux" | "darwin" => &["/root", "/home"],
        "windows" => &["c:\\Users"],
        _ => &[],
    };
    homes.iter().map(|home| (*home).to_owned()).collect()
}

/// A path without what says nothing: `./d//e/` is `d/e`.
fn clean(path: &str) -> String {
    let parts: Vec<&str> =
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let joined = parts.join("/");
    match (path.starts_with('/'), joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

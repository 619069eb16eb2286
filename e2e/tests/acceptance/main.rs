//! What investigators were promised of `mig` and its console: the words people
//! know, the terminal they sit at, the keys they sign with, and thousands of
//! answers.

#![cfg(test)]
#![cfg(target_os = "linux")]

mod editing;
mod history;
mod launch;
mod promises;
mod signals;
mod signing;
mod streams;
mod surroundings;

use std::fs;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use mig_e2e::operator::program;
use mig_e2e::terminal::Terminal;
use mig_testkit::{AgentOptions, Outcome, TestPlatform};
use mig_types::{Acl, AclEntry};

/// Variables that a person at a clean desk has not set.
const UNSET: [&str; 12] = [
    "MIG_CONFIG",
    "MIG_CONTEXT",
    "MIG_OUTPUT",
    "MIG_YES",
    "MIG_GPG",
    "MIG_API_KEY",
    "MIGPGPPASSPHRASE",
    "MIGPGPPASSPHRASE_FILE",
    "GNUPGHOME",
    "VISUAL",
    "EDITOR",
    "NO_COLOR",
];

/// A platform whose agents do what alice and bob ask.
pub struct Lab {
    pub platform: TestPlatform,
}

impl Lab {
    fn new(agents: &[&str]) -> anyhow::Result<Self> {
        let mut lab = Self { platform: TestPlatform::embedded()? };
        lab.join(agents)?;
        Ok(lab)
    }

    fn join(&mut self, agents: &[&str]) -> anyhow::Result<()> {
        let mut acl = Acl::default();
        let people = self.platform.investigators.iter().map(|person| person.weighing(1)).collect();
        acl.insert("default", AclEntry { minimumweight: 1, investigators: people });
        for name in agents {
            let (name, acl) = ((*name).to_owned(), acl.clone());
            self.platform.start_agent(&AgentOptions { name, acl, ..AgentOptions::default() })?;
        }
        self.platform.wait_agents(agents.len())
    }

    /// A directory with these files in it.
    fn evidence(&self, names: &[&str]) -> anyhow::Result<String> {
        let folder = self.platform.directory().join("evidence");
        fs::create_dir_all(&folder)?;
        for name in names {
            fs::write(folder.join(name), "root:x:0:0:root:/root:/bin/bash\n")?;
        }
        Ok(folder.display().to_string())
    }

    /// A program as alice starts it, who signs with a key file.
    fn program(&self, name: &str, args: &[&str]) -> anyhow::Result<Command> {
        let alice = self.platform.investigator("alice")?;
        let mut command = program(name, self.platform.directory())?;
        for name in UNSET {
            command.env_remove(name);
        }
        command.args(args).env("HOME", alice.home());
        command.env("MIG_SIGNING_KEY", alice.secret_key_file());
        command.stdin(Stdio::null());
        Ok(command)
    }

    fn run(&self, name: &str, args: &[&str]) -> anyhow::Result<Outcome> {
        Ok(self.program(name, args)?.output()?.into())
    }

    fn mig(&self, args: &[&str]) -> anyhow::Result<Outcome> {
        self.run("mig", args)
    }

    /// The same, on a terminal.
    fn terminal(&self, name: &str, args: &[&str], columns: u16) -> anyhow::Result<Terminal> {
        Terminal::start(&self.program(name, args)?, columns)
    }

    /// Asks a question and waits for all answers: the id of the action.
    fn asked(&self, args: &[&str]) -> anyhow::Result<String> {
        let outcome = self.mig(&[&["file", "-y", "--strict"], args].concat())?;
        anyhow::ensure!(outcome.code == Some(0), "{outcome:#?}");
        followed(&outcome.stderr)
    }
}

/// The id of the action that was followed.
fn followed(text: &str) -> anyhow::Result<String> {
    let (_, rest) = text.split_once("Following action ID ").context("nothing was followed")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    anyhow::ensure!(!digits.is_empty(), "{text}");
    Ok(digits)
}

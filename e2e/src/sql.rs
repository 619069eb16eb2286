//! A database's own client, for what no program of ours would do.

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use mig_testservices::Postgres;

/// `psql` as one role of one database.
#[derive(Debug, Clone)]
pub struct Psql {
    port: u16,
    role: String,
    database: String,
}

/// A transaction that stays open until it is dropped or ended, with its locks.
pub struct Held(Child);

impl Psql {
    /// For the superuser in the database that the server was made with.
    pub fn superuser(server: &Postgres) -> Self {
        Self::new(server, "postgres", "postgres")
    }

    pub fn new(server: &Postgres, role: &str, database: &str) -> Self {
        Self { port: server.port(), role: role.to_owned(), database: database.to_owned() }
    }

    #[expect(clippy::disallowed_methods, reason = "the database's own client")]
    fn command(&self) -> Command {
        let mut command = Command::new("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        command.args(["-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", &self.role]);
        command.args(["-d", &self.database, "-p", &self.port.to_string()]);
        command
    }

    /// Runs statements, one after the other; how it ended is the caller's to
    /// judge.
    ///
    /// # Errors
    ///
    /// When `psql` cannot be started.
    pub fn run(&self, statements: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.command();
        for statement in statements {
            command.args(["-c", statement]);
        }
        command.output().context("cannot start psql")
    }

    /// What one statement prints, columns parted by `|`.
    ///
    /// # Errors
    ///
    /// When the server refuses it.
    pub fn ask(&self, statement: &str) -> anyhow::Result<String> {
        let output = self.run(&[statement])?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{statement}: {error}");
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// One number.
    ///
    /// # Errors
    ///
    /// When the server refuses the statement or its answer is no number.
    pub fn count(&self, statement: &str) -> anyhow::Result<usize> {
        let text = self.ask(statement)?;
        text.parse().with_context(|| format!("{statement}: {text:?} is no number"))
    }

    /// Begins a transaction, runs a statement in it and keeps it open.
    ///
    /// # Errors
    ///
    /// When `psql` cannot be started.
    pub fn hold(&self, statement: &str) -> anyhow::Result<Held> {
        let mut child = self.command().stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let stdin = child.stdin.as_mut().context("no input")?;
        stdin.write_all(format!("begin;\n{statement};\n").as_bytes())?;
        stdin.flush()?;
        Ok(Held(child))
    }
}

impl Held {
    /// Ends the transaction, and with it its locks.
    ///
    /// # Errors
    ///
    /// When `psql` failed.
    pub fn release(mut self) -> anyhow::Result<()> {
        // The end of its input is the end of the session.
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(status.success(), "psql ended with {status}");
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Gone already is fine.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

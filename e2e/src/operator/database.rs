//! `database/createlocaldb.sh` and what it leaves.

use std::path::Path;
use std::process::Output;

use anyhow::ensure;
use mig_testservices::Postgres;

use super::{script, succeed, word_after};
use crate::sql::Psql;

/// The roles that log in, in the order in which the script names them.
pub const LOGINS: [&str; 3] = ["migadmin", "migapi", "migscheduler"];

/// A server whose database `mig` the script made.
pub struct Database {
    pub server: Postgres,
    /// In the order of [`LOGINS`].
    passwords: Vec<String>,
}

/// Runs the script on a private server; what it printed.
///
/// # Errors
///
/// When it fails.
pub fn create_local(server: &Postgres) -> anyhow::Result<String> {
    succeed(
        script("database/createlocaldb.sh")
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", server.port().to_string())
            .env_remove("PGUSER"),
    )
}

impl Database {
    /// Starts a server and runs the script twice: the second run must change
    /// nothing.
    ///
    /// # Errors
    ///
    /// When the script does not print what the guide shows.
    pub fn create(directory: &Path) -> anyhow::Result<Self> {
        let server = Postgres::start_durable(&directory.join("postgres"))?;
        let said = create_local(&server)?;
        let passwords = LOGINS
            .iter()
            .map(|login| word_after(&said, &format!("Created user {login} with password ")))
            .collect::<Result<Vec<_>, _>>()?;
        for password in &passwords {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            ensure!(password.len() == 32 && password.chars().all(plain), "{password}");
        }
        ensure!(said.lines().count() == 4, "{said}");
        ensure!(said.ends_with("MIG Database created successfully.\n"), "{said}");
        let again = create_local(&server)?;
        ensure!(again.contains("already; nothing was changed."), "{again}");
        Ok(Self { server, passwords })
    }

    /// What `psql` says to one statement of a role, under `migreadonly` or not.
    ///
    /// # Errors
    ///
    /// When `psql` cannot be started.
    pub fn ask(&self, login: &str, read_only: bool, statement: &str) -> anyhow::Result<Output> {
        let psql = Psql::new(&self.server, login, "mig");
        if read_only {
            psql.run(&["set role migreadonly", statement])
        } else {
            psql.run(&[statement])
        }
    }

    /// For the superuser.
    pub fn psql(&self) -> Psql {
        Psql::new(&self.server, "postgres", "mig")
    }

    /// Section `[postgres]` for one of [`LOGINS`].
    pub fn section(&self, login: usize) -> String {
        format!(
            "[postgres]\nhost = 127.0.0.1\nport = {}\ndbname = mig\nuser = {}\n\
             password = \"{}\"\nsslmode = disable\nmaxconn = 10\n",
            self.server.port(),
            LOGINS[login],
            self.passwords[login]
        )
    }
}

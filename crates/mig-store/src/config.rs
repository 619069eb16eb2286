//! Where a PostgreSQL database is and how to reach it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longest evaluation of a target when nobody says otherwise.
pub const TARGET_TIMEOUT: Duration = Duration::from_secs(30);

/// How PostgreSQL is reached. Built from parts, so that any password works.
#[derive(Clone)]
pub struct PostgresConfig {
    /// Host name, address, or the directory of a Unix socket.
    pub host: String,
    pub port: u16,
    pub dbname: String,
    pub user: String,
    /// Empty when the server asks for none. Never printed.
    pub password: String,
    pub sslmode: SslMode,
    /// Most connections at once, at least one.
    pub maxconn: u32,
    /// A target that takes longer to evaluate is refused.
    pub target_timeout: Duration,
}

/// What is asked of the connection to PostgreSQL, in the words of `libpq`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Prefer,
    /// Encrypted; the certificate is not checked.
    Require,
    VerifyCa,
    #[default]
    VerifyFull,
}

/// A text that is no mode of TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not disable, prefer, require, verify-ca or verify-full")]
pub struct SslModeError(String);

impl FromStr for SslMode {
    type Err = SslModeError;

    fn from_str(text: &str) -> Result<Self, SslModeError> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            other => Err(SslModeError(other.chars().take(80).collect())),
        }
    }
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 5432,
            dbname: "mig".to_owned(),
            user: String::new(),
            password: String::new(),
            sslmode: SslMode::default(),
            maxconn: 10,
            target_timeout: TARGET_TIMEOUT,
        }
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("dbname", &self.dbname)
            .field("user", &self.user)
            .field("sslmode", &self.sslmode)
            .field("maxconn", &self.maxconn)
            .field("target_timeout", &self.target_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_mode_nobody_defined() {
        for text in ["", "on", "VERIFY-FULL", "allow"] {
            assert!(text.parse::<SslMode>().is_err(), "{text:?}");
        }
        assert_eq!("require".parse(), Ok(SslMode::Require));
    }

    #[test]
    fn never_prints_the_password() {
        let config = PostgresConfig { password: "hunter2".into(), ..PostgresConfig::default() };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

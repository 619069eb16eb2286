//! Errors of the driver, sorted by what a caller can do about them.

use std::time::Duration;

use sqlx::Error;
use sqlx::error::DatabaseError;

use crate::model::StoreError;

/// A statement, transaction or connection took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs())]
pub(crate) struct Overdue(pub(crate) Duration);

/// A column holds what this program cannot read.
#[derive(Debug, thiserror::Error)]
#[error("column {column} of the database cannot be read")]
pub(crate) struct BadColumn {
    pub(crate) column: &'static str,
    pub(crate) source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    pub(crate) fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed { source: source.into() }
    }

    pub(crate) fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable { source: source.into() }
    }

    /// Whether the database ended the transaction only so that another, which
    /// waited for the same rows, could go on: the same transaction may succeed
    /// at once.
    pub(crate) fn is_lost_race(&self) -> bool {
        let Self::Unavailable { source } = self else { return false };
        let error = source.downcast_ref::<Error>().and_then(Error::as_database_error);
        error.and_then(DatabaseError::code).is_some_and(|code| lost_race(&code))
    }

    /// Says what a conflict was about; leaves other errors alone.
    #[must_use]
    pub(crate) fn about(self, what: impl std::fmt::Display) -> Self {
        match self {
            Self::Conflict { .. } => Self::Conflict { what: what.to_string() },
            other => other,
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match &error {
            Error::Io(_)
            | Error::Tls(_)
            | Error::PoolTimedOut
            | Error::PoolClosed
            | Error::WorkerCrashed
            | Error::BeginFailed => Self::unavailable(error),
            Error::Database(database) => match kind(database.as_ref()) {
                Kind::Away => Self::unavailable(error),
                Kind::Taken => Self::Conflict { what: taken(database.as_ref()) },
                Kind::Unfit => Self::Refused { what: shorten(database.message()) },
                Kind::Other => Self::failed(error),
            },
            _ => Self::failed(error),
        }
    }
}

enum Kind {
    Away,
    Taken,
    Unfit,
    Other,
}

fn kind(error: &dyn DatabaseError) -> Kind {
    if error.is_unique_violation() {
        return Kind::Taken;
    }
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return match &*code {
            code if lost_race(code) => Kind::Away,
            // Shutting down, starting up, full, standby.
            "57P01" | "57P02" | "57P03" | "53300" | "25006" => Kind::Away,
            code if code.starts_with("08") => Kind::Away,
            // Too long, out of range, a character the encoding lacks.
            "22001" | "22003" | "22021" | "22P05" => Kind::Unfit,
            _ => Kind::Other,
        };
    }
    // SQLite: the low byte is the primary code; 5 busy, 6 locked, 13 full.
    match code.parse::<u32>().unwrap_or_default() & 0xff {
        5 | 6 | 13 => Kind::Away,
        _ => Kind::Other,
    }
}

/// PostgreSQL's deadlock and serialization failure.
fn lost_race(code: &str) -> bool {
    matches!(code, "40P01" | "40001")
}

fn taken(error: &dyn DatabaseError) -> String {
    error.table().map_or_else(|| "row".to_owned(), |table| format!("row of {table}"))
}

/// Whether PostgreSQL or SQLite could not evaluate a target within `limit`, and
/// what to say about it.
pub(crate) fn target_complaint(error: &Error, limit: Duration) -> Option<String> {
    let database = error.as_database_error()?;
    let code = database.code().unwrap_or_default();
    let (of_target, too_slow) =
        if database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
            // 22 data, 42 names and types, 54 too complex, 57014 statement timeout.
            let class = code.get(..2).unwrap_or_default();
            (matches!(class, "22" | "42" | "54"), code == "57014")
        } else {
            // 1 error in the statement, 9 interrupted, 18 too big, 20 mismatch.
            let primary = code.parse::<u32>().unwrap_or_default() & 0xff;
            (matches!(primary, 1 | 18 | 20), primary == 9)
        };
    if too_slow {
        let limit = mig_types::duration::format(limit);
        return Some(format!("it takes the database longer than {limit}, which is the limit"));
    }
    of_target.then(|| shorten(database.message()))
}

fn shorten(message: &str) -> String {
    message.chars().filter(|char| !char.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_heal_is_unavailable() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        for error in [Error::Io(refused), Error::PoolTimedOut, Error::PoolClosed] {
            assert!(matches!(StoreError::from(error), StoreError::Unavailable { .. }));
        }
        assert!(matches!(StoreError::from(Error::RowNotFound), StoreError::Failed { .. }));
    }

    #[test]
    fn an_absent_database_is_no_lost_race() {
        assert!(!StoreError::from(Error::PoolTimedOut).is_lost_race());
        assert!(!StoreError::LastAdmin.is_lost_race());
        assert!(lost_race("40P01") && !lost_race("57P01"));
    }

    #[test]
    fn only_a_conflict_takes_a_name() {
        let conflict = StoreError::Conflict { what: "row".into() }.about("action 7");
        assert_eq!(conflict.to_string(), "action 7 already exists");
        assert!(matches!(StoreError::LastAdmin.about("x"), StoreError::LastAdmin));
    }
}

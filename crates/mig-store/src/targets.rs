//! Targets against the database: read-only, with a limit of time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mig_types::target::Condition;
use mig_types::{LoaderTarget, Target, Timestamp};
use sqlx::AssertSqlSafe;

use crate::config::TARGET_TIMEOUT;
use crate::db::{Bind, Db, Row, Sql, postgres_query, sqlite_query, within_limit};
use crate::failure::target_complaint;
use crate::model::StoreError;
use crate::target_sql;

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What the database gets beyond the limit to say that it was reached.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks at the clock, in steps of SQLite's machine.
const STEPS: i32 = 10_000;

/// Adds the target's condition to a statement that selects from `agents`.
pub(crate) fn condition(sql: Sql, target: &Target, now: Timestamp) -> Result<Sql> {
    rendered(sql, target.condition(), now)
}

/// The same for a statement that selects from `loaders`.
pub(crate) fn loader_condition(sql: Sql, target: &LoaderTarget, now: Timestamp) -> Result<Sql> {
    rendered(sql, target.condition(), now)
}

fn rendered(sql: Sql, condition: &Condition, now: Timestamp) -> Result<Sql> {
    let rendered = target_sql::render(condition, sql.dialect(), now, sql.next_bind())
        .map_err(|error| StoreError::Target { message: error.to_string() })?;
    Ok(sql.push_bound(&rendered.sql, rendered.binds.into_iter().map(bind)))
}

/// How PostgreSQL is to read the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// As it thinks best, which is all of them.
    Any,
    /// In the statement's order, from an index that has it, so that a page ends the
    /// reading. It takes every condition on a document for a rare one, and would
    /// look at all agents and sort them.
    InOrder,
}

impl Db {
    /// Longest evaluation of a target.
    const fn target_limit(&self) -> Duration {
        match self {
            Self::Postgres { target_limit, .. } => *target_limit,
            Self::Sqlite { .. } => TARGET_TIMEOUT,
        }
    }

    /// Reads with a statement that holds a target's condition.
    pub(crate) async fn fetch_target(
        &self,
        sql: Sql,
        read_role: bool,
        plan: Plan,
    ) -> Result<Vec<Row>> {
        let limit = self.target_limit();
        within_limit(limit + GRACE, async {
            match self {
                Self::Postgres { pool, .. } => {
                    let mut tx = pool.begin_with("begin read only").await?;
                    // All end with the transaction, whatever happens. Zero would
                    // mean no limit.
                    let timeout = limit.as_millis().clamp(1, i32::MAX.cast_unsigned().into());
                    let role = if read_role { "; set local role migreadonly" } else { "" };
                    let plan = match plan {
                        Plan::Any => "",
                        Plan::InOrder => "; set local enable_sort = off",
                    };
                    let setup = format!("set local statement_timeout = '{timeout}ms'{role}{plan}");
                    // Safe to assert: a number and words of ours.
                    sqlx::raw_sql(AssertSqlSafe(setup)).execute(&mut *tx).await?;
                    let rows = postgres_query(sql).fetch_all(&mut *tx).await;
                    let rows = rows.map_err(|error| refusal(error, limit))?;
                    tx.rollback().await?;
                    Ok(rows.into_iter().map(Row::Postgres).collect())
                }
                Self::Sqlite { reader, .. } => {
                    let mut connection = reader.acquire().await?;
                    let watch = Limit::new(limit);
                    connection.lock_handle().await?.set_progress_handler(STEPS, watch.still_fine());
                    let rows = sqlite_query(sql).fetch_all(&mut *connection).await;
                    let rows = rows.map_err(|error| refusal(error, limit))?;
                    Ok(rows.into_iter().map(Row::Sqlite).collect())
                }
            }
        })
        .await
    }
}

fn bind(value: target_sql::Bind) -> Bind {
    match value {
        target_sql::Bind::Text(text) => Bind::Text(Some(text)),
        target_sql::Bind::Integer(value) => Bind::Int(Some(value)),
        target_sql::Bind::Real(value) => Bind::Float(value),
        target_sql::Bind::Bool(value) => Bind::Bool(value),
        target_sql::Bind::Time(time) => Bind::Time(time),
    }
}

fn refusal(error: sqlx::Error, limit: Duration) -> StoreError {
    match target_complaint(&error, limit) {
        Some(message) => StoreError::Target { message },
        None => error.into(),
    }
}

/// Interrupts SQLite when time is up. Dropped, it lets the connection, which
/// goes back to the pool, run for ever again.
struct Limit {
    armed: Arc<AtomicBool>,
    deadline: Instant,
}

impl Limit {
    fn new(limit: Duration) -> Self {
        Self { armed: Arc::new(AtomicBool::new(true)), deadline: Instant::now() + limit }
    }

    fn still_fine(&self) -> impl FnMut() -> bool + Send + 'static {
        let (armed, deadline) = (Arc::clone(&self.armed), self.deadline);
        move || !armed.load(Ordering::Relaxed) || Instant::now() < deadline
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.armed.store(false, Ordering::Relaxed);
    }
}

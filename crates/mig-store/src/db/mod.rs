//! One face for the two databases: run a statement, read rows, commit.

use std::time::Duration;

use mig_types::Timestamp;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Transaction};
use tokio::sync::broadcast;

use crate::events;
use crate::failure::{BadColumn, Overdue};
use crate::model::{StoreError, StoreEvent};
use crate::target_sql::Dialect;

pub(crate) mod postgres;
pub(crate) mod sql;
pub(crate) mod sqlite;

pub(crate) use sql::{Bind, Column, Sql};

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Longest wait for connections to end.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// No statement may take longer: a dead network must not hold a pass for ever.
const STATEMENT_LIMIT: Duration = Duration::from_mins(1);

/// Open connections to a database.
#[derive(Debug)]
pub(crate) enum Db {
    Postgres {
        pool: PgPool,
        /// Longest evaluation of a target.
        target_limit: Duration,
    },
    /// One writer, because SQLite has one; readers beside it.
    Sqlite {
        writer: SqlitePool,
        reader: SqlitePool,
        /// Where events go: nobody else shares the file.
        events: broadcast::Sender<StoreEvent>,
    },
}

/// A transaction; dropped without [`Tx::commit`], it rolls back.
pub(crate) struct Tx {
    inner: Inner,
    happened: Vec<StoreEvent>,
}

enum Inner {
    Postgres(Transaction<'static, Postgres>),
    Sqlite(Transaction<'static, Sqlite>, broadcast::Sender<StoreEvent>),
}

/// What is locked by name rather than by row, for a transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lock {
    /// Changes of investigators' rights, and the scheduler's identity.
    Investigators,
    /// Migrations.
    Schema,
    /// Orders against duplicate agents.
    Duplicates,
}

impl Lock {
    /// Arbitrary, but the same in every process for ever.
    const fn key(self) -> i64 {
        match self {
            Self::Investigators => 0x6d69_6701,
            Self::Schema => 0x6d69_6702,
            Self::Duplicates => 0x6d69_6703,
        }
    }
}

impl Db {
    pub(crate) const fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres { .. } => Dialect::Postgres,
            Self::Sqlite { .. } => Dialect::Sqlite,
        }
    }

    /// Starts a statement.
    pub(crate) fn sql(&self, text: &str) -> Sql {
        Sql::new(self.dialect(), text)
    }

    /// Reads outside any transaction.
    pub(crate) async fn fetch(&self, sql: Sql) -> Result<Vec<Row>> {
        within(async {
            match self {
                Self::Postgres { pool, .. } => postgres_rows(sql, pool).await,
                Self::Sqlite { reader, .. } => sqlite_rows(sql, reader).await,
            }
        })
        .await
    }

    pub(crate) async fn fetch_optional(&self, sql: Sql) -> Result<Option<Row>> {
        Ok(self.fetch(sql).await?.into_iter().next())
    }

    /// Starts a transaction that may write.
    pub(crate) async fn begin(&self) -> Result<Tx> {
        let inner = within(async {
            Ok(match self {
                Self::Postgres { pool, .. } => Inner::Postgres(pool.begin().await?),
                // Immediate: taking the write lock later could fail half-way.
                Self::Sqlite { writer, events, .. } => {
                    Inner::Sqlite(writer.begin_with("begin immediate").await?, events.clone())
                }
            })
        })
        .await?;
        Ok(Tx { inner, happened: Vec::new() })
    }

    /// Ends all connections. One that still waits for its server, for a lock
    /// perhaps, is left behind: a stop must not wait for it.
    pub(crate) async fn close(&self) {
        let closed = async {
            match self {
                Self::Postgres { pool, .. } => pool.close().await,
                Self::Sqlite { writer, reader, .. } => {
                    reader.close().await;
                    writer.close().await;
                }
            }
        };
        if tokio::time::timeout(CLOSE_LIMIT, closed).await.is_err() {
            tracing::warn!("the database did not answer; its connections are dropped");
        }
    }
}

impl Tx {
    /// Starts a statement.
    pub(crate) fn sql(&self, text: &str) -> Sql {
        let dialect = match self.inner {
            Inner::Postgres(_) => Dialect::Postgres,
            Inner::Sqlite(..) => Dialect::Sqlite,
        };
        Sql::new(dialect, text)
    }

    pub(crate) async fn fetch(&mut self, sql: Sql) -> Result<Vec<Row>> {
        within(async {
            match &mut self.inner {
                Inner::Postgres(tx) => postgres_rows(sql, &mut **tx).await,
                Inner::Sqlite(tx, _) => sqlite_rows(sql, &mut **tx).await,
            }
        })
        .await
    }

    pub(crate) async fn fetch_optional(&mut self, sql: Sql) -> Result<Option<Row>> {
        Ok(self.fetch(sql).await?.into_iter().next())
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: Sql) -> Result<u64> {
        within(async {
            Ok(match &mut self.inner {
                Inner::Postgres(tx) => {
                    postgres_query(sql).execute(&mut **tx).await?.rows_affected()
                }
                Inner::Sqlite(tx, _) => sqlite_query(sql).execute(&mut **tx).await?.rows_affected(),
            })
        })
        .await
    }

    /// Runs several statements without values: migrations.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<()> {
        // No limit: a migration of a large table takes its time.
        match &mut self.inner {
            Inner::Postgres(tx) => sqlx::raw_sql(text).execute(&mut **tx).await.map(drop)?,
            Inner::Sqlite(tx, _) => sqlx::raw_sql(text).execute(&mut **tx).await.map(drop)?,
        }
        Ok(())
    }

    /// Waits until no other transaction holds the lock. SQLite's only writer
    /// holds every lock already.
    pub(crate) async fn lock(&mut self, lock: Lock) -> Result<()> {
        if matches!(self.inner, Inner::Postgres(_)) {
            let sql = self.sql("select 1 from pg_advisory_xact_lock(").int(lock.key()).push(")");
            self.fetch(sql).await?;
        }
        Ok(())
    }

    /// Has rows named by their ids read by an index in this transaction, unless the table
    /// is tiny. By default PostgreSQL takes that for as slow as a disk with heads, and reads
    /// tables of some ten thousand rows whole, for each batch.
    pub(crate) async fn prefer_indexes(&mut self) -> Result<()> {
        if matches!(self.inner, Inner::Postgres(_)) {
            let sql = self.sql("set local random_page_cost = 1.1");
            self.execute(sql).await?;
        }
        Ok(())
    }

    /// Tells the world, once the transaction is committed.
    pub(crate) fn tell(&mut self, event: StoreEvent) {
        if !self.happened.contains(&event) {
            self.happened.push(event);
        }
    }

    pub(crate) async fn commit(mut self) -> Result<()> {
        let happened = std::mem::take(&mut self.happened);
        if matches!(self.inner, Inner::Postgres(_)) && !happened.is_empty() {
            let payloads = happened.iter().map(|event| Some(events::encode(*event))).collect();
            // Delivered by the server when, and only when, the commit succeeds.
            let sql = self
                .sql("select 1 as sent from ")
                .rows("told", vec![Column::Text("payload", payloads)])
                .push(", lateral pg_notify('mig_events', told.payload)");
            self.fetch(sql).await?;
        }
        within(async {
            match self.inner {
                Inner::Postgres(tx) => tx.commit().await?,
                Inner::Sqlite(tx, events) => {
                    tx.commit().await?;
                    for event in happened {
                        // Nobody listening is fine.
                        let _ = events.send(event);
                    }
                }
            }
            Ok(())
        })
        .await
    }
}

async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    within_limit(STATEMENT_LIMIT, work).await
}

pub(crate) async fn within_limit<T>(
    limit: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(StoreError::unavailable(Overdue(limit))),
    }
}

async fn postgres_rows<'c, E>(sql: Sql, executor: E) -> Result<Vec<Row>>
where
    E: sqlx::Executor<'c, Database = Postgres>,
{
    let rows = postgres_query(sql).fetch_all(executor).await?;
    Ok(rows.into_iter().map(Row::Postgres).collect())
}

async fn sqlite_rows<'c, E>(sql: Sql, executor: E) -> Result<Vec<Row>>
where
    E: sqlx::Executor<'c, Database = Sqlite>,
{
    let rows = sqlite_query(sql).fetch_all(executor).await?;
    Ok(rows.into_iter().map(Row::Sqlite).collect())
}

/// Safe to assert: a [`Sql`] holds text of this crate only, values are bound.
pub(crate) fn postgres_query(
    sql: Sql,
) -> sqlx::query::Query<'static, Postgres, sqlx::postgres::PgArguments> {
    let once = sql.is_once();
    let (text, binds) = sql.into_parts();
    let mut query = sqlx::query(AssertSqlSafe(text)).persistent(!once);
    for bind in binds {
        query = match bind {
            Bind::Int(value) => query.bind(value),
            Bind::Float(value) => query.bind(value),
            Bind::Bool(value) => query.bind(value),
            Bind::Text(value) => query.bind(value),
            Bind::Bytes(value) => query.bind(value),
            Bind::Time(value) => query.bind(sql::storable(value).datetime()),
            Bind::Ints(values) => query.bind(values),
            Bind::Texts(values) => query.bind(values),
            Bind::Times(values) => query.bind(
                values.into_iter().map(|time| sql::storable(time).datetime()).collect::<Vec<_>>(),
            ),
        };
    }
    query
}

/// See [`postgres_query`]. Lists become JSON.
pub(crate) fn sqlite_query(
    sql: Sql,
) -> sqlx::query::Query<'static, Sqlite, sqlx::sqlite::SqliteArguments> {
    let once = sql.is_once();
    let (text, binds) = sql.into_parts();
    let mut query = sqlx::query(AssertSqlSafe(text)).persistent(!once);
    for bind in binds {
        query = match bind {
            Bind::Int(value) => query.bind(value),
            Bind::Float(value) => query.bind(value),
            Bind::Bool(value) => query.bind(value),
            Bind::Text(value) => query.bind(value),
            Bind::Bytes(value) => query.bind(value),
            Bind::Time(value) => query.bind(sql::time_text(value)),
            Bind::Ints(values) => query.bind(serde_json::Value::from(values).to_string()),
            Bind::Texts(values) => query.bind(serde_json::Value::from(values).to_string()),
            Bind::Times(values) => {
                let texts: Vec<_> = values.into_iter().map(sql::time_text).collect();
                query.bind(serde_json::Value::from(texts).to_string())
            }
        };
    }
    query
}

/// A row of either database.
pub(crate) enum Row {
    Postgres(sqlx::postgres::PgRow),
    Sqlite(sqlx::sqlite::SqliteRow),
}

impl Row {
    fn get<T>(&self, column: &'static str) -> Result<Option<T>>
    where
        T: for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
        T: for<'r> sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
    {
        match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => row.try_get(column),
        }
        .map_err(|error| unreadable(column, error))
    }

    pub(crate) fn int(&self, column: &'static str) -> Result<i64> {
        Ok(self.get(column)?.unwrap_or_default())
    }

    /// A count or an identifier.
    pub(crate) fn count(&self, column: &'static str) -> Result<u64> {
        u64::try_from(self.int(column)?).map_err(|error| unreadable(column, error))
    }

    pub(crate) fn id<T>(&self, column: &'static str, make: fn(u64) -> Option<T>) -> Result<T> {
        make(self.count(column)?).ok_or_else(|| unreadable(column, mig_types::id::IdError))
    }

    /// Empty when null.
    pub(crate) fn text(&self, column: &'static str) -> Result<String> {
        Ok(self.get(column)?.unwrap_or_default())
    }

    pub(crate) fn optional_text(&self, column: &'static str) -> Result<Option<String>> {
        self.get(column)
    }

    pub(crate) fn bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>> {
        self.get(column)
    }

    /// [`Timestamp::ZERO`] when null.
    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp> {
        match self {
            Self::Postgres(row) => {
                let time: Option<chrono::DateTime<chrono::Utc>> =
                    row.try_get(column).map_err(|error| unreadable(column, error))?;
                Ok(time.map_or(Timestamp::ZERO, Timestamp::from_datetime))
            }
            Self::Sqlite(_) => match self.optional_text(column)? {
                Some(text) => Timestamp::parse(&text).map_err(|error| unreadable(column, error)),
                None => Ok(Timestamp::ZERO),
            },
        }
    }

    /// JSON as the peers wrote it; the default when null or SQL null.
    pub(crate) fn json<T>(&self, column: &'static str) -> Result<T>
    where
        T: serde::de::DeserializeOwned + Default,
    {
        let Some(text) = self.optional_text(column)? else { return Ok(T::default()) };
        if text == "null" {
            return Ok(T::default());
        }
        mig_types::wire::from_slice(text.as_bytes()).map_err(|error| unreadable(column, error))
    }
}

fn unreadable(
    column: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::failed(BadColumn { column, source: source.into() })
}

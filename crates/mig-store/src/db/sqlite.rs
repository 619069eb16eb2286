//! Opens SQLite databases.

use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::broadcast;

use super::Db;
use crate::model::{StoreError, StoreEvent};

const READERS: u32 = 4;
const BUSY: Duration = Duration::from_secs(5);

/// Opens a file, creating it, with one writer and a few readers.
pub(crate) async fn open(
    path: &Path,
    events: broadcast::Sender<StoreEvent>,
) -> Result<Db, StoreError> {
    let options = options()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A result is acknowledged to the relay once it is committed here, so
        // the commit must survive a power cut; batches pay for the sync.
        .synchronous(SqliteSynchronous::Full);
    let writer = pool(1).connect_with(options.clone()).await?;
    // Whatever a target says, a reader cannot write.
    let reader = pool(READERS).connect_lazy_with(options.pragma("query_only", "on"));
    Ok(Db::Sqlite { writer, reader, events })
}

/// A database in memory: one connection, for it is the database.
pub(crate) async fn open_memory(events: broadcast::Sender<StoreEvent>) -> Result<Db, StoreError> {
    let only: SqlitePool = pool(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options().in_memory(true))
        .await?;
    Ok(Db::Sqlite { writer: only.clone(), reader: only, events })
}

fn options() -> SqliteConnectOptions {
    // Targets use regular expressions.
    SqliteConnectOptions::new().foreign_keys(true).busy_timeout(BUSY).with_regexp()
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections).acquire_timeout(BUSY)
}

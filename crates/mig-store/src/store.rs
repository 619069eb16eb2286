//! The store itself: one implementation on either database.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, broadcast};

use crate::config::PostgresConfig;
use crate::counters::CounterCache;
use crate::db::postgres::Listener;
use crate::db::{Db, postgres, sqlite};
use crate::migrate;
use crate::model::{StoreError, StoreEvent};
use crate::traits::Store;

/// Events a slow listener may lag behind before it loses some.
const EVENTS: usize = 1024;

/// A [`Store`] on SQL. Its parts are implemented in the modules named after
/// the aggregates.
#[derive(Debug)]
pub(crate) struct SqlStore {
    pub(crate) db: Db,
    /// Whether targets can be evaluated under the role `migreadonly`.
    pub(crate) read_role: bool,
    pub(crate) counted: CounterCache,
    events: broadcast::Sender<StoreEvent>,
    listener: Mutex<Option<Listener>>,
}

/// Opens a PostgreSQL database whose schema is current.
///
/// # Errors
///
/// [`StoreError::Unavailable`] when it cannot be reached within seconds,
/// [`StoreError::Schema`] when [`migrate_postgres`] was not run, or a newer
/// program's was.
pub async fn open_postgres(config: &PostgresConfig) -> Result<Arc<dyn Store>, StoreError> {
    let db = postgres::db(config);
    migrate::check(&db).await?;
    let sql = db.sql(
        "select count(*) as roles from pg_roles where rolname = 'migreadonly' \
         and pg_has_role(current_user, oid, 'member')",
    );
    let read_role = match db.fetch_optional(sql).await? {
        Some(row) => row.int("roles")? > 0,
        None => false,
    };
    let (events, _) = broadcast::channel(EVENTS);
    let listener = Mutex::new(Some(Listener::start(config, events.clone())));
    Ok(Arc::new(SqlStore { db, read_role, counted: CounterCache::default(), events, listener }))
}

/// Brings a PostgreSQL database to the current schema: from empty, from an
/// earlier version, or from what MIG of 2016 or 2019 made. Repeating it is
/// harmless. Needs the owner of the tables.
///
/// # Errors
///
/// [`StoreError::Schema`] when the database is newer than this program.
pub async fn migrate_postgres(config: &PostgresConfig) -> Result<(), StoreError> {
    let db = postgres::db(config);
    let outcome = migrate::migrate(&db).await;
    db.close().await;
    outcome
}

/// Opens a SQLite file, creates it when missing, and brings it to the current
/// schema.
///
/// # Errors
///
/// [`StoreError::Schema`] when a newer program wrote the file.
pub async fn open_sqlite(path: &Path) -> Result<Arc<dyn Store>, StoreError> {
    let (events, _) = broadcast::channel(EVENTS);
    open_with(sqlite::open(path, events.clone()).await?, events).await
}

/// A store in memory that dies with its last handle; for tests.
///
/// # Errors
///
/// When SQLite cannot start.
pub async fn open_sqlite_memory() -> Result<Arc<dyn Store>, StoreError> {
    let (events, _) = broadcast::channel(EVENTS);
    open_with(sqlite::open_memory(events.clone()).await?, events).await
}

async fn open_with(
    db: Db,
    events: broadcast::Sender<StoreEvent>,
) -> Result<Arc<dyn Store>, StoreError> {
    migrate::migrate(&db).await?;
    let (counted, listener) = (CounterCache::default(), Mutex::new(None));
    Ok(Arc::new(SqlStore { db, read_role: false, counted, events, listener }))
}

#[async_trait]
impl Store for SqlStore {
    fn events(&self) -> broadcast::Receiver<StoreEvent> {
        self.events.subscribe()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.db.fetch(self.db.sql("select 1 as one")).await.map(drop)
    }

    async fn close(&self) {
        if let Some(listener) = self.listener.lock().await.take() {
            listener.stop().await;
        }
        self.db.close().await;
    }
}

//! The file below the built-in relay.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, QueryBuilder, Row as _};

/// Rows in one insert statement; `SQLite` allows 32,766 parameters.
const ROWS_PER_INSERT: usize = 500;

/// Tables start with `relay_`: the file may be shared with the store.
const SCHEMA: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS relay_queue (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, event TEXT) STRICT",
    "CREATE TABLE IF NOT EXISTS relay_message (
        id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
        body BLOB NOT NULL) STRICT",
    "DELETE FROM relay_message WHERE queue NOT IN (SELECT id FROM relay_queue)",
];

/// Why the file did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{path} is open as a relay in another place")]
    InUse { path: PathBuf },
    #[error("cannot open {path}")]
    Open { path: PathBuf, source: std::io::Error },
    #[error("cannot read or write the queue")]
    Sql { source: sqlx::Error },
}

impl From<sqlx::Error> for FileError {
    fn from(source: sqlx::Error) -> Self {
        Self::Sql { source }
    }
}

/// An open file. At most one in the world for each path.
pub(crate) struct File {
    connection: SqliteConnection,
    /// Held, not read: the operating system frees it however we end.
    lock: Option<std::fs::File>,
}

/// What a file held when it was opened.
pub(crate) struct Contents {
    pub(crate) queues: Vec<QueueRow>,
    /// In the order of publication.
    pub(crate) messages: Vec<StoredMessage>,
    pub(crate) next_ids: NextIds,
}

/// The next free row ids.
#[derive(Clone, Copy)]
pub(crate) struct NextIds {
    pub(crate) queue: i64,
    pub(crate) message: i64,
}

#[derive(Clone)]
pub(crate) struct QueueRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// The event routing key it is bound to.
    pub(crate) event: Option<String>,
}

/// A message without its body.
pub(crate) struct StoredMessage {
    pub(crate) id: i64,
    pub(crate) queue: i64,
    pub(crate) expires_ms: i64,
    pub(crate) bytes: usize,
}

/// A message to be written.
pub(crate) struct NewMessage {
    pub(crate) id: i64,
    pub(crate) queue: i64,
    pub(crate) expires_ms: i64,
    pub(crate) body: Bytes,
}

impl File {
    pub(crate) async fn open(path: &Path) -> Result<(Self, Contents), FileError> {
        let lock = lock(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(10))
            .journal_mode(SqliteJournalMode::Wal)
            // Full: what was confirmed survives not only us but the machine.
            .synchronous(SqliteSynchronous::Full);
        Self::load(&options, Some(lock)).await
    }

    pub(crate) async fn memory() -> Result<(Self, Contents), FileError> {
        Self::load(&SqliteConnectOptions::new().in_memory(true), None).await
    }

    async fn load(
        options: &SqliteConnectOptions,
        lock: Option<std::fs::File>,
    ) -> Result<(Self, Contents), FileError> {
        let mut connection = options.connect().await?;
        for statement in SCHEMA {
            sqlx::query(statement).execute(&mut connection).await?;
        }
        let contents = contents(&mut connection).await?;
        Ok((Self { connection, lock }, contents))
    }

    /// Writes everything in one transaction, or nothing.
    pub(crate) async fn write(
        &mut self,
        queues: &[QueueRow],
        messages: &[NewMessage],
        gone: &[i64],
    ) -> Result<(), FileError> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for queue in queues {
            sqlx::query("INSERT INTO relay_queue (id, name, event) VALUES (?1, ?2, ?3)")
                .bind(queue.id)
                .bind(&queue.name)
                .bind(&queue.event)
                .execute(&mut *transaction)
                .await?;
        }
        for chunk in messages.chunks(ROWS_PER_INSERT) {
            let mut insert =
                QueryBuilder::new("INSERT INTO relay_message (id, queue, expires_ms, body) ");
            insert.push_values(chunk, |mut row, message| {
                row.push_bind(message.id)
                    .push_bind(message.queue)
                    .push_bind(message.expires_ms)
                    .push_bind(message.body.as_ref());
            });
            insert.build().execute(&mut *transaction).await?;
        }
        if !gone.is_empty() {
            sqlx::query("DELETE FROM relay_message WHERE id IN (SELECT value FROM json_each(?1))")
                .bind(id_list(gone))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Deletes a queue with all its messages.
    pub(crate) async fn delete_queue(&mut self, id: i64) -> Result<(), FileError> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for statement in
            ["DELETE FROM relay_message WHERE queue = ?1", "DELETE FROM relay_queue WHERE id = ?1"]
        {
            sqlx::query(statement).bind(id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Reads bodies; ids that are no longer there are left out.
    pub(crate) async fn bodies(&mut self, ids: &[i64]) -> Result<Vec<(i64, Bytes)>, FileError> {
        let rows = sqlx::query(
            "SELECT id, body FROM relay_message WHERE id IN (SELECT value FROM json_each(?1))",
        )
        .bind(id_list(ids))
        .fetch_all(&mut self.connection)
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, Bytes::from(row.try_get::<Vec<u8>, _>(1)?))))
            .collect()
    }

    pub(crate) async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the relay's file did not close cleanly");
        }
        drop(self.lock);
    }
}

async fn contents(connection: &mut SqliteConnection) -> Result<Contents, FileError> {
    let rows = sqlx::query("SELECT id, name, event FROM relay_queue ORDER BY id")
        .fetch_all(&mut *connection)
        .await?;
    let queues = rows
        .iter()
        .map(|row| {
            Ok(QueueRow { id: row.try_get(0)?, name: row.try_get(1)?, event: row.try_get(2)? })
        })
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    let rows =
        sqlx::query("SELECT id, queue, expires_ms, length(body) FROM relay_message ORDER BY id")
            .fetch_all(&mut *connection)
            .await?;
    let messages = rows
        .iter()
        .map(|row| {
            let bytes: i64 = row.try_get(3)?;
            Ok(StoredMessage {
                id: row.try_get(0)?,
                queue: row.try_get(1)?,
                expires_ms: row.try_get(2)?,
                bytes: usize::try_from(bytes).unwrap_or_default(),
            })
        })
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    let next_ids = NextIds {
        queue: queues.last().map_or(1, |queue| queue.id + 1),
        message: messages.last().map_or(1, |message| message.id + 1),
    };
    Ok(Contents { queues, messages, next_ids })
}

/// Ids as a JSON array: one parameter whatever their number.
fn id_list(ids: &[i64]) -> String {
    let mut text = String::with_capacity(2 + ids.len() * 8);
    text.push('[');
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&id.to_string());
    }
    text.push(']');
    text
}

/// Takes the lock beside the file, and creates the file readable by its owner
/// only: bodies are what was found on people's machines.
fn lock(path: &Path) -> Result<std::fs::File, FileError> {
    let open = |path: &Path| {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map_err(|source| FileError::Open { path: path.to_owned(), source })
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".relay-lock");
    let lock = open(Path::new(&beside))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            return Err(FileError::InUse { path: path.to_owned() });
        }
        Err(std::fs::TryLockError::Error(source)) => {
            return Err(FileError::Open { path: PathBuf::from(beside), source });
        }
    }
    open(path)?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_open_once_and_free_again_after_closing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relay.db");
        let (first, _) = File::open(&path).await.unwrap();
        assert!(matches!(File::open(&path).await, Err(FileError::InUse { .. })));
        first.close().await;
        assert!(File::open(&path).await.is_ok());
    }

    #[test]
    fn id_lists_are_json() {
        assert_eq!(id_list(&[]), "[]");
        assert_eq!(id_list(&[1, -2, 30]), "[1,-2,30]");
    }
}

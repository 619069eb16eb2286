//! Opening the database file, and starting over when it cannot be read.

use std::fs::OpenOptions;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _};

use super::tables::{ACCEPTED, COMMANDS, OUTBOX, REPLAY, RESULTS};
use super::{JournalError, Step, database_error};

/// Page cache. It fills as the file grows, so this is what the journal costs in
/// the long run; the kernel has the pages at hand anyway.
const CACHE_BYTES: usize = 256 << 10;
/// A file larger than this is compacted when it is opened.
const COMPACT_ABOVE: u64 = 16 << 20;

pub(super) fn open_or_rebuild(path: &Path) -> Result<(Database, Option<String>), JournalError> {
    let reason = match try_open(path) {
        Ok(database) => return Ok((database, None)),
        // What the disk does not give or take now is no reason to forget anything.
        Err(error) if error.is_passing() || matches!(error, JournalError::File { .. }) => {
            return Err(error);
        }
        Err(JournalError::Database { source, .. }) => source.to_string(),
        Err(error) => error.to_string(),
    };
    let mut aside = path.as_os_str().to_owned();
    aside.push(".corrupt");
    let aside = PathBuf::from(aside);
    std::fs::rename(path, &aside)
        .map_err(|source| JournalError::File { path: path.to_owned(), source })?;
    Ok((try_open(path)?, Some(format!("{reason}; kept as {}", aside.display()))))
}

fn try_open(path: &Path) -> Result<Database, JournalError> {
    // The database code checks much, but trusts some bytes of a page it has
    // written itself; a damaged page must not keep the agent from starting.
    catch_unwind(AssertUnwindSafe(|| open(path)))
        .unwrap_or_else(|_| Err(JournalError::Panicked { path: path.to_owned() }))
}

fn open(path: &Path) -> Result<Database, JournalError> {
    let error = |source: redb::Error| database_error(path, source);
    let file = private_file(path)
        .map_err(|source| JournalError::File { path: path.to_owned(), source })?;
    let size = file.metadata().map_or(0, |data| data.len());
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let mut database = match builder.create_file(file) {
        Ok(database) => database,
        Err(DatabaseError::DatabaseAlreadyOpen) => {
            return Err(JournalError::InUse { path: path.to_owned() });
        }
        Err(source) => return Err(error(source.into())),
    };
    if size > COMPACT_ABOVE {
        database.compact().map_err(|source| error(source.into()))?;
    }
    create_tables(&database).and_then(|()| read_all(&database)).map_err(error)?;
    Ok(database)
}

fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn create_tables(database: &Database) -> Step<()> {
    let transaction = database.begin_write()?;
    transaction.open_table(ACCEPTED)?;
    transaction.open_table(COMMANDS)?;
    transaction.open_table(RESULTS)?;
    transaction.open_table(REPLAY)?;
    transaction.open_table(OUTBOX)?;
    transaction.commit()?;
    Ok(())
}

/// Touches every record once: damage shows now, not in the middle of work.
fn read_all(database: &Database) -> Step<()> {
    let transaction = database.begin_read()?;
    let mut bytes = 0;
    for entry in transaction.open_table(ACCEPTED)?.iter()? {
        bytes += entry?.1.value().0.len();
    }
    for entry in transaction.open_table(COMMANDS)?.iter()? {
        bytes += entry?.1.value().len();
    }
    for entry in transaction.open_table(REPLAY)?.iter()? {
        bytes += entry?.0.value().len();
    }
    for entry in transaction.open_table(RESULTS)?.iter()? {
        bytes += entry?.1.value().len();
    }
    for entry in transaction.open_table(OUTBOX)?.iter()? {
        bytes += entry?.1.value().1.len();
    }
    tracing::debug!(bytes, "journal is readable");
    Ok(())
}

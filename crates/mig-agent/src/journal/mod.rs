//! What must survive a crash: accepted commands, answers not yet delivered,
//! and the memory of every action that has been run.
//!
//! One small database file in the run directory. Every change is on disk when
//! the call returns; calls block, so callers keep them off the async threads.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use mig_types::{Command, CommandId, CommandStatus, ModuleResult, Timestamp, wire};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};
use serde::{Deserialize, Serialize};

mod file;
mod tables;

use tables::{
    ACCEPTED, COMMANDS, OUTBOX, REPLAY, RESULTS, STATE_DONE, STATE_DROPPED, STATE_PENDING,
};

/// Name of the database in the run directory.
pub const FILE: &str = "mig-agent.journal";

/// Answers made before they are written: each may be as large as a result may be.
const ROUND_BYTES: usize = 4 << 20;

/// Identifies what an action asks: SHA-256 of its signed text.
pub type Digest = [u8; 32];

/// How much the journal holds before it refuses more.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Commands accepted and not yet answered.
    pub accepted: usize,
    /// Answers not yet delivered, in bytes; above it no command is taken.
    pub outbox_bytes: u64,
    /// Results kept to answer repeated actions, in bytes. The oldest go first;
    /// that the action was run is remembered all the same.
    pub results_bytes: u64,
    /// Actions remembered. Only validly signed ones are, so nobody without a
    /// key can fill it.
    pub remembered: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { accepted: 64, outbox_bytes: 64 << 20, results_bytes: 64 << 20, remembered: 250_000 }
    }
}

/// What running an action's operations came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub status: CommandStatus,
    /// One per operation, in their order.
    pub results: Vec<ModuleResult>,
}

/// A message for the schedulers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Nobody wants it after that.
    pub expires: Timestamp,
    pub body: Vec<u8>,
}

/// What becomes of a command that passed every check.
#[derive(Debug, Clone, PartialEq)]
pub enum Admission {
    /// New: run it.
    Fresh { seq: u64 },
    /// Its action is being run for an earlier command; it will be answered too.
    Running,
    /// Its action was run before, with this outcome.
    Repeat(Outcome),
    /// Its action was run before; the results are not kept any more.
    Forgotten,
    /// The memory of actions is full.
    Full,
}

/// An accepted command that has not been answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    pub seq: u64,
    pub digest: Digest,
    /// How many lives of the agent have ended in which it may have been run.
    pub attempts: u64,
}

/// Why the journal did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Two agents must not share a run directory.
    #[error("journal {path} is in use by another agent")]
    InUse { path: PathBuf },
    #[error("journal {path} failed")]
    Database { path: PathBuf, source: Box<redb::Error> },
    /// The disk is full, read-only or broken. What was on it is still there.
    #[error("journal {path} cannot be read or written")]
    Disk { path: PathBuf, source: std::io::Error },
    #[error("journal {path} cannot be created")]
    File { path: PathBuf, source: std::io::Error },
    #[error("journal {path} holds a record that cannot be read")]
    Record { path: PathBuf, source: wire::WireError },
    #[error("journal {path}: the database code panicked")]
    Panicked { path: PathBuf },
}

impl JournalError {
    /// Whether the same journal may do later what it did not do now.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::InUse { .. } | Self::Disk { .. } => true,
            // After a fault of the disk the database asks to be opened anew.
            Self::Database { source, .. } => matches!(**source, redb::Error::PreviousIo),
            Self::File { source, .. } => is_disk_trouble(source),
            Self::Record { .. } | Self::Panicked { .. } => false,
        }
    }
}

/// Whether a disk is full or read-only: it may not stay so.
pub fn is_disk_trouble(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

fn database_error(path: &Path, source: redb::Error) -> JournalError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    let path = path.to_owned();
    match source {
        // With these the database says that the file is none of its own.
        redb::Error::Io(source) if ![InvalidData, UnexpectedEof].contains(&source.kind()) => {
            JournalError::Disk { path, source }
        }
        source => JournalError::Database { path, source: Box::new(source) },
    }
}

/// The database, open.
pub struct Journal {
    path: PathBuf,
    database: Database,
    bounds: Bounds,
    next: AtomicU64,
    accepted: AtomicUsize,
    outbox_bytes: AtomicU64,
    /// Of the outcomes kept.
    results_bytes: AtomicU64,
}

type Result<T> = std::result::Result<T, JournalError>;
/// What happens inside a transaction.
type Step<T> = std::result::Result<T, redb::Error>;

impl Journal {
    /// Opens the journal of a run directory, or starts one.
    ///
    /// A file that cannot be read as a journal is put aside and a new one
    /// started; the second value is then the reason, for the log.
    ///
    /// # Errors
    ///
    /// [`JournalError::InUse`] when another process has it open, otherwise what
    /// the disk says.
    pub fn open(rundir: &Path, bounds: Bounds) -> Result<(Self, Option<String>)> {
        let path = rundir.join(FILE);
        let (database, rebuilt) = file::open_or_rebuild(&path)?;
        let journal = Self {
            path,
            database,
            bounds,
            next: AtomicU64::new(0),
            accepted: AtomicUsize::new(0),
            outbox_bytes: AtomicU64::new(0),
            results_bytes: AtomicU64::new(0),
        };
        let (next, accepted, outbox, results) = journal.read(tables::totals)?;
        journal.next.store(next, Ordering::Relaxed);
        journal.accepted.store(accepted, Ordering::Relaxed);
        journal.outbox_bytes.store(outbox, Ordering::Relaxed);
        journal.results_bytes.store(results, Ordering::Relaxed);
        Ok((journal, rebuilt))
    }

    /// Commands accepted and not yet answered.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Whether another command may be taken from the relay.
    pub fn has_room(&self) -> bool {
        self.accepted() < self.bounds.accepted
            && self.outbox_bytes.load(Ordering::Relaxed) < self.bounds.outbox_bytes
    }

    /// Records a command that passed every check, unless its action is known.
    pub fn admit(&self, digest: &Digest, command: &Command) -> Result<Admission> {
        let body = self.encode(command)?;
        let known = self.write(|transaction| {
            let mut replay = transaction.open_table(REPLAY)?;
            let known = replay.get(digest)?.map(|entry| entry.value().1);
            match known {
                Some(STATE_PENDING) => {
                    let count = self.enter(transaction, digest, command.id, &body)?.1;
                    self.accepted.store(count, Ordering::Relaxed);
                    return Ok(Known::Pending);
                }
                Some(STATE_DONE) => {
                    let kept = transaction.open_table(RESULTS)?;
                    let outcome = kept.get(digest)?.map(|entry| entry.value().to_vec());
                    return Ok(outcome.map_or(Known::Dropped, Known::Done));
                }
                Some(_) => return Ok(Known::Dropped),
                None if replay.len()? >= self.bounds.remembered => return Ok(Known::Full),
                None => {}
            }
            replay.insert(digest, (command.action.expireafter.unix(), STATE_PENDING, 0))?;
            let (seq, count) = self.enter(transaction, digest, command.id, &body)?;
            self.accepted.store(count, Ordering::Relaxed);
            Ok(Known::Fresh(seq))
        })?;
        Ok(match known {
            Known::Fresh(seq) => Admission::Fresh { seq },
            Known::Pending => Admission::Running,
            Known::Dropped => Admission::Forgotten,
            Known::Full => Admission::Full,
            Known::Done(outcome) => Admission::Repeat(self.decode(&outcome)?),
        })
    }

    /// Adds an accepted command, unless the relay delivered the very same one
    /// before. Returns its sequence and how many there are now.
    fn enter(
        &self,
        transaction: &redb::WriteTransaction,
        digest: &Digest,
        id: CommandId,
        body: &[u8],
    ) -> Step<(u64, usize)> {
        let mut accepted = transaction.open_table(ACCEPTED)?;
        for entry in accepted.iter()? {
            let (seq, value) = entry?;
            let (other, other_id, _) = value.value();
            if other == digest && other_id == id.get() {
                return Ok((seq.value(), tables::count(&accepted)?));
            }
        }
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        accepted.insert(seq, (digest, id.get(), 0))?;
        transaction.open_table(COMMANDS)?.insert(seq, body)?;
        Ok((seq, tables::count(&accepted)?))
    }

    /// An accepted command; `None` once it is answered.
    pub fn load(&self, seq: u64) -> Result<Option<Command>> {
        let body = self.read(|transaction| {
            let table = transaction.open_table(COMMANDS)?;
            Ok(table.get(seq)?.map(|entry| entry.value().to_vec()))
        })?;
        body.map(|body| self.decode(&body)).transpose()
    }

    /// Answers every command of an action. Its outcome is remembered until the
    /// action expires; that of a refused one (`remember` false) is forgotten.
    /// `reply` makes the answer of one command.
    pub fn finish(
        &self,
        digest: &Digest,
        outcome: &Outcome,
        remember: bool,
        reply: impl Fn(Command) -> std::result::Result<Outgoing, wire::WireError>,
    ) -> Result<()> {
        // Commands may join while answers are made: the next round finds them.
        loop {
            let waiting = self
                .read(|transaction| tables::waiting(&transaction.open_table(ACCEPTED)?, digest))?;
            let (mut answers, mut bytes) = (Vec::new(), 0);
            for seq in waiting {
                let Some(command) = self.load(seq)? else { continue };
                let answer = reply(command).map_err(|source| self.record(source))?;
                bytes += answer.body.len();
                answers.push((seq, answer));
                if bytes >= ROUND_BYTES {
                    break;
                }
            }
            if self.settle(digest, outcome, remember, &answers)? {
                return Ok(());
            }
        }
    }

    /// Turns accepted commands into messages of the outbox, and closes their action
    /// when those were the last: one write to the disk for all of it. `false` when
    /// a command waits.
    fn settle(
        &self,
        digest: &Digest,
        outcome: &Outcome,
        remember: bool,
        answers: &[(u64, Outgoing)],
    ) -> Result<bool> {
        let stored = self.encode(outcome)?;
        self.write(|transaction| {
            let mut accepted = transaction.open_table(ACCEPTED)?;
            let mut commands = transaction.open_table(COMMANDS)?;
            let mut outbox = transaction.open_table(OUTBOX)?;
            for (seq, answer) in answers {
                accepted.remove(seq)?;
                commands.remove(seq)?;
                outbox.insert(seq, (answer.expires.unix(), answer.body.as_slice()))?;
                // Before the delivery can see it, and count it off again.
                self.outbox_bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
            }
            self.accepted.store(tables::count(&accepted)?, Ordering::Relaxed);
            let is_last = tables::waiting(&accepted, digest)?.is_empty();
            if is_last {
                self.close(transaction, digest, &stored, remember)?;
            }
            Ok(is_last)
        })
    }

    /// Settles what is remembered of an action whose commands are all answered.
    fn close(
        &self,
        transaction: &redb::WriteTransaction,
        digest: &Digest,
        stored: &[u8],
        remember: bool,
    ) -> Step<()> {
        let mut replay = transaction.open_table(REPLAY)?;
        if !remember {
            replay.remove(digest)?;
            return Ok(());
        }
        let expires = replay.get(digest)?.map_or(0, |entry| entry.value().0);
        let bytes = stored.len() as u64;
        let limit = self.bounds.results_bytes;
        if bytes > limit / 4 {
            replay.insert(digest, (expires, STATE_DROPPED, 0))?;
            return Ok(());
        }
        replay.insert(digest, (expires, STATE_DONE, bytes))?;
        let mut results = transaction.open_table(RESULTS)?;
        results.insert(digest, stored)?;
        let kept = self.results_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if kept > limit {
            // A little more than needed: looking through all of them takes time.
            let excess = kept - (limit - limit / 64);
            let kept = tables::drop_oldest(&mut replay, &mut results, excess)?;
            self.results_bytes.store(kept, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Puts a message into the outbox.
    pub fn post(&self, message: &Outgoing) -> Result<()> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        self.repost(seq, message)
    }

    /// Replaces a message of the outbox.
    pub fn repost(&self, seq: u64, message: &Outgoing) -> Result<()> {
        self.write(|transaction| {
            let mut outbox = transaction.open_table(OUTBOX)?;
            let old = outbox.insert(seq, (message.expires.unix(), message.body.as_slice()))?;
            let replaced = old.map_or(0, |entry| entry.value().1.len() as u64);
            // Before the delivery can see it, and count it off again.
            self.outbox_bytes.fetch_add(message.body.len() as u64, Ordering::Relaxed);
            self.outbox_bytes.fetch_sub(replaced, Ordering::Relaxed);
            Ok(())
        })
    }

    /// The oldest messages of the outbox: at most `count`, and no more once
    /// they come to `bytes`.
    pub fn outbox(&self, count: usize, bytes: usize) -> Result<Vec<(u64, Outgoing)>> {
        self.read(|transaction| {
            let mut messages = Vec::new();
            let mut total = 0;
            for entry in transaction.open_table(OUTBOX)?.iter()?.take(count) {
                let (seq, value) = entry?;
                let (expires, body) = value.value();
                let expires = Timestamp::from_unix(expires, 0).unwrap_or(Timestamp::NEVER);
                total += body.len();
                messages.push((seq.value(), Outgoing { expires, body: body.to_vec() }));
                if total >= bytes {
                    break;
                }
            }
            Ok(messages)
        })
    }

    /// Removes messages that were delivered, or that nobody wants any more.
    pub fn clear(&self, seqs: &[u64]) -> Result<()> {
        let removed = self.write(|transaction| {
            let mut outbox = transaction.open_table(OUTBOX)?;
            let mut bytes = 0;
            for seq in seqs {
                bytes += outbox.remove(seq)?.map_or(0, |entry| entry.value().1.len() as u64);
            }
            Ok(bytes)
        })?;
        self.outbox_bytes.fetch_sub(removed, Ordering::Relaxed);
        Ok(())
    }

    /// At start: what is still to be run, one command per action, in the order
    /// of arrival. Runs begin in that order, `together` at a time, so that only
    /// the first ones can have been begun: for those the attempt is counted.
    pub fn recover(&self, together: usize) -> Result<Vec<Pending>> {
        self.write(|transaction| {
            let mut table = transaction.open_table(ACCEPTED)?;
            let mut entries = Vec::new();
            for entry in table.iter()? {
                let (seq, value) = entry?;
                let (digest, id, attempts) = value.value();
                entries.push((seq.value(), *digest, id, attempts));
            }
            let mut pending: Vec<Pending> = Vec::new();
            for (seq, digest, id, mut attempts) in entries {
                let place = pending.iter().position(|other| other.digest == digest);
                attempts += u64::from(place.unwrap_or(pending.len()) < together);
                table.insert(seq, (&digest, id, attempts))?;
                if place.is_none() {
                    pending.push(Pending { seq, digest, attempts });
                }
            }
            // Answered and never closed: earlier versions could be killed in between.
            let known: Vec<Digest> = pending.iter().map(|entry| entry.digest).collect();
            let mut replay = transaction.open_table(REPLAY)?;
            tables::close_orphans(&mut replay, &known)?;
            Ok(pending)
        })
    }

    /// Forgets actions that expired before `horizon`. Nothing pending is.
    pub fn forget(&self, horizon: Timestamp) -> Result<()> {
        self.write(|transaction| {
            let mut replay = transaction.open_table(REPLAY)?;
            let mut results = transaction.open_table(RESULTS)?;
            let freed = tables::forget(&mut replay, &mut results, horizon.unix())?;
            self.results_bytes.fetch_sub(freed, Ordering::Relaxed);
            Ok(())
        })
    }

    fn write<T>(&self, work: impl FnOnce(&redb::WriteTransaction) -> Step<T>) -> Result<T> {
        let attempt = || -> Step<T> {
            let transaction = self.database.begin_write()?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        attempt().map_err(|source| self.database_error(source))
    }

    fn read<T>(&self, work: impl FnOnce(&redb::ReadTransaction) -> Step<T>) -> Result<T> {
        let attempt = || -> Step<T> { work(&self.database.begin_read()?) };
        attempt().map_err(|source| self.database_error(source))
    }

    fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>> {
        wire::to_vec(value).map_err(|source| self.record(source))
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        wire::from_slice(bytes).map_err(|source| self.record(source))
    }

    fn record(&self, source: wire::WireError) -> JournalError {
        JournalError::Record { path: self.path.clone(), source }
    }

    fn database_error(&self, source: redb::Error) -> JournalError {
        database_error(&self.path, source)
    }
}

enum Known {
    Fresh(u64),
    Pending,
    Done(Vec<u8>),
    Dropped,
    Full,
}

#[cfg(test)]
mod tests;

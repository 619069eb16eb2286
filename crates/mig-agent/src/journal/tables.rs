//! The tables of the journal and what is counted in them.
//!
//! Bodies have tables of their own: looking through the short records never
//! reads the long ones.

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata as _, Table, TableDefinition};

use super::{Digest, Step};

/// Sequence to action digest, command id, attempts.
pub(super) const ACCEPTED: TableDefinition<u64, (&Digest, u64, u64)> =
    TableDefinition::new("accepted");
/// Sequence to the accepted command as JSON.
pub(super) const COMMANDS: TableDefinition<u64, &[u8]> = TableDefinition::new("commands");
/// Action digest to expiry (Unix seconds), state, length of the outcome kept.
pub(super) const REPLAY: TableDefinition<&Digest, (i64, u8, u64)> = TableDefinition::new("replay");
/// Action digest to the outcome as JSON.
pub(super) const RESULTS: TableDefinition<&Digest, &[u8]> = TableDefinition::new("results");
/// Sequence to expiry (Unix seconds), message body.
pub(super) const OUTBOX: TableDefinition<u64, (i64, &[u8])> = TableDefinition::new("outbox");

/// Accepted, not yet answered.
pub(super) const STATE_PENDING: u8 = 0;
/// Answered, the outcome is kept.
pub(super) const STATE_DONE: u8 = 1;
/// Answered, the outcome is not kept.
pub(super) const STATE_DROPPED: u8 = 2;

type Replay<'a> = Table<'a, &'static Digest, (i64, u8, u64)>;
type Results<'a> = Table<'a, &'static Digest, &'static [u8]>;

/// The next free sequence, accepted commands, bytes in the outbox, bytes of the
/// outcomes kept.
pub(super) fn totals(transaction: &ReadTransaction) -> Step<(u64, usize, u64, u64)> {
    let accepted = transaction.open_table(ACCEPTED)?;
    let outbox = transaction.open_table(OUTBOX)?;
    let mut bytes = 0;
    for entry in outbox.iter()? {
        bytes += entry?.1.value().1.len() as u64;
    }
    let after = |key: Option<u64>| key.map_or(0, |key| key + 1);
    let next = after(accepted.last()?.map(|(key, _)| key.value()))
        .max(after(outbox.last()?.map(|(key, _)| key.value())));
    let mut kept = 0;
    for entry in transaction.open_table(REPLAY)?.iter()? {
        let (_, state, bytes) = entry?.1.value();
        kept += if state == STATE_DONE { bytes } else { 0 };
    }
    Ok((next, usize::try_from(accepted.len()?).unwrap_or(usize::MAX), bytes, kept))
}

/// How many commands are accepted.
pub(super) fn count(accepted: &Table<'_, u64, (&'static Digest, u64, u64)>) -> Step<usize> {
    Ok(usize::try_from(accepted.len()?).unwrap_or(usize::MAX))
}

/// Sequences of the commands that wait for an action's outcome.
pub(super) fn waiting(transaction: &ReadTransaction, digest: &Digest) -> Step<Vec<u64>> {
    let mut sequences = Vec::new();
    for entry in transaction.open_table(ACCEPTED)?.iter()? {
        let (seq, value) = entry?;
        if value.value().0 == digest {
            sequences.push(seq.value());
        }
    }
    Ok(sequences)
}

/// Drops outcomes, those that expire first before others, until what is kept
/// fits `limit` bytes. Returns how many bytes are kept.
pub(super) fn drop_oldest(
    replay: &mut Replay<'_>,
    results: &mut Results<'_>,
    limit: u64,
) -> Step<u64> {
    let mut kept: Vec<(i64, Digest, u64)> = Vec::new();
    for entry in replay.iter()? {
        let (digest, value) = entry?;
        let (expires, state, bytes) = value.value();
        if state == STATE_DONE {
            kept.push((expires, *digest.value(), bytes));
        }
    }
    let mut total: u64 = kept.iter().map(|(_, _, bytes)| bytes).sum();
    kept.sort_unstable();
    for (expires, digest, bytes) in kept {
        if total <= limit {
            break;
        }
        replay.insert(&digest, (expires, STATE_DROPPED, 0))?;
        results.remove(&digest)?;
        total -= bytes;
    }
    Ok(total)
}

/// Marks actions as run whose commands are all answered but which were never
/// closed: running them again is the one thing that must not happen.
pub(super) fn close_orphans(replay: &mut Replay<'_>, pending: &[Digest]) -> Step<()> {
    let mut orphans = Vec::new();
    for entry in replay.iter()? {
        let (digest, value) = entry?;
        let (expires, state, _) = value.value();
        if state == STATE_PENDING && !pending.contains(digest.value()) {
            orphans.push((*digest.value(), expires));
        }
    }
    for (digest, expires) in orphans {
        replay.insert(&digest, (expires, STATE_DROPPED, 0))?;
    }
    Ok(())
}

/// Removes what expired before `horizon` and is not pending. Returns the bytes of
/// the outcomes among it.
pub(super) fn forget(
    replay: &mut Replay<'_>,
    results: &mut Results<'_>,
    horizon: i64,
) -> Step<u64> {
    let (mut gone, mut freed) = (Vec::new(), 0);
    for entry in replay.iter()? {
        let (digest, value) = entry?;
        let (expires, state, bytes) = value.value();
        if state != STATE_PENDING && expires < horizon {
            gone.push(*digest.value());
            freed += if state == STATE_DONE { bytes } else { 0 };
        }
    }
    for digest in gone {
        replay.remove(&digest)?;
        results.remove(&digest)?;
    }
    Ok(freed)
}

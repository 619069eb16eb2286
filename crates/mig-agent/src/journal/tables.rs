//! The tables of the journal and what is counted in them.
//!
//! Bodies have tables of their own: looking through the short records never
//! reads the long ones.

use std::collections::BinaryHeap;

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
pub(super) fn waiting(
    accepted: &impl ReadableTable<u64, (&'static Digest, u64, u64)>,
    digest: &Digest,
) -> Step<Vec<u64>> {
    let mut sequences = Vec::new();
    for entry in accepted.iter()? {
        let (seq, value) = entry?;
        if value.value().0 == digest {
            sequences.push(seq.value());
        }
    }
    Ok(sequences)
}

/// Actions looked up before they are removed: what is held in memory meanwhile.
const ROUND: usize = 4096;

/// Drops outcomes of at least `excess` bytes together, those that expire first
/// before others. Returns how many bytes are kept.
pub(super) fn drop_oldest(
    replay: &mut Replay<'_>,
    results: &mut Results<'_>,
    excess: u64,
) -> Step<u64> {
    // The latest of those that go is on top. There may be very many actions, so
    // never more of them are held than have to go.
    let mut oldest: BinaryHeap<(i64, Digest, u64)> = BinaryHeap::new();
    let (mut total, mut freed) = (0, 0);
    for entry in replay.iter()? {
        let (digest, value) = entry?;
        let (expires, state, bytes) = value.value();
        if state != STATE_DONE {
            continue;
        }
        total += bytes;
        freed += bytes;
        oldest.push((expires, *digest.value(), bytes));
        while let Some((_, _, bytes)) = oldest.peek()
            && freed - bytes >= excess
        {
            freed -= bytes;
            oldest.pop();
        }
    }
    for (expires, digest, _) in oldest {
        replay.insert(&digest, (expires, STATE_DROPPED, 0))?;
        results.remove(&digest)?;
    }
    Ok(total - freed)
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
    let (mut from, mut freed) = ([0; 32], 0);
    loop {
        let mut gone = Vec::new();
        for entry in replay.range::<&Digest>(&from..)? {
            let (digest, value) = entry?;
            let (expires, state, bytes) = value.value();
            if state != STATE_PENDING && expires < horizon {
                gone.push(*digest.value());
                freed += if state == STATE_DONE { bytes } else { 0 };
            }
            if gone.len() == ROUND {
                break;
            }
        }
        for digest in &gone {
            replay.remove(digest)?;
            results.remove(digest)?;
        }
        match gone.last() {
            Some(last) if gone.len() == ROUND => from = *last,
            _ => return Ok(freed),
        }
    }
}

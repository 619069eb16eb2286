use std::time::Duration;

use serde_json::json;

use super::*;

fn time(minutes: u64) -> Timestamp {
    Timestamp::parse("2026-01-01T00:00:00Z").unwrap() + Duration::from_mins(minutes)
}

fn command(id: u64) -> Command {
    let mut command = Command { id: CommandId::new(id).unwrap(), ..Command::default() };
    command.action.expireafter = time(60);
    command
}

fn outcome(text: &str) -> Outcome {
    let result = ModuleResult { success: true, elements: json!(text), ..ModuleResult::default() };
    Outcome { status: CommandStatus::Success, results: vec![result] }
}

#[expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "the signature the journal asks for"
)]
fn reply(command: Command) -> std::result::Result<Outgoing, wire::WireError> {
    Ok(Outgoing { expires: time(100), body: command.id.to_string().into_bytes() })
}

fn open(dir: &Path) -> Journal {
    let (journal, rebuilt) = Journal::open(dir, Bounds::default()).unwrap();
    assert_eq!(rebuilt, None);
    journal
}

fn bodies(journal: &Journal) -> Vec<String> {
    let messages = journal.outbox(100, usize::MAX).unwrap();
    messages.into_iter().map(|(_, m)| String::from_utf8(m.body).unwrap()).collect()
}

#[test]
fn an_action_is_run_once_and_then_answered_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let digest = [7; 32];
    {
        let journal = open(dir.path());
        let Admission::Fresh { seq } = journal.admit(&digest, &command(1)).unwrap() else {
            panic!("the first is fresh")
        };
        assert_eq!(journal.load(seq).unwrap(), Some(command(1)));
        // The same command again, and another one with the same action.
        assert_eq!(journal.admit(&digest, &command(1)).unwrap(), Admission::Running);
        assert_eq!(journal.admit(&digest, &command(2)).unwrap(), Admission::Running);
        assert_eq!(journal.accepted(), 2);
        journal.finish(&digest, &outcome("found"), true, reply).unwrap();
        assert_eq!(journal.load(seq).unwrap(), None);
        assert_eq!(bodies(&journal), ["1", "2"]);
        assert_eq!(journal.accepted(), 0);
    }
    // Across a restart.
    let journal = open(dir.path());
    assert_eq!(journal.recover(1).unwrap(), []);
    let again = journal.admit(&digest, &command(3)).unwrap();
    assert_eq!(again, Admission::Repeat(outcome("found")));
    assert!(matches!(journal.admit(&[8; 32], &command(4)).unwrap(), Admission::Fresh { .. }));
}

#[test]
fn what_was_accepted_and_not_answered_comes_back_once_per_action() {
    let dir = tempfile::tempdir().unwrap();
    {
        let journal = open(dir.path());
        journal.admit(&[1; 32], &command(1)).unwrap();
        journal.admit(&[2; 32], &command(2)).unwrap();
        journal.admit(&[1; 32], &command(3)).unwrap();
    }
    for attempts in [1, 2] {
        let journal = open(dir.path());
        let pending = journal.recover(1).unwrap();
        let digests: Vec<_> = pending.iter().map(|p| (p.digest, p.attempts)).collect();
        // The second was waiting for the first.
        assert_eq!(digests, [([1; 32], attempts), ([2; 32], 0)]);
    }
    let journal = open(dir.path());
    journal.finish(&[1; 32], &outcome("x"), true, reply).unwrap();
    assert_eq!(bodies(&journal), ["1", "3"]);
}

#[test]
fn more_answers_than_are_written_at_once_are_all_written() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for id in 1..=5 {
        journal.admit(&[1; 32], &command(id)).unwrap();
    }
    let large = |_: Command| Ok(Outgoing { expires: time(100), body: vec![0; ROUND_BYTES / 2] });
    journal.finish(&[1; 32], &outcome("x"), true, large).unwrap();
    assert_eq!(journal.accepted(), 0);
    let outbox = journal.outbox(100, usize::MAX).unwrap();
    assert_eq!(outbox.len(), 5);
    assert_eq!(journal.outbox_bytes.load(Ordering::Relaxed), 5 * ROUND_BYTES as u64 / 2);
    assert!(matches!(journal.admit(&[1; 32], &command(9)).unwrap(), Admission::Repeat(_)));
    let seqs: Vec<u64> = outbox.into_iter().map(|(seq, _)| seq).collect();
    journal.clear(&seqs).unwrap();
    assert_eq!(journal.outbox_bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_refused_action_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.admit(&[1; 32], &command(1)).unwrap();
    journal.finish(&[1; 32], &outcome("refused"), false, reply).unwrap();
    assert!(matches!(journal.admit(&[1; 32], &command(2)).unwrap(), Admission::Fresh { .. }));
}

#[test]
fn the_outbox_keeps_order_and_survives() {
    let dir = tempfile::tempdir().unwrap();
    {
        let journal = open(dir.path());
        for n in 0..5u8 {
            journal.post(&Outgoing { expires: time(u64::from(n)), body: vec![n] }).unwrap();
        }
        let first: Vec<u64> = journal.outbox(2, 99).unwrap().iter().map(|(seq, _)| *seq).collect();
        journal.clear(&first).unwrap();
    }
    let journal = open(dir.path());
    let left = journal.outbox(9, usize::MAX).unwrap();
    assert_eq!(left.iter().map(|(_, m)| m.body[0]).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(left[0].1.expires, time(2));
    // A new message never takes the place of an old one.
    journal.post(&Outgoing { expires: time(0), body: vec![9] }).unwrap();
    assert_eq!(journal.outbox(9, usize::MAX).unwrap().len(), 4);
    assert_eq!(journal.outbox(9, 1).unwrap().len(), 1);
}

#[test]
fn memory_is_bounded_and_never_forgets_that_an_action_ran() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { results_bytes: 4000, remembered: 5, ..Bounds::default() };
    let (journal, _) = Journal::open(dir.path(), bounds).unwrap();
    let big = "x".repeat(800);
    for n in 1..=5u8 {
        let mut command = command(u64::from(n));
        command.action.expireafter = time(u64::from(n));
        journal.admit(&[n; 32], &command).unwrap();
        journal.finish(&[n; 32], &outcome(&big), true, reply).unwrap();
    }
    assert_eq!(journal.admit(&[1; 32], &command(9)).unwrap(), Admission::Forgotten);
    assert_eq!(journal.admit(&[5; 32], &command(9)).unwrap(), Admission::Repeat(outcome(&big)));
    assert_eq!(journal.admit(&[6; 32], &command(9)).unwrap(), Admission::Full);
    journal.forget(time(3)).unwrap();
    assert!(matches!(journal.admit(&[1; 32], &command(9)).unwrap(), Admission::Fresh { .. }));
    assert_eq!(journal.admit(&[3; 32], &command(9)).unwrap(), Admission::Repeat(outcome(&big)));
}

#[test]
fn results_go_in_the_order_of_their_expiry_however_many_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { results_bytes: 20_000, ..Bounds::default() };
    let (journal, _) = Journal::open(dir.path(), bounds).unwrap();
    // Neither in the order of arrival nor in that of the digests: 0 to 100, each
    // once.
    let minutes = |n: u64| n * 37 % 101;
    let digest = |n: u64| [u8::try_from(n * 59 % 101).unwrap(); 32];
    for n in 0..=100 {
        let mut command = command(n + 1);
        command.action.expireafter = time(minutes(n));
        journal.admit(&digest(n), &command).unwrap();
        journal.finish(&digest(n), &outcome(&"x".repeat(800)), true, reply).unwrap();
    }
    let mut kept: Vec<u64> = (0..=100)
        .filter(|n| {
            let known = journal.admit(&digest(*n), &command(999)).unwrap();
            assert!(matches!(known, Admission::Repeat(_) | Admission::Forgotten), "{known:?}");
            matches!(known, Admission::Repeat(_))
        })
        .map(minutes)
        .collect();
    kept.sort_unstable();
    assert!((20..25).contains(&kept.len()), "{kept:?}");
    // One may have come after the last time that some were dropped.
    assert!(kept[1..].iter().all(|minutes| *minutes > 101 - 25), "{kept:?}");
}

#[test]
fn very_many_expired_actions_are_forgotten_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let count = 10_000_u64;
    let digest = |n: u64| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        digest
    };
    journal
        .write(|transaction| {
            let mut replay = transaction.open_table(REPLAY)?;
            for n in 0..count {
                let state = if n % 1000 == 0 { STATE_PENDING } else { STATE_DROPPED };
                replay.insert(&digest(n), (time(n % 2).unix(), state, 0))?;
            }
            Ok(())
        })
        .unwrap();
    journal.forget(time(1)).unwrap();
    let left = journal.read(|transaction| Ok(transaction.open_table(REPLAY)?.len()?)).unwrap();
    // Those that had not expired, and those that are to be run.
    assert_eq!(left, count / 2 + count / 1000);
}

#[test]
fn what_is_kept_is_counted_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { results_bytes: 4000, ..Bounds::default() };
    let big = "x".repeat(800);
    for n in 1..=5u8 {
        // Opened anew for each: only the file knows of the others.
        let (journal, _) = Journal::open(dir.path(), bounds).unwrap();
        let mut command = command(u64::from(n));
        command.action.expireafter = time(u64::from(n));
        journal.admit(&[n; 32], &command).unwrap();
        journal.finish(&[n; 32], &outcome(&big), true, reply).unwrap();
    }
    let (journal, _) = Journal::open(dir.path(), bounds).unwrap();
    assert_eq!(journal.admit(&[1; 32], &command(9)).unwrap(), Admission::Forgotten);
    assert_eq!(journal.admit(&[5; 32], &command(9)).unwrap(), Admission::Repeat(outcome(&big)));
}

#[test]
fn a_fault_of_the_disk_is_no_damage() {
    use std::io::ErrorKind::{InvalidData, Other, StorageFull, UnexpectedEof};
    let path = Path::new("journal");
    for (kind, is_passing) in
        [(StorageFull, true), (Other, true), (InvalidData, false), (UnexpectedEof, false)]
    {
        let error = database_error(path, redb::Error::Io(kind.into()));
        assert_eq!(error.is_passing(), is_passing, "{kind}");
    }
    assert!(database_error(path, redb::Error::PreviousIo).is_passing());
    assert!(!database_error(path, redb::Error::Corrupted(String::new())).is_passing());
}

#[test]
fn a_full_journal_says_so_before_it_takes_more() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { accepted: 2, outbox_bytes: 10, ..Bounds::default() };
    let (journal, _) = Journal::open(dir.path(), bounds).unwrap();
    journal.admit(&[1; 32], &command(1)).unwrap();
    assert!(journal.has_room());
    journal.admit(&[2; 32], &command(2)).unwrap();
    assert!(!journal.has_room());
    journal.finish(&[1; 32], &outcome("x"), true, reply).unwrap();
    assert!(journal.has_room());
    journal.post(&Outgoing { expires: time(0), body: vec![0; 10] }).unwrap();
    assert!(!journal.has_room());
}

#[test]
fn a_damaged_file_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    for damage in [b"not a journal".to_vec(), vec![0xff; 100_000]] {
        std::fs::write(&path, damage).unwrap();
        let (journal, rebuilt) = Journal::open(dir.path(), Bounds::default()).unwrap();
        assert!(rebuilt.is_some());
        journal.admit(&[1; 32], &command(1)).unwrap();
    }
    // Damage in the middle of a real one: it opens, or it is rebuilt.
    let bytes = std::fs::read(&path).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 23) {
        let mut damaged = bytes.clone();
        for byte in damaged.iter_mut().skip(at).take(512) {
            *byte ^= 0x5a;
        }
        std::fs::write(&path, damaged).unwrap();
        let (journal, _) = Journal::open(dir.path(), Bounds::default()).unwrap();
        journal.post(&Outgoing { expires: time(0), body: vec![1] }).unwrap();
    }
}

#[test]
fn two_agents_cannot_share_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path());
    let second = Journal::open(dir.path(), Bounds::default());
    assert!(matches!(second, Err(JournalError::InUse { .. })));
}

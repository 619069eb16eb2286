//! A signed action is changed at random, very often, and never accepted unless
//! what was signed is unchanged.

#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

use mig_sign::canonical;
use mig_sign::keyring::Keyring;
use mig_sign::oneline;
use mig_sign::sign::SecretKey;
use mig_sign::verify::verify_action;
use mig_types::{Action, Operation, Timestamp, wire};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

const MUTATIONS: u32 = 100_000;
const THREADS: u32 = 4;

/// What happened to one changed action.
#[derive(Default)]
struct Tally {
    /// No longer a document.
    unreadable: u32,
    refused: u32,
    /// Changed where nothing is signed, and still accepted.
    harmless: u32,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.unreadable += other.unreadable;
        self.refused += other.refused;
        self.harmless += other.harmless;
    }

    fn total(&self) -> u32 {
        self.unreadable + self.refused + self.harmless
    }
}

struct Signed {
    now: Timestamp,
    keyring: Keyring,
    key: SecretKey,
    action: Action,
    document: Vec<u8>,
    canonical: Vec<u8>,
}

impl Signed {
    fn new() -> Self {
        let now = Timestamp::parse("2026-06-01T12:00:00Z").unwrap();
        let key = SecretKey::generate_ed25519("ann <ann@example.net>", now).unwrap();
        let (keyring, errors) = Keyring::from_armored([key.public_armored().unwrap()]);
        assert!(errors.is_empty(), "{errors:?}");
        let parameters = json!({"searches": {"s1": {
            "paths": ["/etc", "/usr/<b>"], "names": ["^passwd$"], "contents": ["caf\u{e9} & \u{2028}"],
            "options": {"maxdepth": 3, "ratio": 0.25, "matchall": true, "mismatch": null}
        }}});
        let mut action = Action {
            name: "find root".into(),
            target: "status='online' AND queueloc LIKE 'linux.%'".into(),
            validfrom: now,
            expireafter: now + std::time::Duration::from_mins(5),
            operations: Some(vec![
                Operation { module: "file".into(), parameters, ..Operation::default() },
                Operation { module: "ping".into(), want_compressed: true, ..Operation::default() },
            ]),
            syntaxversion: 2,
            ..Action::default()
        };
        let canonical = canonical::action_string(&action).unwrap();
        action.pgpsignatures = vec![key.sign(&canonical, now).unwrap()];
        let document = wire::to_vec(&action).unwrap();
        Self { now, keyring, key, action, document, canonical }
    }

    fn check(&self, action: &Action, tally: &mut Tally) {
        let Ok(signers) = verify_action(&self.keyring, action, self.now) else {
            tally.refused += 1;
            return;
        };
        assert_eq!(signers.len(), 1);
        assert_eq!(signers[0].fingerprint, *self.key.fingerprint());
        let canonical = canonical::action_string(action).unwrap();
        assert_eq!(canonical, self.canonical, "accepted though changed: {action:?}");
        tally.harmless += 1;
    }
}

/// Flips, replaces, inserts, deletes, copies or swaps.
fn mutate(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    for _ in 0..rng.gen_range(1..=3) {
        let at = rng.gen_range(0..bytes.len().max(1));
        let Some(byte) = bytes.get_mut(at) else { return };
        match rng.gen_range(0..6) {
            0 => *byte ^= 1 << rng.gen_range(0..8),
            1 => *byte = *b"0123456789abcdef{}[],:\" \\ue".choose(rng).unwrap(),
            2 => bytes.insert(at, rng.r#gen()),
            3 => drop(bytes.remove(at)),
            4 => {
                let end = (at + rng.gen_range(1..20)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = rng.gen_range(0..bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => {
                let other = rng.gen_range(0..bytes.len());
                bytes.swap(at, other);
            }
        }
    }
}

fn mutate_field(action: &mut Action, rng: &mut StdRng) {
    let second = std::time::Duration::from_secs(1);
    let character = char::from(rng.gen_range(b' '..=b'~'));
    match rng.gen_range(0..12) {
        0 => action.name.push(character),
        1 => action.target.insert(0, character),
        2 => action.validfrom = action.validfrom + second * rng.gen_range(0..100),
        3 => action.expireafter = action.expireafter + second * rng.gen_range(1..1_000_000),
        4 => action.operations.as_mut().unwrap().truncate(rng.gen_range(0..2)),
        5 => action.operations.as_mut().unwrap().reverse(),
        6 => action.operations.as_mut().unwrap()[0].module.push(character),
        7 => action.operations.as_mut().unwrap()[1].parameters = json!({"d": character}),
        8 => {
            let depth = &mut action.operations.as_mut().unwrap()[0].parameters["searches"]["s1"]["options"]
                ["maxdepth"];
            *depth = json!(rng.gen_range(0..2000));
        }
        9 => {
            // Moves the border between two fields without changing the text.
            let name = std::mem::take(&mut action.name);
            let (head, tail) = name.split_at(rng.gen_range(0..name.len()));
            action.name = head.into();
            action.target = format!("{tail};target={}", action.target);
        }
        10 => action.operations = None,
        // Not signed.
        _ => action.description.author.push(character),
    }
}

/// One share of the work: documents, signatures and fields changed in turn.
fn run(signed: &Signed, seed: u64, rounds: u32) -> [Tally; 3] {
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut tallies = [Tally::default(), Tally::default(), Tally::default()];
    let [documents, signatures, fields] = &mut tallies;
    for round in 0..rounds {
        let mut action = signed.action.clone();
        match round % 4 {
            0 | 1 => {
                let mut document = signed.document.clone();
                mutate(&mut document, rng);
                match wire::from_slice::<Action>(&document) {
                    Ok(action) => signed.check(&action, documents),
                    Err(_) => documents.unreadable += 1,
                }
            }
            2 => {
                let mut packets = oneline::to_binary(&action.pgpsignatures[0]).unwrap();
                mutate(&mut packets, rng);
                action.pgpsignatures = vec![oneline::from_binary(&packets)];
                // Some with another document on top.
                if rng.gen_bool(0.1) {
                    mutate_field(&mut action, rng);
                }
                signed.check(&action, signatures);
            }
            _ => {
                mutate_field(&mut action, rng);
                signed.check(&action, fields);
            }
        }
    }
    tallies
}

#[test]
fn no_changed_action_is_accepted() {
    let signed = &Signed::new();
    let mut unchanged = Tally::default();
    signed.check(&signed.action, &mut unchanged);
    assert_eq!(unchanged.harmless, 1);

    let [mut documents, mut signatures, mut fields] = <[Tally; 3]>::default();
    std::thread::scope(|scope| {
        let start = |thread| {
            let seed = 0x4d49_4700 + u64::from(thread);
            scope.spawn(move || run(signed, seed, MUTATIONS / THREADS))
        };
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        for thread in threads {
            let [d, s, f] = thread.join().unwrap();
            documents.add(&d);
            signatures.add(&s);
            fields.add(&f);
        }
    });
    let total = documents.total() + signatures.total() + fields.total();
    assert_eq!(total, MUTATIONS);
    // The mutations must have reached the verification, and must include ones
    // that change nothing that is signed: else the test proves little.
    assert!(documents.refused > MUTATIONS / 20, "{}", documents.refused);
    assert!(documents.harmless > 100 && documents.unreadable > 100);
    assert!(signatures.refused > MUTATIONS / 5, "{}", signatures.refused);
    assert!(fields.refused > MUTATIONS / 6 && fields.harmless > 100);
}

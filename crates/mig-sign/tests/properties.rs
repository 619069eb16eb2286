//! Properties over arbitrary and hostile input.

#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

use std::sync::OnceLock;
use std::time::Duration;

use mig_sign::keyring::{self, Keyring};
use mig_sign::sign::SecretKey;
use mig_sign::verify::{issuer, verify_detached};
use mig_sign::{canonical, oneline, token};
use mig_types::{Action, Operation, Timestamp, wire};
use proptest::prelude::*;
use serde_json::{Map, Value};

fn now() -> Timestamp {
    Timestamp::parse("2026-06-01T12:00:00Z").unwrap()
}

/// One key for all cases: its secret half, its keyring, its armored public half.
fn key() -> &'static (SecretKey, Keyring, String) {
    static KEY: OnceLock<(SecretKey, Keyring, String)> = OnceLock::new();
    KEY.get_or_init(|| {
        let secret = SecretKey::generate_ed25519("t <t@example.net>", now()).unwrap();
        let public = secret.public_armored().unwrap();
        let (keyring, errors) = Keyring::from_armored([&public]);
        assert!(errors.is_empty(), "{errors:?}");
        (secret, keyring, public)
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Value::from),
        (-1e22..1e22f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[<>&\"\\\\\u{0}-\u{20}\u{2028}\u{2029}\u{e9}\u{1f600}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn any_action() -> impl Strategy<Value = Action> {
    let operation = (any::<String>(), any_json(), any::<bool>(), any::<bool>()).prop_map(
        |(module, parameters, is_compressed, want_compressed)| Operation {
            module,
            parameters,
            is_compressed,
            want_compressed,
        },
    );
    let operations = prop::option::of(prop::collection::vec(operation, 0..4));
    (any::<String>(), any::<String>(), 0..4_000_000_000_i64, 0..999_999_999_u32, operations)
        .prop_map(|(name, target, seconds, nanos, operations)| Action {
            name,
            target,
            validfrom: Timestamp::from_unix(seconds, nanos).unwrap(),
            expireafter: Timestamp::from_unix(seconds + 60, nanos).unwrap(),
            operations,
            ..Action::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_signed_string_survives_any_transport(action in any_action()) {
        let signed = canonical::action_string(&action).unwrap();
        let alternative = canonical::action_string_alternative(&action).unwrap();
        let compact: Action = wire::from_slice(&wire::to_vec(&action).unwrap()).unwrap();
        let pretty: Action =
            wire::from_slice(&serde_json::to_vec_pretty(&action).unwrap()).unwrap();
        for received in [compact, pretty] {
            prop_assert_eq!(&canonical::action_string(&received).unwrap(), &signed);
            prop_assert_eq!(&canonical::action_string_alternative(&received).unwrap(), &alternative);
        }
    }

    #[test]
    fn the_operations_of_a_signed_string_are_the_operations(action in any_action()) {
        // The part after the last separator is JSON and means what was signed.
        let signed = canonical::action_string(&action).unwrap();
        let text = String::from_utf8(signed).unwrap();
        let start = format!("name={};target={}", action.name, action.target).len();
        let (_, tail) = text.split_at(start);
        let (_, json) = tail.split_once(";operations=").unwrap();
        let read: Value = serde_json::from_str(json.strip_suffix(';').unwrap()).unwrap();
        let again = Action { operations: wire::from_value(read).unwrap(), ..action.clone() };
        prop_assert_eq!(canonical::action_string(&again).unwrap(), text.into_bytes());
    }

    #[test]
    fn one_line_signatures_round_trip(packets in prop::collection::vec(any::<u8>(), 0..600)) {
        let line = oneline::from_binary(&packets);
        prop_assert!(!line.contains(char::is_whitespace));
        prop_assert_eq!(&oneline::to_binary(&line).unwrap(), &packets);
        let armored = oneline::to_armored(&line).unwrap();
        prop_assert!(armored.lines().all(|line| line.len() <= 64));
        prop_assert_eq!(oneline::from_armored(&armored).unwrap(), line);
    }

    #[test]
    fn arbitrary_text_is_refused_without_panic(text in any::<String>()) {
        let keyring = &key().1;
        prop_assert!(verify_detached(keyring, b"", &text, now()).is_err());
        prop_assert!(token::verify(keyring, &text, now(), Duration::MAX).is_err());
        prop_assert!(keyring::inspect(&text).is_err());
        prop_assert!(keyring::reencode(&text).is_err());
        prop_assert!(SecretKey::from_armored(&text).is_err());
        prop_assert!(oneline::from_armored(&text).is_err());
    }

    #[test]
    fn arbitrary_packets_are_refused_without_panic(
        packets in prop::collection::vec(any::<u8>(), 0..200),
        tag in prop::sample::select(vec![0x88_u8, 0x89, 0x8a, 0x98, 0x99, 0xc2, 0xc6, 0xce, 0xc5]),
        known_start in any::<bool>(),
    ) {
        let mut bytes = vec![tag, u8::try_from(packets.len().min(190)).unwrap_or_default()];
        if known_start {
            bytes.extend([4, 0, 22, 8]);
        }
        bytes.extend(&packets);
        let line = oneline::from_binary(&bytes);
        prop_assert!(verify_detached(&key().1, b"", &line, now()).is_err());
        let claims = issuer(&line).unwrap_or_default();
        prop_assert!(claims.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let (_, body) = key().2.split_once("\n\n").unwrap();
        let label = "PGP PUBLIC KEY BLOCK";
        let first = body.lines().next().unwrap_or_default();
        // A true beginning with an arbitrary end.
        let armored = format!(
            "-----BEGIN {label}-----\n\n{first}{}\n-----END {label}-----\n",
            line.split('=').next().unwrap_or_default()
        );
        let _ = keyring::inspect(&armored);
    }

    #[test]
    fn a_damaged_key_never_panics_and_never_changes_identity(
        position in 0usize..400, bit in 0u8..8, cut in 0usize..400,
    ) {
        let (secret, _, public) = key();
        let binary = unarmored(public);
        let mut damaged = binary.clone();
        if let Some(byte) = damaged.get_mut(position) {
            *byte ^= 1 << bit;
        }
        damaged.truncate(cut.max(1));
        if let Ok(info) = keyring::inspect(&rearmored(&damaged)) {
            prop_assert_eq!(&info.fingerprint, secret.fingerprint());
        }
    }
}

fn unarmored(public: &str) -> Vec<u8> {
    let signature = public.replace("PUBLIC KEY BLOCK", "SIGNATURE");
    oneline::to_binary(&oneline::from_armored(&signature).unwrap()).unwrap()
}

fn rearmored(packets: &[u8]) -> String {
    let armored = oneline::to_armored(&oneline::from_binary(packets)).unwrap();
    armored.replace("SIGNATURE", "PUBLIC KEY BLOCK")
}

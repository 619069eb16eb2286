//! Vectors made by other programs; `data/README.md` says which.

#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use mig_sign::keyring::{self, Keyring};
use mig_sign::sign::SecretKey;
use mig_sign::verify::{VerifyError, verify_action, verify_detached};
use mig_sign::{canonical, oneline, token};
use mig_types::{Action, Command, Manifest, Timestamp, wire};
use sha2::{Digest as _, Sha256};

const ORIGINAL: &str = "2466BA175C45F967CD20A06B09C0241F854718C7";
const BOB: &str = "95A3F0DFBDACD0CB566F009DB8B7C838AE098C78";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn action(name: &str) -> Action {
    wire::from_slice(text(name).as_bytes()).unwrap()
}

fn keyring(names: &[&str]) -> Keyring {
    let (keyring, errors) = Keyring::from_armored(names.iter().map(|name| text(name)));
    assert!(errors.is_empty(), "{errors:?}");
    keyring
}

/// A day after the vectors were made.
fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T00:00:00Z").unwrap()
}

fn rows(name: &str) -> Vec<serde_json::Value> {
    text(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn bytea(value: &serde_json::Value) -> String {
    let digits = value.as_str().unwrap().strip_prefix("\\x").unwrap();
    String::from_utf8(hex::decode(digits).unwrap()).unwrap()
}

fn investigators() -> (Keyring, Vec<String>) {
    let keys: Vec<String> =
        rows("db/investigators.jsonl").iter().map(|row| bytea(&row["publickey"])).collect();
    let (keyring, errors) = Keyring::from_armored(&keys);
    assert!(errors.is_empty(), "{errors:?}");
    (keyring, keys)
}

#[test]
fn signed_strings_are_those_of_the_original() {
    for (name, digest) in [
        ("e1", "ac1badea4ff7a196abd8a2a054cf59e0a4c1f789059da92396cd3b59e6ca09d8"),
        ("e2", "b285eace2aa9b6b84ac967f04d4791518cc310826b1becd577770adb8e204992"),
        ("e3", "b3f04eaecf8c004372b3268a9d015cf912ce866d17c6f47c6b2610cd2bb876b6"),
    ] {
        let action = action(&format!("{name}.json"));
        let string = String::from_utf8(canonical::action_string(&action).unwrap()).unwrap();
        assert_eq!(string, text(&format!("{name}.canonical")), "{name}");
        assert_eq!(hex::encode(canonical::action_digest(&action).unwrap()), digest, "{name}");
        assert_eq!(hex::encode(Sha256::digest(string)), digest, "{name}");
    }
    for kind in ["rsa2048", "rsa3072", "rsa4096", "nistp256", "dsa2048"] {
        let action = action(&format!("pgp/{kind}.action.json"));
        let string = String::from_utf8(canonical::action_string(&action).unwrap()).unwrap();
        assert_eq!(string, text(&format!("pgp/{kind}.signed-string.txt")), "{kind}");
    }
}

#[test]
fn a_manifest_is_signed_to_the_byte_whatever_came_with_it() {
    let signed = text("manifest.json");
    let mut manifest: Manifest = wire::from_slice(signed.as_bytes()).unwrap();
    manifest.loader_name = "web1".to_owned();
    manifest.signatures = vec![text("manifest.sig")];
    let document = canonical::manifest_document(&manifest);
    assert_eq!(String::from_utf8(document.clone()).unwrap(), signed);
    let keyring = keyring(&["original.pub.asc"]);
    verify_detached(&keyring, &document, &manifest.signatures[0], now()).unwrap();
}

#[test]
fn signatures_of_the_original_verify_and_cover_every_byte() {
    let keyring = keyring(&["original.pub.asc"]);
    for (data, signature) in
        [("e1.canonical", "e1.sig"), ("e3.canonical", "e3.sig"), ("manifest.json", "manifest.sig")]
    {
        let mut data = text(data).into_bytes();
        let signature = text(signature);
        let signer = verify_detached(&keyring, &data, &signature, now()).unwrap();
        assert_eq!(signer.fingerprint.as_str(), ORIGINAL);
        assert_eq!(signer.created.to_string(), "2026-11-23T07:14:55Z");
        for index in 0..data.len() {
            data[index] ^= 1;
            let refused = verify_detached(&keyring, &data, &signature, now());
            assert!(matches!(refused, Err(VerifyError::Mismatch { .. })), "byte {index}");
            data[index] ^= 1;
        }
    }
}

#[test]
fn actions_signed_with_every_kind_of_key_verify() {
    let (investigators, _) = investigators();
    for kind in ["rsa2048", "rsa4096", "nistp256", "dsa2048"] {
        let key = keyring(&[&format!("pgp/{kind}.pub.asc")]);
        let mut action = action(&format!("pgp/{kind}.action.json"));
        let signers = verify_action(&key, &action, now()).unwrap();
        assert_eq!(Some(&signers[0].fingerprint), key.fingerprints().next(), "{kind}");

        let armored = text(&format!("pgp/{kind}.sig.asc"));
        assert_eq!(oneline::from_armored(&armored).unwrap(), action.pgpsignatures[0], "{kind}");
        assert_eq!(oneline::to_armored(&action.pgpsignatures[0]).unwrap(), armored, "{kind}");

        action.name.push(' ');
        let error = verify_action(&key, &action, now()).unwrap_err();
        assert!(matches!(error, VerifyError::Mismatch { .. }), "{kind}: {error}");
    }
    let signers = verify_action(&investigators, &action("pgp/rsa3072.action.json"), now()).unwrap();
    assert_eq!(signers[0].fingerprint.as_str(), BOB);
}

#[test]
fn stored_actions_and_commands_in_transit_verify() {
    let (keyring, keys) = investigators();
    for (row, key) in rows("db/investigators.jsonl").iter().zip(&keys) {
        let info = keyring::inspect(key).unwrap();
        assert_eq!(info.fingerprint.as_str(), row["pgpfingerprint"], "{row}");
        assert!(info.go_loadable && !info.revoked && info.expires.is_none(), "{info:?}");
    }
    for mut row in rows("db/actions.jsonl") {
        row["pgpsignatures"] =
            serde_json::from_str(row["pgpsignatures"].as_str().unwrap()).unwrap();
        let action: Action = wire::from_value(row).unwrap();
        let signers = verify_action(&keyring, &action, now()).unwrap();
        assert_eq!(signers[0].fingerprint.as_str(), BOB);
    }
    let command: Command = wire::from_slice(text("amqp/command.json").as_bytes()).unwrap();
    assert_eq!(verify_action(&keyring, &command.action, now()).unwrap().len(), 1);
}

#[test]
fn one_unknown_or_repeated_signature_refuses_an_action() {
    let key = keyring(&["pgp/rsa2048.pub.asc"]);
    let signed = action("pgp/rsa2048.action.json");
    let by_bob = action("pgp/rsa3072.action.json").pgpsignatures[0].clone();

    let mut unsigned = signed.clone();
    unsigned.pgpsignatures.clear();
    assert!(matches!(verify_action(&key, &unsigned, now()), Err(VerifyError::Unsigned)));

    let mut unknown = signed.clone();
    unknown.pgpsignatures.push(by_bob);
    let error = verify_action(&key, &unknown, now()).unwrap_err();
    assert!(error.to_string().contains("signature made by unknown entity"), "{error}");

    let mut repeated = signed.clone();
    repeated.pgpsignatures.push(signed.pgpsignatures[0].clone());
    let error = verify_action(&key, &repeated, now()).unwrap_err();
    assert!(matches!(error, VerifyError::Duplicate { .. }), "{error}");

    let mut many = signed;
    many.pgpsignatures = vec![many.pgpsignatures[0].clone(); 65];
    let error = verify_action(&key, &many, now()).unwrap_err();
    assert!(matches!(error, VerifyError::TooMany { count: 65 }), "{error}");
}

#[test]
fn signatures_from_the_future_are_refused() {
    let keyring = keyring(&["original.pub.asc"]);
    let (data, signature) = (text("e1.canonical"), text("e1.sig"));
    let made = Timestamp::parse("2026-11-23T07:14:55Z").unwrap();
    let early = |seconds| made - Duration::from_secs(seconds);
    assert!(verify_detached(&keyring, data.as_bytes(), &signature, early(299)).is_ok());
    let error = verify_detached(&keyring, data.as_bytes(), &signature, early(301)).unwrap_err();
    assert!(matches!(error, VerifyError::Future { .. }), "{error}");
}

#[test]
fn tokens_of_the_original_verify() {
    // Text of 2016, signature of 2026: only an absurd tolerance spans that.
    let decades = Duration::from_hours(20 * 366 * 24);
    let key = keyring(&["original.pub.asc"]);
    let header = text("original.token");
    let caller = token::verify(&key, &header, now(), decades).unwrap();
    assert_eq!(caller.as_str(), ORIGINAL);
    let error = token::verify(&key, &header, now(), Duration::from_mins(10)).unwrap_err();
    assert!(matches!(error, token::TokenError::Expired), "{error}");

    let (investigators, _) = investigators();
    let header = text("token.txt");
    let sent = Timestamp::parse("2026-11-23T07:16:50Z").unwrap();
    let tolerance = Duration::from_mins(10);
    assert_eq!(token::verify(&investigators, &header, sent, tolerance).unwrap().as_str(), BOB);
    for late in [600, 601] {
        let accepted =
            token::verify(&investigators, &header, sent + Duration::from_secs(late), tolerance);
        assert_eq!(accepted.is_ok(), late == 600);
    }
}

#[test]
fn the_originals_scheduler_key_signs() {
    let row = &rows("db/investigators.jsonl")[0];
    let key = SecretKey::from_armored(&bytea(&row["privatekey"])).unwrap();
    assert_eq!(key.fingerprint().as_str(), row["pgpfingerprint"]);
    let (keyring, _) = investigators();
    let signature = key.sign(b"data", now()).unwrap();
    let signer = verify_detached(&keyring, b"data", &signature, now()).unwrap();
    assert_eq!(signer.fingerprint, *key.fingerprint());
    // The same first bytes as every signature the original makes with such a key.
    assert!(signature.starts_with("wsBcBAABCAAQBQJr"), "{signature}");
}

#[test]
fn a_bad_key_does_not_disable_the_others() {
    let good = text("pgp/rsa2048.pub.asc");
    let both = format!("{good}{}", text("pgp/rsa4096.pub.asc"));
    let cut: String = good.lines().take(8).flat_map(|line| [line, "\n"]).collect();
    let no_user = good.replace("-----END", "x-----END");
    let bad = ["", "not a key", &both, &cut, &no_user];
    let (keyring, errors) = Keyring::from_armored(bad.into_iter().chain([good.as_str()]));
    assert_eq!((keyring.len(), errors.len()), (1, bad.len()), "{errors:?}");
}

#[test]
fn rewriting_a_key_drops_headers_and_nothing_else() {
    for name in ["original.pub.asc", "pgp/dsa2048.pub.asc", "pgp/nistp256.pub.asc"] {
        let before = text(name);
        let noisy = format!("noise\n{}", before.replacen("\n\n", "\nComment: x\n\n", 1));
        let after = keyring::reencode(&noisy).unwrap();
        assert!(!after.contains("Comment") && !after.contains("noise"));
        assert_eq!(keyring::inspect(&after).unwrap(), keyring::inspect(&before).unwrap());
    }
}

#[test]
fn keys_are_described() {
    for (name, algorithm) in [
        ("original.pub.asc", "RSA 2048"),
        ("pgp/rsa4096.pub.asc", "RSA 4096"),
        ("pgp/dsa2048.pub.asc", "DSA 2048"),
        ("pgp/nistp256.pub.asc", "ECDSA nistp256"),
    ] {
        let info = keyring::inspect(&text(name)).unwrap();
        assert_eq!(info.algorithm, algorithm);
        assert!(info.go_loadable && info.user_id.contains('@'), "{info:?}");
    }
}

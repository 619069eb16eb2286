#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mig_sign::keyring::Keyring;
use mig_sign::verify::{issuer, verify_detached};
use mig_sign::{oneline, token};
use mig_types::Timestamp;

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    let mut keyring = Keyring::default();
    let key = include_str!("../../crates/mig-sign/tests/data/original.pub.asc");
    keyring.add_armored(key).expect("a key of the tests");
    keyring
});

fuzz_target!(|data: &[u8]| {
    let now = Timestamp::parse("2026-11-24T00:00:00Z").expect("a literal");
    let line = oneline::from_binary(data);
    // No signature over this text exists.
    assert!(verify_detached(&KEYRING, b"never signed", &line, now).is_err());
    // What it claims is shown to people: digits, whoever wrote it.
    let claims = issuer(&line).unwrap_or_default();
    assert!(claims.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let header = String::from_utf8_lossy(data);
    let _ = token::verify(&KEYRING, &header, now, std::time::Duration::from_secs(600));
});

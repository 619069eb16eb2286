//! Both ways with the real `gpg`, at a frozen time, with throw-away keys.

#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use mig_sign::keyring::{self, Keyring};
use mig_sign::sign::{SecretKey, SignError};
use mig_sign::verify::{Signer, VerifyError, verify_detached};
use mig_sign::{oneline, token};
use mig_types::{Fingerprint, Timestamp};
use tempfile::TempDir;

const MADE: &str = "20260501T000000";
const NOW: &str = "20260601T120000";
const DATA: &[u8] = b"name=n;target=t;validfrom=1;expireafter=%!s(int64=2);operations=[];";

fn now() -> Timestamp {
    Timestamp::parse("2026-06-01T12:00:00Z").unwrap()
}

/// A `gpg` of its own in a temporary home, its agent stopped at the end.
struct Gpg {
    home: TempDir,
}

impl Gpg {
    /// `None`, with a word about it, where it is not installed.
    fn new() -> Option<Self> {
        let home = tempfile::Builder::new().prefix("mig").tempdir().unwrap();
        let gpg = Self { home };
        if gpg.command("gpg").arg("--version").output().is_err() {
            eprintln!("skipped: gpg is not installed");
            return None;
        }
        Some(gpg)
    }

    #[expect(clippy::disallowed_methods, reason = "the test talks to the real gpg")]
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("GNUPGHOME", self.home.path()).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn at(&self, time: &str, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command("gpg");
        command.args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]);
        command.args(["--passphrase", "", "--faked-system-time", &format!("{time}!")]);
        let mut child = command.args(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A gpg that needs no input may be gone already.
        let _ = stdin.write_all(input);
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    fn run(&self, time: &str, arguments: &[&str], input: &[u8]) -> String {
        let output = self.at(time, arguments, input);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "gpg {arguments:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn generate(&self, name: &str, algorithm: &str, usage: &str, expire: &str) -> Fingerprint {
        let id = format!("{name} <{name}@example.net>");
        self.run(MADE, &["--quick-generate-key", &id, algorithm, usage, expire], b"");
        self.fingerprint(name)
    }

    fn fingerprint(&self, name: &str) -> Fingerprint {
        let list =
            self.run(NOW, &["--with-colons", "--list-keys", &format!("{name}@example.net")], b"");
        let line = list.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().parse().unwrap()
    }

    fn public(&self, key: &Fingerprint) -> String {
        self.run(NOW, &["--armor", "--export", key.as_str()], b"")
    }

    fn secret(&self, key: &Fingerprint) -> String {
        self.run(NOW, &["--armor", "--export-secret-keys", key.as_str()], b"")
    }

    fn sign(&self, time: &str, key: &Fingerprint, options: &[&str]) -> String {
        let mut arguments = vec!["--armor", "--detach-sign", "--local-user", key.as_str()];
        arguments.splice(0..0, options.iter().copied());
        oneline::from_armored(&self.run(time, &arguments, DATA)).unwrap()
    }

    fn check(&self, key: &Fingerprint, signature: &str) -> Result<Signer, VerifyError> {
        let mut keyring = Keyring::default();
        assert_eq!(keyring.add_armored(&self.public(key)).unwrap(), *key);
        verify_detached(&keyring, DATA, signature, now())
    }

    fn verifies(&self, signature: &str, primary: &Fingerprint) -> bool {
        let file = self.home.path().join("signature.asc");
        std::fs::write(&file, oneline::to_armored(signature).unwrap()).unwrap();
        let arguments = ["--status-fd", "1", "--verify", file.to_str().unwrap(), "-"];
        let status = self.run(NOW, &arguments, DATA);
        status.lines().any(|line| line.contains("VALIDSIG") && line.ends_with(primary.as_str()))
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = self.command("gpgconf").args(["--kill", "gpg-agent"]).output();
    }
}

#[test]
fn signatures_by_every_kind_of_key_verify() {
    let Some(gpg) = Gpg::new() else { return };
    for (algorithm, name, go_loadable) in [
        ("rsa2048", "RSA 2048", true),
        ("rsa3072", "RSA 3072", true),
        ("rsa4096", "RSA 4096", true),
        ("dsa2048", "DSA 2048", true),
        ("nistp256", "ECDSA nistp256", true),
        ("nistp384", "ECDSA nistp384", true),
        ("nistp521", "ECDSA nistp521", true),
        ("ed25519", "Ed25519", false),
    ] {
        let key = gpg.generate(algorithm, algorithm, "sign", "never");
        let info = keyring::inspect(&gpg.public(&key)).unwrap();
        assert_eq!((info.algorithm.as_str(), info.go_loadable), (name, go_loadable));
        assert_eq!(info.user_id, format!("{algorithm} <{algorithm}@example.net>"));
        // GnuPG refuses a hash shorter than the curve.
        let long_curve = ["nistp384", "nistp521"].contains(&algorithm);
        for hash in if long_curve { &["SHA512"][..] } else { &["SHA256", "SHA512"] } {
            let signature = gpg.sign(NOW, &key, &["--digest-algo", hash]);
            let signer = gpg.check(&key, &signature).unwrap();
            assert_eq!((signer.fingerprint, signer.created), (key.clone(), now()), "{algorithm}");
            let mut keyring = Keyring::default();
            keyring.add_armored(&gpg.public(&key)).unwrap();
            let error = verify_detached(&keyring, b"other", &signature, now()).unwrap_err();
            assert!(matches!(error, VerifyError::Mismatch { .. }), "{algorithm}: {error}");
        }
    }
}

#[test]
fn a_signing_subkey_counts_as_its_primary_key_until_revoked() {
    let Some(gpg) = Gpg::new() else { return };
    for algorithm in ["rsa2048", "ed25519"] {
        let key = gpg.generate(algorithm, "rsa2048", "cert", "never");
        gpg.run(MADE, &["--quick-add-key", key.as_str(), algorithm, "sign", "never"], b"");
        let signature = gpg.sign(NOW, &key, &[]);
        assert_eq!(gpg.check(&key, &signature).unwrap().fingerprint, key);
        // In process, the primary key may not sign: the subkey does.
        let secret = SecretKey::from_armored(&gpg.secret(&key)).unwrap();
        let ours = secret.sign(DATA, now()).unwrap();
        assert_eq!(gpg.check(&key, &ours).unwrap().fingerprint, key);
        assert!(gpg.verifies(&ours, &key));
        // A Go agent would drop the key because of its Edwards subkey.
        let info = keyring::inspect(&gpg.public(&key)).unwrap();
        assert_eq!(info.go_loadable, algorithm == "rsa2048");

        let old_copy = gpg.public(&key);
        let revoke = b"key 1\nrevkey\ny\n0\n\ny\nsave\n";
        gpg.run(NOW, &["--command-fd", "0", "--edit-key", key.as_str()], revoke);
        let error = gpg.check(&key, &signature).unwrap_err();
        assert!(matches!(error, VerifyError::KeyRevoked { .. }), "{error}");
        // An older copy of the key does not undo the revocation.
        let (keyring, _) = Keyring::from_armored([gpg.public(&key), old_copy]);
        let error = verify_detached(&keyring, DATA, &signature, now()).unwrap_err();
        assert!(matches!(error, VerifyError::KeyRevoked { .. }), "{error}");
        // Rewriting a key keeps its revocations.
        let (keyring, _) = Keyring::from_armored([keyring::reencode(&gpg.public(&key)).unwrap()]);
        let error = verify_detached(&keyring, DATA, &signature, now()).unwrap_err();
        assert!(matches!(error, VerifyError::KeyRevoked { .. }), "{error}");
    }
}

#[test]
fn a_key_counts_only_while_it_lives() {
    let Some(gpg) = Gpg::new() else { return };
    let key = gpg.generate("short", "rsa2048", "sign", "never");
    let early = gpg.sign("20260505T000000", &key, &[]);
    let late = gpg.sign(NOW, &key, &[]);
    let header = {
        let text = token::text(now(), 1);
        let arguments = ["--armor", "--detach-sign", "--local-user", key.as_str()];
        let armored = gpg.run("20260505T000000", &arguments, text.as_bytes());
        token::assemble(&text, &oneline::from_armored(&armored).unwrap())
    };
    let secret = gpg.secret(&key);
    gpg.run("20260502T000000", &["--quick-set-expire", key.as_str(), "2026-05-10"], b"");

    let info = keyring::inspect(&gpg.public(&key)).unwrap();
    assert_eq!(info.expires.unwrap().to_string().get(..10), Some("2026-05-10"));
    assert!(gpg.check(&key, &early).is_ok());
    let error = gpg.check(&key, &late).unwrap_err();
    assert!(matches!(error, VerifyError::KeyExpired { .. }), "{error}");

    // A token by an expired key is refused even if dated back.
    let tolerance = std::time::Duration::from_mins(10);
    let (keyring, _) = Keyring::from_armored([gpg.public(&key)]);
    let error = token::verify(&keyring, &header, now(), tolerance).unwrap_err();
    assert!(matches!(error, token::TokenError::KeyExpired { .. }), "{error}");

    // In process, too, an expired key does not sign.
    assert!(SecretKey::from_armored(&secret).unwrap().sign(DATA, now()).is_ok());
    let error = SecretKey::from_armored(&gpg.secret(&key)).unwrap().sign(DATA, now()).unwrap_err();
    assert!(matches!(error, SignError::Expired { .. }), "{error}");
}

#[test]
fn a_revoked_key_is_refused_whenever_it_signed() {
    let Some(gpg) = Gpg::new() else { return };
    let key = gpg.generate("gone", "rsa2048", "sign", "never");
    let signature = gpg.sign("20260505T000000", &key, &[]);
    assert!(gpg.check(&key, &signature).is_ok());

    let file = gpg.home.path().join(format!("openpgp-revocs.d/{key}.rev"));
    let revocation = std::fs::read_to_string(file).unwrap().replace(":-----BEGIN", "-----BEGIN");
    gpg.run(NOW, &["--import"], revocation.as_bytes());

    assert!(keyring::inspect(&gpg.public(&key)).unwrap().revoked);
    let error = gpg.check(&key, &signature).unwrap_err();
    assert!(matches!(error, VerifyError::KeyRevoked { .. }), "{error}");
    let error = SecretKey::from_armored(&gpg.secret(&key)).unwrap_err();
    assert!(matches!(error, SignError::NoSigningKey { .. }), "{error}");
}

#[test]
fn weak_hashes_are_refused_for_documents_and_tolerated_in_keys() {
    let Some(gpg) = Gpg::new() else { return };
    let id = "old <old@example.net>";
    let arguments = ["--cert-digest-algo", "SHA1", "--quick-generate-key", id, "rsa2048", "sign"];
    gpg.run(MADE, &arguments, b"");
    let key = gpg.fingerprint("old");
    let packets = gpg.run(NOW, &["--list-packets"], gpg.public(&key).as_bytes());
    assert!(packets.contains("digest algo 2,"), "self-signature is not SHA-1: {packets}");
    assert!(gpg.check(&key, &gpg.sign(NOW, &key, &["--digest-algo", "SHA256"])).is_ok());
    for weak in ["SHA1", "SHA224", "RIPEMD160"] {
        let signature = gpg.sign(NOW, &key, &["--digest-algo", weak]);
        let error = gpg.check(&key, &signature).unwrap_err();
        assert!(matches!(error, VerifyError::WeakHash { .. }), "{weak}: {error}");
    }
}

#[test]
fn unusual_signatures_are_judged() {
    let Some(gpg) = Gpg::new() else { return };
    let key = gpg.generate("odd", "rsa2048", "sign", "never");
    // Text signatures, of documents in which they are unambiguous.
    assert!(gpg.check(&key, &gpg.sign(NOW, &key, &["--textmode"])).is_ok());
    // Comments and notations do no harm unless they are critical.
    let noted = gpg.sign(NOW, &key, &["--sig-notation", "x@example.net=y"]);
    assert!(gpg.check(&key, &noted).is_ok());
    let critical = gpg.sign(NOW, &key, &["--sig-notation", "!x@example.net=y"]);
    let error = gpg.check(&key, &critical).unwrap_err();
    assert!(matches!(error, VerifyError::Critical { .. }), "{error}");
    let lapsed = gpg.sign("20260505T000000", &key, &["--default-sig-expire", "2d"]);
    let error = gpg.check(&key, &lapsed).unwrap_err();
    assert!(matches!(error, VerifyError::SignatureExpired { .. }), "{error}");
    let future = gpg.sign("20260601T121000", &key, &[]);
    let error = gpg.check(&key, &future).unwrap_err();
    assert!(matches!(error, VerifyError::Future { .. }), "{error}");
    // A certification is not a signature over a document.
    let other = gpg.generate("other", "rsa2048", "sign", "never");
    let error = gpg.check(&other, &noted).unwrap_err();
    assert!(error.to_string().contains("signature made by unknown entity"), "{error}");
    // Two keys in one file, and a secret key, are not a public key.
    let both = gpg.run(NOW, &["--armor", "--export"], b"");
    assert!(matches!(keyring::inspect(&both), Err(keyring::KeyError::SeveralKeys)));
    assert!(keyring::inspect(&gpg.secret(&key)).is_err());
    let disguised = gpg.secret(&key).replace("PRIVATE", "PUBLIC");
    assert!(keyring::reencode(&disguised).is_err());
}

#[test]
fn a_key_with_a_passphrase_is_not_for_signing_in_process() {
    let Some(gpg) = Gpg::new() else { return };
    let id = "locked <locked@example.net>";
    gpg.run(MADE, &["--passphrase", "secret", "--quick-generate-key", id, "rsa2048", "sign"], b"");
    let key = gpg.fingerprint("locked");
    let arguments = ["--passphrase", "secret", "--armor", "--export-secret-keys", key.as_str()];
    let armored = gpg.run(NOW, &arguments, b"");
    let error = SecretKey::from_armored(&armored).unwrap_err();
    assert!(matches!(error, SignError::NoSigningKey { .. }), "{error}");
}

#[test]
fn gnupg_accepts_our_keys_and_signatures() {
    let Some(gpg) = Gpg::new() else { return };
    let made = Timestamp::parse("2026-05-01T00:00:00Z").unwrap();
    let keys = [
        SecretKey::generate_ed25519("ours <ours@example.net>", made).unwrap(),
        SecretKey::generate_rsa2048("ours too <ours@example.net>", made).unwrap(),
    ];
    for key in keys {
        gpg.run(NOW, &["--import"], key.public_armored().unwrap().as_bytes());
        let signature = key.sign(DATA, now()).unwrap();
        assert!(gpg.verifies(&signature, key.fingerprint()));
        // The secret key travels, too.
        let again = SecretKey::from_armored(&key.to_armored().unwrap()).unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        assert!(gpg.verifies(&again.sign(DATA, now()).unwrap(), key.fingerprint()));
        gpg.run(NOW, &["--import"], key.to_armored().unwrap().as_bytes());
        let theirs = gpg.sign(NOW, key.fingerprint(), &[]);
        assert_eq!(gpg.check(key.fingerprint(), &theirs).unwrap().fingerprint, *key.fingerprint());
    }
}

/// With the primes of an RSA key in the wrong order, GnuPG makes one wrong
/// signature in sixty or so.
#[test]
fn gnupg_signs_well_with_rsa_keys_of_ours() {
    let Some(gpg) = Gpg::new() else { return };
    let made = Timestamp::parse("2026-05-01T00:00:00Z").unwrap();
    for name in ["one", "two", "three", "four"] {
        let id = format!("{name} <{name}@example.net>");
        let key = SecretKey::generate_rsa2048(&id, made).unwrap();
        gpg.run(NOW, &["--import"], key.to_armored().unwrap().as_bytes());
        for second in 0..100 {
            let time = format!("20260601T00{:02}{:02}", second / 60, second % 60);
            let theirs = gpg.sign(&time, key.fingerprint(), &[]);
            let signer = gpg.check(key.fingerprint(), &theirs).unwrap();
            assert_eq!(signer.fingerprint, *key.fingerprint());
        }
    }
}

//! Signing with the real `gpg` and throw-away keys.
#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mig_client::{ClientConfig, GpgSigner, Signer, SignerError, launch};
use mig_runtime::Secret;
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_sign::keyring::Keyring;
use mig_sign::verify::{self, verify_detached};
use mig_types::{Action, Fingerprint, Operation};
use tempfile::TempDir;

struct Gpg {
    home: TempDir,
}

impl Gpg {
    /// `None`, with a word about it, where `gpg` is not installed.
    fn new() -> Option<Self> {
        let gpg = Self { home: tempfile::Builder::new().prefix("mig").tempdir().unwrap() };
        if gpg.command("gpg").arg("--version").output().is_err() {
            eprintln!("skipped: gpg is not installed");
            return None;
        }
        Some(gpg)
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    #[expect(clippy::disallowed_methods, reason = "the test talks to the real gpg")]
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("GNUPGHOME", self.path()).env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    fn run(&self, passphrase: &str, arguments: &[&str]) -> String {
        let mut command = self.command("gpg");
        command.args(["--batch", "--quiet", "--pinentry-mode", "loopback"]);
        let output = command.args(["--passphrase", passphrase]).args(arguments).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "gpg {arguments:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn generate(&self, name: &str, algorithm: &str, usage: &str, passphrase: &str) -> Fingerprint {
        let id = format!("{name} <{name}@example.net>");
        self.run(passphrase, &["--quick-generate-key", &id, algorithm, usage, "never"]);
        let list = self.run("", &["--with-colons", "--list-keys", &format!("{name}@example.net")]);
        let line = list.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().parse().unwrap()
    }

    fn keyring(&self, key: &Fingerprint) -> Keyring {
        let mut keyring = Keyring::default();
        keyring.add_armored(&self.run("", &["--armor", "--export", key.as_str()])).unwrap();
        keyring
    }

    fn signer(&self, keyid: &str) -> GpgSigner {
        GpgSigner::new("gpg", Some(self.path().to_owned()), keyid)
    }

    /// Forgets what the agent has unlocked.
    fn lock(&self) {
        let _ = self.command("gpgconf").args(["--kill", "gpg-agent"]).output();
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        self.lock();
    }
}

#[tokio::test]
async fn signatures_verify_whatever_the_users_settings() {
    let Some(gpg) = Gpg::new() else { return };
    // What people have in their gpg.conf must not get into signatures.
    std::fs::write(gpg.path().join("gpg.conf"), "armor\ntextmode\ncomment hello\nverbose\n")
        .unwrap();
    let data = b"line one\nline two; caf\xc3\xa9\n";
    for algorithm in ["rsa2048", "ed25519", "nistp384"] {
        let key = gpg.generate(algorithm, algorithm, "sign", "");
        for keyid in [key.to_string(), format!("{algorithm}@example.net")] {
            let signer = gpg.signer(&keyid);
            assert_eq!(signer.fingerprint().await.unwrap(), key);
            let signature = signer.sign(data).await.unwrap();
            let now = SystemClock.now();
            let verified = verify_detached(&gpg.keyring(&key), data, &signature, now).unwrap();
            assert_eq!(verified.fingerprint, key, "{algorithm}");
        }
    }
}

#[tokio::test]
async fn the_primary_key_signs_if_it_can_and_a_subkey_otherwise() {
    let Some(gpg) = Gpg::new() else { return };
    let key = gpg.generate("both", "rsa2048", "sign", "");
    let before = gpg.keyring(&key);
    gpg.run("", &["--quick-add-key", key.as_str(), "rsa2048", "sign", "never"]);
    // Whoever has the key of before the subkey must still accept.
    let signature = gpg.signer(key.as_str()).sign(b"data").await.unwrap();
    let now = SystemClock.now();
    assert_eq!(verify_detached(&before, b"data", &signature, now).unwrap().fingerprint, key);

    let key = gpg.generate("sub", "rsa2048", "cert", "");
    gpg.run("", &["--quick-add-key", key.as_str(), "rsa2048", "sign", "never"]);
    let signer = gpg.signer(key.as_str());
    assert_eq!(signer.fingerprint().await.unwrap(), key);
    let signature = signer.sign(b"data").await.unwrap();
    let now = SystemClock.now();
    let verified = verify_detached(&gpg.keyring(&key), b"data", &signature, now).unwrap();
    assert_eq!(verified.fingerprint, key);
}

#[tokio::test]
async fn passphrases_for_automation_reach_gpg_and_nothing_else() {
    let Some(gpg) = Gpg::new() else { return };
    let key = gpg.generate("locked", "rsa2048", "sign", "hunter 2");
    gpg.lock();
    let wrong = gpg.signer(key.as_str()).with_passphrase(Secret::new("wrong".into()));
    let error = wrong.sign(b"data").await.unwrap_err();
    assert!(matches!(error, SignerError::BadPassphrase), "{error}");
    let right = gpg.signer(key.as_str()).with_passphrase(Secret::new("hunter 2".into()));
    // The first line of the pipe is the passphrase; only the rest is signed.
    for data in [&b"data"[..], b"", b"\n", b"two\nlines"] {
        gpg.lock();
        let signature = right.sign(data).await.unwrap();
        let now = SystemClock.now();
        assert!(verify_detached(&gpg.keyring(&key), data, &signature, now).is_ok());
    }
}

#[tokio::test]
async fn failures_say_what_to_do() {
    let Some(gpg) = Gpg::new() else { return };
    let error = gpg.signer("nobody@example.net").sign(b"x").await.unwrap_err();
    assert!(matches!(error, SignerError::NoSecretKey { .. }), "{error}");
    assert!(error.hint().unwrap().contains("gpg.keyid"));
    // A key id is never an option.
    let error = gpg.signer("--version").sign(b"x").await.unwrap_err();
    assert!(matches!(error, SignerError::NoSecretKey { .. }), "{error}");
    let missing = GpgSigner::new("no-such-gpg", None, "x");
    let error = missing.sign(b"x").await.unwrap_err();
    assert!(matches!(error, SignerError::Start { .. }), "{error}");

    let key = gpg.generate("old", "rsa2048", "sign", "");
    std::fs::write(gpg.path().join("gpg.conf"), "digest-algo SHA1\n").unwrap();
    let error = gpg.signer(key.as_str()).sign(b"x").await.unwrap_err();
    assert!(matches!(error, SignerError::WeakHash { .. }), "{error}");
}

#[tokio::test]
async fn an_action_signed_by_two_people_verifies() {
    let Some(gpg) = Gpg::new() else { return };
    let (ann, bob) =
        (gpg.generate("ann", "rsa2048", "sign", ""), gpg.generate("bob", "rsa2048", "sign", ""));
    let operation = Operation { module: "ping".into(), ..Operation::default() };
    let mut action = Action {
        name: "ping ".into(),
        target: "status='online'".into(),
        operations: Some(vec![operation]),
        ..Action::default()
    };
    let now = SystemClock.now();
    launch::set_times(&mut action, now, Duration::from_mins(30));
    launch::sign_action(&mut action, &gpg.signer(ann.as_str()), now).await.unwrap();
    // As it travels between the two.
    let sent = mig_types::wire::to_vec(&action).unwrap();
    let mut action: Action = mig_types::wire::from_slice(&sent).unwrap();
    assert!(!launch::set_missing_times(&mut action, now, Duration::from_mins(1)));
    launch::sign_action(&mut action, &gpg.signer(bob.as_str()), now).await.unwrap();

    let both = gpg.run("", &["--armor", "--export", ann.as_str()]);
    let (keyring, _) =
        Keyring::from_armored([both, gpg.run("", &["--armor", "--export", bob.as_str()])]);
    let signers = verify::verify_action(&keyring, &action, SystemClock.now()).unwrap();
    assert_eq!(
        signers.into_iter().map(|signer| signer.fingerprint).collect::<Vec<_>>(),
        [ann, bob]
    );
}

#[tokio::test]
async fn a_configuration_makes_a_signer() {
    let Some(gpg) = Gpg::new() else { return };
    let key = gpg.generate("conf", "rsa2048", "sign", "");
    let text = format!(
        "[api]\nurl = http://localhost/\n[gpg]\nhome = \"{}/\"\nkeyid = {}",
        gpg.path().display(),
        key.as_str().to_lowercase()
    );
    let (config, _) = ClientConfig::parse(&text, ".migrc", &|_| None).unwrap();
    let signer = mig_client::signer::from_config(&config).unwrap();
    assert_eq!(signer.fingerprint().await.unwrap(), key);

    // A key file instead needs no gpg.
    let file = gpg.path().join("key.asc");
    std::fs::write(&file, gpg.run("", &["--armor", "--export-secret-keys", key.as_str()])).unwrap();
    let file = file.display().to_string();
    let lookup = |name: &str| (name == "MIG_SIGNING_KEY").then(|| file.clone());
    let (config, _) = ClientConfig::parse("[api]\nurl = http://localhost/", "x", &lookup).unwrap();
    let signer = mig_client::signer::from_config(&config).unwrap();
    assert_eq!(signer.fingerprint().await.unwrap(), key);
    let (config, _) =
        ClientConfig::parse("[api]\nurl = http://localhost/", "x", &|_| None).unwrap();
    assert!(matches!(mig_client::signer::from_config(&config), Err(SignerError::NotConfigured)));
}

//! What is on the investigator's own machine: configuration, key and `gpg`.

use mig_client::signer::CardState;
use mig_client::{GpgSigner, Signer, SignerError};
use mig_sign::keyring;
use mig_sign::sign::SecretKey;
use mig_terminal::Session;
use mig_terminal::failure::sentence;
use mig_types::Target;

use super::{Findings, Hop};

/// What is signed to see whether it can be.
const SAMPLE: &[u8] = b"mig doctor\n";

pub(super) fn file(session: &Session, findings: &mut Findings) {
    let config = &session.config;
    findings.ok(Hop::Config, session.path.display().to_string());
    for (name, body) in config.macros.iter() {
        if let Err(error) = body.parse::<Target>() {
            findings.note(Hop::Config, format!("macro {name} is no target: {error}"));
        }
    }
    // One of the environment is not in the file.
    #[cfg(unix)]
    if config.apikey.is_some()
        && std::env::var_os("MIG_API_KEY").is_none_or(|key| key.is_empty())
        && let Ok(metadata) = std::fs::metadata(&session.path)
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            let path = session.path.display();
            let text = format!("{path} is readable by others while an API key is in use");
            findings.broken(Hop::Config, text, format!("chmod 600 {path}"));
        }
    }
}

pub(super) async fn key(session: &Session, findings: &mut Findings) {
    let config = &session.config;
    if config.signing_key.is_none() && config.keyid.is_none() && config.apikey.is_some() {
        let text = "no key to sign with is configured: an API key reads, but launches nothing";
        return findings.note(Hop::Key, text);
    }
    if config.signing_key.is_none() && config.keyid.is_none() {
        return refused(SignerError::NotConfigured, findings);
    }
    if config.signing_key.is_none() && !gpg(session, findings).await {
        return;
    }
    let signer = match mig_client::signer::from_config(config) {
        Ok(signer) => signer,
        Err(error) => return refused(error, findings),
    };
    let fingerprint = match signer.fingerprint().await {
        Ok(fingerprint) => fingerprint,
        Err(error) => return refused(error, findings),
    };
    findings.ok(Hop::Key, format!("signs as {fingerprint}"));
    match public(session, fingerprint.as_str()).await {
        Ok(armored) => judge(&armored, session, findings),
        Err(text) => findings.note(Hop::Key, text),
    }
    if config.signing_key.is_none() {
        card(session, findings).await;
    }
    if findings.is_broken(Hop::Key) {
        return;
    }
    sample(signer.as_ref(), findings).await;
}

/// Whether `gpg` can be used at all.
async fn gpg(session: &Session, findings: &mut Findings) -> bool {
    let config = &session.config;
    match GpgSigner::version(config).await {
        Ok(version) => findings.ok(Hop::Gpg, version),
        Err(error) => {
            refused(error, findings);
            return false;
        }
    }
    if let Some(home) = &config.gpg_home
        && !home.is_dir()
    {
        let text = format!("gpg.home is {}, which is no directory", home.display());
        findings.broken(Hop::Gpg, text, "correct it, or leave gpg.home out for the usual one");
        return false;
    }
    true
}

/// Whether the card of the key, if it is on one, is there and lets itself be
/// used.
async fn card(session: &Session, findings: &mut Findings) {
    let card = match GpgSigner::from_config(&session.config) {
        Ok(signer) => signer.card().await,
        Err(error) => Err(error),
    };
    let card = match card {
        Ok(Some(card)) => card,
        Ok(None) => return,
        Err(error) => return refused(error, findings),
    };
    let serial = card.serial;
    match card.state {
        CardState::Present { tries: Some(0) } => refused(SignerError::CardBlocked, findings),
        CardState::Present { tries: Some(1) } => {
            findings.ok(Hop::Key, format!("its card, {serial}, is in the reader"));
            findings.note(Hop::Key, "one more wrong PIN blocks the card");
        }
        CardState::Other { serial: found } => {
            refused(SignerError::OtherCard { serial, found }, findings);
        }
        CardState::Absent => {
            refused(SignerError::CardAbsent { serial: Some(serial) }, findings);
        }
        CardState::Unsupported => refused(SignerError::NoCards, findings),
        _ => findings.ok(Hop::Key, format!("its card, {serial}, is in the reader")),
    }
}

/// The public half of the key, armored; or why it is not to be had.
async fn public(session: &Session, fingerprint: &str) -> Result<String, String> {
    match &session.config.signing_key {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
            let key = SecretKey::from_armored(&text).map_err(|error| sentence(&error))?;
            key.public_armored().map_err(|error| sentence(&error))
        }
        None => GpgSigner::export(&session.config, fingerprint).await.map_err(|e| sentence(&e)),
    }
}

fn judge(armored: &str, session: &Session, findings: &mut Findings) {
    let info = match keyring::inspect(armored) {
        Ok(info) => info,
        Err(error) => {
            let hint = "agents could not read it either: export it anew, or make another key";
            return findings.broken(Hop::Key, sentence(&error), hint);
        }
    };
    if info.revoked {
        let hint = "make a new key; an administrator adds it with create investigator";
        findings.broken(Hop::Key, "it is revoked", hint);
    }
    match info.expires {
        Some(expires) if expires <= session.clock.now() => {
            let hint = "gpg --quick-set-expire <fingerprint> 2y, and give agents the new copy";
            findings.broken(Hop::Key, format!("it expired at {expires}"), hint);
        }
        Some(expires) => findings.ok(Hop::Key, format!("it is good until {expires}")),
        None => {}
    }
    if info.go_loadable {
        findings.ok(Hop::Key, format!("{}, which every peer can verify", info.algorithm));
    } else {
        let text = format!("{}: agents and servers written in Go cannot verify it", info.algorithm);
        findings.note(Hop::Key, text);
    }
}

/// One signature, as a launch would need it.
async fn sample(signer: &dyn Signer, findings: &mut Findings) {
    match signer.sign(SAMPLE).await {
        Ok(_) => findings.ok(Hop::Key, "a signature was made"),
        Err(error) => refused(error, findings),
    }
}

/// Says whether it is the key or the program that fails.
fn refused(error: SignerError, findings: &mut Findings) {
    let hop = match &error {
        SignerError::Start { .. }
        | SignerError::NoPinentry
        | SignerError::NoAgent
        | SignerError::NoCards
        | SignerError::Gpg { .. }
        | SignerError::WeakHash { .. }
        | SignerError::Output(_) => Hop::Gpg,
        _ => Hop::Key,
    };
    let hint = match &error {
        SignerError::BadPassphrase => "try again; MIGPGPPASSPHRASE, if set, must be the key's",
        SignerError::ReadKey { .. } => "MIG_SIGNING_KEY or --key names the file; check its rights",
        SignerError::Software(_) => {
            "the file must hold one armored secret key without a passphrase, not expired"
        }
        _ => "gpg --list-secret-keys shows what there is; mig doctor -c <file> tries another",
    };
    findings.failure(hop, error.into(), hint);
}

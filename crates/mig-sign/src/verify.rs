//! Whether a signature counts.

use mig_types::{Action, Fingerprint, Timestamp};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SignatureVersion};

use crate::canonical::{self, CanonicalError};
use crate::certificate::{Certificate, Component, has_unknown_critical};
use crate::keyring::Keyring;
use crate::oneline::{self, OneLineError};

/// How far a signature may be dated ahead of our clock, in seconds.
const FUTURE_TOLERANCE: i64 = 300;

/// Most signatures one action may carry; a database row holds fewer.
pub const MAX_SIGNATURES: usize = 64;

/// Most packets looked at in one signature.
const MAX_PACKETS: usize = 16;

/// Who made a signature, and when by their own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Of the primary key, whichever subkey signed.
    pub fingerprint: Fingerprint,
    /// Creation time written in the signature.
    pub created: Timestamp,
}

/// Why a signature was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    #[error("action is not signed")]
    Unsigned,
    #[error("action has {count} signatures, at most {MAX_SIGNATURES} are accepted")]
    TooMany { count: usize },
    #[error("action is signed more than once by key {fingerprint}")]
    Duplicate { fingerprint: Fingerprint },
    #[error("action cannot be signed")]
    Canonical(#[source] CanonicalError),
    #[error("signature is malformed")]
    OneLine(#[source] OneLineError),
    #[error("signature cannot be parsed")]
    Malformed { source: Box<pgp::errors::Error> },
    #[error("signature holds a packet that is not a signature")]
    NotASignature,
    #[error("signature made by unknown entity ({issuer})")]
    UnknownKey { issuer: String },
    #[error("signature by key {fingerprint} has version {version}, only version 4 is supported")]
    Version { fingerprint: Fingerprint, version: u8 },
    #[error("signature by key {fingerprint} is of a type that does not sign documents")]
    Type { fingerprint: Fingerprint },
    #[error("signature by key {fingerprint} uses hash {hash}, SHA-256 or better is required")]
    WeakHash { fingerprint: Fingerprint, hash: String },
    #[error("signature by key {fingerprint} has no creation time")]
    NoCreationTime { fingerprint: Fingerprint },
    #[error("signature by key {fingerprint} is dated in the future ({created})")]
    Future { fingerprint: Fingerprint, created: Timestamp },
    #[error("signature by key {fingerprint} has expired")]
    SignatureExpired { fingerprint: Fingerprint },
    #[error("signature by key {fingerprint} has a critical part that is not understood")]
    Critical { fingerprint: Fingerprint },
    #[error("key {fingerprint} is revoked")]
    KeyRevoked { fingerprint: Fingerprint },
    #[error("key {fingerprint} had expired when it signed")]
    KeyExpired { fingerprint: Fingerprint },
    #[error("signature by key {fingerprint} is dated before the key was made")]
    BeforeKey { fingerprint: Fingerprint },
    #[error("key {fingerprint} is not allowed to sign documents")]
    NotForSigning { fingerprint: Fingerprint },
    #[error("signature by key {fingerprint} does not match what was signed")]
    Mismatch { fingerprint: Fingerprint },
}

/// Verifies a one-line signature over `data`.
///
/// Signature packets by keys outside the keyring are skipped; the first one by
/// a key inside decides.
///
/// # Errors
///
/// [`VerifyError`]; never panics, whatever the signature holds.
pub fn verify_detached(
    keyring: &Keyring,
    data: &[u8],
    one_line: &str,
    now: Timestamp,
) -> Result<Signer, VerifyError> {
    let signature = Candidate::find(keyring, one_line)?;
    signature.check(data, now)
}

/// Verifies every signature of an action and returns the signers in the order
/// of the signatures.
///
/// Peers built with a newer Go spell two control characters differently; a
/// signature over that spelling is accepted too.
///
/// # Errors
///
/// The first [`VerifyError`]: one bad signature refuses the action, and so do
/// none at all and two by one key.
pub fn verify_action(
    keyring: &Keyring,
    action: &Action,
    now: Timestamp,
) -> Result<Vec<Signer>, VerifyError> {
    let count = action.pgpsignatures.len();
    if count == 0 {
        return Err(VerifyError::Unsigned);
    }
    if count > MAX_SIGNATURES {
        return Err(VerifyError::TooMany { count });
    }
    let data = canonical::action_string(action).map_err(VerifyError::Canonical)?;
    let alternative =
        canonical::action_string_alternative(action).map_err(VerifyError::Canonical)?;
    let mut signers: Vec<Signer> = Vec::with_capacity(count);
    for one_line in &action.pgpsignatures {
        let candidate = Candidate::find(keyring, one_line)?;
        let signer = match (candidate.check(&data, now), &alternative) {
            (Err(VerifyError::Mismatch { .. }), Some(data)) => candidate.check(data, now)?,
            (result, _) => result?,
        };
        if signers.iter().any(|other| other.fingerprint == signer.fingerprint) {
            return Err(VerifyError::Duplicate { fingerprint: signer.fingerprint });
        }
        signers.push(signer);
    }
    Ok(signers)
}

/// Who a one-line signature says has made it: the 40 digits of a fingerprint,
/// or the 16 of a key id; of a subkey perhaps. A claim, not a proof.
///
/// `None` when it says nothing, or is no signature.
pub fn issuer(one_line: &str) -> Option<String> {
    let packets = oneline::to_binary(one_line).ok()?;
    PacketParser::new(packets.as_slice()).take(MAX_PACKETS).find_map(|packet| {
        let Ok(Packet::Signature(signature)) = packet else { return None };
        let fingerprint = signature.issuer_fingerprint().first().map(ToString::to_string);
        let id = || signature.issuer_key_id().first().map(ToString::to_string);
        fingerprint.or_else(id).map(|digits| digits.to_uppercase())
    })
}

/// A parsed signature and the keys that may have made it.
struct Candidate<'a> {
    signature: Signature,
    /// More than one only if two keys share a 64-bit key id.
    issuers: Vec<(&'a Certificate, &'a Component)>,
}

impl<'a> Candidate<'a> {
    fn find(keyring: &'a Keyring, one_line: &str) -> Result<Self, VerifyError> {
        let packets = oneline::to_binary(one_line).map_err(VerifyError::OneLine)?;
        let mut issuer = None;
        for packet in PacketParser::new(packets.as_slice()).take(MAX_PACKETS) {
            let signature = match packet {
                Ok(Packet::Signature(signature)) => signature,
                Ok(_) => return Err(VerifyError::NotASignature),
                Err(source) => return Err(VerifyError::Malformed { source: Box::new(source) }),
            };
            let issuers = keyring.issuers(&signature);
            if !issuers.is_empty() {
                return Ok(Self { signature, issuers });
            }
            issuer = issuer
                .or_else(|| signature.issuer_key_id().first().map(|id| format!("key id {id}")));
        }
        Err(VerifyError::UnknownKey { issuer: issuer.unwrap_or_else(|| "no issuer given".into()) })
    }

    fn check(&self, data: &[u8], now: Timestamp) -> Result<Signer, VerifyError> {
        let mut result = Err(VerifyError::NotASignature);
        for (certificate, component) in &self.issuers {
            result = check_with(certificate, component, &self.signature, data, now);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

/// Applies the policy, cheapest first, and the mathematics last.
fn check_with(
    certificate: &Certificate,
    component: &Component,
    signature: &Signature,
    data: &[u8],
    now: Timestamp,
) -> Result<Signer, VerifyError> {
    let fingerprint = certificate.fingerprint.clone();
    if signature.version() != SignatureVersion::V4 {
        let version = u8::from(signature.version());
        return Err(VerifyError::Version { fingerprint, version });
    }
    match signature.typ() {
        Some(SignatureType::Binary) => {}
        // Text signatures do not see line ends. Without a CR in the data, only
        // one document matches.
        Some(SignatureType::Text) if !data.contains(&b'\r') => {}
        _ => return Err(VerifyError::Type { fingerprint }),
    }
    check_hash(signature, &fingerprint)?;
    let Some(created) = signature.created().map(|time| i64::from(time.as_secs())) else {
        return Err(VerifyError::NoCreationTime { fingerprint });
    };
    let created_at = Timestamp::from_unix(created, 0).unwrap_or(Timestamp::NEVER);
    if created > now.unix().saturating_add(FUTURE_TOLERANCE) {
        return Err(VerifyError::Future { fingerprint, created: created_at });
    }
    let life = signature.signature_expiration_time().map_or(0, |life| i64::from(life.as_secs()));
    if life > 0 && created + life < now.unix() {
        return Err(VerifyError::SignatureExpired { fingerprint });
    }
    if has_unknown_critical(signature) {
        return Err(VerifyError::Critical { fingerprint });
    }
    check_keys(certificate, component, created)?;
    let algorithm = signature.config().map(|config| config.pub_alg);
    if algorithm != Some(component.key.algorithm()) || !component.key.verify(signature, data) {
        return Err(VerifyError::Mismatch { fingerprint });
    }
    Ok(Signer { fingerprint, created: created_at })
}

fn check_hash(signature: &Signature, fingerprint: &Fingerprint) -> Result<(), VerifyError> {
    match signature.hash_alg() {
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512) => Ok(()),
        hash => Err(VerifyError::WeakHash {
            fingerprint: fingerprint.clone(),
            hash: hash.map_or_else(|| "none".into(), |hash| hash.to_string()),
        }),
    }
}

/// Whether the primary key and the signing key were in force at `created`.
/// Revocation has no date: whoever holds a stolen key dates as they please.
fn check_keys(
    certificate: &Certificate,
    component: &Component,
    created: i64,
) -> Result<(), VerifyError> {
    let fingerprint = certificate.fingerprint.clone();
    for key in certificate.primary().into_iter().chain([component]) {
        let fingerprint = fingerprint.clone();
        if key.revoked {
            return Err(VerifyError::KeyRevoked { fingerprint });
        }
        if key.is_expired(created) {
            return Err(VerifyError::KeyExpired { fingerprint });
        }
    }
    if created < component.created {
        return Err(VerifyError::BeforeKey { fingerprint });
    }
    if !component.may_sign {
        return Err(VerifyError::NotForSigning { fingerprint });
    }
    Ok(())
}

/// Whether the primary key has expired at `now`.
pub(crate) fn is_expired(keyring: &Keyring, fingerprint: &Fingerprint, now: Timestamp) -> bool {
    keyring.expires(fingerprint).is_some_and(|expires| expires <= now)
}

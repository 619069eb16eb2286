//! Signing in process, with a key that needs no passphrase.
//!
//! People's keys stay with their `GnuPG`. This is for the scheduler's own key,
//! for automation, and for tests.

use std::fmt;

use mig_types::{Fingerprint, Timestamp};
use pgp::composed::{
    Deserializable as _, KeyType, SignedKeyDetails, SignedPublicKey, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, PubKeyInner, PublicKey, SecretKey as SecretKeyPacket, SecretSubkey, SignatureConfig,
    SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::ser::Serialize as _;
use pgp::types::{
    KeyDetails as _, KeyVersion, PacketHeaderVersion, Password, PlainSecretParams, PublicParams,
    SecretParams, SignedUser, SigningKey, Tag,
};
use rand::rngs::OsRng;

use crate::armor::{self, ArmorError};
use crate::certificate::{Certificate, Component};
use crate::keyring::{self, KeyError};
use crate::oneline;

const LABEL: &str = "PGP PRIVATE KEY BLOCK";

/// Why a secret key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    #[error("cannot read armored secret key")]
    Armor(#[source] ArmorError),
    #[error("cannot parse secret key")]
    Malformed { source: Box<pgp::errors::Error> },
    #[error("no secret key found")]
    NoKey,
    #[error("more than one secret key found where exactly one is expected")]
    SeveralKeys,
    #[error("secret key is unusable")]
    Unusable(#[source] KeyError),
    #[error("secret key {fingerprint} is revoked, protected by a passphrase, or not for signing")]
    NoSigningKey { fingerprint: Fingerprint },
    #[error("secret key {fingerprint} has expired")]
    Expired { fingerprint: Fingerprint },
    #[error("time {0} does not fit an OpenPGP signature")]
    Time(Timestamp),
    #[error("cannot sign with key {fingerprint}")]
    Signing { fingerprint: Fingerprint, source: Box<pgp::errors::Error> },
    #[error("cannot generate a key")]
    Generate { source: Box<pgp::errors::Error> },
}

/// An unprotected `OpenPGP` key. Its secrets are wiped when it is dropped.
pub struct SecretKey {
    key: SignedSecretKey,
    fingerprint: Fingerprint,
    signer: Signer,
    expires: Option<i64>,
}

/// Which part of the key signs: the primary key, as the Go programs do, or a
/// subkey when the primary key cannot.
#[derive(Debug, Clone, Copy)]
enum Signer {
    Primary,
    Subkey(usize),
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl SecretKey {
    /// Generates an Ed25519 key, readable by `GnuPG` 2.2 but not by Go programs.
    ///
    /// # Errors
    ///
    /// When `now` is before 1970 or after 2106.
    pub fn generate_ed25519(user_id: &str, now: Timestamp) -> Result<Self, SignError> {
        generate(&KeyType::Ed25519Legacy, user_id, now)
    }

    /// Generates an RSA key of 2048 bits, readable by every peer. Slow: a
    /// second and more.
    ///
    /// # Errors
    ///
    /// As [`SecretKey::generate_ed25519`].
    pub fn generate_rsa2048(user_id: &str, now: Timestamp) -> Result<Self, SignError> {
        generate(&KeyType::Rsa(2048), user_id, now)
    }

    /// Reads exactly one armored secret key that needs no passphrase.
    ///
    /// # Errors
    ///
    /// [`SignError`], also when the key or its signing subkeys are protected,
    /// revoked or not meant to sign.
    pub fn from_armored(armored: &str) -> Result<Self, SignError> {
        let packets = armor::decode(LABEL, armored).map_err(SignError::Armor)?;
        let malformed = |source| SignError::Malformed { source: Box::new(source) };
        let mut keys = SignedSecretKey::from_bytes_many(packets.as_slice()).map_err(malformed)?;
        let key = keys.next().ok_or(SignError::NoKey)?.map_err(malformed)?;
        if keys.next().is_some() {
            return Err(SignError::SeveralKeys);
        }
        Self::new(key)
    }

    fn new(key: SignedSecretKey) -> Result<Self, SignError> {
        let public = SignedPublicKey::from(key.clone());
        let certificate = Certificate::judge(&public).map_err(SignError::Unusable)?;
        let fingerprint = certificate.fingerprint.clone();
        let (signer, component) = choose(&key, &certificate)
            .filter(|_| !certificate.is_revoked())
            .ok_or_else(|| SignError::NoSigningKey { fingerprint: fingerprint.clone() })?;
        let primary_expires = certificate.primary().and_then(|primary| primary.expires);
        let expires = primary_expires.into_iter().chain(component.expires).min();
        Ok(Self { key, fingerprint, signer, expires })
    }

    /// The secret key, armored and unprotected.
    ///
    /// # Errors
    ///
    /// Only if the key cannot be written, which a parsed key always can.
    pub fn to_armored(&self) -> Result<String, SignError> {
        Ok(armor::encode(LABEL, &self.key.to_bytes().map_err(|error| self.failed(error))?))
    }

    /// The public key, armored.
    ///
    /// # Errors
    ///
    /// As [`SecretKey::to_armored`].
    pub fn public_armored(&self) -> Result<String, SignError> {
        let public = self.key.to_public_key();
        let packets = public.to_bytes().map_err(|error| self.failed(error))?;
        Ok(keyring::armor_public(&packets))
    }

    /// Of the primary key.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Signs `data` and returns the signature in one line.
    ///
    /// Version 4, binary, SHA-256, with creation time and issuer key id in the
    /// hashed area and nothing else: what the Go programs make and can read.
    ///
    /// # Errors
    ///
    /// When the key has expired at `now`, or `now` is out of range.
    pub fn sign(&self, data: &[u8], now: Timestamp) -> Result<String, SignError> {
        if self.expires.is_some_and(|expires| expires <= now.unix()) {
            return Err(SignError::Expired { fingerprint: self.fingerprint.clone() });
        }
        let created = pgp_time(now)?;
        let signature = match self.signer {
            Signer::Primary => detached(&self.key.primary_key, data, created),
            Signer::Subkey(index) => {
                let subkey = self.key.secret_subkeys.get(index).ok_or_else(|| {
                    SignError::NoSigningKey { fingerprint: self.fingerprint.clone() }
                })?;
                detached(&subkey.key, data, created)
            }
        };
        signature.map(|packet| oneline::from_binary(&packet)).map_err(|error| self.failed(error))
    }

    #[cfg(test)]
    pub(crate) fn packets(&self) -> &SignedSecretKey {
        &self.key
    }

    fn failed(&self, source: pgp::errors::Error) -> SignError {
        SignError::Signing { fingerprint: self.fingerprint.clone(), source: Box::new(source) }
    }
}

/// The primary key if it may sign and its secret is here, else the newest
/// subkey of which that is true.
fn choose<'a>(
    key: &SignedSecretKey,
    certificate: &'a Certificate,
) -> Option<(Signer, &'a Component)> {
    let usable = |component: &&Component| component.may_sign && !component.revoked;
    if let Some(primary) = certificate.primary().filter(usable)
        && is_unlocked(&key.primary_key)
    {
        return Some((Signer::Primary, primary));
    }
    certificate
        .components
        .iter()
        .skip(1)
        .filter(usable)
        .filter_map(|component| {
            let index = key.secret_subkeys.iter().position(|subkey| {
                subkey.key.fingerprint() == component.key.fingerprint()
                    && is_subkey_unlocked(&subkey.key)
            })?;
            Some((Signer::Subkey(index), component))
        })
        .max_by_key(|(_, component)| component.created)
}

fn is_unlocked(key: &SecretKeyPacket) -> bool {
    !key.secret_params().is_encrypted()
}

fn is_subkey_unlocked(key: &SecretSubkey) -> bool {
    !key.secret_params().is_encrypted()
}

pub(crate) fn detached(
    key: &impl SigningKey,
    data: &[u8],
    created: pgp::types::Timestamp,
) -> Result<Vec<u8>, pgp::errors::Error> {
    let mut config =
        SignatureConfig::v4(SignatureType::Binary, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(created))?,
        Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?,
    ];
    let signature = config.sign(key, &Password::empty(), data)?;
    pgp::composed::DetachedSignature::new(signature).to_bytes()
}

fn generate(kind: &KeyType, user_id: &str, now: Timestamp) -> Result<SecretKey, SignError> {
    let created = pgp_time(now)?;
    let key = build(kind, user_id, created)
        .map_err(|source| SignError::Generate { source: Box::new(source) })?;
    SecretKey::new(key)
}

/// Draws key material until an RSA key has its primes in the order the format
/// asks for, the smaller first: the library draws them in any order, and
/// `GnuPG` makes a wrong signature now and then with such a key.
fn draw(kind: &KeyType) -> Result<(PublicParams, SecretParams), pgp::errors::Error> {
    loop {
        let (public, secret) = kind.generate(OsRng)?;
        let in_order = match &secret {
            SecretParams::Plain(PlainSecretParams::RSA(key)) => {
                let (_, p, q, _) = key.to_bytes();
                (p.len(), p) < (q.len(), q)
            }
            _ => true,
        };
        if in_order {
            return Ok((public, secret));
        }
    }
}

/// Built by hand because the library's builder dates self-signatures by the
/// system clock.
fn build(
    kind: &KeyType,
    user_id: &str,
    created: pgp::types::Timestamp,
) -> Result<SignedSecretKey, pgp::errors::Error> {
    let (public, secret) = draw(kind)?;
    let inner = PubKeyInner::new(KeyVersion::V4, kind.to_alg(), created, None, public)?;
    let public = PublicKey::from_inner(inner)?;
    let key = SecretKeyPacket::new(public.clone(), secret)?;

    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(true);
    let mut config =
        SignatureConfig::v4(SignatureType::CertPositive, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(created))?,
        Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?,
        Subpacket::regular(SubpacketData::KeyFlags(flags))?,
        Subpacket::regular(SubpacketData::IsPrimary(true))?,
    ];
    let id = UserId::from_str(PacketHeaderVersion::New, user_id)?;
    let certification =
        config.sign_certification(&key, &public, &Password::empty(), Tag::UserId, &id)?;
    let details = SignedKeyDetails::new(
        Vec::new(),
        Vec::new(),
        vec![SignedUser::new(id, vec![certification])],
        Vec::new(),
    );
    Ok(SignedSecretKey::new(key, details, Vec::new(), Vec::new()))
}

fn pgp_time(now: Timestamp) -> Result<pgp::types::Timestamp, SignError> {
    u32::try_from(now.unix())
        .map(pgp::types::Timestamp::from_secs)
        .map_err(|_| SignError::Time(now))
}

//! The public keys a component trusts.

use std::collections::BTreeMap;

use mig_types::{Fingerprint, Timestamp};
use pgp::packet::Signature;
use pgp::ser::Serialize as _;

use crate::armor::{self, ArmorError};
use crate::certificate::{self, Certificate, Component};

const LABEL: &str = "PGP PUBLIC KEY BLOCK";

/// Why a public key was not taken into a keyring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("cannot read armored public key")]
    Armor(#[source] ArmorError),
    #[error("cannot parse public key")]
    Malformed { source: Box<pgp::errors::Error> },
    #[error("no public key found")]
    NoKey,
    #[error("more than one public key found where exactly one is expected")]
    SeveralKeys,
    #[error("public key has version {version}, only version 4 is supported")]
    Version { version: u8 },
    #[error("public key {fingerprint} has no user id with a valid signature of its own")]
    NoUserId { fingerprint: Fingerprint },
}

/// Public keys by fingerprint of their primary key.
///
/// Revoked and expired keys are kept, so that a signature by one of them is
/// refused with that reason.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    certificates: BTreeMap<Fingerprint, Certificate>,
}

impl Keyring {
    /// Adds one armored public key and returns its fingerprint.
    ///
    /// # Errors
    ///
    /// [`KeyError`] unless `armored` holds exactly one version 4 key with at
    /// least one valid user id. The keyring is then unchanged.
    pub fn add_armored(&mut self, armored: &str) -> Result<Fingerprint, KeyError> {
        let packets = armor::decode(LABEL, armored).map_err(KeyError::Armor)?;
        let mut certificate = Certificate::from_packets(&packets)?;
        let fingerprint = certificate.fingerprint.clone();
        if let Some(known) = self.certificates.get(&fingerprint) {
            // An older copy without the revocation must not undo it.
            for component in &mut certificate.components {
                let id = component.key.fingerprint();
                component.revoked |= known
                    .components
                    .iter()
                    .any(|other| other.revoked && other.key.fingerprint() == id);
            }
        }
        self.certificates.insert(fingerprint.clone(), certificate);
        Ok(fingerprint)
    }

    /// A keyring of all readable keys, and one error for each of the others:
    /// one bad key must not disable the rest.
    pub fn from_armored<I, S>(keys: I) -> (Self, Vec<KeyError>)
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let mut keyring = Self::default();
        let mut errors = Vec::new();
        for key in keys {
            if let Err(error) = keyring.add_armored(key.as_ref()) {
                errors.push(error);
            }
        }
        (keyring, errors)
    }

    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.certificates.contains_key(fingerprint)
    }

    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Fingerprints of the primary keys, ascending.
    pub fn fingerprints(&self) -> impl Iterator<Item = &Fingerprint> {
        self.certificates.keys()
    }

    /// When a primary key stops being valid.
    pub fn expires(&self, fingerprint: &Fingerprint) -> Option<Timestamp> {
        self.certificates.get(fingerprint)?.expires()
    }

    /// Keys that claim to have made `signature`. A claim, not a proof.
    pub(crate) fn issuers(&self, signature: &Signature) -> Vec<(&Certificate, &Component)> {
        let ids = signature.issuer_key_id();
        let fingerprints = signature.issuer_fingerprint();
        let matches = |component: &Component| {
            ids.contains(&&component.key.key_id())
                || fingerprints.contains(&&component.key.fingerprint())
        };
        self.certificates
            .values()
            .flat_map(|certificate| {
                certificate.components.iter().map(move |key| (certificate, key))
            })
            .filter(|(_, component)| matches(component))
            .collect()
    }
}

/// What one public key is, for people and for the checks before storing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeyInfo {
    /// Of the primary key.
    pub fingerprint: Fingerprint,
    /// The main user id: `name (comment) <address>`.
    pub user_id: String,
    /// Algorithm and size of the primary key: `RSA 2048`, `Ed25519`.
    pub algorithm: String,
    /// Whether agents and clients written in Go can use the key. They know no
    /// Edwards curves and drop a key when one subkey uses one.
    pub go_loadable: bool,
    /// When the primary key stops being valid.
    pub expires: Option<Timestamp>,
    /// Whether the key holder has revoked the key.
    pub revoked: bool,
}

/// Describes one armored public key.
///
/// # Errors
///
/// As [`Keyring::add_armored`].
pub fn inspect(armored: &str) -> Result<PublicKeyInfo, KeyError> {
    let packets = armor::decode(LABEL, armored).map_err(KeyError::Armor)?;
    let certificate = Certificate::from_packets(&packets)?;
    Ok(PublicKeyInfo {
        expires: certificate.expires(),
        revoked: certificate.is_revoked(),
        fingerprint: certificate.fingerprint,
        user_id: certificate.user_id,
        algorithm: certificate.algorithm,
        go_loadable: certificate.go_loadable,
    })
}

/// Rewrites one armored public key without armor headers and stray text,
/// revocations included.
///
/// # Errors
///
/// As [`Keyring::add_armored`].
pub fn reencode(armored: &str) -> Result<String, KeyError> {
    let packets = armor::decode(LABEL, armored).map_err(KeyError::Armor)?;
    // What is written is what was parsed, not the input: a secret key hidden
    // among the packets must not reach a database of public keys.
    let key = certificate::parse(&packets)?;
    Certificate::judge(&key)?;
    let packets = key.to_bytes().map_err(|source| KeyError::Malformed { source: source.into() })?;
    Ok(armor::encode(LABEL, &packets))
}

/// Armors public key packets we made ourselves.
pub(crate) fn armor_public(packets: &[u8]) -> String {
    armor::encode(LABEL, packets)
}

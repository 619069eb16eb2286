//! The keys of a card, and the forms it takes and gives them in.

use ed25519_dalek::{Signer as _, SigningKey};
use rand::RngCore as _;
use rand::rngs::OsRng;
use rsa_0_9::traits::PublicKeyParts as _;
use rsa_0_9::{BigUint, Pkcs1v15Sign, RsaPrivateKey};

use super::tlv;

/// Algorithm attributes of RSA: modulus of 2048 bits, exponent of 32, and
/// imported as exponent and primes.
pub(super) const RSA_2048: [u8; 6] = [1, 0x08, 0x00, 0x00, 0x20, 0];
/// Those of `EdDSA` on Ed25519: the curve's number.
pub(super) const ED25519: [u8; 10] = [0x16, 0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1];

/// Bytes of an Ed25519 secret.
const SEED: usize = 32;

pub(super) enum Key {
    Rsa(Box<RsaPrivateKey>),
    Ed25519(Box<SigningKey>),
}

impl Key {
    /// Makes one with these attributes.
    pub(super) fn generate(attributes: &[u8]) -> Option<Self> {
        if attributes == RSA_2048 {
            let key = RsaPrivateKey::new(&mut OsRng, 2048).ok()?;
            return Some(Self::Rsa(Box::new(key)));
        }
        let mut seed = [0; SEED];
        OsRng.fill_bytes(&mut seed);
        (attributes == ED25519).then(|| Self::Ed25519(Box::new(SigningKey::from_bytes(&seed))))
    }

    /// Takes one that was made elsewhere: `template` tells the lengths of the
    /// parts that are in `parts` one after the other.
    pub(super) fn import(attributes: &[u8], mut template: &[u8], mut parts: &[u8]) -> Option<Self> {
        let (mut exponent, mut secrets) = (None, Vec::new());
        while !template.is_empty() {
            let (tag, length) = tlv::header(&mut template)?;
            let part = tlv::take(&mut parts, length)?;
            match tag {
                0x91 => exponent = Some(part),
                // The primes of RSA, or the one secret of a curve.
                0x92 | 0x93 => secrets.push(part),
                _ => {}
            }
        }
        if attributes == RSA_2048 {
            let exponent = BigUint::from_bytes_be(exponent?);
            let [p, q] = <[&[u8]; 2]>::try_from(secrets).ok()?.map(BigUint::from_bytes_be);
            let key = RsaPrivateKey::from_p_q(p, q, exponent).ok()?;
            return (key.size() == 256).then(|| Self::Rsa(Box::new(key)));
        }
        let [secret] = <[&[u8]; 1]>::try_from(secrets).ok()?;
        // Zeros in front may have been left out.
        let mut seed = [0; SEED];
        seed.get_mut(SEED.checked_sub(secret.len())?..)?.copy_from_slice(secret);
        (attributes == ED25519).then(|| Self::Ed25519(Box::new(SigningKey::from_bytes(&seed))))
    }

    /// The public half, as an object.
    pub(super) fn public(&self) -> Vec<u8> {
        let parts = match self {
            Self::Rsa(key) => {
                let modulus = tlv::object(0x81, &key.n().to_bytes_be());
                [modulus, tlv::object(0x82, &key.e().to_bytes_be())].concat()
            }
            Self::Ed25519(key) => tlv::object(0x86, key.verifying_key().as_bytes()),
        };
        tlv::object(0x7f49, &parts)
    }

    /// Signs what the host hashed: for RSA with the name of the hash around it.
    pub(super) fn sign(&self, data: &[u8]) -> Option<Vec<u8>> {
        match self {
            // More than two fifths of the modulus is no hash: the card's rule.
            Self::Rsa(key) if data.len() > key.size() * 2 / 5 => None,
            Self::Rsa(key) => key.sign(Pkcs1v15Sign::new_unprefixed(), data).ok(),
            Self::Ed25519(key) => Some(key.sign(data).to_bytes().to_vec()),
        }
    }
}

//! One public key as we see it: which of its parts may sign, and until when.
//!
//! rPGP parses and does the mathematics; everything that is a decision is here.
//! Signatures in a certificate that do not verify are as good as absent, but a
//! revocation counts whatever hash it uses.

use mig_types::{Fingerprint, Timestamp};
use pgp::composed::{Deserializable as _, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{
    KeyFlags, Packet, PacketParser, PublicKey, PublicSubkey, Signature, SignatureType,
    SignatureVersion, SubpacketData,
};
use pgp::ser::Serialize as _;
use pgp::types::{
    EcdhPublicParams, EcdsaPublicParams, EddsaLegacyPublicParams, KeyDetails, KeyId, KeyVersion,
    PublicParams, SignedUser, Tag, VerifyingKey,
};

use crate::keyring::KeyError;

/// Smallest RSA and DSA keys that count, in bits. `GnuPG` made 1024-bit keys by
/// default for a decade; below that a signature proves nothing.
const MIN_MODULUS_BITS: u16 = 1024;

/// A parsed and judged public key.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) user_id: String,
    pub(crate) algorithm: String,
    pub(crate) go_loadable: bool,
    /// The primary key first, then subkeys that can sign or once could.
    pub(crate) components: Vec<Component>,
}

/// A key or subkey that may have made a signature.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub(crate) key: ComponentKey,
    /// Seconds since the Unix epoch.
    pub(crate) created: i64,
    /// Seconds since the Unix epoch; the key is dead from then on.
    pub(crate) expires: Option<i64>,
    pub(crate) revoked: bool,
    pub(crate) may_sign: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum ComponentKey {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

impl Component {
    pub(crate) fn is_expired(&self, at: i64) -> bool {
        self.expires.is_some_and(|expires| expires <= at)
    }
}

impl ComponentKey {
    pub(crate) fn algorithm(&self) -> PublicKeyAlgorithm {
        match self {
            Self::Primary(key) => key.algorithm(),
            Self::Subkey(key) => key.algorithm(),
        }
    }

    pub(crate) fn key_id(&self) -> KeyId {
        match self {
            Self::Primary(key) => key.legacy_key_id(),
            Self::Subkey(key) => key.legacy_key_id(),
        }
    }

    pub(crate) fn fingerprint(&self) -> pgp::types::Fingerprint {
        match self {
            Self::Primary(key) => key.fingerprint(),
            Self::Subkey(key) => key.fingerprint(),
        }
    }

    pub(crate) fn verify(&self, signature: &Signature, data: &[u8]) -> bool {
        match self {
            Self::Primary(key) => signature.verify(key, data).is_ok(),
            Self::Subkey(key) => signature.verify(key, data).is_ok(),
        }
    }
}

/// Parses exactly one public key from packets.
pub(crate) fn parse(packets: &[u8]) -> Result<SignedPublicKey, KeyError> {
    let malformed = |source| KeyError::Malformed { source: Box::new(source) };
    let mut keys = SignedPublicKey::from_bytes_many(packets).map_err(malformed)?;
    let key = keys.next().ok_or(KeyError::NoKey)?.map_err(malformed)?;
    // Whatever follows must not be a second key, and must not be garbage that
    // hides one.
    match keys.next() {
        None => Ok(key),
        Some(Ok(_)) => Err(KeyError::SeveralKeys),
        Some(Err(source)) => Err(malformed(source)),
    }
}

impl Certificate {
    /// Parses and judges exactly one public key.
    pub(crate) fn from_packets(packets: &[u8]) -> Result<Self, KeyError> {
        let mut certificate = Self::judge(&parse(packets)?)?;
        certificate.go_loadable = every_key_is_loadable(packets);
        Ok(certificate)
    }

    /// Judges a parsed key. `go_loadable` is left false.
    pub(crate) fn judge(key: &SignedPublicKey) -> Result<Self, KeyError> {
        let primary = &key.primary_key;
        let fingerprint = primary_fingerprint(primary)?;
        let users: Vec<_> =
            key.details.users.iter().filter_map(|user| certified(user, primary)).collect();
        let Some((_, newest)) = users.iter().max_by_key(|(_, signature)| created(signature)) else {
            return Err(KeyError::NoUserId { fingerprint });
        };
        let direct: Vec<_> = key
            .details
            .direct_signatures
            .iter()
            .filter(|signature| is_binding(signature) && signature.verify_key(primary).is_ok())
            .collect();
        let newest_direct = direct.iter().max_by_key(|signature| created(signature)).copied();

        let made = i64::from(primary.created_at().as_secs());
        // Either may limit the key's life; the shorter one is the safe reading.
        let expires = [Some(*newest), newest_direct]
            .into_iter()
            .flatten()
            .filter_map(|signature| expiry(signature, made))
            .min();
        let flags = key_flags(newest).or_else(|| newest_direct.and_then(key_flags));
        let revoked = key
            .details
            .revocation_signatures
            .iter()
            .any(|signature| signature.verify_key(primary).is_ok());

        let mut components = vec![Component {
            created: made,
            expires,
            revoked,
            // Old keys carry no flags and were made to sign.
            may_sign: flags.is_none_or(KeyFlags::sign) && is_strong(primary),
            key: ComponentKey::Primary(primary.clone()),
        }];
        components.extend(key.public_subkeys.iter().filter_map(|subkey| bound(subkey, primary)));
        Ok(Self {
            user_id: main_user_id(&users),
            algorithm: algorithm_name(primary.public_params()),
            go_loadable: false,
            components,
            fingerprint,
        })
    }

    pub(crate) fn primary(&self) -> Option<&Component> {
        self.components.first()
    }

    pub(crate) fn expires(&self) -> Option<Timestamp> {
        Timestamp::from_unix(self.primary()?.expires?, 0)
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.primary().is_none_or(|primary| primary.revoked)
    }
}

fn primary_fingerprint(primary: &PublicKey) -> Result<Fingerprint, KeyError> {
    match (primary.version(), primary.fingerprint()) {
        (KeyVersion::V4, pgp::types::Fingerprint::V4(bytes)) => Ok(Fingerprint::from_bytes(&bytes)),
        (version, _) => Err(KeyError::Version { version: u8::from(version) }),
    }
}

/// A user id with its newest self-certification, unless revoked later.
fn certified<'a>(
    user: &'a SignedUser,
    primary: &PublicKey,
) -> Option<(&'a SignedUser, &'a Signature)> {
    let verified = |signature: &&Signature| {
        signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
    };
    let is_revocation =
        |signature: &Signature| signature.typ() == Some(SignatureType::CertRevocation);
    let certification = user
        .signatures
        .iter()
        .filter(|signature| !is_revocation(signature) && is_binding(signature))
        .filter(verified)
        .max_by_key(|signature| created(signature))?;
    let revoked = user
        .signatures
        .iter()
        .filter(|signature| is_revocation(signature))
        .filter(verified)
        .any(|revocation| created(revocation) >= created(certification));
    (!revoked).then_some((user, certification))
}

/// A subkey the primary key vouches for, judged by its newest binding.
fn bound(subkey: &SignedPublicSubKey, primary: &PublicKey) -> Option<Component> {
    let of_type = |typ: SignatureType| {
        subkey.signatures.iter().filter(move |signature| {
            signature.typ() == Some(typ)
                && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
        })
    };
    if subkey.key.version() != KeyVersion::V4 {
        return None;
    }
    let binding = of_type(SignatureType::SubkeyBinding)
        .filter(|signature| is_binding(signature))
        .max_by_key(|signature| created(signature))?;
    // Without the subkey's own consent anyone could adopt another's subkey and
    // claim its signatures.
    let consents = binding.embedded_signature().is_some_and(|back| {
        is_binding(back) && back.verify_primary_key_binding(&subkey.key, primary).is_ok()
    });
    let made = i64::from(subkey.key.created_at().as_secs());
    Some(Component {
        created: made,
        expires: expiry(binding, made),
        revoked: of_type(SignatureType::SubkeyRevocation).next().is_some(),
        may_sign: consents
            && key_flags(binding).is_some_and(KeyFlags::sign)
            && is_strong(&subkey.key),
        key: ComponentKey::Subkey(subkey.key.clone()),
    })
}

/// Whether a signature inside a certificate may be relied on, its mathematics
/// apart. SHA-1 is accepted here: keys of the `GnuPG` 1 era are in use, and a
/// collision needs the key holder's help.
fn is_binding(signature: &Signature) -> bool {
    let hash = matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha1
                | HashAlgorithm::Sha224
                | HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
        )
    );
    hash && signature.version() == SignatureVersion::V4
        && signature.created().is_some()
        && !has_unknown_critical(signature)
}

/// Whether the signer asks to be understood and we do not understand.
pub(crate) fn has_unknown_critical(signature: &Signature) -> bool {
    signature.config().is_none_or(|config| {
        config.hashed_subpackets().any(|subpacket| {
            subpacket.is_critical
                && matches!(
                    subpacket.data,
                    SubpacketData::Other(..)
                        | SubpacketData::Experimental(..)
                        | SubpacketData::Notation(_)
                )
        })
    })
}

fn created(signature: &Signature) -> i64 {
    signature.created().map_or(i64::MIN, |time| i64::from(time.as_secs()))
}

/// When a key made at `made` dies by this self-signature.
fn expiry(signature: &Signature, made: i64) -> Option<i64> {
    let key = signature
        .key_expiration_time()
        .filter(|life| life.as_secs() > 0)
        .map(|life| made + i64::from(life.as_secs()));
    // A binding that lapses takes the key with it.
    let binding = signature
        .signature_expiration_time()
        .filter(|life| life.as_secs() > 0)
        .map(|life| created(signature) + i64::from(life.as_secs()));
    key.into_iter().chain(binding).min()
}

fn key_flags(signature: &Signature) -> Option<&KeyFlags> {
    signature.config()?.hashed_subpackets().find_map(|subpacket| match &subpacket.data {
        SubpacketData::KeyFlags(flags) => Some(flags),
        _ => None,
    })
}

fn main_user_id(users: &[(&SignedUser, &Signature)]) -> String {
    let main = users
        .iter()
        .filter(|(_, signature)| signature.is_primary())
        .max_by_key(|(_, signature)| created(signature))
        .or(users.first());
    main.map(|(user, _)| String::from_utf8_lossy(user.id.id()).into_owned()).unwrap_or_default()
}

fn is_strong(key: &impl VerifyingKey) -> bool {
    match key.public_params() {
        PublicParams::RSA(_) | PublicParams::DSA(_) => {
            modulus_bits(key.public_params()) >= MIN_MODULUS_BITS
        }
        _ => true,
    }
}

/// Bits of the first integer of an RSA or DSA key: the modulus.
fn modulus_bits(params: &PublicParams) -> u16 {
    let bytes = match params {
        PublicParams::RSA(params) => params.to_bytes(),
        PublicParams::DSA(params) => params.to_bytes(),
        _ => return 0,
    };
    match bytes.as_deref() {
        Ok([high, low, ..]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

fn algorithm_name(params: &PublicParams) -> String {
    match params {
        PublicParams::RSA(_) => format!("RSA {}", modulus_bits(params)),
        PublicParams::DSA(_) => format!("DSA {}", modulus_bits(params)),
        PublicParams::ECDSA(EcdsaPublicParams::P256 { .. }) => "ECDSA nistp256".into(),
        PublicParams::ECDSA(EcdsaPublicParams::P384 { .. }) => "ECDSA nistp384".into(),
        PublicParams::ECDSA(EcdsaPublicParams::P521 { .. }) => "ECDSA nistp521".into(),
        PublicParams::ECDSA(_) => "ECDSA".into(),
        PublicParams::EdDSALegacy(EddsaLegacyPublicParams::Ed25519 { .. })
        | PublicParams::Ed25519(_) => "Ed25519".into(),
        PublicParams::EdDSALegacy(_) => "EdDSA".into(),
        PublicParams::Ed448(_) => "Ed448".into(),
        _ => "unknown".into(),
    }
}

/// Whether the Go programs could load this key. They skip a key as a whole
/// when one of its subkeys uses an algorithm they do not know.
fn every_key_is_loadable(packets: &[u8]) -> bool {
    PacketParser::new(packets).all(|packet| match packet {
        Ok(Packet::PublicKey(key)) => {
            key.version() == KeyVersion::V4 && is_known_to_go(key.public_params())
        }
        Ok(Packet::PublicSubkey(key)) => {
            key.version() == KeyVersion::V4 && is_known_to_go(key.public_params())
        }
        Ok(_) => true,
        Err(_) => false,
    })
}

fn is_known_to_go(params: &PublicParams) -> bool {
    match params {
        PublicParams::RSA(_) | PublicParams::DSA(_) | PublicParams::Elgamal(_) => true,
        PublicParams::ECDSA(params) => matches!(
            params,
            EcdsaPublicParams::P256 { .. }
                | EcdsaPublicParams::P384 { .. }
                | EcdsaPublicParams::P521 { .. }
        ),
        PublicParams::ECDH(params) => matches!(
            params,
            EcdhPublicParams::P256 { .. }
                | EcdhPublicParams::P384 { .. }
                | EcdhPublicParams::P521 { .. }
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::Keyring;
    use crate::oneline;
    use crate::sign::{self, SecretKey};
    use crate::verify::{VerifyError, verify_detached};
    use pgp::composed::KeyType;
    use pgp::packet::{PubKeyInner, SecretSubkey, SignatureConfig, Subpacket};
    use pgp::types::{Password, SigningKey};
    use rand::rngs::OsRng;

    fn now() -> Timestamp {
        Timestamp::parse("2026-06-01T12:00:00Z").unwrap()
    }

    fn time() -> pgp::types::Timestamp {
        pgp::types::Timestamp::from_secs(now().unix().try_into().unwrap())
    }

    fn subkey() -> SecretSubkey {
        let kind = KeyType::Ed25519Legacy;
        let (public, secret) = kind.generate(OsRng).unwrap();
        let inner = PubKeyInner::new(KeyVersion::V4, kind.to_alg(), time(), None, public).unwrap();
        SecretSubkey::new(PublicSubkey::from_inner(inner).unwrap(), secret).unwrap()
    }

    fn config(
        typ: SignatureType,
        key: &impl SigningKey,
        flags: Option<KeyFlags>,
    ) -> SignatureConfig {
        let mut config = SignatureConfig::v4(typ, key.algorithm(), HashAlgorithm::Sha256);
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::SignatureCreationTime(time())).unwrap(),
            Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id())).unwrap(),
        ];
        let flags = flags.map(|flags| Subpacket::regular(SubpacketData::KeyFlags(flags)).unwrap());
        config.hashed_subpackets.extend(flags);
        config
    }

    fn signing_flags() -> KeyFlags {
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        flags
    }

    /// The certificate of `owner` with `subkey` bound to it, with or without
    /// the subkey's consent.
    fn with_subkey(
        owner: &SecretKey,
        subkey: &SecretSubkey,
        flags: Option<KeyFlags>,
        consent: Option<&SecretSubkey>,
    ) -> Keyring {
        let primary = &owner.packets().primary_key;
        let mut binding = config(SignatureType::SubkeyBinding, primary, flags);
        if let Some(signer) = consent {
            let back = config(SignatureType::KeyBinding, signer, None)
                .sign_primary_key_binding(
                    signer,
                    subkey.public_key(),
                    &Password::empty(),
                    primary.public_key(),
                )
                .unwrap();
            let back = SubpacketData::EmbeddedSignature(Box::new(back));
            binding.hashed_subpackets.push(Subpacket::regular(back).unwrap());
        }
        let binding = binding
            .sign_subkey_binding(
                primary,
                primary.public_key(),
                &Password::empty(),
                subkey.public_key(),
            )
            .unwrap();
        let mut public = owner.packets().to_public_key();
        public
            .public_subkeys
            .push(SignedPublicSubKey::new(subkey.public_key().clone(), vec![binding]));
        keyring(&public)
    }

    fn keyring(public: &SignedPublicKey) -> Keyring {
        let armored = crate::keyring::armor_public(&public.to_bytes().unwrap());
        let (keyring, errors) = Keyring::from_armored([armored]);
        assert!(errors.is_empty(), "{errors:?}");
        keyring
    }

    #[test]
    fn a_subkey_signs_only_with_its_consent_and_flag() {
        let owner = SecretKey::generate_ed25519("owner", now()).unwrap();
        let (own, foreign) = (subkey(), subkey());
        let packets = sign::detached(&own, b"data", time()).unwrap();
        let signature = oneline::from_binary(&packets);
        let flags = || Some(signing_flags());

        let keyring = with_subkey(&owner, &own, flags(), Some(&own));
        let signer = verify_detached(&keyring, b"data", &signature, now()).unwrap();
        assert_eq!(signer.fingerprint, *owner.fingerprint());

        for (flags, consent) in [
            (flags(), None),
            (flags(), Some(&foreign)),
            (None, Some(&own)),
            (Some(KeyFlags::default()), Some(&own)),
        ] {
            let keyring = with_subkey(&owner, &own, flags, consent);
            let error = verify_detached(&keyring, b"data", &signature, now()).unwrap_err();
            assert!(matches!(error, VerifyError::NotForSigning { .. }), "{error}");
        }
    }

    #[test]
    fn a_binding_by_another_key_is_no_binding() {
        let owner = SecretKey::generate_ed25519("owner", now()).unwrap();
        let thief = SecretKey::generate_ed25519("thief", now()).unwrap();
        let own = subkey();
        let signature = oneline::from_binary(&sign::detached(&own, b"data", time()).unwrap());
        // The thief's binding pasted into the owner's certificate.
        let mut public = owner.packets().to_public_key();
        let primary = &thief.packets().primary_key;
        let binding = config(SignatureType::SubkeyBinding, primary, Some(signing_flags()))
            .sign_subkey_binding(
                primary,
                primary.public_key(),
                &Password::empty(),
                own.public_key(),
            )
            .unwrap();
        public
            .public_subkeys
            .push(SignedPublicSubKey::new(own.public_key().clone(), vec![binding]));
        let error = verify_detached(&keyring(&public), b"data", &signature, now()).unwrap_err();
        assert!(matches!(error, VerifyError::UnknownKey { .. }), "{error}");
    }

    #[test]
    fn a_primary_key_meant_only_to_certify_does_not_sign() {
        let key = SecretKey::generate_ed25519("t", now()).unwrap();
        let signature = key.sign(b"data", now()).unwrap();
        let primary = &key.packets().primary_key;
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        let mut public = key.packets().to_public_key();
        let mut newer = config(SignatureType::CertPositive, primary, Some(flags));
        let later = pgp::types::Timestamp::from_secs(time().as_secs() + 1);
        newer.hashed_subpackets.push(
            Subpacket::regular(SubpacketData::PolicyURI("https://example.net".into())).unwrap(),
        );
        newer.hashed_subpackets[0] =
            Subpacket::regular(SubpacketData::SignatureCreationTime(later)).unwrap();
        let user = public.details.users.first_mut().unwrap();
        let newer = newer
            .sign_certification(
                primary,
                primary.public_key(),
                &Password::empty(),
                Tag::UserId,
                &user.id,
            )
            .unwrap();
        user.signatures.push(newer);
        let error = verify_detached(&keyring(&public), b"data", &signature, now()).unwrap_err();
        assert!(matches!(error, VerifyError::NotForSigning { .. }), "{error}");
    }

    #[test]
    fn a_user_id_by_another_key_does_not_make_a_key() {
        let key = SecretKey::generate_ed25519("t", now()).unwrap();
        let other = SecretKey::generate_ed25519("t", now()).unwrap();
        let mut public = key.packets().to_public_key();
        public.details = other.packets().details.clone();
        let error = Certificate::judge(&public).unwrap_err();
        assert!(matches!(error, KeyError::NoUserId { .. }), "{error}");
    }
}

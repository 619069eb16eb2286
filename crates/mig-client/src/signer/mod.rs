//! Who signs for the user: their own `gpg`, or a key in this process.

mod card;
mod gpg;
mod listing;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use mig_runtime::clock::{Clock, SystemClock};
use mig_sign::oneline::OneLineError;
use mig_sign::sign::{SecretKey, SignError};
use mig_types::Fingerprint;

use crate::config::ClientConfig;

pub use card::{Card, CardState};
pub use gpg::GpgSigner;

/// Signs bytes as one person.
#[async_trait]
pub trait Signer: Send + Sync {
    /// Fingerprint of the primary key: who the platform will say it was.
    async fn fingerprint(&self) -> Result<Fingerprint, SignerError>;

    /// Signs `data` and returns the signature in one line. May wait for a
    /// person to enter a passphrase or touch a card.
    async fn sign(&self, data: &[u8]) -> Result<String, SignerError>;

    /// Whether the key is on a card, which may want to be touched.
    async fn is_on_card(&self) -> bool {
        false
    }

    /// Whether somebody draws on our terminal at this moment, to ask for a
    /// passphrase: whoever else writes there spoils the picture.
    fn has_terminal(&self) -> bool {
        false
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    #[error("no key to sign with is configured")]
    NotConfigured,
    #[error("cannot start {program}")]
    Start { program: String, source: std::io::Error },
    #[error("no secret key for {keyid:?} in the GnuPG key ring")]
    NoSecretKey { keyid: String },
    #[error("no public key of {user:?} in the GnuPG key ring")]
    NoPublicKey { user: String },
    #[error("wrong passphrase or PIN")]
    BadPassphrase,
    #[error("wrong PIN{}", tries(*.left))]
    BadPin { left: Option<u8> },
    #[error("signing was cancelled")]
    Cancelled,
    #[error("nobody answered in time when the key was asked for")]
    Timeout,
    #[error("gpg cannot ask for the passphrase")]
    NoPinentry,
    #[error("gpg cannot reach its agent")]
    NoAgent,
    #[error("the smartcard of the key{} is not in a reader", number(serial.as_deref()))]
    CardAbsent { serial: Option<String> },
    #[error("the smartcard in the reader is {found}, and the key is on {serial}")]
    OtherCard { serial: String, found: String },
    #[error("the PIN of the smartcard is blocked: it was wrong too often")]
    CardBlocked,
    #[error("gpg cannot use smartcards")]
    NoCards,
    #[error("the smartcard failed")]
    Card,
    #[error("the secret key cannot be used for signing")]
    Unusable,
    #[error("gpg failed: {message}")]
    Gpg { message: String },
    #[error("gpg signed with hash algorithm {algorithm}, which is too weak")]
    WeakHash { algorithm: String },
    #[error("gpg made a signature that cannot be read")]
    Output(#[source] OneLineError),
    #[error("cannot read signing key {path}")]
    ReadKey { path: String, source: std::io::Error },
    #[error("cannot sign in process")]
    Software(#[source] SignError),
}

impl SignerError {
    /// What the user can do about it.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotConfigured => Some("set gpg.keyid in .migrc, or MIG_SIGNING_KEY"),
            Self::Start { .. } => Some("install GnuPG, or set MIG_GPG to its path"),
            Self::NoSecretKey { .. } => {
                Some("compare gpg.keyid and gpg.home with gpg --list-secret-keys")
            }
            Self::NoPinentry => {
                Some("install a pinentry, set GPG_TTY=$(tty), or set MIGPGPPASSPHRASE")
            }
            Self::Timeout => Some("try again, and answer the pinentry or touch the card"),
            Self::NoAgent => Some("try gpgconf --launch gpg-agent"),
            Self::BadPin { .. } => Some(
                "try again with the card's PIN, or set MIGPGPPASSPHRASE to it; too many block it",
            ),
            Self::CardAbsent { .. } => Some(
                "insert it and try again; if gpg --card-status does not show it, pcscd does not \
                 run or another program has the card",
            ),
            Self::OtherCard { .. } => Some("insert the key's card, or change gpg.keyid"),
            Self::CardBlocked => {
                Some("gpg --change-pin, 2 (unblock) sets a new PIN with the help of the Admin PIN")
            }
            Self::NoCards => Some("install scdaemon"),
            Self::Card => Some("take the card out, insert it again and try gpg --card-status"),
            Self::Unusable => Some("the key may have expired: see gpg --list-secret-keys"),
            Self::WeakHash { .. } => Some("remove digest-algo from gpg.conf"),
            Self::ReadKey { .. } => {
                Some("MIG_SIGNING_KEY, or --key, is the path of a file that you can read")
            }
            Self::Software(SignError::Expired { .. }) => {
                Some("extend the key, and give its public half to the API and the agents again")
            }
            Self::Software(_) => {
                Some("export it with gpg --armor --export-secret-keys, without a passphrase")
            }
            _ => None,
        }
    }
}

fn number(serial: Option<&str>) -> String {
    serial.map(|serial| format!(", {serial},")).unwrap_or_default()
}

/// What a card takes before it is blocked.
fn tries(left: Option<u8>) -> String {
    match left {
        Some(1) => "; one more blocks the card".to_owned(),
        Some(left) => format!("; the card takes {left} more"),
        None => String::new(),
    }
}

/// Signs with an unprotected key held in memory.
pub struct SoftwareSigner {
    key: SecretKey,
    clock: Arc<dyn Clock>,
}

impl SoftwareSigner {
    pub const fn new(key: SecretKey, clock: Arc<dyn Clock>) -> Self {
        Self { key, clock }
    }

    /// Reads an armored secret key that needs no passphrase.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds no usable key.
    pub fn load(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, SignerError> {
        let armored = std::fs::read_to_string(path)
            .map_err(|source| SignerError::ReadKey { path: path.display().to_string(), source })?;
        let key = SecretKey::from_armored(&armored).map_err(SignerError::Software)?;
        Ok(Self::new(key, clock))
    }
}

#[async_trait]
impl Signer for SoftwareSigner {
    async fn fingerprint(&self) -> Result<Fingerprint, SignerError> {
        Ok(self.key.fingerprint().clone())
    }

    async fn sign(&self, data: &[u8]) -> Result<String, SignerError> {
        self.key.sign(data, self.clock.now()).map_err(SignerError::Software)
    }
}

/// The signer a configuration asks for: a key file when one is given, else the
/// user's `gpg`. Nothing is started or signed yet.
///
/// # Errors
///
/// [`SignerError::NotConfigured`] when neither is configured, and when the key
/// file is unusable.
pub fn from_config(config: &ClientConfig) -> Result<Arc<dyn Signer>, SignerError> {
    if let Some(path) = &config.signing_key {
        return Ok(Arc::new(SoftwareSigner::load(path, Arc::new(SystemClock))?));
    }
    Ok(Arc::new(GpgSigner::from_config(config)?))
}

//! The block of data itself.

use std::fmt;

use mig_runtime::config::ConfigError;
use mig_types::wire;
use serde::{Deserialize, Serialize};

use super::{EmbedError, MAX_BLOCK};
use crate::config::AgentConfig;
use crate::trust::Trust;

/// The form of the block that this version reads and writes.
const FORMAT: u32 = 1;

/// One investigator's public key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Key {
    /// Name of the file it came from.
    pub name: String,
    pub armored: String,
}

/// What an agent carries.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Carried {
    pub(crate) format: u32,
    /// Name of the configuration file.
    pub name: String,
    /// Its text, the relay's password included.
    pub config: String,
    /// The access list: one JSON document, or a list of them.
    pub acl: Option<String>,
    /// `None`: no word about keys, and what the system has counts.
    pub keys: Option<Vec<Key>>,
    /// PEM.
    pub ca: Option<String>,
    /// PEM.
    pub cert: Option<String>,
    /// PEM, secret.
    pub key: Option<String>,
}

/// Contents are left out: there are secrets among them.
impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Carried {
    pub fn new(name: impl Into<String>, config: impl Into<String>) -> Self {
        Self { format: FORMAT, name: name.into(), config: config.into(), ..Self::default() }
    }

    /// Reads a block.
    ///
    /// **Shape** one JSON document of at most [`MAX_BLOCK`] bytes. Never panics:
    /// the digest beside it is no signature.
    ///
    /// # Errors
    ///
    /// [`EmbedError::Damaged`] on anything else.
    pub fn parse(block: &[u8]) -> Result<Self, EmbedError> {
        if block.len() as u64 > MAX_BLOCK {
            return Err(EmbedError::Damaged("it is too large"));
        }
        // Not read as peers are: a key that is not known here may be a rule that
        // would not be kept.
        let carried: Self = serde_json::from_slice(block)
            .map_err(|_| EmbedError::Damaged("it is not understood"))?;
        if carried.format != FORMAT {
            return Err(EmbedError::Damaged("it was made for another version"));
        }
        Ok(carried)
    }

    /// The block.
    ///
    /// # Errors
    ///
    /// [`EmbedError::Invalid`] when it would be too large.
    pub fn to_block(&self) -> Result<Vec<u8>, EmbedError> {
        match wire::to_vec(self) {
            Ok(block) if block.len() as u64 <= MAX_BLOCK => Ok(block),
            _ => Err(EmbedError::Invalid(vec![format!(
                "the data to embed exceeds {MAX_BLOCK} bytes"
            )])),
        }
    }

    /// The values it gives an agent that has no files.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the configuration is not valid.
    pub fn settings(&self) -> Result<AgentConfig, ConfigError> {
        AgentConfig::parse_carried(self)
    }

    /// Keys and access list it gives an agent that has no files, and what is
    /// wrong with them.
    pub fn trust(&self) -> (Trust, Vec<String>) {
        let mut warnings = Vec::new();
        let mut trust = Trust::nobody();
        if let Some(text) = &self.acl {
            match Trust::parse_acl(text.as_bytes(), &mut warnings) {
                Ok(acl) => trust.acl = acl,
                Err(error) => warnings.push(format!(
                    "access list: {}",
                    std::error::Error::source(&error)
                        .map_or(error.to_string(), ToString::to_string)
                )),
            }
        }
        for key in self.keys.iter().flatten() {
            if let Err(error) = trust.keyring.add_armored(&key.armored) {
                warnings.push(format!("key {} is left out: {error}", key.name));
            }
        }
        (trust, warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_blocks_of_another_making() {
        for block in [
            &b""[..],
            b"{}",
            b"[]",
            b"null",
            br#"{"format":2}"#,
            br#"{"format":1,"later":true}"#,
            br#"{"format":1,"keys":"x"}"#,
            b"\xff",
        ] {
            assert!(matches!(Carried::parse(block), Err(EmbedError::Damaged(_))), "{block:?}");
        }
    }

    #[test]
    fn a_block_is_read_as_it_was_written_and_prints_no_secret() {
        let carried = Carried {
            acl: Some("{}".into()),
            keys: Some(vec![Key { name: "a.asc".into(), armored: "x".into() }]),
            key: Some("-----BEGIN PRIVATE KEY-----".into()),
            ..Carried::new("a.cfg", "[agent]\nrelay = \"amqp://a:secret@h/\"\n")
        };
        assert_eq!(Carried::parse(&carried.to_block().unwrap()).unwrap(), carried);
        let text = format!("{carried:?}");
        assert!(!text.contains("secret") && !text.contains("PRIVATE"), "{text}");
    }

    #[test]
    fn a_broken_access_list_lets_nobody_in() {
        let carried = Carried { acl: Some("{".into()), ..Carried::new("a.cfg", "") };
        let (trust, warnings) = carried.trust();
        assert!(trust.acl.entry("file").unwrap().investigators.is_empty());
        assert_eq!(warnings.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_blocks_never_panic(bytes: Vec<u8>, text in "\\PC*") {
            let _ = Carried::parse(&bytes);
            let carried = Carried { acl: Some(text.clone()), ..Carried::new("x", text) };
            let block = carried.to_block().unwrap();
            let read = Carried::parse(&block).unwrap();
            let _ = (read.settings(), read.trust());
            proptest::prop_assert_eq!(read, carried);
        }
    }
}

//! Certificates and keys in PEM, wherever they are kept.

use std::fmt;
use std::path::{Path, PathBuf};

use mig_runtime::Secret;

/// A certificate or a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pem {
    #[default]
    None,
    File(PathBuf),
    /// Carried by the program itself.
    Carried(Secret<String>),
}

/// A file the connection needs is missing or unreadable.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct PemError {
    path: PathBuf,
    source: std::io::Error,
}

impl Pem {
    /// An empty path is an absent one.
    pub(crate) fn file(path: Option<PathBuf>) -> Self {
        path.filter(|path| !path.as_os_str().is_empty()).map_or(Self::None, Self::File)
    }

    pub(crate) fn carried(text: Option<&String>) -> Self {
        text.map_or(Self::None, |text| Self::Carried(Secret::new(text.clone())))
    }

    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Where it is, when it is in a file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::None | Self::Carried(_) => None,
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    ///
    /// [`PemError`] when its file cannot be read.
    pub fn read(&self) -> Result<Option<Vec<u8>>, PemError> {
        match self {
            Self::None => Ok(None),
            Self::Carried(text) => Ok(Some(text.expose().clone().into_bytes())),
            Self::File(path) => std::fs::read(path)
                .map(Some)
                .map_err(|source| PemError { path: path.clone(), source }),
        }
    }
}

/// Where it is, never what it is.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Carried(_) => f.write_str("carried"),
        }
    }
}

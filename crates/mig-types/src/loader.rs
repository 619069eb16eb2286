//! Loaders: the programs that keep agents current, as the platform knows them.

use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::id::LoaderId;
use crate::time::Timestamp;

/// Longest name of a loader's entry, in characters: what the column holds.
pub const MAX_NAME: usize = 256;
/// Characters of the public first part of a loader's key.
pub const PREFIX_LEN: usize = 8;
/// Characters of the secret second part.
pub const KEY_LEN: usize = 32;

/// A loader's entry. No member is ever left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Loader {
    pub id: LoaderId,
    pub name: String,
    /// [`PREFIX_LEN`] letters and digits.
    pub prefix: String,
    /// [`KEY_LEN`] letters and digits, only in the answer that makes it.
    pub key: String,
    /// The host name reported last.
    pub agentname: String,
    pub lastseen: Timestamp,
    pub enabled: bool,
    /// A [`crate::LoaderTarget`] that its report must satisfy, or empty.
    pub expectenv: String,
}

/// What a loader sends with every request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoaderParameters {
    /// Name, queueloc, environment and tags of the agent it looks after.
    pub agent: Agent,
    /// The file wanted, in requests for one.
    pub object: String,
}

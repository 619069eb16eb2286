//! Enrolling investigators from the server's own shell.

use std::path::Path;

use anyhow::{Context as _, bail};
use mig_sign::keyring;
use mig_store::{InvestigatorRow, NewInvestigator, Store, StoreError};
use mig_types::investigator::SCHEDULER_NAME;
use mig_types::{Permissions, Timestamp};

/// Adds an investigator with the armored public key in the file `key`.
///
/// Whoever can open the database can do it; it is how the first investigator
/// comes in without switching authentication off.
pub async fn enrol(
    store: &dyn Store,
    name: &str,
    key: &Path,
    permissions: Permissions,
    now: Timestamp,
) -> anyhow::Result<InvestigatorRow> {
    if name.is_empty() || name == SCHEDULER_NAME {
        bail!("{name:?} cannot be the name of an investigator");
    }
    let armored =
        std::fs::read_to_string(key).with_context(|| format!("reading {}", key.display()))?;
    let info = keyring::inspect(&armored)
        .with_context(|| format!("{} is not a usable public key", key.display()))?;
    let new = NewInvestigator {
        name: name.to_owned(),
        fingerprint: Some(info.fingerprint.clone()),
        public_key: Some(armored),
        private_key: None,
        permissions,
    };
    match store.insert_investigator(&new, now).await {
        Err(StoreError::Conflict { .. }) => {
            bail!("an investigator with key {} exists already", info.fingerprint)
        }
        other => Ok(other?),
    }
}

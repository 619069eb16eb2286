//! The keyring of the platform: the keys of all active investigators.

use std::collections::BTreeMap;
use std::sync::Arc;

use mig_sign::keyring::Keyring;
use mig_sign::verify::Signer;
use mig_store::{InvestigatorRow, Store};
use mig_types::{Action, Fingerprint, InvestigatorId};

use crate::error::{Chain, SchedulerError};

/// Keys of active investigators and whose they are.
#[derive(Default)]
pub(crate) struct Keys {
    pub(crate) ring: Keyring,
    owners: BTreeMap<Fingerprint, InvestigatorId>,
}

impl Keys {
    /// A bad key is left out with a warning: it must not disable the others.
    fn build(rows: &[InvestigatorRow]) -> Self {
        let mut keys = Self::default();
        for row in rows {
            let Some(armored) = &row.public_key else { continue };
            match keys.ring.add_armored(armored) {
                Ok(fingerprint) => {
                    let owner = keys.owners.entry(fingerprint).or_insert(row.id);
                    *owner = row.id.min(*owner);
                }
                Err(error) => tracing::warn!(
                    "public key of investigator {} ({}) is not usable: {}",
                    row.id,
                    row.name,
                    Chain(&error)
                ),
            }
        }
        keys
    }

    /// Each signature with the investigator who made it.
    pub(crate) fn attribute(
        &self,
        action: &Action,
        signers: &[Signer],
    ) -> Vec<(InvestigatorId, String)> {
        signers
            .iter()
            .zip(&action.pgpsignatures)
            .filter_map(|(signer, signature)| {
                let owner = self.owners.get(&signer.fingerprint)?;
                Some((*owner, signature.clone()))
            })
            .collect()
    }
}

/// The keyring, parsed again only when a row changed.
#[derive(Default)]
pub(crate) struct KeyCache(tokio::sync::Mutex<Option<(Vec<InvestigatorRow>, Arc<Keys>)>>);

impl KeyCache {
    /// The keys in force now. The rows are read every time, so that a disabled
    /// investigator is out at once even when an event was lost.
    pub(crate) async fn current(&self, store: &dyn Store) -> Result<Arc<Keys>, SchedulerError> {
        let doing = SchedulerError::store("read the investigators' keys");
        let mut cached = self.0.lock().await;
        let rows = store.active_investigators().await.map_err(doing)?;
        if let Some((known, keys)) = &*cached
            && *known == rows
        {
            return Ok(Arc::clone(keys));
        }
        // Parsing a thousand keys takes a while.
        let (rows, keys) = tokio::task::spawn_blocking(move || {
            let keys = Keys::build(&rows);
            (rows, keys)
        })
        .await
        .map_err(|source| SchedulerError::Task { source })?;
        let keys = Arc::new(keys);
        *cached = Some((rows, Arc::clone(&keys)));
        Ok(keys)
    }
}

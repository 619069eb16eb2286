//! The scheduler's own key, kept in the store and shared by all schedulers.

use mig_sign::sign::SecretKey;
use mig_store::{InvestigatorRow, NewInvestigator, StoreError};
use mig_types::investigator::SCHEDULER_NAME;
use mig_types::{Fingerprint, InvestigatorId, Permissions};

use crate::error::SchedulerError;
use crate::scheduler::Scheduler;

/// The user id of the key.
const USER_ID: &str = "migscheduler (MIG Scheduler action signing key) <scheduler@mig>";

/// Who the schedulers are.
pub(crate) struct Identity {
    pub(crate) id: InvestigatorId,
    pub(crate) key: SecretKey,
}

/// Loads the scheduler's key, making it on the very first start.
pub(crate) async fn load(scheduler: &Scheduler) -> Result<Identity, SchedulerError> {
    tracing::debug!("leaving makeSecring()");
    let rows = scheduler.store().active_investigators().await;
    let rows = rows.map_err(SchedulerError::store("look for the scheduler's key"))?;
    let existing = rows.iter().filter(|row| row.name == SCHEDULER_NAME).min_by_key(|row| row.id);
    let new = match existing {
        Some(row) => placeholder(row),
        None => generate(scheduler).await?,
    };
    let stored = scheduler.store().scheduler_identity(&new, scheduler.now()).await;
    let (row, armored) = match stored {
        Ok(identity) => identity,
        Err(StoreError::Conflict { .. } | StoreError::Refused { .. }) if existing.is_some() => {
            return Err(SchedulerError::ReservedName);
        }
        Err(source) => {
            return Err(SchedulerError::Store { doing: "load the scheduler's key", source });
        }
    };
    if existing.is_none() && row.fingerprint == new.fingerprint {
        let fingerprint = row.fingerprint.as_ref().map_or("", Fingerprint::as_str);
        tracing::info!(
            "created {SCHEDULER_NAME} identity with ID {} and key ID {fingerprint}",
            row.id
        );
        tracing::debug!("leaving makeSchedulerInvestigator()");
    }
    tracing::debug!("loaded scheduler private key from database");
    let key = SecretKey::from_armored(&armored)
        .map_err(|source| SchedulerError::Identity { source: Box::new(source) })?;
    tracing::info!("Loaded scheduler investigator with key id {}", key.fingerprint());
    Ok(Identity { id: row.id, key })
}

/// Stands for a key that exists already, which spares the making of one. Were
/// it ever inserted, its fingerprint would be taken.
fn placeholder(row: &InvestigatorRow) -> NewInvestigator {
    NewInvestigator {
        name: row.name.clone(),
        fingerprint: row.fingerprint.clone(),
        public_key: row.public_key.clone(),
        private_key: None,
        permissions: Permissions::NONE,
    }
}

async fn generate(scheduler: &Scheduler) -> Result<NewInvestigator, SchedulerError> {
    tracing::info!("no key found in database. generating a private key for user {SCHEDULER_NAME}");
    let now = scheduler.now();
    let made = tokio::task::spawn_blocking(move || {
        // RSA, because Go agents load nothing newer.
        let key = SecretKey::generate_rsa2048(USER_ID, now)?;
        Ok(NewInvestigator {
            name: SCHEDULER_NAME.to_owned(),
            fingerprint: Some(key.fingerprint().clone()),
            public_key: Some(key.public_armored()?),
            private_key: Some(key.to_armored()?),
            permissions: Permissions::NONE,
        })
    })
    .await
    .map_err(|source| SchedulerError::Task { source })?;
    made.map_err(|source: mig_sign::sign::SignError| SchedulerError::Identity {
        source: Box::new(source),
    })
}

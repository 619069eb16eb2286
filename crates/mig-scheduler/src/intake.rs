//! Takes in the action files of the spool, as the API takes in posted ones.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mig_sign::canonical::action_digest;
use mig_sign::verify::verify_action;
use mig_store::StoreError;
use mig_types::{Action, ActionId, ActionStatus, Target, Timestamp, wire};

use crate::dispatch::Refusal;
use crate::error::{Chain, SchedulerError};
use crate::keys::Keys;
use crate::scheduler::Scheduler;
use crate::spool::{NewFile, Spool, Stamp};

/// A file that does not parse may still be being written: it is refused when
/// it has not changed for this long.
const SETTLES_AFTER: Duration = Duration::from_millis(600);

/// Unparsable files, and since when they look the way they do.
#[derive(Debug, Default)]
pub(crate) struct Unsettled(Mutex<HashMap<PathBuf, (Stamp, Instant)>>);

impl Unsettled {
    /// Whether the file has looked like this long enough.
    fn is_settled(&self, file: &NewFile) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&file.path) {
            Some((stamp, since)) if *stamp == file.stamp => since.elapsed() >= SETTLES_AFTER,
            _ => {
                known.insert(file.path.clone(), (file.stamp, Instant::now()));
                false
            }
        }
    }

    /// Forgets files that are not there any more.
    fn keep(&self, files: &[NewFile]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|path, _| files.iter().any(|file| file.path == *path));
    }
}

/// Takes in every file of `action/new`: stored as pending, or moved to
/// `action/invalid` with the reason beside it. Returns how many were stored.
///
/// # Errors
///
/// When store, keyring or spool failed; the files stay for the next pass.
pub async fn run(scheduler: &Scheduler) -> Result<usize, SchedulerError> {
    let Some(spool) = scheduler.spool() else { return Ok(0) };
    let files = spool.new_files().await?;
    scheduler.unsettled.keep(&files);
    if files.is_empty() {
        return Ok(0);
    }
    let keys = scheduler.keys.current(scheduler.store()).await?;
    let mut stored = 0;
    let mut failure = None;
    for file in files {
        match take(scheduler, spool, &keys, file).await {
            Ok(true) => stored += 1,
            Ok(false) => {}
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    if stored > 0 {
        scheduler.wake.dispatch.notify_one();
    }
    failure.map_or(Ok(stored), Err)
}

async fn take(
    scheduler: &Scheduler,
    spool: &Spool,
    keys: &Keys,
    file: NewFile,
) -> Result<bool, SchedulerError> {
    let now = scheduler.now();
    let mut action = match parse(&file) {
        Ok(action) => action,
        Err(reason) => {
            if scheduler.unsettled.is_settled(&file) {
                refuse(scheduler, spool, &file.path, reason, now).await?;
            }
            return Ok(false);
        }
    };
    if action.id.is_unset() {
        let Some(id) = id_of_name(&file.path) else {
            // The name keeps the id, so that a crash after the insertion
            // cannot store the action twice.
            let name = format!("{}.json", scheduler.ids().action(now));
            spool.rename(&file.path, name).await?;
            scheduler.wake.intake.notify_one();
            return Ok(false);
        };
        action.id = id;
    }
    let signers = match check(keys, &action, now) {
        Ok(signers) => signers,
        Err(refusal) => {
            let reason = Chain(&refusal).to_string();
            refuse(scheduler, spool, &file.path, reason, now).await?;
            return Ok(false);
        }
    };
    prepare(&mut action);
    match scheduler.store().insert_action(&action, &signers).await {
        Ok(()) => {
            tracing::info!(
                action.id = %action.id,
                "action '{}' taken from the spool",
                action.name
            );
        }
        Err(StoreError::Conflict { .. }) => {
            if !is_stored(scheduler, &action).await? {
                let reason = format!("another action has the id {}", action.id);
                refuse(scheduler, spool, &file.path, reason, now).await?;
                return Ok(false);
            }
        }
        Err(StoreError::Refused { what }) => {
            refuse(scheduler, spool, &file.path, what, now).await?;
            return Ok(false);
        }
        Err(source) => {
            return Err(SchedulerError::Store { doing: "store an action", source });
        }
    }
    spool.remove(&file.path).await?;
    Ok(true)
}

fn parse(file: &NewFile) -> Result<Action, String> {
    let content =
        file.content.as_ref().map_err(|error| format!("cannot read the file: {error}"))?;
    wire::from_slice(content).map_err(|error| Chain(&error).to_string())
}

/// The number in `<number>.json`.
fn id_of_name(path: &Path) -> Option<ActionId> {
    let stem = path.file_stem()?.to_str()?;
    let digits = !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit());
    let id: ActionId = stem.parse().ok().filter(|_| digits)?;
    (!id.is_unset()).then_some(id)
}

fn check(
    keys: &Keys,
    action: &Action,
    now: Timestamp,
) -> Result<Vec<(mig_types::InvestigatorId, String)>, Refusal> {
    action.validate(now).map_err(Refusal::Fault)?;
    let signers = verify_action(&keys.ring, action, now).map_err(Refusal::Signature)?;
    action.target.parse::<Target>().map_err(Refusal::Target)?;
    Ok(keys.attribute(action, &signers))
}

/// Sets what is the platform's to say, whatever the file says.
fn prepare(action: &mut Action) {
    action.status = Some(ActionStatus::Pending);
    action.starttime = Timestamp::NOT_STARTED;
    action.lastupdatetime = Timestamp::NOT_STARTED;
    action.finishtime = Timestamp::NEVER;
    action.counters = mig_types::Counters::default();
    action.investigators.clear();
}

/// Whether this very action was stored before: a pass died before it could
/// delete the file.
async fn is_stored(scheduler: &Scheduler, action: &Action) -> Result<bool, SchedulerError> {
    let stored = scheduler.store().action(action.id).await;
    let stored = stored.map_err(SchedulerError::store("read an action"))?;
    let digest = |action: &Action| action_digest(action).ok();
    Ok(stored.is_some_and(|stored| digest(&stored).is_some() && digest(&stored) == digest(action)))
}

async fn refuse(
    scheduler: &Scheduler,
    spool: &Spool,
    path: &Path,
    reason: String,
    now: Timestamp,
) -> Result<(), SchedulerError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    tracing::warn!("spool file {name} refused: {reason}");
    spool.refuse(path, reason, scheduler.ids().next(now)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numeric_name_is_an_id() {
        for name in [
            "",
            ".json",
            "0.json",
            "a.json",
            "1e3.json",
            "-1.json",
            "+1.json",
            "9007199254740992.json",
        ] {
            assert_eq!(id_of_name(Path::new(name)), None, "{name}");
        }
        let id = id_of_name(Path::new("/spool/action/new/4883372310530.json")).unwrap();
        assert_eq!(id.get(), 4_883_372_310_530);
    }
}

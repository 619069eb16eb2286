//! What manifests hold: read from their archives once, for archives never
//! change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mig_archive::ArchiveError;
use mig_types::{Manifest, ManifestEntry, ManifestId};

use crate::problem::{Problem, chain};
use crate::state::ApiState;

/// Lists of entries kept in memory.
const MAX_KEPT: usize = 64;

type Entries = Option<Vec<ManifestEntry>>;

/// Entries of the manifests asked for lately.
#[derive(Default)]
pub(crate) struct ManifestCache {
    kept: Mutex<HashMap<ManifestId, Arc<Entries>>>,
}

impl ManifestCache {
    fn get(&self, id: ManifestId) -> Option<Arc<Entries>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn put(&self, id: ManifestId, entries: Arc<Entries>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(id, entries);
    }
}

/// A manifest's list of files, as it is signed.
pub(crate) async fn document(state: &ApiState, id: ManifestId) -> Result<Manifest, Problem> {
    let entries = if let Some(entries) = state.manifests().get(id) {
        entries
    } else {
        let content = content(state, id).await?;
        let entries = Arc::new(unpack(state, move || mig_archive::entries(&content)).await?);
        state.manifests().put(id, Arc::clone(&entries));
        entries
    };
    Ok(Manifest { entries: (*entries).clone(), ..Manifest::default() })
}

/// One file of a manifest: base64 of its gzip stream; `None` without such a
/// file.
pub(crate) async fn object(
    state: &ApiState,
    id: ManifestId,
    name: String,
) -> Result<Option<String>, Problem> {
    let content = content(state, id).await?;
    unpack(state, move || mig_archive::object(&content, &name)).await
}

/// Whether an archive that is not stored yet can be read.
pub(crate) async fn check(content: String) -> Result<(String, Entries), Problem> {
    let (content, entries) = blocking(move || {
        let entries = mig_archive::entries(&content);
        (content, entries)
    })
    .await?;
    match entries {
        Ok(entries) => Ok((content, entries)),
        Err(error) => Err(Problem::bad_request(chain(&error))),
    }
}

async fn content(state: &ApiState, id: ManifestId) -> Result<String, Problem> {
    state
        .store()
        .manifest_content(id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("Manifest ID '{id}' not found")))
}

/// Unpacks an archive of ours; few at once, away from the threads that serve
/// requests.
async fn unpack<T: Send + 'static>(
    state: &ApiState,
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, Problem> {
    let _permit = state.archives().acquire().await.map_err(|error| Problem::internal(&error))?;
    blocking(work).await?.map_err(|error| Problem::internal(&error))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))
}

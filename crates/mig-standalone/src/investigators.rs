//! Enrolling investigators from the server's own shell.

use std::path::Path;

use mig_runtime::clock::{Clock as _, SystemClock};
use mig_store::InvestigatorRow;
use mig_types::Permissions;

use crate::data::DataDir;

/// Adds an investigator with the public key in `key`; works while the server
/// runs.
pub async fn add_investigator(
    data: &DataDir,
    name: &str,
    key: &Path,
    administrator: bool,
) -> anyhow::Result<InvestigatorRow> {
    let permissions = if administrator { Permissions::ALL } else { Permissions::DEFAULT };
    let store = mig_store::open_sqlite(&data.store()).await?;
    let row = mig_api::enrol(store.as_ref(), name, key, permissions, SystemClock.now()).await;
    store.close().await;
    row
}

//! An agent that waits needs less than one that starts or works.

use std::sync::Arc;
use std::time::Duration;

use mig_runtime::Shutdown;

use crate::context::Context;

/// From a heartbeat, or the start, until what it took is given back.
const SOON: Duration = Duration::from_secs(10);

/// Gives memory back a moment after the start and after every heartbeat. While
/// there is work to do only what was freed: the rest is in use.
pub async fn give_back(context: Arc<Context>, heartbeatfreq: Duration, shutdown: Shutdown) {
    let mut pause = SOON;
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = heartbeatfreq.max(SOON);
        if context.journal.accepted() == 0 {
            now();
        } else {
            freed();
        }
    }
}

#[cfg(target_os = "linux")]
fn now() {
    match mig_host::thrift::give_back() {
        Ok(bytes) => tracing::trace!(bytes, "memory is given back"),
        Err(error) => tracing::debug!("memory cannot be given back: {error}"),
    }
}

#[cfg(target_os = "linux")]
fn freed() {
    mig_host::thrift::give_back_heap();
}

#[cfg(not(target_os = "linux"))]
fn now() {}

#[cfg(not(target_os = "linux"))]
fn freed() {}

//! Whether the process runs, and whether it can serve.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::collection::bare;
use crate::problem::chain;
use crate::state::ApiState;

/// The process answers.
pub(crate) async fn healthz() -> Response {
    bare(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into())
}

/// The database answers too.
pub(crate) async fn readyz(State(state): State<ApiState>) -> Response {
    let (status, text) = match state.store().ping().await {
        Ok(()) if !state.shutdown().is_requested() => (StatusCode::OK, "ready\n"),
        Ok(()) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        Err(error) => {
            tracing::warn!("not ready: {}", chain(&error));
            (StatusCode::SERVICE_UNAVAILABLE, "database is not reachable\n")
        }
    };
    bare(status, "text/plain; charset=utf-8", text.into())
}

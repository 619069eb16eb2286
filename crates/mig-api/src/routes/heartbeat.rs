//! Heartbeats over HTTP.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use mig_runtime::whitelist::Rules;
use mig_store::HeartbeatOutcome;
use mig_types::Timestamp;
use mig_types::heartbeat::MAX_BYTES;
use serde::Serialize;

use crate::access::RequestInfo;
use crate::collection::{Collection, Item, bare};
use crate::heartbeat;
use crate::intake::Refusal;
use crate::problem::Problem;
use crate::state::ApiState;

/// Answers whoever wants to know whether the platform is there.
pub(crate) async fn alive(Extension(info): Extension<RequestInfo>) -> Response {
    let item = Item::new(info.path).datum("heartbeat", serde_json::Value::from("gatorz say hi"));
    Collection::new(info.href).item(item).respond(StatusCode::OK)
}

/// Not Collection+JSON: `{"error": null}` or the error's text.
#[derive(Serialize)]
struct Answer {
    error: Option<String>,
}

/// Stores a heartbeat. Anybody may send one; the whitelist decides.
pub(crate) async fn receive(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    Extension(source): Extension<IpAddr>,
    request: Request,
) -> Response {
    let (status, error) = match take(&state, request).await {
        Ok(outcome) => {
            if let HeartbeatOutcome::New(id) = outcome {
                tracing::info!(op.id = info.operation, "agent {id} is new, heard over HTTP");
            }
            state.metrics().heartbeat("stored");
            (StatusCode::OK, None)
        }
        Err((status, reason)) => {
            state.metrics().heartbeat(match status {
                StatusCode::UNAUTHORIZED => "not_authorized",
                StatusCode::TOO_MANY_REQUESTS => "too_often",
                status if status.is_server_error() => "failed",
                _ => "malformed",
            });
            tracing::warn!(op.id = info.operation, "heartbeat from {source} refused: {reason}");
            (status, Some(reason))
        }
    };
    answer(status, error)
}

fn answer(status: StatusCode, error: Option<String>) -> Response {
    // Writing this cannot fail.
    let mut body = serde_json::to_vec(&Answer { error }).unwrap_or_default();
    body.push(b'\n');
    bare(status, "application/json", body.into())
}

async fn take(
    state: &ApiState,
    request: Request,
) -> Result<HeartbeatOutcome, (StatusCode, String)> {
    let now = state.now();
    let bad = |reason: String| (StatusCode::BAD_REQUEST, reason);
    let body = axum::body::to_bytes(request.into_body(), MAX_BYTES).await.map_err(|_| {
        let reason =
            format!("Failed to decode request body: unreadable or more than {MAX_BYTES} bytes");
        (StatusCode::PAYLOAD_TOO_LARGE, reason)
    })?;
    let agent = heartbeat::decode(&body, now).map_err(|fault| bad(fault.to_string()))?;
    let rules = rules(state, now).await.map_err(|error| {
        tracing::error!("whitelist cannot be read, heartbeats are refused: {}", error.message);
        (StatusCode::INTERNAL_SERVER_ERROR, "whitelist cannot be read".to_owned())
    })?;
    if !rules.authorises(&agent.queueloc) {
        // Operators look for this line: its form is that of the scheduler.
        tracing::warn!("getHeartbeats(): Agent '{}' is not authorized", agent.queueloc);
        return Err((StatusCode::UNAUTHORIZED, "agent is not authorized".to_owned()));
    }
    if !state.heartbeats().take(agent.queueloc.clone(), Instant::now()) {
        return Err((StatusCode::TOO_MANY_REQUESTS, "too many heartbeats".to_owned()));
    }
    state.intake().take(agent, now).await.map_err(|refusal| match refusal {
        Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, refusal.to_string()),
        Refusal::Unfit(reason) => bad(reason),
        Refusal::Failed(detail) => {
            tracing::error!("storing a heartbeat: {detail}");
            (StatusCode::INTERNAL_SERVER_ERROR, "heartbeat could not be stored".to_owned())
        }
    })
}

/// Reading and compiling a large whitelist takes a while.
async fn rules(state: &ApiState, now: Timestamp) -> Result<Arc<Rules>, Problem> {
    let whitelist = state.whitelist();
    tokio::task::spawn_blocking(move || whitelist.current(now))
        .await
        .map_err(|error| Problem::internal(&error))?
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

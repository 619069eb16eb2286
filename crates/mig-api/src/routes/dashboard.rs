//! Where the platform stands, on one page.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use mig_store::{Sign, VersionCount};
use serde_json::Value;

use super::actions::value;
use crate::access::RequestInfo;
use crate::collection::{Collection, Item};
use crate::problem::Problem;
use crate::state::ApiState;

/// How many actions the page lists.
const ACTIONS: u32 = 10;

pub(crate) async fn dashboard(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
) -> Result<Response, Problem> {
    // Zeroes until the first statistics exist: readers insist on the block.
    let numbers = state.store().latest_stats().await?.unwrap_or_default();
    let summary = Item::new(format!("{}/dashboard", state.base()))
        .datum("online agents", Value::from(numbers.online_agents))
        .datum("online agents by version", versions(&numbers.online_agents_by_version)?)
        .datum("online endpoints", Value::from(numbers.online_endpoints))
        .datum("idle agents", Value::from(numbers.idle_agents))
        .datum("idle agents by version", versions(&numbers.idle_agents_by_version)?)
        .datum("idle endpoints", Value::from(numbers.idle_endpoints))
        .datum("new endpoints", Value::from(numbers.new_endpoints))
        .datum("endpoints running 2 or more agents", Value::from(numbers.multi_agents_endpoints))
        .datum("disappeared endpoints", Value::from(numbers.disappeared_endpoints))
        .datum("flapping endpoints", Value::from(numbers.flapping_endpoints))
        // Names that older clients pass over.
        .datum("scheduler works", works(&state, Sign::Scheduler).await)
        .datum("relay reached", works(&state, Sign::Relay).await);
    let mut collection = Collection::new(info.href).item(summary);
    for action in state.store().last_actions(ACTIONS).await? {
        let item = Item::new(state.link("action", action.id)).datum("action", action);
        collection = collection.item(item);
    }
    Ok(collection.respond(StatusCode::OK))
}

/// Whether a scheduler says that it works now; null when none ever said so, as
/// those of other implementations do not.
async fn works(state: &ApiState, sign: Sign) -> Value {
    match state.store().told(sign).await {
        Ok(Some(until)) => Value::from(until >= state.now()),
        Ok(None) | Err(_) => Value::Null,
    }
}

fn versions(counts: &[VersionCount]) -> Result<Value, Problem> {
    if counts.is_empty() { Ok(Value::Null) } else { value(&counts) }
}

//! Where the platform stands, on one page.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use mig_store::VersionCount;
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
        .datum("online agents", numbers.online_agents.into())
        .datum("online agents by version", versions(&numbers.online_agents_by_version)?)
        .datum("online endpoints", numbers.online_endpoints.into())
        .datum("idle agents", numbers.idle_agents.into())
        .datum("idle agents by version", versions(&numbers.idle_agents_by_version)?)
        .datum("idle endpoints", numbers.idle_endpoints.into())
        .datum("new endpoints", numbers.new_endpoints.into())
        .datum("endpoints running 2 or more agents", numbers.multi_agents_endpoints.into())
        .datum("disappeared endpoints", numbers.disappeared_endpoints.into())
        .datum("flapping endpoints", numbers.flapping_endpoints.into());
    let mut collection = Collection::new(info.href).item(summary);
    for action in state.store().last_actions(ACTIONS).await? {
        let item = Item::new(state.link("action", action.id)).datum("action", value(&action)?);
        collection = collection.item(item);
    }
    Ok(collection.respond(StatusCode::OK))
}

fn versions(counts: &[VersionCount]) -> Result<Value, Problem> {
    if counts.is_empty() { Ok(Value::Null) } else { value(&counts) }
}

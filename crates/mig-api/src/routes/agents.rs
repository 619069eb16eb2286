//! Reading one agent.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use mig_types::AgentId;

use crate::access::RequestInfo;
use crate::collection::{Collection, Item};
use crate::form::Form;
use crate::problem::Problem;
use crate::state::ApiState;

pub(crate) async fn agent(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let id: AgentId = Form::from_query(query.as_deref()).id("agentid", "Agent")?;
    let agent = state
        .store()
        .agent(id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("Agent ID '{id}' not found")))?;
    let item = Item::new(state.link("agent", id)).datum("agent", agent);
    Ok(Collection::new(info.href).item(item).respond(StatusCode::OK))
}

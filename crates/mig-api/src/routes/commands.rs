//! Reading one command.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use mig_types::CommandId;

use crate::access::RequestInfo;
use crate::collection::{Collection, Item};
use crate::form::Form;
use crate::problem::Problem;
use crate::state::ApiState;

pub(crate) async fn command(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let id: CommandId = Form::from_query(query.as_deref()).id("commandid", "Command")?;
    let command = state
        .store()
        .command(id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("Command ID '{id}' not found")))?;
    let action = state.link("action", command.action.id);
    let item =
        Item::new(state.link("command", id)).datum("command", command).link("action", action);
    Ok(Collection::new(info.href).item(item).respond(StatusCode::OK))
}

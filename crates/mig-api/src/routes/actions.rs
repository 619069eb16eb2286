//! Reading and creating actions.

use axum::Extension;
use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use mig_sign::verify;
use mig_store::StoreError;
use mig_types::action::MAX_SIGNATURES;
use mig_types::{
    Action, ActionId, ActionStatus, Counters, InvestigatorId, InvestigatorStatus, Target,
    Timestamp, wire,
};
use serde_json::Value;

use crate::access::RequestInfo;
use crate::collection::{Collection, Item};
use crate::form::Form;
use crate::problem::{Problem, chain};
use crate::state::ApiState;

/// Draws of an id before giving up; two in a row collide never in practice.
const ID_TRIES: usize = 8;

/// An object as a JSON value; writing it cannot fail.
pub(super) fn value<T: serde::Serialize>(object: &T) -> Result<Value, Problem> {
    serde_json::to_value(object).map_err(|error| Problem::internal(&error))
}

pub(crate) async fn action(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let form = Form::from_query(query.as_deref());
    let id: ActionId = form.id("actionid", "Action")?;
    let action = state
        .store()
        .action(id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("Action ID '{id}' not found")))?;
    let item = Item::new(state.link("action", id)).datum("action", action);
    Ok(Collection::new(info.href).item(item).respond(StatusCode::OK))
}

pub(crate) async fn create(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::read(request, state.settings().max_form).await?;
    let text = form
        .filled("action")
        .ok_or_else(|| refused(&state, "unreadable", "form field 'action' is missing or empty"))?;
    let mut action: Action = wire::from_slice(text.as_bytes()).map_err(|error| {
        let reason = std::error::Error::source(&error).map(ToString::to_string);
        let reason = reason.unwrap_or_default();
        refused(&state, "unreadable", format!("cannot read the action: {reason}"))
    })?;
    let now = state.now();
    reset(&mut action);
    let signers = check(&state, &action, now).await?;
    store(&state, &mut action, &signers, now).await?;
    tracing::info!(
        op.id = info.operation,
        action.id = action.id.get(),
        "stored action '{}' signed by {} investigators",
        action.name.escape_debug(),
        signers.len()
    );
    let item = Item::new(state.link("action", action.id))
        .datum(format!("action ID {}", action.id), action);
    Ok(Collection::new(info.href).item(item).respond(StatusCode::ACCEPTED))
}

/// What the platform decides about a new action, whatever the client wrote.
fn reset(action: &mut Action) {
    action.status = Some(ActionStatus::Pending);
    action.starttime = Timestamp::NOT_STARTED;
    action.lastupdatetime = Timestamp::NOT_STARTED;
    action.finishtime = Timestamp::NEVER;
    action.counters = Counters::default();
    action.investigators.clear();
}

/// Counts and explains an action that is not stored.
fn refused(state: &ApiState, reason: &'static str, message: impl Into<String>) -> Problem {
    state.metrics().refused_action(reason);
    Problem::bad_request(message)
}

/// Refuses what no agent would run, and finds out whose signatures it carries.
async fn check(
    state: &ApiState,
    action: &Action,
    now: Timestamp,
) -> Result<Vec<(InvestigatorId, String)>, Problem> {
    action.validate(now).map_err(|fault| refused(state, "structure", fault.to_string()))?;
    action
        .target
        .parse::<Target>()
        .map_err(|error| refused(state, "target", format!("target is refused at {error}")))?;
    let signatures = value(&action.pgpsignatures)?.to_string();
    if signatures.len() > MAX_SIGNATURES {
        let message = format!("signatures are longer than {MAX_SIGNATURES} bytes together");
        return Err(refused(state, "signature", message));
    }
    let mut keyring = state.keys().get(state.store(), false).await?;
    let mut verified = verify::verify_action(&keyring, action, now);
    if verified.is_err() {
        keyring = state.keys().get(state.store(), true).await?;
        verified = verify::verify_action(&keyring, action, now);
    }
    let verified = verified.map_err(|error| {
        refused(state, "signature", format!("VerifySignatures() -> {}", chain(&error)))
    })?;
    let mut signers = Vec::with_capacity(verified.len());
    for (signer, signature) in verified.iter().zip(&action.pgpsignatures) {
        let row = state
            .store()
            .investigator_by_fingerprint(&signer.fingerprint)
            .await?
            .filter(|row| row.status == InvestigatorStatus::Active)
            .ok_or_else(|| {
                let message = format!("{} is not an active investigator", signer.fingerprint);
                refused(state, "signer", message)
            })?;
        signers.push((row.id, signature.clone()));
    }
    Ok(signers)
}

/// Stores the action under an id of its own.
async fn store(
    state: &ApiState,
    action: &mut Action,
    signers: &[(InvestigatorId, String)],
    now: Timestamp,
) -> Result<(), Problem> {
    for _ in 0..ID_TRIES {
        action.id = state.ids().action(now);
        match state.store().insert_action(action, signers).await {
            Err(StoreError::Conflict { .. }) => {}
            other => return Ok(other?),
        }
    }
    Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no free action id"))
}

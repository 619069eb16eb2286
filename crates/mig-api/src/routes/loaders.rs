//! Loaders' entries: reading, creating, and changing who may come.

use axum::Extension;
use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use mig_store::{LoaderSecret, NewLoader, StoreError};
use mig_types::loader::{KEY_LEN, MAX_NAME, PREFIX_LEN};
use mig_types::{Loader, LoaderId, wire};

use super::actions::value;
use super::manifests::{check_name, parse_target};
use crate::access::RequestInfo;
use crate::collection::{Collection, Item};
use crate::form::Form;
use crate::problem::Problem;
use crate::secrets;
use crate::state::ApiState;

fn not_found(id: LoaderId) -> Problem {
    Problem::not_found(format!("Loader ID '{id}' not found"))
}

pub(crate) async fn loader(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let id: LoaderId = Form::from_query(query.as_deref()).id("loaderid", "Loader")?;
    let loader = state.store().loader(id).await?.ok_or_else(|| not_found(id))?;
    show(&state, info, &loader, StatusCode::OK)
}

fn show(
    state: &ApiState,
    info: RequestInfo,
    loader: &Loader,
    status: StatusCode,
) -> Result<Response, Problem> {
    let item = Item::new(state.link("loader", loader.id)).datum("loader", value(loader)?);
    Ok(Collection::new(info.href).item(item).respond(status))
}

/// A fresh secret and its stored form, or those of the one that was given.
fn secret(given: &str) -> (String, LoaderSecret) {
    let key = if secrets::is_key(given, KEY_LEN) {
        given.to_owned()
    } else {
        mig_runtime::random::alphanumeric(KEY_LEN)
    };
    let (hash, salt) = secrets::seal(&key);
    (key, LoaderSecret { hash, salt })
}

pub(crate) async fn create(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::read(request, state.settings().max_form).await?;
    let text = form
        .filled("loader")
        .ok_or_else(|| Problem::bad_request("form field 'loader' is missing or empty"))?;
    let wanted: Loader = wire::from_slice(text.as_bytes()).map_err(|error| {
        let reason = std::error::Error::source(&error).map(ToString::to_string);
        Problem::bad_request(format!("cannot read the loader: {}", reason.unwrap_or_default()))
    })?;
    check_name("loader name", &wanted.name, MAX_NAME)?;
    if !wanted.expectenv.is_empty() {
        parse_target(&wanted.expectenv)?;
    }
    // Clients of 2016 draw prefix and key themselves and ignore the answer.
    let own = secrets::is_key(&wanted.prefix, PREFIX_LEN) && secrets::is_key(&wanted.key, KEY_LEN);
    let (key, secret) = secret(if own { &wanted.key } else { "" });
    let new = NewLoader {
        name: wanted.name,
        prefix: if own { wanted.prefix } else { mig_runtime::random::alphanumeric(PREFIX_LEN) },
        secret,
        expectenv: wanted.expectenv,
    };
    let stored = state.store().insert_loader(&new, state.now()).await.map_err(|error| {
        let message = format!("a loader of name '{}' or with its prefix exists", new.name);
        match error {
            StoreError::Conflict { .. } => Problem::new(StatusCode::CONFLICT, message),
            other => other.into(),
        }
    })?;
    tracing::info!(
        op.id = info.operation,
        "stored loader {} '{}'",
        stored.id,
        stored.name.escape_debug()
    );
    // The only time the key itself is seen.
    show(&state, info, &Loader { key, ..stored }, StatusCode::CREATED)
}

pub(crate) async fn status(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::read(request, state.settings().max_form).await?;
    let id: LoaderId = form.id("loaderid", "Loader")?;
    // Every other word disables, as ever.
    let enabled = form.get("status") == Some("enabled");
    if !state.store().enable_loader(id, enabled).await? {
        return Err(not_found(id));
    }
    let now_is = if enabled { "enabled" } else { "disabled" };
    tracing::info!(op.id = info.operation, "loader {id} is {now_is}");
    Ok(Collection::new(info.href).respond(StatusCode::OK))
}

pub(crate) async fn expect(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::read(request, state.settings().max_form).await?;
    let id: LoaderId = form.id("loaderid", "Loader")?;
    let expected = form.get("expectenv").unwrap_or_default();
    if !expected.is_empty() {
        parse_target(expected)?;
    }
    if !state.store().expect_of_loader(id, expected).await? {
        return Err(not_found(id));
    }
    tracing::info!(op.id = info.operation, "loader {id} has a new expectation");
    Ok(Collection::new(info.href).respond(StatusCode::OK))
}

pub(crate) async fn key(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::read(request, state.settings().max_form).await?;
    let id: LoaderId = form.id("loaderid", "Loader")?;
    let given = form.get("loaderkey").unwrap_or_default();
    if !given.is_empty() && !secrets::is_key(given, KEY_LEN) {
        let message = format!("loaderkey must be {KEY_LEN} letters and digits");
        return Err(Problem::bad_request(message));
    }
    let (key, secret) = secret(given);
    let loader = state.store().rekey_loader(id, &secret).await?.ok_or_else(|| not_found(id))?;
    tracing::info!(op.id = info.operation, "loader {id} has a new key");
    show(&state, info, &Loader { key, ..loader }, StatusCode::OK)
}

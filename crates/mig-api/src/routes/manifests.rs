//! Manifests: reading, creating, signing, staging and disabling.

use axum::Extension;
use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use mig_sign::canonical::manifest_document;
use mig_sign::verify::{self, Signer};
use mig_store::{ManifestRow, NewManifest, SignOutcome, StoreError};
use mig_types::manifest::MAX_NAME;
use mig_types::target::MAX_CHARS;
use mig_types::{
    InvestigatorId, InvestigatorStatus, LoaderTarget, ManifestId, ManifestRecord, ManifestStatus,
    wire,
};

use super::actions::value;
use crate::access::RequestInfo;
use crate::auth::Caller;
use crate::collection::{Collection, Item};
use crate::form::Form;
use crate::manifests;
use crate::problem::{Problem, chain};
use crate::state::ApiState;

/// Longest signature a row holds, in characters.
const MAX_SIGNATURE: usize = 4096;

/// A manifest as listings show it: without content and signatures.
pub(super) fn listed(row: &ManifestRow) -> ManifestRecord {
    ManifestRecord {
        id: row.id,
        name: row.name.clone(),
        timestamp: row.timestamp,
        status: Some(row.status),
        target: row.target.clone(),
        ..ManifestRecord::default()
    }
}

fn not_found(id: ManifestId) -> Problem {
    Problem::not_found(format!("Manifest ID '{id}' not found"))
}

pub(crate) async fn manifest(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let id: ManifestId = Form::from_query(query.as_deref()).id("manifestid", "Manifest")?;
    let row = state.store().manifest(id).await?.ok_or_else(|| not_found(id))?;
    let _permit = state.archives().acquire().await.map_err(|error| Problem::internal(&error))?;
    let signatures = state.store().manifest_signatures(id).await?;
    let record = ManifestRecord {
        content: state.store().manifest_content(id).await?.unwrap_or_default(),
        signatures: signatures.into_iter().map(|(_, signature)| signature).collect(),
        ..listed(&row)
    };
    let item = Item::new(state.link("manifest", id)).datum("manifest", value(&record)?);
    Ok(Collection::new(info.href).item(item).respond(StatusCode::OK))
}

pub(crate) async fn create(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    // Each may fill its limit several times over while it is decoded.
    let _permit = state.archives().acquire().await.map_err(|error| Problem::internal(&error))?;
    let form = Form::read(request, state.settings().max_manifest).await?;
    let text = form
        .filled("manifest")
        .ok_or_else(|| Problem::bad_request("form field 'manifest' is missing or empty"))?;
    let record: ManifestRecord = wire::from_slice(text.as_bytes()).map_err(|error| {
        let reason = std::error::Error::source(&error).map(ToString::to_string);
        Problem::bad_request(format!("cannot read the manifest: {}", reason.unwrap_or_default()))
    })?;
    drop(form);
    check_name("manifest name", &record.name, MAX_NAME)?;
    parse_target(&record.target)?;
    let (content, entries) = manifests::check(record.content).await?;
    let new = NewManifest { name: record.name, content, target: record.target };
    let id = state.store().insert_manifest(&new, state.now()).await?;
    tracing::info!(
        op.id = info.operation,
        "stored manifest {id} '{}' with {} files",
        new.name.escape_debug(),
        entries.map_or(0, |entries| entries.len())
    );
    Ok(Collection::new(info.href).respond(StatusCode::CREATED))
}

/// Refuses a name that is empty, too long or would garble a log.
pub(super) fn check_name(what: &str, name: &str, limit: usize) -> Result<(), Problem> {
    if name.is_empty() {
        return Err(Problem::bad_request(format!("{what} must not be empty")));
    }
    if name.chars().count() > limit || name.chars().any(char::is_control) {
        let message = format!("{what} is longer than {limit} characters or has controls");
        return Err(Problem::bad_request(message));
    }
    Ok(())
}

/// Reads a condition about loaders.
pub(super) fn parse_target(text: &str) -> Result<LoaderTarget, Problem> {
    if text.chars().count() > MAX_CHARS {
        let message = format!("target is longer than {MAX_CHARS} characters");
        return Err(Problem::bad_request(message));
    }
    text.parse().map_err(|error| Problem::bad_request(format!("target is refused at {error}")))
}

pub(crate) async fn sign(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::read(request, state.settings().max_form).await?;
    let id: ManifestId = form.id("manifestid", "Manifest")?;
    let signature = form
        .filled("signature")
        .ok_or_else(|| Problem::bad_request("form field 'signature' is missing or empty"))?;
    if signature.len() > MAX_SIGNATURE {
        let message = format!("signature is longer than {MAX_SIGNATURE} characters");
        return Err(Problem::bad_request(message));
    }
    state.store().manifest(id).await?.ok_or_else(|| not_found(id))?;
    let signer = signer(&state, &caller, id, signature).await?;
    let required = state.settings().required_signatures;
    let outcome = state.store().sign_manifest(id, signer, signature, required).await;
    match outcome {
        Ok(SignOutcome::Stored(status)) => {
            tracing::info!(
                op.id = info.operation,
                "investigator {signer} signed manifest {id}, which is {}",
                status.as_str()
            );
            Ok(Collection::new(info.href).respond(StatusCode::OK))
        }
        Ok(SignOutcome::Disabled) => Err(Problem::bad_request("Manifest signing operation failed")),
        Ok(SignOutcome::Unknown) => Err(not_found(id)),
        Err(StoreError::Conflict { .. }) => {
            let message = format!("investigator {signer} has already signed manifest {id}");
            Err(Problem::new(StatusCode::CONFLICT, message))
        }
        Err(other) => Err(other.into()),
    }
}

/// Who made the signature: an active investigator, and the caller unless
/// nobody was asked who they are.
async fn signer(
    state: &ApiState,
    caller: &Caller,
    id: ManifestId,
    signature: &str,
) -> Result<InvestigatorId, Problem> {
    let document = manifest_document(&manifests::document(state, id).await?);
    let signer = verify_signature(state, &document, signature).await?;
    if !caller.anyone && caller.fingerprint.as_ref() != Some(&signer.fingerprint) {
        let message =
            format!("the signature is by key {}, not by the caller's", signer.fingerprint);
        return Err(Problem::bad_request(message));
    }
    state
        .store()
        .investigator_by_fingerprint(&signer.fingerprint)
        .await?
        .filter(|row| row.status == InvestigatorStatus::Active)
        .map(|row| row.id)
        .ok_or_else(|| {
            let message = format!("{} is not an active investigator", signer.fingerprint);
            Problem::bad_request(message)
        })
}

async fn verify_signature(
    state: &ApiState,
    document: &[u8],
    signature: &str,
) -> Result<Signer, Problem> {
    let now = state.now();
    let keyring = state.keys().get(state.store(), false).await?;
    if let Ok(signer) = verify::verify_detached(&keyring, document, signature, now) {
        return Ok(signer);
    }
    // The key may have been added a moment ago by another process.
    let keyring = state.keys().get(state.store(), true).await?;
    verify::verify_detached(&keyring, document, signature, now)
        .map_err(|error| Problem::bad_request(format!("signature is refused: {}", chain(&error))))
}

pub(crate) async fn status(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::read(request, state.settings().max_form).await?;
    let id: ManifestId = form.id("manifestid", "Manifest")?;
    let given = form.get("status").and_then(ManifestStatus::parse);
    let Some(wanted @ (ManifestStatus::Staged | ManifestStatus::Disabled)) = given else {
        let message = "Invalid status specified, must be disabled or staged";
        return Err(Problem::bad_request(message));
    };
    let now_is = state.store().change_manifest(id, wanted).await?.ok_or_else(|| not_found(id))?;
    tracing::info!(op.id = info.operation, "manifest {id} is {}", now_is.as_str());
    if now_is != wanted {
        return Err(Problem::bad_request(format!("manifest {id} is disabled for good")));
    }
    Ok(Collection::new(info.href).respond(StatusCode::OK))
}

/// Enabled loaders that would get the manifest.
pub(crate) async fn loaders(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let id: ManifestId = Form::from_query(query.as_deref()).id("manifestid", "Manifest")?;
    let row = state.store().manifest(id).await?.ok_or_else(|| not_found(id))?;
    let none = || Problem::not_found(format!("No matching loaders for manifest '{id}'"));
    if row.status == ManifestStatus::Disabled {
        return Err(none());
    }
    let target: LoaderTarget = row.target.parse().map_err(|error| {
        let mut problem = none();
        problem.detail = Some(format!("target of manifest {id} is refused at {error}"));
        problem
    })?;
    let loaders = match state.store().loaders_by_target(&target, state.now()).await {
        Err(StoreError::Target { .. }) => return Err(none()),
        other => other?,
    };
    let mut collection = Collection::new(info.href);
    for loader in loaders {
        let item = Item::new(state.link("loader", loader.id));
        collection = collection.item(item.datum("loader", value(&loader)?));
    }
    Ok(collection.respond(StatusCode::OK))
}

//! What loaders ask for: their manifest, and the files it lists.

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use mig_store::{LoaderReport, ManifestRow, StoreError};
use mig_types::heartbeat::MAX_NAME;
use mig_types::{Loader, LoaderParameters, LoaderTarget, QueueLoc, wire};
use serde_json::json;

use super::actions::value;
use crate::access::RequestInfo;
use crate::auth::LoaderCaller;
use crate::collection::{Collection, Item};
use crate::form::{Form, shorten};
use crate::manifests;
use crate::problem::{Problem, chain};
use crate::state::ApiState;

/// Largest request of a loader, in bytes: an environment and some tags.
const MAX_REQUEST: usize = 512 * 1024;
/// Active manifests looked at for one loader; older ones are out of reach.
const MAX_MANIFESTS: u32 = 500;

/// The newest manifest for the loader, with its signatures.
pub(crate) async fn manifest(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    Extension(LoaderCaller(loader)): Extension<LoaderCaller>,
    request: Request,
) -> Result<Response, Problem> {
    let parameters = parameters(request).await?;
    let row = chosen(&state, &loader, &parameters).await?;
    let mut manifest = manifests::document(&state, row.id).await?;
    manifest.loader_name = loader.name;
    let signatures = state.store().manifest_signatures(row.id).await?;
    manifest.signatures = signatures.into_iter().map(|(_, signature)| signature).collect();
    let item = Item::new(info.path).datum("manifest", value(&manifest)?);
    Ok(Collection::new(info.href).item(item).respond(StatusCode::OK))
}

/// One file of that manifest.
pub(crate) async fn fetch(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    Extension(LoaderCaller(loader)): Extension<LoaderCaller>,
    request: Request,
) -> Result<Response, Problem> {
    let parameters = parameters(request).await?;
    if parameters.object.is_empty() {
        return Err(Problem::bad_request("manifest fetch with no object"));
    }
    let row = chosen(&state, &loader, &parameters).await?;
    let name = parameters.object;
    let content = manifests::object(&state, row.id, name.clone()).await?.ok_or_else(|| {
        let message = format!("object {} not found in manifest", shorten(&name));
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })?;
    let item = Item::new(info.path).datum("content", json!({ "data": content }));
    Ok(Collection::new(info.href).item(item).respond(StatusCode::OK))
}

async fn parameters(request: Request) -> Result<LoaderParameters, Problem> {
    let form = Form::read(request, MAX_REQUEST).await?;
    let text = form
        .filled("parameters")
        .ok_or_else(|| Problem::bad_request("form field 'parameters' is missing or empty"))?;
    let parameters: LoaderParameters = wire::from_slice(text.as_bytes()).map_err(|error| {
        let reason = std::error::Error::source(&error).map(ToString::to_string);
        Problem::bad_request(format!("cannot read the parameters: {}", reason.unwrap_or_default()))
    })?;
    let name = &parameters.agent.name;
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let message = format!("agent name is empty, longer than {MAX_NAME} bytes or has controls");
        return Err(Problem::bad_request(message));
    }
    if !parameters.agent.queueloc.is_empty() {
        parameters
            .agent
            .queueloc
            .parse::<QueueLoc>()
            .map_err(|error| Problem::bad_request(error.to_string()))?;
    }
    Ok(parameters)
}

/// What a loader is told whatever went wrong; the log says more.
fn none(detail: impl Into<String>) -> Problem {
    let message = "Unable to locate valid manifest for this loader entry";
    let mut problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, message);
    problem.detail = Some(detail.into());
    problem
}

/// Records the report, then picks the newest active manifest for the loader.
async fn chosen(
    state: &ApiState,
    loader: &Loader,
    parameters: &LoaderParameters,
) -> Result<ManifestRow, Problem> {
    let (store, now, id) = (state.store(), state.now(), loader.id);
    let failed = |error: &StoreError| none(format!("loader {id}: {}", chain(error)));
    let agent = &parameters.agent;
    let report = LoaderReport {
        name: agent.name.clone(),
        environment: agent.environment.clone(),
        tags: agent.tags.clone(),
        queueloc: agent.queueloc.clone(),
    };
    store.report_loader(id, &report, now).await.map_err(|error| failed(&error))?;
    if !loader.expectenv.is_empty() {
        let expected: LoaderTarget = loader
            .expectenv
            .parse()
            .map_err(|error| none(format!("expectation of loader {id} is refused at {error}")))?;
        if !store.loader_fits(id, &expected, now).await.map_err(|error| failed(&error))? {
            return Err(none(format!("loader {id} does not meet its expectation")));
        }
    }
    let manifests = store.active_manifests(MAX_MANIFESTS).await.map_err(|error| failed(&error))?;
    for manifest in manifests {
        // Older programs stored targets unread; a bad one is nobody's.
        let Ok(target) = manifest.target.parse::<LoaderTarget>() else {
            tracing::warn!("target of manifest {} is no condition, skipped", manifest.id);
            continue;
        };
        match store.loader_fits(id, &target, now).await {
            Ok(true) => return Ok(manifest),
            Ok(false) => {}
            Err(error @ StoreError::Target { .. }) => {
                tracing::warn!("target of manifest {} fails, skipped: {error}", manifest.id);
            }
            Err(error) => return Err(failed(&error)),
        }
    }
    Err(none(format!("no active manifest is for loader {id}")))
}

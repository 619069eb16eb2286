//! Investigators: reading, creating, changing.

use axum::Extension;
use axum::extract::{RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mig_sign::keyring;
use mig_store::{InvestigatorChange, InvestigatorRow, NewInvestigator, StoreError};
use mig_types::investigator::SCHEDULER_NAME;
use mig_types::{Investigator, InvestigatorId, InvestigatorStatus, Permissions, wire};

use super::actions::value;
use crate::access::RequestInfo;
use crate::auth::API_KEY_LEN;
use crate::collection::{Collection, Item};
use crate::form::{Form, shorten};
use crate::problem::Problem;
use crate::secrets;
use crate::state::ApiState;

/// Longest name a database row holds, in characters.
const MAX_NAME: usize = 1024;

/// An investigator as it is shown: never with a private key.
pub(super) fn shown(row: &InvestigatorRow, with_key: bool) -> Investigator {
    let key = row.public_key.as_deref().filter(|_| with_key);
    Investigator {
        id: row.id,
        name: row.name.clone(),
        pgpfingerprint: row.fingerprint.as_ref().map(ToString::to_string).unwrap_or_default(),
        publickey: key.map(|armored| STANDARD.encode(armored)).unwrap_or_default(),
        status: Some(row.status),
        createdat: row.created_at,
        lastmodified: row.last_modified,
        apikey: if with_key && row.has_api_key { "set".to_owned() } else { String::new() },
        permissions: row.permissions,
        isadmin: row.permissions.is_admin(),
    }
}

pub(crate) async fn investigator(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let form = Form::from_query(query.as_deref());
    let id: InvestigatorId = form.id("investigatorid", "Investigator")?;
    let row = state.store().investigator(id).await?.ok_or_else(|| not_found(id))?;
    let history = format!("{}/search?type=action&investigatorid={id}&limit=100", state.base());
    let item = Item::new(state.link("investigator", id))
        .datum("investigator", value(&shown(&row, true))?)
        .link("investigator history", history);
    Ok(Collection::new(info.href).item(item).respond(StatusCode::OK))
}

fn not_found(id: InvestigatorId) -> Problem {
    Problem::not_found(format!("Investigator ID '{id}' not found"))
}

pub(crate) async fn create(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::read(request, state.settings().max_form).await?;
    let name = form
        .filled("name")
        .ok_or_else(|| Problem::bad_request("Investigator name must not be empty"))?;
    if name.chars().count() > MAX_NAME {
        let message = format!("Investigator name is longer than {MAX_NAME} characters");
        return Err(Problem::bad_request(message));
    }
    // A person under this name would be taken for the scheduler.
    if name == SCHEDULER_NAME {
        let message = format!("the name {SCHEDULER_NAME} is reserved for the scheduler");
        return Err(Problem::bad_request(message));
    }
    let key = form.filled("publickey").map(|armored| {
        keyring::inspect(armored)
            .map(|key| (key, armored))
            .map_err(|error| Problem::bad_request(format!("public key is refused: {error}")))
    });
    let key = key.transpose()?;
    if let Some((key, _)) = &key
        && !key.go_loadable
    {
        tracing::warn!(
            op.id = info.operation,
            "key {} ({}) cannot be loaded by agents of the Go generation",
            key.fingerprint,
            key.algorithm
        );
    }
    let new = NewInvestigator {
        name: name.to_owned(),
        fingerprint: key.as_ref().map(|(key, _)| key.fingerprint.clone()),
        public_key: key.as_ref().map(|(_, armored)| (*armored).to_owned()),
        private_key: None,
        permissions: permissions(&form)?.unwrap_or(Permissions::DEFAULT),
    };
    let row =
        state.store().insert_investigator(&new, state.now()).await.map_err(
            |error| match error {
                StoreError::Conflict { .. } => Problem::new(
                    StatusCode::CONFLICT,
                    "Investigator's PGP Fingerprint already exists in database",
                ),
                other => other.into(),
            },
        )?;
    let item = Item::new(state.link("investigator", row.id))
        .datum(format!("Investigator ID {}", row.id), value(&shown(&row, true))?);
    Ok(Collection::new(info.href).item(item).respond(StatusCode::CREATED))
}

/// Permissions in either generation's form, if any was given.
fn permissions(form: &Form) -> Result<Option<Permissions>, Problem> {
    if let Some(text) = form.filled("permissions") {
        let parsed = wire::from_slice(text.as_bytes());
        return parsed.map(Some).map_err(|error| {
            let reason = std::error::Error::source(&error).map(ToString::to_string);
            let reason = reason.unwrap_or_default();
            Problem::bad_request(format!("cannot read the permissions: {reason}"))
        });
    }
    match form.filled("isadmin") {
        None => Ok(None),
        Some("true") => Ok(Some(Permissions::ALL)),
        Some("false") => Ok(Some(Permissions::DEFAULT)),
        Some(other) => {
            let message = format!("isadmin must be true or false, not '{}'", shorten(other));
            Err(Problem::bad_request(message))
        }
    }
}

fn invalid(field: &str, text: &str) -> Problem {
    Problem::bad_request(format!("Invalid investigator {field} '{}'", shorten(text)))
}

pub(crate) async fn update(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::read(request, state.settings().max_form).await?;
    let id: InvestigatorId = form.id("id", "Investigator")?;
    let status = form
        .filled("status")
        .map(|text| InvestigatorStatus::parse(text).ok_or_else(|| invalid("status", text)));
    let mut clear_key = None;
    let api_key = match form.filled("apikey") {
        None => None,
        Some("disabled") => Some(None),
        Some("active") => {
            let key = mig_runtime::random::alphanumeric(API_KEY_LEN);
            let sealed = secrets::seal(&key);
            clear_key = Some(key);
            Some(Some(sealed))
        }
        Some(other) => return Err(invalid("apikey", other)),
    };
    let change = InvestigatorChange {
        status: status.transpose()?,
        permissions: permissions(&form)?,
        api_key,
    };
    if change.status.is_none() && change.permissions.is_none() && change.api_key.is_none() {
        let message = "nothing to update: give status, permissions or apikey";
        return Err(Problem::bad_request(message));
    }
    let row = state
        .store()
        .change_investigator(id, &change, state.now())
        .await?
        .ok_or_else(|| not_found(id))?;
    let mut shown = shown(&row, false);
    if let Some(key) = clear_key {
        // The only time the key itself is seen.
        shown.apikey = key;
    }
    let item = Item::new(state.link("investigator", id))
        .datum(format!("Investigator ID {id}"), value(&shown)?);
    Ok(Collection::new(info.href).item(item).respond(StatusCode::OK))
}

//! What anybody may ask.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use mig_types::Fingerprint;

use crate::access::RequestInfo;
use crate::collection::{Collection, Query, QueryDatum, bare};
use crate::form::shorten;
use crate::problem::Problem;
use crate::state::ApiState;

/// The caller's address as bare text: agents parse the raw body.
pub(crate) async fn ip(Extension(source): Extension<IpAddr>) -> Response {
    bare(StatusCode::OK, "application/json", source.to_string().into())
}

pub(crate) async fn public_key(
    State(state): State<ApiState>,
    Path(fingerprint): Path<String>,
) -> Result<Response, Problem> {
    let unknown = || {
        let shown = shorten(&fingerprint);
        let message = format!("Invalid Fingerprint : No PublicKey found for fingerprint '{shown}'");
        bare(StatusCode::NOT_FOUND, "application/json", message.into())
    };
    let Ok(parsed) = fingerprint.parse::<Fingerprint>() else { return Ok(unknown()) };
    let row = state.store().investigator_by_fingerprint(&parsed).await?;
    let Some(armored) = row.and_then(|row| row.public_key) else { return Ok(unknown()) };
    let key = mig_sign::keyring::reencode(&armored).map_err(|error| Problem::internal(&error))?;
    Ok(bare(StatusCode::OK, "application/json", key.into()))
}

/// Where to go from here, for a person with a browser.
pub(crate) async fn home(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
) -> Response {
    let base = state.base();
    let mut collection = Collection::new(info.href)
        .link("create action", format!("{base}/action/create/"))
        .link("create investigator", format!("{base}/investigator/create/"))
        .link("update investigator", format!("{base}/investigator/update/"));
    let by_id = |kind: &'static str, name: &'static str, prompt: &'static str| Query {
        rel: kind,
        href: format!("{base}/{kind}"),
        prompt,
        data: vec![QueryDatum { name, value: "", prompt: "id" }],
    };
    let dashboard = Query {
        rel: "dashboard",
        href: format!("{base}/dashboard"),
        prompt: "Query MIG status dashboard",
        data: Vec::new(),
    };
    let search = Query {
        rel: "search",
        href: format!("{base}/search"),
        prompt: "Search for actions, commands, agents and investigators",
        data: vec![
            QueryDatum { name: "type", value: "action", prompt: "kind of object" },
            QueryDatum { name: "limit", value: "100", prompt: "most objects to return" },
        ],
    };
    for query in [
        dashboard,
        by_id("action", "actionid", "Query action"),
        by_id("command", "commandid", "Query command"),
        by_id("agent", "agentid", "Query agent"),
        by_id("investigator", "investigatorid", "Query investigator"),
        search,
    ] {
        collection = collection.query(query);
    }
    collection.respond(StatusCode::OK)
}

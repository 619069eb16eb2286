//! The routes, their permissions, and the links between them.

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use mig_types::Permissions;

use crate::access;
use crate::auth;
use crate::collection::bare;
use crate::state::ApiState;

mod actions;
mod agents;
mod commands;
mod dashboard;
mod follow;
mod investigators;
mod public;
mod search;

/// Every route: path below the base route, permission (`None`: anybody), handler.
fn table() -> Vec<(&'static str, Option<Permissions>, MethodRouter<ApiState>)> {
    use Permissions as P;
    vec![
        ("/", None, get(public::home)),
        ("/heartbeat", None, get(public::heartbeat)),
        ("/ip", None, get(public::ip)),
        ("/publickey/{fingerprint}", None, get(public::public_key)),
        ("/dashboard", Some(P::DASHBOARD), get(dashboard::dashboard)),
        ("/search", Some(P::SEARCH), get(search::search)),
        ("/action", Some(P::ACTION), get(actions::action)),
        ("/action/create/", Some(P::ACTION_CREATE), post(actions::create)),
        ("/actions/{id}/follow", Some(P::ACTION.with(P::COMMAND)), get(follow::follow)),
        ("/command", Some(P::COMMAND), get(commands::command)),
        ("/agent", Some(P::AGENT), get(agents::agent)),
        ("/investigator", Some(P::INVESTIGATOR), get(investigators::investigator)),
        ("/investigator/create/", Some(P::INVESTIGATOR_CREATE), post(investigators::create)),
        ("/investigator/update/", Some(P::INVESTIGATOR_UPDATE), post(investigators::update)),
    ]
}

/// Paths below the base route with the permission each needs; for tests that
/// walk all of them.
pub fn guarded_routes() -> Vec<(&'static str, Permissions)> {
    table().into_iter().filter_map(|(path, needed, _)| Some((path, needed?))).collect()
}

/// The API as a service that answers below the base route of the settings.
pub fn router(state: ApiState) -> Router {
    let base = state.settings().baseroute.clone();
    let mut router = Router::new();
    for (path, needed, handler) in table() {
        let handler = match needed {
            Some(needed) => {
                handler.layer(from_fn_with_state((state.clone(), needed), auth::require))
            }
            None => handler.layer(from_fn(pass)),
        };
        router = router.route(&format!("{base}{path}"), handler);
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(from_fn_with_state(state.clone(), access::finish))
        .with_state(state)
}

async fn pass(request: Request, next: axum::middleware::Next) -> Response {
    next.run(request).await
}

async fn not_found() -> Response {
    bare(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".into())
}

/// Links to single objects.
impl ApiState {
    fn link(&self, kind: &str, id: impl std::fmt::Display) -> String {
        format!("{}/{kind}?{kind}id={id}", self.base())
    }
}

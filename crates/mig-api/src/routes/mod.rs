//! The routes, their permissions, and the links between them.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;

use crate::access;
use crate::auth;
use crate::collection::bare;
use crate::state::ApiState;

use route::Route;

mod actions;
mod agents;
mod commands;
mod dashboard;
mod follow;
mod health;
mod heartbeat;
mod investigators;
mod loaders;
mod manifests;
mod provision;
mod public;
pub(crate) mod route;
mod search;
mod table;

pub use route::{Guard, Verb};
pub(crate) use table::table;

/// A route as tests that walk all of them see it.
#[derive(Debug, Clone)]
pub struct RouteInfo {
    pub verb: Verb,
    /// The whole path, base route included; `{name}` stands for a segment.
    pub path: String,
    pub guard: Guard,
    /// Every status it may answer.
    pub statuses: Vec<u16>,
}

/// All routes there are, as served below `baseroute`.
pub fn routes(baseroute: &str) -> Vec<RouteInfo> {
    table()
        .into_iter()
        .map(|route| RouteInfo {
            verb: route.verb,
            path: full_path(&route, baseroute),
            guard: route.guard,
            statuses: route.all_statuses(),
        })
        .collect()
}

fn full_path(route: &Route, baseroute: &str) -> String {
    if route.at_root { route.path.to_owned() } else { format!("{baseroute}{}", route.path) }
}

/// The API as a service that answers below the base route of the settings.
pub fn router(state: ApiState) -> Router {
    let base = state.settings().baseroute.clone();
    let mut router = Router::new();
    for route in table() {
        let path = full_path(&route, &base);
        let handler = match route.guard {
            Guard::Investigator(needed) => {
                route.handler.layer(from_fn_with_state((state.clone(), needed), auth::require))
            }
            Guard::Loader => {
                route.handler.layer(from_fn_with_state(state.clone(), auth::require_loader))
            }
            Guard::Anybody => route.handler,
        };
        let handler = handler.layer(from_fn_with_state(route.path, access::mark));
        router = router.route(&path, handler);
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        // Each handler limits what it reads by itself.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(state.clone(), access::finish))
        .with_state(state)
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

//! The outermost layer: an id for every request, a body for every failure, a
//! line in the access log.

use std::net::SocketAddr;
use std::time::Instant;

use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;

use crate::auth::{self, Caller, LoaderCaller};
use crate::collection::Collection;
use crate::problem::Problem;
use crate::state::ApiState;

/// The path of the table that a request fitted; part of the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RouteName(&'static str);

/// Names the route in the answer, for the counters.
pub(crate) async fn mark(
    State(path): State<&'static str>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    response.extensions_mut().insert(RouteName(path));
    response
}

/// What handlers know about the request they answer.
#[derive(Debug, Clone)]
pub(crate) struct RequestInfo {
    /// Operation id; the log and error bodies carry it.
    pub(crate) operation: u64,
    /// The request's public address, query included.
    pub(crate) href: String,
    /// Path alone.
    pub(crate) path: String,
}

pub(crate) async fn finish(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Response {
    let operation = state.ids().next(state.now());
    let uri = request.uri().clone();
    let location = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let href = format!("{}{location}", state.settings().host);
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |info| info.0);
    let source = state.settings().client_ip.resolve(request.headers(), peer);
    let (method, version) = (request.method().clone(), request.version());
    let agent = request
        .headers()
        .get(header::USER_AGENT)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default();
    let path = uri.path().to_owned();
    request.extensions_mut().insert(RequestInfo { operation, href: href.clone(), path });
    request.extensions_mut().insert(source);
    let begun = Instant::now();

    let mut response = next.run(request).await;
    let detail = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => {
            let extensions = std::mem::take(response.extensions_mut());
            let detail = problem.detail.clone();
            response = explain(problem, href, operation);
            // Who was calling; the access log reads it below.
            response.extensions_mut().extend(extensions);
            detail
        }
        None => None,
    };

    let status = response.status();
    let route = response.extensions().get::<RouteName>().map_or("none", |name| name.0);
    state.metrics().request(method.as_str(), route, status.as_u16(), begun.elapsed());
    let (category, name, id) = caller(&response);
    let size = response.body().size_hint().exact().unwrap_or(0);
    tracing::info!(
        op.id = operation,
        "src={source} category={category} auth=[{name} {id}] {method} {version:?} {location} \
         resp_code={} resp_size={size} user-agent={agent}",
        status.as_u16()
    );
    if let Some(detail) = detail {
        if status.is_server_error() {
            tracing::error!(op.id = operation, "{detail}");
        } else if auth::is_refusal(status) {
            tracing::warn!(op.id = operation, "refused: {detail}");
        }
    }
    response
}

/// Category, name and number of who was calling.
fn caller(response: &Response) -> (&'static str, &str, u64) {
    let extensions = response.extensions();
    if let Some(caller) = extensions.get::<Caller>() {
        ("investigator", &caller.name, caller.id.get())
    } else if let Some(LoaderCaller(loader)) = extensions.get() {
        ("loader", &loader.name, loader.id.get())
    } else {
        ("public", "noauth", 0)
    }
}

fn explain(problem: Problem, href: String, operation: u64) -> Response<Body> {
    Collection::new(href)
        .items(problem.items)
        .error(operation, problem.message)
        .respond(problem.status)
}

//! Opening and serving the API.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::Request;
use axum::http::Uri;
use mig_runtime::Shutdown;
use mig_runtime::clock::SystemClock;
use tokio::net::TcpListener;
use tower::Layer as _;
use tower::util::MapRequestLayer;

use crate::config::ApiConfig;
use crate::metrics::StoreReadiness;
use crate::routes::router;
use crate::state::ApiState;

/// Opens database and socket as the configuration says and serves until asked
/// to stop.
pub async fn open(config: &ApiConfig, shutdown: Shutdown) -> anyhow::Result<()> {
    let settings = config.validate()?;
    let store = mig_store::open_postgres(&config.postgres()?).await.context("opening the store")?;
    let address = format!("{}:{}", config.server.ip, config.server.port);
    let listener =
        TcpListener::bind(&address).await.with_context(|| format!("listening on {address}"))?;
    let clock = Arc::new(SystemClock);
    let state = ApiState::new(Arc::clone(&store), clock, settings, shutdown.clone());
    let monitor = match config.metrics_address()? {
        Some(address) => Some(
            mig_observe::bind(address)
                .await
                .with_context(|| format!("listening on {address} (metrics.listen)"))?,
        ),
        None => None,
    };
    let registry = state.registry();
    let watched = async {
        if let Some(listener) = monitor {
            let readiness = Arc::new(StoreReadiness(Arc::clone(&store)));
            mig_observe::serve(listener, registry, readiness, shutdown.clone()).await;
        }
    };
    let (served, ()) = tokio::join!(serve(listener, state, shutdown.clone()), watched);
    store.close().await;
    served
}

/// Serves on an open socket until asked to stop; requests under way finish,
/// followed actions end their streams.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let base = state.base();
    tracing::info!("API listens on {}, public base {base}", listener.local_addr()?);
    let service = MapRequestLayer::new(clean_path).layer(router(state));
    let service =
        axum::ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(service);
    let stop = async move { shutdown.requested().await };
    axum::serve(listener, service).with_graceful_shutdown(stop).await.context("serving the API")
}

/// Agents ask for `<apiurl>/` + `/ip`: repeated slashes count as one.
fn clean_path(mut request: Request) -> Request {
    let path = request.uri().path();
    if path.contains("//") {
        let mut cleaned = String::with_capacity(path.len());
        for character in path.chars() {
            if character != '/' || !cleaned.ends_with('/') {
                cleaned.push(character);
            }
        }
        if let Some(query) = request.uri().query() {
            cleaned.push('?');
            cleaned.push_str(query);
        }
        if let Ok(uri) = cleaned.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn repeated_slashes_count_as_one() {
        for (path, cleaned) in [
            ("/api/v1//ip", "/api/v1/ip"),
            ("//api///v1/search?a=//b", "/api/v1/search?a=//b"),
            ("/api/v1/ip", "/api/v1/ip"),
        ] {
            let uri: Uri = format!("http://h{path}").parse().unwrap();
            let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
            assert_eq!(clean_path(request).uri().path_and_query().unwrap(), cleaned);
        }
    }
}

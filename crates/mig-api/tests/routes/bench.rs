//! An API on a store in memory, and what tests ask it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use mig_api::{ApiConfig, ApiState, Verb, router, routes};
use mig_runtime::clock::{Clock as _, ManualClock};
use mig_runtime::{Shutdown, ShutdownTrigger};
use mig_sign::sign::SecretKey;
use mig_sign::{canonical, token};
use mig_store::{NewInvestigator, Store};
use mig_types::{Action, Operation, Permissions, Timestamp, wire};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const BASE: &str = "http://localhost:12345/api/v1";

/// An API on a store in memory, with one investigator.
pub(crate) struct Bench {
    pub(crate) router: Router,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) key: SecretKey,
    pub(crate) trigger: ShutdownTrigger,
    pub(crate) metrics: mig_observe::Metrics,
}

impl Bench {
    pub(crate) async fn start(permissions: Permissions) -> Self {
        Self::with(permissions, |_| {}).await
    }

    pub(crate) async fn with(
        permissions: Permissions,
        change: impl FnOnce(&mut ApiConfig),
    ) -> Self {
        let now = Timestamp::parse("2026-03-01T12:00:00Z").unwrap();
        let clock = Arc::new(ManualClock::new(now));
        let store = mig_store::open_sqlite_memory().await.unwrap();
        let key = SecretKey::generate_ed25519("Ada <ada@example.net>", now).unwrap();
        let new = NewInvestigator {
            name: "Ada".to_owned(),
            fingerprint: Some(key.fingerprint().clone()),
            public_key: Some(key.public_armored().unwrap()),
            private_key: None,
            permissions,
        };
        store.insert_investigator(&new, now).await.unwrap();
        let mut config = ApiConfig::default();
        change(&mut config);
        let settings = config.validate().unwrap();
        let (trigger, shutdown) = Shutdown::new();
        let state = ApiState::new(Arc::clone(&store), clock.clone(), settings, shutdown);
        let metrics = state.registry();
        Self { router: router(state), store, clock, key, trigger, metrics }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn token(&self) -> String {
        let text = token::text(self.now(), 7);
        token::assemble(&text, &self.key.sign(text.as_bytes(), self.now()).unwrap())
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        documented(method.as_str(), &path, status);
        (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = Request::get(format!("/api/v1{path}"))
            .header("x-pgpauthorization", self.token())
            .body(Body::empty())
            .unwrap();
        let (status, body) = self.send(request).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> (StatusCode, Value) {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let request = Request::post(format!("/api/v1{path}"))
            .header("x-pgpauthorization", self.token())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.finish()))
            .unwrap();
        let (status, body) = self.send(request).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) fn action(&self) -> Action {
        let mut action = Action {
            name: "file -path /etc ".to_owned(),
            target: "status='online'".to_owned(),
            validfrom: self.now() - Duration::from_mins(1),
            expireafter: self.now() + Duration::from_mins(5),
            operations: Some(vec![Operation {
                module: "file".to_owned(),
                parameters: json!({"searches": {"s1": {"paths": ["/etc"]}}}),
                ..Operation::default()
            }]),
            syntaxversion: 2,
            ..Action::default()
        };
        self.sign(&mut action);
        action
    }

    pub(crate) fn sign(&self, action: &mut Action) {
        let text = canonical::action_string(action).unwrap();
        action.pgpsignatures = vec![self.key.sign(&text, self.now()).unwrap()];
    }

    pub(crate) async fn create(&self, action: &Action) -> (StatusCode, Value) {
        let text = wire::to_string(action).unwrap();
        self.post("/action/create/", &[("action", &text)]).await
    }
}

pub(crate) fn message(body: &Value) -> &str {
    body["collection"]["error"]["message"].as_str().unwrap_or_default()
}

pub(crate) fn first(body: &Value) -> &Value {
    &body["collection"]["items"][0]["data"][0]["value"]
}

/// Every answer has a status that the API's document announces.
fn documented(method: &str, path: &str, status: StatusCode) {
    let fits = |route: &str| {
        let (route, path): (Vec<_>, Vec<_>) =
            (route.split('/').collect(), path.split('/').collect());
        route.len() == path.len()
            && route.iter().zip(path).all(|(a, b)| *a == b || a.starts_with('{'))
    };
    for route in routes("/api/v1") {
        if route.verb.name() == method && fits(&route.path) {
            let announced = &route.statuses;
            assert!(
                announced.contains(&status.as_u16()),
                "{method} {path}: {status} {announced:?}"
            );
        }
    }
}

/// A request as `GET` or `POST` routes want it, without credentials.
pub(crate) fn plain(verb: Verb, path: &str) -> axum::http::request::Builder {
    Request::builder().method(verb.name()).uri(path)
}

/// The same from an address of its own.
pub(crate) fn from_address(mut request: Request<Body>, address: &str) -> Request<Body> {
    let address: SocketAddr = address.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(address));
    request
}

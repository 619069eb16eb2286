//! Collection+JSON, the envelope of the original's answers.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mig_types::{Action, Agent, Command};
use serde::Serialize;
use serde_json::{Map, Value};

/// One answer: `{"collection": {…}}`.
#[derive(Debug, Serialize)]
pub(crate) struct Collection {
    version: &'static str,
    href: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Link>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<Item>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queries: Vec<Query>,
    template: Map<String, Value>,
    error: ErrorBody,
}

/// The document, its members in the order of the original.
#[derive(Debug, Serialize)]
struct Envelope {
    collection: Collection,
}

#[derive(Debug, Default, Clone, Serialize)]
struct ErrorBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// One item with its data and links.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Item {
    href: String,
    data: Vec<Datum>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Link>,
}

#[derive(Debug, Clone, Serialize)]
struct Datum {
    name: String,
    value: Payload,
}

/// What a datum holds. Objects that fill lists are written straight into the
/// answer: a detour over [`Value`] costs more than all the rest of it.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Payload {
    Value(Value),
    Action(Box<Action>),
    Agent(Box<Agent>),
    Command(Box<Command>),
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<Action> for Payload {
    fn from(action: Action) -> Self {
        Self::Action(Box::new(action))
    }
}

impl From<Agent> for Payload {
    fn from(agent: Agent) -> Self {
        Self::Agent(Box::new(agent))
    }
}

impl From<Command> for Payload {
    fn from(command: Command) -> Self {
        Self::Command(Box::new(command))
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Link {
    pub(crate) rel: String,
    pub(crate) href: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Query {
    pub(crate) rel: &'static str,
    pub(crate) href: String,
    pub(crate) prompt: &'static str,
    pub(crate) data: Vec<QueryDatum>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct QueryDatum {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    pub(crate) prompt: &'static str,
}

impl Item {
    pub(crate) fn new(href: impl Into<String>) -> Self {
        Self { href: href.into(), data: Vec::new(), links: Vec::new() }
    }

    #[must_use]
    pub(crate) fn datum(mut self, name: impl Into<String>, value: impl Into<Payload>) -> Self {
        self.data.push(Datum { name: name.into(), value: value.into() });
        self
    }

    #[must_use]
    pub(crate) fn link(mut self, rel: &str, href: String) -> Self {
        self.links.push(Link { rel: rel.to_owned(), href });
        self
    }
}

impl Collection {
    pub(crate) fn new(href: impl Into<String>) -> Self {
        Self {
            version: "1.0",
            href: href.into(),
            links: Vec::new(),
            items: Vec::new(),
            queries: Vec::new(),
            template: Map::new(),
            error: ErrorBody::default(),
        }
    }

    #[must_use]
    pub(crate) fn item(mut self, item: Item) -> Self {
        self.items.push(item);
        self
    }

    #[must_use]
    pub(crate) fn items(mut self, items: impl IntoIterator<Item = Item>) -> Self {
        self.items.extend(items);
        self
    }

    #[must_use]
    pub(crate) fn link(mut self, rel: &str, href: String) -> Self {
        self.links.push(Link { rel: rel.to_owned(), href });
        self
    }

    #[must_use]
    pub(crate) fn query(mut self, query: Query) -> Self {
        self.queries.push(query);
        self
    }

    /// `operation` is the request's id, which the log carries too.
    #[must_use]
    pub(crate) fn error(mut self, operation: u64, message: impl Into<String>) -> Self {
        self.error = ErrorBody { code: Some(operation.to_string()), message: Some(message.into()) };
        self
    }

    pub(crate) fn respond(self, status: StatusCode) -> Response {
        json(status, &Envelope { collection: self })
    }
}

/// A JSON body with the headers every answer has.
pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match mig_types::wire::to_vec(body) {
        Ok(bytes) => bare(status, "application/json", bytes.into()),
        Err(error) => {
            tracing::error!("cannot write an answer: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Any body with the headers every answer has.
pub(crate) fn bare(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

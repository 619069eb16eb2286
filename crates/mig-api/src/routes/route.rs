//! One route: who may use it, what it takes, what it answers.

use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use mig_types::Permissions;

use crate::state::ApiState;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    Anybody,
    /// An investigator who holds the permission.
    Investigator(Permissions),
    /// A loader that shows its key.
    Loader,
}

/// Method of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
}

impl Verb {
    /// In upper case, as in a request line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    /// A field of a form; in the query it counts too.
    Form,
}

/// What a parameter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Time,
    /// One of these words.
    Words(&'static [&'static str]),
    /// JSON as text.
    Json,
    File,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) about: &'static str,
}

/// What the body of a request or an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    CollectionJson,
    /// The body of a heartbeat, or its `{"error": …}` answer.
    Json,
    Text,
    /// JSON documents, one a line.
    JsonLines,
}

/// A route with its description, from which the API's document is made.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) verb: Verb,
    /// Below the base route; `{name}` stands for a segment.
    pub(crate) path: &'static str,
    pub(crate) guard: Guard,
    /// Whether the path is at the root of the server instead.
    pub(crate) at_root: bool,
    pub(crate) about: &'static str,
    pub(crate) parameters: Vec<Parameter>,
    /// A request whose body is no form.
    pub(crate) json_body: bool,
    pub(crate) answer: Shape,
    /// Statuses beside those that every route of its guard has.
    pub(crate) statuses: Vec<u16>,
    pub(crate) handler: MethodRouter<ApiState>,
}

impl Route {
    pub(crate) fn get<H, T>(path: &'static str, guard: Guard, handler: H) -> Self
    where
        H: Handler<T, ApiState>,
        T: 'static,
    {
        Self::new(Verb::Get, path, guard, routing::get(handler))
    }

    pub(crate) fn post<H, T>(path: &'static str, guard: Guard, handler: H) -> Self
    where
        H: Handler<T, ApiState>,
        T: 'static,
    {
        Self::new(Verb::Post, path, guard, routing::post(handler))
    }

    fn new(verb: Verb, path: &'static str, guard: Guard, handler: MethodRouter<ApiState>) -> Self {
        Self {
            verb,
            path,
            guard,
            at_root: false,
            about: "",
            parameters: Vec::new(),
            json_body: false,
            answer: Shape::CollectionJson,
            statuses: Vec::new(),
            handler,
        }
    }

    pub(crate) fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    pub(crate) fn at_root(mut self) -> Self {
        self.at_root = true;
        self
    }

    /// A parameter that must be there.
    pub(crate) fn needs(self, name: &'static str, kind: Kind, about: &'static str) -> Self {
        self.parameter(name, kind, true, about)
    }

    /// A parameter that may be there.
    pub(crate) fn takes(self, name: &'static str, kind: Kind, about: &'static str) -> Self {
        self.parameter(name, kind, false, about)
    }

    fn parameter(
        mut self,
        name: &'static str,
        kind: Kind,
        required: bool,
        about: &'static str,
    ) -> Self {
        let in_path = self.path.contains(&format!("{{{name}}}"));
        let place = match self.verb {
            _ if in_path => Place::Path,
            Verb::Get => Place::Query,
            Verb::Post => Place::Form,
        };
        self.parameters.push(Parameter { name, place, kind, required, about });
        self
    }

    pub(crate) fn json_body(mut self) -> Self {
        self.json_body = true;
        self
    }

    pub(crate) fn answers(mut self, shape: Shape, statuses: &[u16]) -> Self {
        self.answer = shape;
        self.statuses.extend_from_slice(statuses);
        self
    }

    /// Every status the route may answer, ascending.
    pub(crate) fn all_statuses(&self) -> Vec<u16> {
        let mut all = self.statuses.clone();
        match self.guard {
            Guard::Anybody => {}
            Guard::Investigator(_) | Guard::Loader => all.extend([401, 429, 500, 503]),
        }
        if self.parameters.iter().any(|parameter| parameter.place == Place::Form) {
            all.extend([400, 413]);
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

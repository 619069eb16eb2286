//! Failures and the HTTP answers they become.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mig_store::StoreError;

use crate::collection::Item;

/// A request that failed. The outermost layer gives it its body, which needs
/// the request's address and id.
///
/// 4xx blames the caller and says why; 5xx says only that it was us, the log
/// has the rest under the same id.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// Items that accompany the error, such as a search's parameters.
    pub(crate) items: Vec<Item>,
    /// What only the log may say.
    pub(crate) detail: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), items: Vec::new(), detail: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
        problem.detail = Some(chain(error));
        problem
    }

    #[must_use]
    pub(crate) fn with_item(mut self, item: Item) -> Self {
        self.items.push(item);
        self
    }
}

/// An error and its sources on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::Conflict { .. } => StatusCode::CONFLICT,
            StoreError::Target { .. } | StoreError::LastAdmin | StoreError::Refused { .. } => {
                StatusCode::BAD_REQUEST
            }
            StoreError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => return Self::internal(&error),
        };
        let mut problem = Self::new(status, error.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.detail = Some(chain(&error));
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

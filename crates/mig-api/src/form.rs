//! Request bodies: form fields, looked up in the body first, then the query.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::{StatusCode, header};

use crate::problem::Problem;

/// Fields of a form, in their order.
#[derive(Debug, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded` and `multipart/form-data` of up
    /// to `limit` bytes.
    pub(crate) async fn read(request: Request, limit: usize) -> Result<Self, Problem> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let content_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_ascii_lowercase();
        let mut fields = if content_type.starts_with("multipart/form-data") {
            multipart(request, limit).await?
        } else {
            pairs(&body(request.into_body(), limit).await?)
        };
        fields.extend(pairs(query.as_bytes()));
        Ok(Self(fields))
    }

    /// Parses a query string.
    pub(crate) fn from_query(query: Option<&str>) -> Self {
        Self(pairs(query.unwrap_or_default().as_bytes()))
    }

    /// The first value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// [`Form::get`] without empty values.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// A numeric id that must be there.
    pub(crate) fn id<T: std::str::FromStr>(&self, name: &str, kind: &str) -> Result<T, Problem> {
        let text = self.get(name).unwrap_or_default();
        match text.parse() {
            Ok(id) if text.parse::<f64>().is_ok_and(|number| number >= 1.0) => Ok(id),
            _ => Err(Problem::bad_request(format!("Invalid {kind} ID '{}'", shorten(text)))),
        }
    }
}

/// What a caller sent, cut to a length an error message can carry.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(encoded)
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect()
}

async fn body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, limit).await.map_err(|_| {
        let message = format!("request body is not readable or larger than {limit} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    })
}

async fn multipart(request: Request, limit: usize) -> Result<Vec<(String, String)>, Problem> {
    let bad = |error: &dyn std::fmt::Display| {
        Problem::bad_request(format!("cannot read the multipart form: {error}"))
    };
    let mut form = Multipart::from_request(request, &()).await.map_err(|e| bad(&e))?;
    let mut fields = Vec::new();
    let mut total = 0;
    while let Some(mut field) = form.next_field().await.map_err(|e| bad(&e))? {
        let name = field.name().unwrap_or_default().to_owned();
        let mut bytes = Vec::new();
        // Piece by piece: a part must not fill the memory before it is counted.
        while let Some(chunk) = field.chunk().await.map_err(|e| bad(&e))? {
            total += chunk.len();
            if total > limit {
                let message = format!("form is larger than {limit} bytes");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            bytes.extend_from_slice(&chunk);
        }
        fields.push((name, String::from_utf8_lossy(&bytes).into_owned()));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::ActionId;

    #[test]
    fn an_id_must_be_a_positive_number() {
        for text in ["", "0", "-1", "abc", "nan", "1.5", "9007199254740992"] {
            let form = Form::from_query(Some(&format!("actionid={text}")));
            let problem = form.id::<ActionId>("actionid", "Action").unwrap_err();
            assert_eq!(problem.status, StatusCode::BAD_REQUEST);
            assert_eq!(problem.message, format!("Invalid Action ID '{text}'"));
        }
        let form = Form::from_query(Some("actionid=1e3"));
        assert_eq!(form.id::<ActionId>("actionid", "Action").unwrap().get(), 1000);
    }

    #[test]
    fn the_first_of_two_values_counts() {
        let form = Form::from_query(Some("a=1&a=2&b="));
        assert_eq!(form.get("a"), Some("1"));
        assert_eq!(form.filled("b"), None);
    }
}

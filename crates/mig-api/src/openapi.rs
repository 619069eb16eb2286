//! The API's `OpenAPI` document, made from the table of routes.

use serde_json::{Map, Value, json};

use crate::routes::route::{Guard, Kind, Parameter, Place, Route, Shape};
use crate::routes::table;

/// Where an API is served unless configured otherwise.
const BASE: &str = "/api/v1";

/// The document as text, with a final newline. The same table makes the
/// server, so what the document says is what is served.
pub fn openapi() -> String {
    let mut paths: Map<String, Value> = Map::new();
    for route in table() {
        let path =
            if route.at_root { route.path.to_owned() } else { format!("{BASE}{}", route.path) };
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(route.verb.name().to_ascii_lowercase(), operation(&route));
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "MIG API",
            "description": "Every answer but the few marked otherwise is Collection+JSON. \
                A failure has the same shape with its reason in error.message and the \
                request's number in error.code; missing credentials and missing permissions \
                are both 401.",
            "version": "1.0",
            "license": { "name": "MPL-2.0", "identifier": "MPL-2.0" },
        },
        "paths": paths,
        "components": { "securitySchemes": schemes(), "schemas": schemas() },
    });
    // Writing a value that was just built cannot fail.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.about,
        "responses": responses(route),
        "x-permissions": permissions(route.guard),
    });
    let outside: Vec<Value> =
        route.parameters.iter().filter(|p| p.place != Place::Form).map(parameter).collect();
    let Some(members) = operation.as_object_mut() else { return operation };
    if !outside.is_empty() {
        members.insert("parameters".to_owned(), outside.into());
    }
    if let Some(body) = request_body(route) {
        members.insert("requestBody".to_owned(), body);
    }
    let security = match route.guard {
        Guard::Anybody => json!([]),
        Guard::Investigator(_) => json!([{ "token": [] }, { "apikey": [] }]),
        Guard::Loader => json!([{ "loaderkey": [] }]),
    };
    members.insert("security".to_owned(), security);
    operation
}

fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '{', '}']).filter(|word| !word.is_empty());
    let mut id = route.verb.name().to_ascii_lowercase();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}

/// Names of the permissions a caller must hold, all of them.
fn permissions(guard: Guard) -> Vec<String> {
    let Guard::Investigator(needed) = guard else { return Vec::new() };
    let Ok(Value::Object(members)) = serde_json::to_value(needed) else { return Vec::new() };
    members
        .into_iter()
        .filter(|(_, held)| *held == Value::Bool(true))
        .map(|(name, _)| name)
        .collect()
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": if parameter.place == Place::Path { "path" } else { "query" },
        "required": parameter.required,
        "description": parameter.about,
        "schema": schema(parameter.kind),
    })
}

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Number => json!({ "type": "integer", "minimum": 0 }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
        Kind::Words(words) => json!({ "type": "string", "enum": words }),
        Kind::Json => json!({ "type": "string", "contentMediaType": "application/json" }),
        Kind::File => json!({ "type": "string", "contentMediaType": "application/pgp-keys" }),
    }
}

fn request_body(route: &Route) -> Option<Value> {
    if route.json_body {
        let schema = json!({ "$ref": "#/components/schemas/Heartbeat" });
        return Some(json!({
            "required": true,
            "content": { "application/json": { "schema": schema } },
        }));
    }
    let fields: Vec<&Parameter> =
        route.parameters.iter().filter(|p| p.place == Place::Form).collect();
    if fields.is_empty() {
        return None;
    }
    let mut properties = Map::new();
    for field in &fields {
        let mut schema = schema(field.kind);
        if let Some(members) = schema.as_object_mut() {
            members.insert("description".to_owned(), field.about.into());
        }
        properties.insert(field.name.to_owned(), schema);
    }
    let required: Vec<&str> = fields.iter().filter(|f| f.required).map(|f| f.name).collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    Some(json!({
        "required": true,
        "content": {
            "application/x-www-form-urlencoded": { "schema": schema },
            "multipart/form-data": { "schema": schema },
        },
    }))
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    for status in route.all_statuses() {
        let (media, reference) = match (route.answer, status < 400) {
            (Shape::Json, _) => ("application/json", "HeartbeatAnswer"),
            (Shape::Text, _) => ("text/plain", "Text"),
            (Shape::JsonLines, true) => ("application/x-ndjson", "Text"),
            _ => ("application/json", "Collection"),
        };
        let schema = json!({ "$ref": format!("#/components/schemas/{reference}") });
        responses.insert(
            status.to_string(),
            json!({ "description": meaning(status), "content": { media: { "schema": schema } } }),
        );
    }
    responses.into()
}

const fn meaning(status: u16) -> &'static str {
    match status {
        200 => "Done.",
        201 => "Created.",
        202 => "Accepted.",
        400 => "The request is wrong; the message says what.",
        401 => "No usable credentials, or not the permission.",
        404 => "There is no such object, or nothing was found.",
        409 => "There is such an object already.",
        413 => "The body is larger than allowed.",
        429 => "Too often; try again later.",
        500 => "The server failed; its log has the reason under the error's number.",
        503 => "The database is away; try again later.",
        _ => "",
    }
}

fn schemes() -> Value {
    let header = |name: &str, about: &str| json!({ "type": "apiKey", "in": "header", "name": name, "description": about });
    json!({
        "token": header("X-PGPAUTHORIZATION", "1;time;nonce;signature, signed by an investigator"),
        "apikey": header("X-MIGAPIKEY", "32 letters and digits; looked at without a token only"),
        "loaderkey": header("X-LOADERKEY", "40 letters and digits"),
    })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let link = json!({
        "type": "object",
        "properties": { "rel": text, "href": text },
        "required": ["rel", "href"],
    });
    let datum = json!({
        "type": "object",
        "properties": { "name": text, "value": {} },
        "required": ["name"],
    });
    let item = json!({
        "type": "object",
        "properties": {
            "href": text,
            "data": { "type": "array", "items": datum },
            "links": { "type": "array", "items": link },
        },
        "required": ["href", "data"],
    });
    let error = json!({ "type": "object", "properties": { "code": text, "message": text } });
    let collection = json!({
        "type": "object",
        "properties": {
            "version": { "const": "1.0" },
            "href": text,
            "links": { "type": "array", "items": link },
            "items": { "type": "array", "items": item },
            "queries": { "type": "array", "items": { "type": "object" } },
            "template": { "type": "object" },
            "error": error,
        },
        "required": ["version", "href", "template", "error"],
    });
    json!({
        "Collection": {
            "type": "object",
            "properties": { "collection": collection },
            "required": ["collection"],
        },
        "Heartbeat": heartbeat(),
        "HeartbeatAnswer": {
            "type": "object",
            "properties": { "error": { "type": ["string", "null"] } },
            "required": ["error"],
        },
        "Text": text,
    })
}

fn heartbeat() -> Value {
    let text = json!({ "type": "string" });
    let time = schema(Kind::Time);
    let texts = json!({ "type": "array", "items": text });
    json!({
        "type": "object",
        "properties": {
            "name": text, "mode": schema(Kind::Words(&["daemon", "checkin"])), "version": text,
            "pid": { "type": "integer", "minimum": 1 }, "queueLoc": text,
            "startTime": time, "refreshTime": time,
            "environment": {
                "type": "object",
                "properties": {
                    "init": text, "ident": text, "os": text, "arch": text,
                    "isProxied": { "type": "boolean" }, "proxy": text, "addresses": texts,
                    "publicIP": text, "modules": texts,
                },
                "required": ["init", "ident", "os", "arch"],
            },
            "tags": {
                "type": ["array", "null"],
                "items": { "type": "object", "properties": { "name": text, "value": text } },
            },
        },
        "required": ["name", "mode", "version", "pid", "queueLoc", "startTime", "environment"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::Permissions;

    #[test]
    fn the_committed_document_is_the_servers() {
        let committed = include_str!("../../../openapi/mig.json");
        assert!(committed == openapi(), "run cargo xtask openapi");
    }

    #[test]
    fn permissions_have_the_names_investigators_know() {
        let both = Permissions::ACTION.with(Permissions::COMMAND);
        assert_eq!(permissions(Guard::Investigator(both)), ["action", "command"]);
        assert!(permissions(Guard::Loader).is_empty());
    }

    #[test]
    fn every_route_is_described_and_named_once() {
        let mut names = Vec::new();
        for route in table() {
            assert!(!route.about.is_empty(), "{}", route.path);
            assert!(route.statuses.iter().any(|status| *status < 300), "{}", route.path);
            assert!(route.all_statuses().iter().all(|status| !meaning(*status).is_empty()));
            // Each segment with a name is a parameter, and no other is.
            let segments = route.path.matches('{').count();
            let placed = route.parameters.iter().filter(|p| p.place == Place::Path).count();
            assert_eq!(segments, placed, "{}", route.path);
            names.push(operation_id(&route));
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

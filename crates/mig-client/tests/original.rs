//! The client against an API that fails where those written in Go fail. Its
//! rules were observed with the original of 2019, and the forms of the answers
//! of 2016 read in its source.
#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mig_client::search::{KEYS, Kind, Search};
use mig_client::{ApiClient, ClientConfig, CommandQuery};
use mig_runtime::clock::ManualClock;
use mig_types::{Loader, Timestamp};
use serde_json::{Value, json};
use wiremock::matchers::{any, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// Each way from now, unless a search says otherwise.
const WINDOW: Duration = Duration::from_hours(39_600);

fn now() -> Timestamp {
    Timestamp::parse("2026-06-01T12:00:00Z").unwrap()
}

fn client(server: &MockServer) -> ApiClient {
    let text = format!("[api]\nurl = {}/api/v1/", server.uri());
    let (config, _) = ClientConfig::parse(&text, ".migrc", &|_| None).unwrap();
    ApiClient::new(&config, "cmd", "1", None, Arc::new(ManualClock::new(now()))).unwrap()
}

fn answer(status: u16, data: &[(&str, Value)]) -> ResponseTemplate {
    let items: Vec<Value> = data
        .iter()
        .map(|(name, value)| json!({"href": "x", "data": [{"name": name, "value": value}]}))
        .collect();
    ResponseTemplate::new(status).set_body_json(json!({ "collection": { "items": items } }))
}

fn refusal(status: u16, message: &str) -> ResponseTemplate {
    let error = json!({"code": "1", "message": message});
    ResponseTemplate::new(status).set_body_json(json!({ "collection": { "error": error } }))
}

/// Where the original answers 500; `None` where it searches.
fn fault(query: &BTreeMap<String, String>) -> Option<&'static str> {
    let set = |name: &str| query.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let kind = set("type").unwrap_or_default();
    if Kind::parse(kind).is_none() {
        return Some("unknown type");
    }
    if kind == "action" && set("status").is_some_and(|status| status != "%") {
        return Some("missing FROM-clause entry for table");
    }
    if set("target").is_some() {
        return None;
    }
    let date = |name: &str| set(name).map(|text| Timestamp::parse(text).map_err(|_| text));
    let mut effective = false;
    match (date("before"), date("after")) {
        (Some(Err(_)), _) | (_, Some(Err(_))) => return Some("cannot parse date"),
        (before, after) => {
            // Equal to the default, or outside of it, is as if it were not there.
            effective |= before.is_some_and(|before| before.is_ok_and(|at| at < now() + WINDOW));
            effective |= after.is_some_and(|after| after.is_ok_and(|at| at > now() - WINDOW));
        }
    }
    let names = ["actionname", "agentname", "investigatorname", "manifestname", "loadername"];
    let others = ["agentversion", "threatfamily", "status", "foundanything"];
    let ids = ["actionid", "commandid", "agentid", "investigatorid", "manifestid", "loaderid"];
    effective |= names.iter().chain(&others).any(|name| set(name).is_some_and(|it| it != "%"));
    for id in ids.iter().filter_map(|name| set(name)) {
        match id.parse::<f64>() {
            Ok(number) => effective |= number > 0.0,
            Err(_) => return Some("cannot parse id"),
        }
    }
    (!effective).then_some("syntax error at or near \"GROUP\"")
}

/// Searches like the original, over one thing of each kind.
fn search(request: &Request) -> ResponseTemplate {
    // Go reads `+` as a blank, as forms have it.
    let query: BTreeMap<String, String> =
        url::form_urlencoded::parse(request.url.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    if let Some(fault) = fault(&query) {
        return refusal(500, fault);
    }
    if query.get("offset").is_some_and(|offset| offset != "0") {
        return refusal(404, "no results found");
    }
    let kind = query["type"].clone();
    let value = json!({ "id": 7, "name": "one", "status": "online" });
    let mut data = vec![("search parameters", json!({ "limit": 100 }))];
    if kind != "action" || query.get("actionname").is_none_or(|name| name != "nobody") {
        data.insert(0, (kind.as_str(), json!({ "id": 7 })));
    }
    data.insert(1.min(data.len()), ("pagination", value));
    answer(200, &data)
}

async fn original() -> MockServer {
    let server = MockServer::start().await;
    server.register(Mock::given(path("/api/v1/search")).respond_with(search)).await;
    server
}

/// A value that makes sense for a key.
fn sample(key: &str, kind: Kind) -> &'static str {
    match key {
        "before" => "2027-01-01T00:00:00+02:00",
        "after" => "2h",
        "limit" | "offset" => "5",
        "foundanything" => "true",
        "target" => "name='a'",
        "status" => kind.statuses().first().copied().unwrap_or("%"),
        key if key.ends_with("id") => "7",
        _ => "*",
    }
}

#[tokio::test]
async fn no_search_makes_an_old_api_fail() {
    let server = original().await;
    let client = client(&server);
    let mut asked = 0;
    for kind in Kind::ALL {
        let mut lines = vec![kind.as_str().to_owned(), format!("{} where name=%", kind.as_str())];
        for key in KEYS {
            let value = sample(key, kind);
            lines.push(format!("{} where {key}={value}", kind.as_str()));
            lines.push(format!("{} where '{key}={value}' and limit=3", kind.as_str()));
        }
        lines.push(format!("{} where name=a&b#c+d%", kind.as_str()));
        lines.push(format!("{} where after=2020-01-01T00:00:00+05:30", kind.as_str()));
        for line in lines {
            // Not every key makes sense everywhere; then nothing is asked.
            let Ok(search) = Search::parse(&line, now()) else { continue };
            let found = client.find(&search).await;
            assert!(found.is_ok(), "{line}: {found:?}");
            asked += 1;
        }
    }
    client.investigators().await.unwrap();
    client.evaluate_target("status='online' OR name='a+b'").await.unwrap();
    client.commands(&CommandQuery::of("9".parse().unwrap())).await.unwrap();
    assert!(asked > 150, "{asked}");
    for request in server.received_requests().await.unwrap() {
        let query = request.url.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!(fault(&pairs), None, "{query}");
    }
}

/// The test would notice: these are what a naive client sends.
#[test]
fn the_original_fails_where_it_is_known_to_fail() {
    for (query, fails) in [
        ("type=agent&agentname=%25", true),
        ("type=agent&limit=5", true),
        ("type=agent&status=%25", true),
        ("type=action&status=completed&actionname=a", true),
        ("type=agent&agentname=a&before=2027-01-01T00:00:00+02:00", true),
        ("type=nothing&agentname=a", true),
        ("type=agent&agentname=a", false),
        ("type=agent&before=2027-01-01T00:00:00Z", false),
    ] {
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!(fault(&pairs).is_some(), fails, "{query}");
    }
}

#[tokio::test]
async fn a_loader_of_an_api_that_invents_no_key_gets_ours() {
    let server = MockServer::start().await;
    let offered = Loader {
        name: "laptop".into(),
        prefix: "abcdefgh".into(),
        key: "0123456789abcdefghijABCDEFHIJKLM".into(),
        ..Loader::default()
    };
    // The form of 2016: an entry without secrets; or nothing at all.
    let stored = json!({ "id": 3, "name": "laptop", "prefix": "", "key": "" });
    for data in [vec![("loader", stored)], Vec::new()] {
        server.reset().await;
        server.register(Mock::given(any()).respond_with(answer(201, &data))).await;
        let created = client(&server).create_loader(&offered).await.unwrap();
        assert_eq!((created.prefix, created.key), (offered.prefix.clone(), offered.key.clone()));
        let request = server.received_requests().await.unwrap().pop().unwrap();
        let fields: BTreeMap<String, String> =
            url::form_urlencoded::parse(&request.body).into_owned().collect();
        // What is printed is what was sent, and so what the API keeps.
        let sent: Value = serde_json::from_str(&fields["loader"]).unwrap();
        assert!(sent.to_string().contains("0123456789abcdefghijABCDEFHIJKLM"), "{sent}");
        assert!(sent.to_string().contains("abcdefgh"), "{sent}");
    }
    // That of 2019 draws its own, whatever was offered.
    server.reset().await;
    let drawn = json!({ "id": 4, "name": "laptop", "prefix": "ABCDEFGH", "key": "other" });
    server.register(Mock::given(any()).respond_with(answer(201, &[("loader", drawn)]))).await;
    let created = client(&server).create_loader(&offered).await.unwrap();
    assert_eq!((created.prefix.as_str(), created.key.as_str()), ("ABCDEFGH", "other"));
}

//! Who may use what.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use mig_api::{Guard, Verb, openapi, routes};
use mig_store::InvestigatorChange;
use mig_types::Permissions;
use serde_json::Value;

use crate::bench::{Bench, from_address, message, plain};

#[tokio::test]
async fn no_guarded_route_answers_without_credentials_or_permission() {
    let bench = Bench::start(Permissions::NONE).await;
    let mut walked = 0;
    for route in routes("/api/v1") {
        let path = route.path.replace("{id}", "1");
        let token = ("x-pgpauthorization", bench.token());
        let key = "k".repeat(32);
        let cases = match route.guard {
            Guard::Anybody => continue,
            Guard::Investigator(_) => vec![
                (None, "Valid authentication header not found"),
                (Some(("x-pgpauthorization", "1;x;y;z".to_owned())), "Authorization verification"),
                (Some(("x-migapikey", key)), "API key authentication failed"),
                // The key of a loader opens nothing else.
                (Some(("x-loaderkey", "k".repeat(40))), "Valid authentication header not found"),
                (Some(token), "Insufficient permissions"),
            ],
            Guard::Loader => vec![
                (None, "X-LOADERKEY header not found"),
                (Some(("x-loaderkey", "x".repeat(40))), "Loader authorization failed"),
                (Some(("x-loaderkey", "short".to_owned())), "Loader authorization failed"),
                // No investigator may take a loader's place.
                (Some(token), "X-LOADERKEY header not found"),
            ],
        };
        for (header, wanted) in cases {
            let mut builder = plain(route.verb, &path);
            if let Some((name, value)) = header {
                builder = builder.header(name, value);
            }
            walked += 1;
            // From another address each time: wrong keys are counted.
            let request = builder.body(Body::empty()).unwrap();
            let request = from_address(request, &format!("198.51.100.{walked}:1"));
            let (status, body) = bench.send(request).await;
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{} {path}", route.verb.name());
            assert!(message(&body).contains(wanted), "{path}: {}", message(&body));
        }
    }
    assert!(walked > 90, "only {walked} requests");
}

#[tokio::test]
async fn each_route_needs_exactly_its_permission() {
    // With all permissions but one, only the routes of that one are closed.
    for bit in 0..19 {
        let missing = Permissions::from_bits(1 << bit);
        let all_others = Permissions::from_bits(Permissions::ALL.bits() & !missing.bits());
        let bench = Bench::start(all_others).await;
        for route in routes("/api/v1") {
            let Guard::Investigator(needed) = route.guard else { continue };
            let path = route.path.replace("{id}", "1");
            let request = plain(route.verb, &path)
                .header("x-pgpauthorization", bench.token())
                .body(Body::empty())
                .unwrap();
            let (status, _) = bench.send(request).await;
            let closed = !all_others.contains(needed);
            assert_eq!(status == StatusCode::UNAUTHORIZED, closed, "{path} without bit {bit}");
        }
    }
}

#[test]
fn the_document_and_the_server_have_the_same_routes() {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let served = routes("/api/v1");
    let documented: usize = paths.values().map(|methods| methods.as_object().unwrap().len()).sum();
    assert_eq!(documented, served.len());
    for route in served {
        let operation = &paths[&route.path][route.verb.name().to_lowercase()];
        let statuses: Vec<u16> = operation["responses"]
            .as_object()
            .unwrap()
            .keys()
            .map(|status| status.parse().unwrap())
            .collect();
        assert_eq!(statuses, route.statuses, "{}", route.path);
        let guarded = !operation["security"].as_array().unwrap().is_empty();
        assert_eq!(guarded, route.guard != Guard::Anybody, "{}", route.path);
        let permissions = operation["x-permissions"].as_array().unwrap();
        let Guard::Investigator(needed) = route.guard else {
            assert!(permissions.is_empty());
            continue;
        };
        assert_eq!(permissions.len(), needed.bits().count_ones() as usize, "{}", route.path);
    }
}

#[tokio::test]
async fn the_api_says_whether_it_runs_and_whether_it_can_serve() {
    let bench = Bench::start(Permissions::NONE).await;
    let ask = |path: &str| plain(Verb::Get, path).body(Body::empty()).unwrap();
    assert_eq!(bench.send(ask("/healthz")).await, (StatusCode::OK, b"ok\n".to_vec()));
    assert_eq!(bench.send(ask("/readyz")).await, (StatusCode::OK, b"ready\n".to_vec()));
    bench.store.close().await;
    assert_eq!(bench.send(ask("/healthz")).await.0, StatusCode::OK);
    assert_eq!(bench.send(ask("/readyz")).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn wrong_keys_are_slowed_down_and_right_ones_are_not() {
    let bench = Bench::start(Permissions::ALL).await;
    let update = [("id", "1"), ("apikey", "active")];
    let (_, body) = bench.post("/investigator/update/", &update).await;
    let key = body["collection"]["items"][0]["data"][0]["value"]["apikey"].as_str().unwrap();
    let ask = |key: &str| {
        let request = plain(Verb::Get, "/api/v1/dashboard").header("x-migapikey", key);
        from_address(request.body(Body::empty()).unwrap(), "198.51.100.1:1")
    };
    assert_eq!(bench.send(ask(key)).await.0, StatusCode::OK);
    let mut statuses = Vec::new();
    for _ in 0..25 {
        statuses.push(bench.send(ask(&"w".repeat(32))).await.0);
    }
    assert_eq!(statuses[..20], [StatusCode::UNAUTHORIZED; 20]);
    assert_eq!(statuses[24], StatusCode::TOO_MANY_REQUESTS);
    // Known keys pass all the same, and so do other addresses.
    assert_eq!(bench.send(ask(key)).await.0, StatusCode::OK);
    let elsewhere = from_address(ask(&"w".repeat(32)), "198.51.100.2:1");
    assert_eq!(bench.send(elsewhere).await.0, StatusCode::UNAUTHORIZED);
    // A key that was taken away opens nothing any more.
    let gone = InvestigatorChange { api_key: Some(None), ..Default::default() };
    let id = "1".parse().unwrap();
    bench.store.change_investigator(id, &gone, bench.now()).await.unwrap();
    assert_eq!(bench.send(ask(key)).await.0, StatusCode::TOO_MANY_REQUESTS);
    bench.clock.advance(Duration::from_secs(1));
}

#[tokio::test]
async fn a_strict_search_needs_the_right_to_read_what_it_finds() {
    for (strict, wanted) in [(false, StatusCode::NOT_FOUND), (true, StatusCode::UNAUTHORIZED)] {
        let bench =
            Bench::with(Permissions::SEARCH, |c| c.authentication.strictsearch = strict).await;
        for kind in ["action", "command", "agent", "manifest", "loader"] {
            assert_eq!(bench.get(&format!("/search?type={kind}")).await.0, wanted, "{kind}");
        }
    }
}

#[tokio::test]
async fn bodies_beyond_their_limit_are_refused() {
    let bench = Bench::with(Permissions::ALL, |config| {
        config.server.maxbytes = 64 * 1024;
        config.manifest.maxbytes = 128 * 1024;
    })
    .await;
    for route in routes("/api/v1") {
        if route.verb != Verb::Post || !matches!(route.guard, Guard::Investigator(_)) {
            continue;
        }
        let limit = if route.path.ends_with("/manifest/new/") { 128 } else { 64 } * 1024;
        for content_type in
            ["application/x-www-form-urlencoded", "multipart/form-data; boundary=xx"]
        {
            let body = if content_type.starts_with("multipart") {
                let part = "Content-Disposition: form-data; name=\"a\"\r\n\r\n";
                format!("--xx\r\n{part}{}\r\n--xx--\r\n", "x".repeat(limit + 1))
            } else {
                "x".repeat(limit + 1)
            };
            let request = plain(route.verb, &route.path)
                .header("x-pgpauthorization", bench.token())
                .header("content-type", content_type)
                .body(Body::from(body))
                .unwrap();
            let (status, body) = bench.send(request).await;
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{}", route.path);
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert!(message(&body).contains("larger than"), "{}", message(&body));
        }
    }
}

#[tokio::test]
async fn requests_refusals_and_heartbeats_are_counted_by_words_of_ours() {
    let bench = Bench::start(Permissions::ALL).await;
    bench.get("/dashboard").await;
    bench.get("/action?actionid=7").await;
    bench.get("/nowhere/at/all").await;
    let mut action = bench.action();
    action.name.push('x');
    bench.create(&action).await;
    bench.post("/action/create/", &[("action", "{")]).await;
    let beat = plain(Verb::Post, "/api/v1/heartbeat").body(Body::from("{}")).unwrap();
    bench.send(beat).await;
    let invented = axum::http::Request::builder().method("INVENTED").uri("/api/v1/dashboard");
    bench.send(invented.body(Body::empty()).unwrap()).await;
    let text = bench.metrics.text();
    for line in [
        "mig_api_requests_total{method=\"GET\",route=\"/dashboard\",status=\"200\"} 1",
        "mig_api_requests_total{method=\"GET\",route=\"/action\",status=\"404\"} 1",
        "mig_api_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1",
        "mig_api_requests_total{method=\"other\",route=\"none\",status=\"404\"} 1",
        "mig_api_request_seconds_count{route=\"/action/create/\"} 2",
        "mig_api_refused_actions_total{reason=\"signature\"} 1",
        "mig_api_refused_actions_total{reason=\"unreadable\"} 1",
        "mig_api_heartbeats_total{outcome=\"malformed\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("nowhere") && !text.contains("INVENTED"));
}

#[tokio::test]
async fn the_dashboard_tells_whether_a_scheduler_works_and_reaches_the_relay() {
    use mig_store::Sign;

    let bench = Bench::start(Permissions::ALL).await;
    let told = async || {
        let (status, body) = bench.get("/dashboard").await;
        assert_eq!(status, StatusCode::OK);
        let data = body["collection"]["items"][0]["data"].as_array().unwrap().clone();
        ["scheduler works", "relay reached"]
            .map(|name| data.iter().find(|datum| datum["name"] == name).unwrap()["value"].as_bool())
    };
    assert_eq!(told().await, [None, None]);
    let later = bench.now() + Duration::from_secs(1);
    bench.store.tell(Sign::Scheduler, later).await.unwrap();
    bench.store.tell(Sign::Relay, bench.now()).await.unwrap();
    assert_eq!(told().await, [Some(true), Some(true)]);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(told().await, [Some(true), Some(false)]);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(told().await, [Some(false), Some(false)]);
}

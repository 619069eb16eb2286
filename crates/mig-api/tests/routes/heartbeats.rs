//! Heartbeats over HTTP.

use std::io::Write as _;

use axum::body::Body;
use axum::http::StatusCode;
use mig_api::Verb;
use mig_store::{Page, Search};
use mig_types::{AgentStatus, Permissions};
use serde_json::{Value, json};

use crate::bench::{Bench, plain};

fn beat(bench: &Bench, name: &str) -> Value {
    json!({
        "name": name, "mode": "daemon", "version": "20190913-0.9e7e4f5.dev", "pid": 7,
        "queueLoc": format!("linux.{name}"), "startTime": bench.now(), "refreshTime": bench.now(),
        "environment": {
            "init": "systemd", "ident": "Debian", "os": "linux", "arch": "amd64",
            "isProxied": false, "proxy": "", "addresses": [], "publicIP": "", "modules": ["file"],
        },
        "tags": [{"name": "operator", "value": "IT"}],
    })
}

async fn send(bench: &Bench, body: impl Into<Body>) -> (StatusCode, String) {
    let request = plain(Verb::Post, "/api/v1/heartbeat").body(body.into()).unwrap();
    let (status, body) = bench.send(request).await;
    (status, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn a_heartbeat_over_http_is_stored_as_one_over_the_relay() {
    let bench = Bench::start(Permissions::ALL).await;
    let (status, body) = send(&bench, beat(&bench, "web1").to_string()).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "{\"error\":null}\n"));
    let page = Page { limit: 10, offset: 0 };
    let agents = bench.store.search_agents(&Search::default(), page).await.unwrap();
    assert_eq!(agents.len(), 1);
    let agent = &agents[0];
    assert_eq!((agent.name.as_str(), agent.queueloc.as_str()), ("web1", "linux.web1"));
    assert_eq!((agent.heartbeatts, agent.status), (bench.now(), Some(AgentStatus::Online)));
    assert_eq!(agent.environment.modules, ["file"]);
    assert_eq!(agent.tags["operator"], "IT");
}

#[tokio::test]
async fn what_is_no_heartbeat_is_refused_with_a_reason_and_not_stored() {
    let bench = Bench::start(Permissions::ALL).await;
    let spoilt = |change: &dyn Fn(&mut Value)| {
        let mut value = beat(&bench, "web1");
        change(&mut value);
        value.to_string()
    };
    for (body, status, reason) in [
        ("{".to_owned(), 400, "Failed to decode request body: "),
        ("{}".to_owned(), 400, "missing field(s): name, mode"),
        (spoilt(&|v| v["startTime"] = "2026-03-01T11:54:59Z".into()), 400, "heartbeat expired"),
        (spoilt(&|v| v["mode"] = "bogus".into()), 400, "agent reported an invalid mode"),
        (spoilt(&|v| v["x"] = "x".repeat(102_400).into()), 413, "more than 102400 bytes"),
    ] {
        let (found, body) = send(&bench, body).await;
        assert_eq!(found.as_u16(), status, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"].as_str().unwrap().contains(reason), "{body}");
    }
    let page = Page { limit: 10, offset: 0 };
    assert!(bench.store.search_agents(&Search::default(), page).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_agents_of_the_whitelist_may_join() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "linux.web1\nre:linux.db[0-9]+").unwrap();
    let path = file.path().to_owned();
    let bench = Bench::with(Permissions::ALL, |config| config.agent.whitelist = path).await;
    for (name, status) in [("web1", 200), ("db17", 200), ("web2", 401), ("db", 401)] {
        let (found, body) = send(&bench, beat(&bench, name).to_string()).await;
        assert_eq!(found.as_u16(), status, "{name}: {body}");
    }
    // Nobody is let in by a list that is gone. It is looked at again soon.
    drop(file);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let (status, _) = send(&bench, beat(&bench, "web9").to_string()).await;
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_agent_cannot_flood_the_platform() {
    let bench = Bench::start(Permissions::ALL).await;
    let mut last = StatusCode::OK;
    for _ in 0..12 {
        last = send(&bench, beat(&bench, "web1").to_string()).await.0;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(send(&bench, beat(&bench, "web2").to_string()).await.0, StatusCode::OK);
}

//! Following actions: streams, lost connections, and APIs that must be polled.
#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mig_client::{ApiClient, ClientConfig, ClientError, FollowEvent, FollowOptions};
use mig_runtime::clock::ManualClock;
use mig_types::Timestamp;
use serde_json::{Value, json};
use wiremock::matchers::{any, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const STREAM: &str = "/api/v1/actions/7/follow";

fn now() -> Timestamp {
    Timestamp::parse("2026-06-01T12:00:00Z").unwrap()
}

fn client(server: &MockServer) -> ApiClient {
    let text = format!("[api]\nurl = {}/api/v1/", server.uri());
    let (config, _) = ClientConfig::parse(&text, ".migrc", &|_| None).unwrap();
    ApiClient::new(&config, "cmd", "1", None, Arc::new(ManualClock::new(now()))).unwrap()
}

fn options() -> FollowOptions {
    let quick = Duration::from_millis(1);
    FollowOptions { poll: quick, retry: quick, commands: true }
}

fn action(status: &str, sent: u64, done: u64) -> Value {
    json!({
        "id": 7, "status": status, "expireafter": "2026-06-01T12:05:00Z",
        "counters": {"sent": sent, "done": done, "success": done}
    })
}

fn command(id: u64, status: &str) -> Value {
    json!({"id": id, "status": status, "agent": {"name": format!("agent{id}")}})
}

fn lines(lines: &[Value]) -> ResponseTemplate {
    let body: String = lines.iter().flat_map(|line| [line.to_string(), "\n".into()]).collect();
    ResponseTemplate::new(200).set_body_raw(body, "application/x-ndjson")
}

fn answer(name: &str, values: &[Value]) -> ResponseTemplate {
    let items: Vec<Value> = values
        .iter()
        .map(|value| json!({"href": "x", "data": [{"name": name, "value": value}]}))
        .collect();
    ResponseTemplate::new(200)
        .set_body_json(json!({"collection": {"items": items, "template": {}, "error": {}}}))
}

fn no_results() -> ResponseTemplate {
    ResponseTemplate::new(404).set_body_json(
        json!({"collection": {"error": {"code": "1", "message": "no results found"}}}),
    )
}

/// All events as short words.
async fn follow(server: &MockServer) -> Result<Vec<String>, ClientError> {
    let client = client(server);
    let mut follower = client.follow("7".parse().unwrap(), options());
    let mut words = Vec::new();
    while let Some(event) = follower.next().await? {
        words.push(match event {
            FollowEvent::Action(action) => {
                format!("action {} {}", action.status.unwrap(), action.counters.done)
            }
            FollowEvent::Command(command) => format!("{} {}", command.agent.name, command.status),
            FollowEvent::Heartbeat => "heartbeat".into(),
            FollowEvent::Refused(reason) => format!("refused: {reason}"),
            FollowEvent::Done(action) => format!("done {}", action.status.unwrap()),
        });
    }
    assert!(follower.next().await?.is_none());
    Ok(words)
}

#[tokio::test]
async fn a_stream_is_told_line_by_line() {
    let server = MockServer::start().await;
    let stream = lines(&[
        json!({"action": action("inflight", 2, 0)}),
        json!({"heartbeat": true}),
        json!({"command": command(1, "sent"), "cursor": 1}),
        json!({"command": command(1, "success"), "cursor": 2}),
        json!({"command": command(2, "timeout"), "cursor": 3}),
        json!({"done": true, "action": action("completed", 2, 2)}),
        json!({"command": command(3, "success")}),
    ]);
    server
        .register(Mock::given(path(STREAM)).and(query_param("cursor", "0")).respond_with(stream))
        .await;
    let events = follow(&server).await.unwrap();
    assert_eq!(
        events,
        ["action inflight 0", "heartbeat", "agent1 success", "agent2 timeout", "done completed"]
    );
}

#[tokio::test]
async fn a_broken_stream_continues_at_its_cursor_and_repeats_nothing() {
    let server = MockServer::start().await;
    let first = lines(&[
        json!({"action": action("inflight", 2, 0)}),
        json!({"command": command(1, "success"), "cursor": 41}),
    ]);
    let second = lines(&[
        json!({"command": command(1, "success"), "cursor": 41}),
        json!({"command": command(2, "success"), "cursor": 42}),
        json!({"done": true, "action": action("completed", 2, 2)}),
    ]);
    server
        .register(Mock::given(path(STREAM)).and(query_param("cursor", "0")).respond_with(first))
        .await;
    server
        .register(
            Mock::given(query_param("cursor", "41"))
                .respond_with(ResponseTemplate::new(503))
                .up_to_n_times(3),
        )
        .await;
    server.register(Mock::given(query_param("cursor", "41")).respond_with(second)).await;
    let events = follow(&server).await.unwrap();
    assert_eq!(events, ["action inflight 0", "agent1 success", "agent2 success", "done completed"]);
}

#[tokio::test]
async fn an_api_without_streams_is_polled() {
    let server = MockServer::start().await;
    let gone = ResponseTemplate::new(404).set_body_string("404 page not found\n");
    server.register(Mock::given(path(STREAM)).respond_with(gone)).await;
    let polls = AtomicUsize::new(0);
    let states = [
        action("pending", 0, 0),
        action("pending", 0, 0),
        // Commands are being made: both done, but not over.
        action("preparing", 2, 2),
        action("inflight", 3, 2),
        action("inflight", 3, 3),
    ];
    let action = move |_: &Request| {
        let poll = polls.fetch_add(1, Ordering::SeqCst);
        answer("action", &states[poll.min(states.len() - 1)..][..1])
    };
    server.register(Mock::given(path("/api/v1/action")).respond_with(action)).await;
    let searches = AtomicUsize::new(0);
    let commands = move |request: &Request| {
        if request.url.query().unwrap_or_default().contains("offset=0&") {
            let third =
                if searches.fetch_add(1, Ordering::SeqCst) == 0 { "sent" } else { "failed" };
            let all = [command(1, "success"), command(2, "success"), command(3, third)];
            answer("command", &all)
        } else {
            no_results()
        }
    };
    server.register(Mock::given(path("/api/v1/search")).respond_with(commands)).await;
    let events = follow(&server).await.unwrap();
    assert_eq!(
        events,
        [
            "action pending 0",
            "action preparing 2",
            "agent1 success",
            "agent2 success",
            "action inflight 2",
            "action inflight 3",
            "agent3 failed",
            "done inflight"
        ]
    );
}

#[tokio::test]
async fn the_reason_of_a_refused_action_is_told() {
    let server = MockServer::start().await;
    let last = json!({"done": true, "action": action("invalid", 0, 0), "reason": "too slow"});
    let stream = lines(&[json!({"action": action("pending", 0, 0)}), last]);
    server.register(Mock::given(path(STREAM)).respond_with(stream)).await;
    let events = follow(&server).await.unwrap();
    assert_eq!(events, ["action pending 0", "refused: too slow", "done invalid"]);
}

#[tokio::test]
async fn an_invalid_action_is_over_at_once() {
    let server = MockServer::start().await;
    server.register(Mock::given(path(STREAM)).respond_with(ResponseTemplate::new(404))).await;
    let invalid = answer("action", &[action("invalid", 0, 0)]);
    server.register(Mock::given(path("/api/v1/action")).respond_with(invalid)).await;
    assert_eq!(follow(&server).await.unwrap(), ["action invalid 0", "done invalid"]);
}

#[tokio::test]
async fn an_unknown_action_is_an_error_and_is_not_tried_again() {
    let server = MockServer::start().await;
    let gone = json!({"collection": {"error": {"message": "Action ID '7' not found"}}});
    let gone = ResponseTemplate::new(404).set_body_json(gone);
    server.register(Mock::given(any()).respond_with(gone)).await;
    let error = follow(&server).await.unwrap_err();
    assert_eq!(error.to_string(), "the API answered 404: Action ID '7' not found");
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
}

#[tokio::test]
async fn thirty_failures_are_enough() {
    let server = MockServer::start().await;
    server.register(Mock::given(any()).respond_with(ResponseTemplate::new(500))).await;
    let error = follow(&server).await.unwrap_err();
    assert!(matches!(error, ClientError::Follow { failures: 30, .. }), "{error}");
    assert_eq!(server.received_requests().await.unwrap().len(), 30);
}

#[tokio::test]
async fn garbage_in_a_stream_ends_it_some_time() {
    let server = MockServer::start().await;
    let garbage = ResponseTemplate::new(200).set_body_string("<html>\nnot json\n");
    server.register(Mock::given(any()).respond_with(garbage)).await;
    let error = follow(&server).await.unwrap_err();
    assert!(matches!(error, ClientError::Follow { failures: 30, .. }), "{error}");
}

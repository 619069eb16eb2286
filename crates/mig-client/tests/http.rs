//! The client against a real HTTP server that answers like the API.
#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

use std::sync::Arc;
use std::time::Duration;

use mig_client::{
    ApiClient, ClientConfig, ClientError, CommandQuery, Generation, InvestigatorChange,
    NewInvestigator, Retry, Signer, SoftwareSigner, launch,
};
use mig_runtime::clock::ManualClock;
use mig_sign::keyring::Keyring;
use mig_sign::sign::SecretKey;
use mig_sign::{token, verify};
use mig_types::{Action, InvestigatorStatus, Operation, Permissions, Timestamp};
use serde_json::{Value, json};
use wiremock::matchers::{any, header, method, path, query_param};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn now() -> Timestamp {
    Timestamp::parse("2026-06-01T12:00:00Z").unwrap()
}

struct Setup {
    server: MockServer,
    client: ApiClient,
    clock: Arc<ManualClock>,
    keyring: Keyring,
    signer: Arc<SoftwareSigner>,
}

impl Setup {
    async fn new(extra: &str) -> Self {
        let server = MockServer::start().await;
        let text = format!("[api]\nurl = {}/api/v1\n{extra}", server.uri());
        let (config, _) = ClientConfig::parse(&text, ".migrc", &|_| None).unwrap();
        let clock = Arc::new(ManualClock::new(now()));
        let key = SecretKey::generate_ed25519("t <t@example.net>", now()).unwrap();
        let (keyring, errors) = Keyring::from_armored([key.public_armored().unwrap()]);
        assert!(errors.is_empty(), "{errors:?}");
        let signer = Arc::new(SoftwareSigner::new(key, clock.clone()));
        let client =
            ApiClient::new(&config, "cmd", "1.2", Some(signer.clone()), clock.clone()).unwrap();
        Self { server, client, clock, keyring, signer }
    }

    async fn answers(&self, mock: Mock) {
        self.server.register(mock).await;
    }

    async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }
}

/// An answer of the API with these named values.
fn answer(status: u16, data: &[(&str, Value)]) -> ResponseTemplate {
    let items: Vec<Value> = data
        .iter()
        .map(|(name, value)| json!({"href": "x", "data": [{"name": name, "value": value}]}))
        .collect();
    let collection =
        json!({"version": "1.0", "href": "x", "items": items, "template": {}, "error": {}});
    ResponseTemplate::new(status).set_body_json(json!({ "collection": collection }))
}

fn refusal(status: u16, message: &str) -> ResponseTemplate {
    let error = json!({"code": "28059881373745", "message": message});
    let collection = json!({"version": "1.0", "href": "x", "template": {}, "error": error});
    ResponseTemplate::new(status).set_body_json(json!({ "collection": collection }))
}

fn action() -> Action {
    let operation = Operation {
        module: "file".into(),
        parameters: json!({"searches": {"s1": {"paths": ["/etc"]}}}),
        ..Operation::default()
    };
    Action {
        name: "file -path /etc ".into(),
        target: "status='online'".into(),
        operations: Some(vec![operation]),
        ..Action::default()
    }
}

fn form(request: &Request) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

#[tokio::test]
async fn requests_carry_a_token_that_verifies_and_is_used_again() {
    let setup = Setup::new("").await;
    setup.answers(Mock::given(any()).respond_with(answer(200, &[("heartbeat", json!({}))]))).await;
    setup.client.heartbeat().await.unwrap();
    setup.client.heartbeat().await.unwrap();
    setup.clock.advance(Duration::from_mins(8));
    setup.client.heartbeat().await.unwrap();

    let requests = setup.requests().await;
    let tokens: Vec<&str> = requests
        .iter()
        .map(|request| request.headers["X-PGPAUTHORIZATION"].to_str().unwrap())
        .collect();
    assert_eq!(tokens[0], tokens[1]);
    assert_ne!(tokens[0], tokens[2]);
    let later = now() + Duration::from_mins(8);
    for (header, at) in [(tokens[0], now()), (tokens[2], later)] {
        let caller = token::verify(&setup.keyring, header, at, Duration::from_mins(1)).unwrap();
        assert_eq!(caller, setup.signer.fingerprint().await.unwrap());
    }
    assert_eq!(requests[0].headers["User-Agent"], "MIG Client cmd-1.2");
    assert_eq!(requests[0].url.path(), "/api/v1/heartbeat");
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_with_the_whole_body() {
    let setup = Setup::new("").await;
    let refused = Mock::given(method("POST")).respond_with(refusal(401, "token is expired"));
    setup.answers(refused.up_to_n_times(1)).await;
    let created = answer(202, &[("action ID 7", json!({"id": 7, "name": "n"}))]);
    setup.answers(Mock::given(path("/api/v1/action/create/")).respond_with(created)).await;
    assert_eq!(setup.client.post_action(&action()).await.unwrap().id.get(), 7);
    let requests = setup.requests().await;
    assert_eq!(requests.len(), 2);
    assert_eq!(form(&requests[0]), form(&requests[1]));
    assert!(form(&requests[0])[0].1.contains("file -path /etc "));
    assert_ne!(
        requests[0].headers["X-PGPAUTHORIZATION"],
        requests[1].headers["X-PGPAUTHORIZATION"]
    );
}

#[tokio::test]
async fn a_second_refusal_is_final_and_says_why() {
    let setup = Setup::new("").await;
    let message = "Insufficient permissions to access endpoint";
    // Its clock is a little off, as clocks are.
    let refused = refusal(401, message).insert_header("date", "Mon, 01 Jun 2026 12:01:30 GMT");
    setup.answers(Mock::given(any()).respond_with(refused)).await;
    let error = setup.client.dashboard().await.unwrap_err();
    let ClientError::Refused(refusal) = &error else { panic!("{error}") };
    assert!(refusal.is_lack() && refusal.message == message, "{error}");
    let key = setup.signer.fingerprint().await.unwrap().to_string();
    let told = format!("dashboard: key {}…{} lacks the permission", &key[..4], &key[36..]);
    assert!(error.to_string().contains(&told), "{error}");
    assert_eq!(setup.requests().await.len(), 2);
}

#[tokio::test]
async fn a_clock_that_is_far_off_is_named() {
    for (date, skew) in [
        ("Mon, 01 Jun 2026 10:00:00 GMT", "2h0m0s ahead of"),
        ("Mon, 01 Jun 2026 12:15:30 GMT", "15m30s behind"),
    ] {
        let setup = Setup::new("").await;
        let refused = refusal(401, "token is expired").insert_header("date", date);
        setup.answers(Mock::given(any()).respond_with(refused)).await;
        let error = setup.client.dashboard().await.unwrap_err().to_string();
        let expected = format!("dashboard: our clock is {skew} its own: token is expired");
        assert!(error.starts_with("401 from http://") && error.ends_with(&expected), "{error}");
    }
}

#[tokio::test]
async fn an_api_key_replaces_tokens_and_is_not_tried_twice() {
    let setup = Setup::new("[gpg]\nuseapikeyauth = 0123456789abcdefghijABCDEFHIJKLM").await;
    setup.answers(Mock::given(any()).respond_with(refusal(401, "no"))).await;
    assert!(setup.client.dashboard().await.is_err());
    let requests = setup.requests().await;
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].headers["X-MIGAPIKEY"], "0123456789abcdefghijABCDEFHIJKLM");
    assert!(!requests[0].headers.contains_key("X-PGPAUTHORIZATION"));
}

#[tokio::test]
async fn targets_are_evaluated_and_none_is_no_error() {
    let setup = Setup::new("").await;
    let target = "environment->>'os'='linux' AND name LIKE '%+é&'";
    let found = answer(
        200,
        &[
            ("agent", json!({"id": 1, "name": "a"})),
            ("agent", json!({"id": 2, "name": "b"})),
            ("search parameters", json!({"limit": 1_000_000})),
        ],
    );
    setup
        .answers(
            Mock::given(path("/api/v1/search"))
                .and(query_param("type", "agent"))
                .and(query_param("limit", "1000000"))
                .and(query_param("target", target))
                .respond_with(found),
        )
        .await;
    let agents = setup.client.evaluate_target(target).await.unwrap();
    assert_eq!(agents.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);

    setup
        .answers(
            Mock::given(query_param("target", "none"))
                .respond_with(refusal(404, "no results found")),
        )
        .await;
    assert!(setup.client.evaluate_target("none").await.unwrap().is_empty());
    let reason = "column \"nosuch\" does not exist";
    setup
        .answers(Mock::given(query_param("target", "bad")).respond_with(refusal(500, reason)))
        .await;
    let error = setup.client.evaluate_target("bad").await.unwrap_err();
    assert_eq!(error.to_string(), format!("the API answered 500: {reason}"));
}

#[tokio::test]
async fn a_signed_action_arrives_as_it_was_signed() {
    let setup = Setup::new("").await;
    let created = answer(202, &[("action ID 7", json!({"id": 7}))]);
    setup.answers(Mock::given(method("POST")).respond_with(created)).await;
    let mut action = action();
    launch::set_times(&mut action, now(), Duration::from_mins(5));
    launch::sign_action(&mut action, setup.signer.as_ref(), now()).await.unwrap();
    setup.client.post_action(&action).await.unwrap();

    let requests = setup.requests().await;
    assert_eq!(requests[0].headers["Content-Type"], "application/x-www-form-urlencoded");
    let fields = form(&requests[0]);
    assert_eq!(fields[0].0, "action");
    let received: Action = mig_types::wire::from_slice(fields[0].1.as_bytes()).unwrap();
    assert!(received.validate(now()).is_ok());
    let signers = verify::verify_action(&setup.keyring, &received, now()).unwrap();
    assert_eq!(signers[0].fingerprint, setup.signer.fingerprint().await.unwrap());

    // The reason is told for any other answer, even one that means well.
    setup.server.reset().await;
    setup.answers(Mock::given(any()).respond_with(refusal(400, "action is expired"))).await;
    let error = setup.client.post_action(&action).await.unwrap_err();
    assert_eq!(error.to_string(), "the API answered 400: action is expired");
    setup.server.reset().await;
    setup.answers(Mock::given(any()).respond_with(answer(200, &[]))).await;
    assert!(setup.client.post_action(&action).await.is_err());
}

#[tokio::test]
async fn commands_are_paged_and_each_comes_once() {
    let setup = Setup::new("").await;
    let page = |offset: &str, ids: &[u64]| {
        let data: Vec<(&str, Value)> =
            ids.iter().map(|id| ("command", json!({"id": id, "status": "success"}))).collect();
        Mock::given(path("/api/v1/search"))
            .and(query_param("type", "command"))
            .and(query_param("actionid", "9"))
            .and(query_param("foundanything", "true"))
            .and(query_param("status", "success"))
            .and(query_param("offset", offset))
            .respond_with(answer(200, &data))
    };
    setup.answers(page("0", &[1, 2, 3])).await;
    setup.answers(page("200", &[3, 4])).await;
    setup
        .answers(
            Mock::given(query_param("offset", "400"))
                .respond_with(refusal(404, "no results found")),
        )
        .await;
    let query = CommandQuery {
        action: "9".parse().unwrap(),
        foundanything: Some(true),
        status: Some(mig_types::CommandStatus::Success),
    };
    let commands = setup.client.commands(&query).await.unwrap();
    assert_eq!(commands.iter().map(|command| command.id.get()).collect::<Vec<_>>(), [1, 2, 3, 4]);

    // One is missing: the pages are read once more, and no more than that.
    let before = setup.requests().await.len();
    let mut each = setup.client.each_command(query).expecting(5);
    let mut count = 0;
    while each.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!((count, setup.requests().await.len() - before), (4, 6));
    let mut enough = setup.client.each_command(query).expecting(4);
    while enough.next().await.unwrap().is_some() {}
    assert_eq!(setup.requests().await.len() - before, 9);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_after_what_was_good() {
    let setup = Setup::new("").await;
    let whole = r#"{"collection":{"items":[{"data":[{"name":"agent","value":{"name":"a"}}]},{"da"#;
    let cut = ResponseTemplate::new(200).set_body_string(whole);
    setup.answers(Mock::given(any()).respond_with(cut)).await;
    let mut agents = setup.client.agents_of_target("all").await.unwrap();
    assert_eq!(agents.next().await.unwrap().unwrap().name, "a");
    let error = agents.next().await.unwrap_err();
    assert!(matches!(error, ClientError::Answer(_)), "{error}");
    assert!(setup.client.evaluate_target("all").await.is_err());

    let client = setup.client.with_max_answer(20);
    let error = client.evaluate_target("all").await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit: 20 }), "{error}");
}

#[tokio::test]
async fn investigators_are_created_changed_and_read() {
    let setup = Setup::new("").await;
    let created = answer(201, &[("Investigator ID 3", json!({"id": 3, "name": "Ann"}))]);
    setup.answers(Mock::given(path("/api/v1/investigator/create/")).respond_with(created)).await;
    let new = NewInvestigator {
        name: "Ann",
        permissions: Permissions::DEFAULT,
        publickey: Some("-----BEGIN PGP PUBLIC KEY BLOCK-----"),
    };
    let investigator = setup.client.create_investigator(&new).await.unwrap();
    assert_eq!(investigator.id.get(), 3);
    let requests = setup.requests().await;
    let kind = requests[0].headers["Content-Type"].to_str().unwrap();
    assert!(kind.starts_with("multipart/form-data"), "{kind}");
    let body = String::from_utf8_lossy(&requests[0].body);
    for part in [
        "name=\"name\"\r\n\r\nAnn\r\n",
        "name=\"permissions\"\r\n\r\n{\"search\":true,",
        "name=\"publickey\"; filename=\"Ann.asc\"",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\r\n",
    ] {
        assert!(body.contains(part), "{part:?} not in {body}");
    }

    let updated = answer(200, &[("Investigator ID 3", json!({"id": 3, "status": "disabled"}))]);
    setup.answers(Mock::given(path("/api/v1/investigator/update/")).respond_with(updated)).await;
    let id = investigator.id;
    for (change, value) in [
        (InvestigatorChange::Status(InvestigatorStatus::Disabled), ("status", "disabled")),
        (InvestigatorChange::ApiKey(true), ("apikey", "active")),
        (InvestigatorChange::ApiKey(false), ("apikey", "disabled")),
    ] {
        setup.client.update_investigator(id, change).await.unwrap();
        let fields = form(setup.requests().await.last().unwrap());
        assert_eq!(fields[0], ("id".into(), "3".into()));
        assert_eq!(fields[1], (value.0.into(), value.1.into()));
    }

    let one = json!({"id": 3, "name": "Ann", "permissions": {"search": true}});
    setup
        .answers(
            Mock::given(query_param("investigatorid", "3"))
                .respond_with(answer(200, &[("investigator", one.clone())])),
        )
        .await;
    assert_eq!(setup.client.investigator(id).await.unwrap().name, "Ann");
    setup
        .answers(
            Mock::given(query_param("type", "investigator"))
                .respond_with(answer(200, &[("investigator", one)])),
        )
        .await;
    assert_eq!(setup.client.investigators().await.unwrap().len(), 1);
}

#[tokio::test]
async fn answers_are_bounded() {
    let setup = Setup::new("").await;
    let large = ResponseTemplate::new(200).set_body_bytes(vec![b' '; 2_000]);
    setup.answers(Mock::given(any()).respond_with(large)).await;
    let client = setup.client.with_max_answer(1_999);
    let error = client.dashboard().await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit: 1_999 }), "{error}");
}

#[tokio::test]
async fn odd_answers_become_readable_errors() {
    let setup = Setup::new("").await;
    for (status, body, message) in [
        (404, "404 page not found\n", "the API answered 404: 404 page not found"),
        (502, "<html>nginx</html>", "the API answered 502: Bad Gateway"),
        (500, "", "the API answered 500: Internal Server Error"),
        (200, "not json", "the API's answer cannot be read"),
        (200, "", "the API's answer cannot be read"),
    ] {
        setup.server.reset().await;
        let template = ResponseTemplate::new(status).set_body_string(body);
        setup.answers(Mock::given(any()).respond_with(template)).await;
        assert_eq!(setup.client.dashboard().await.unwrap_err().to_string(), message);
    }
}

#[tokio::test]
async fn a_redirection_to_another_server_gets_no_token() {
    let setup = Setup::new("").await;
    let other = MockServer::start().await;
    other.register(Mock::given(any()).respond_with(answer(200, &[]))).await;
    let away = ResponseTemplate::new(302).insert_header("Location", other.uri());
    setup.answers(Mock::given(path("/api/v1/dashboard")).respond_with(away)).await;
    let error = setup.client.dashboard().await.unwrap_err();
    assert!(matches!(error, ClientError::Api { status: 302, .. }), "{error}");
    assert!(other.received_requests().await.unwrap().is_empty());

    // Within the API it is followed: a Go API cleans paths this way.
    let within = ResponseTemplate::new(301).insert_header("Location", "/api/v1/there");
    setup.answers(Mock::given(path("/api/v1/heartbeat")).respond_with(within)).await;
    let there = answer(200, &[("heartbeat", json!("ok"))]);
    let there = Mock::given(path("/api/v1/there"))
        .and(header("User-Agent", "MIG Client cmd-1.2"))
        .respond_with(there);
    setup.answers(there).await;
    assert_eq!(setup.client.heartbeat().await.unwrap(), json!("ok"));
}

#[tokio::test]
async fn an_unreachable_api_is_named_without_the_query() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let base = format!("http://127.0.0.1:{port}/api/v1/");
    let text = format!("[api]\nurl = {base}");
    let (config, _) = ClientConfig::parse(&text, ".migrc", &|_| None).unwrap();
    let client =
        ApiClient::new(&config, "cmd", "1", None, Arc::new(ManualClock::new(now()))).unwrap();
    let error = client.evaluate_target("secret target").await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot reach the API at {base}search"));
    let mut source = std::error::Error::source(&error);
    assert!(source.is_some());
    while let Some(cause) = source {
        assert!(!cause.to_string().contains("target="), "{cause}");
        source = cause.source();
    }
}

/// A client that asks again, quickly, and what it said about that.
fn patient(setup: &Setup, times: u32) -> (ApiClient, Arc<std::sync::Mutex<Vec<String>>>) {
    let said = Arc::new(std::sync::Mutex::new(Vec::new()));
    let text = format!("[api]\nurl = {}/api/v1\n", setup.server.uri());
    let (config, _) = ClientConfig::parse(&text, ".migrc", &|_| None).unwrap();
    let told = Arc::clone(&said);
    let retry = Retry {
        times,
        first: Duration::from_millis(2),
        tell: Arc::new(move |text| told.lock().unwrap().push(text.to_owned())),
        ..Retry::default()
    };
    let client = ApiClient::new(&config, "cmd", "1.2", None, setup.clock.clone()).unwrap();
    (client.with_retry(retry), said)
}

#[tokio::test]
async fn what_is_only_read_is_asked_for_again_and_each_time_is_told() {
    for status in [429, 502, 503, 504] {
        let setup = Setup::new("").await;
        let busy = refusal(status, "busy").insert_header("retry-after", "0");
        setup.answers(Mock::given(method("GET")).respond_with(busy).up_to_n_times(2)).await;
        setup
            .answers(Mock::given(any()).respond_with(answer(200, &[("heartbeat", json!({}))])))
            .await;
        let (client, said) = patient(&setup, 2);
        client.heartbeat().await.unwrap();
        assert_eq!(setup.requests().await.len(), 3, "{status}");
        let said = said.lock().unwrap().clone();
        let text = format!("the API answered {status}; asking again in 0s (1 of 2)");
        assert_eq!((said.len(), said[0].as_str()), (2, text.as_str()));
        // And no more often than that: then the answer is an error.
        let setup = Setup::new("").await;
        let busy = refusal(status, "busy").insert_header("retry-after", "0");
        setup.answers(Mock::given(any()).respond_with(busy)).await;
        let (client, _) = patient(&setup, 2);
        let error = client.agents_of_target("a='b'").await.err().unwrap();
        assert!(matches!(error, ClientError::Api { status: s, .. } if s == status), "{error}");
        assert_eq!(setup.requests().await.len(), 3, "{status}");
    }
}

#[tokio::test]
async fn neither_a_post_nor_a_final_answer_is_repeated() {
    let setup = Setup::new("").await;
    let busy = refusal(503, "busy").insert_header("retry-after", "0");
    setup.answers(Mock::given(any()).respond_with(busy)).await;
    let (client, said) = patient(&setup, 5);
    client.post_action(&action()).await.unwrap_err();
    assert_eq!(setup.requests().await.len(), 1);
    for status in [400, 401, 404, 500] {
        let setup = Setup::new("").await;
        setup.answers(Mock::given(any()).respond_with(refusal(status, "no"))).await;
        let (client, _) = patient(&setup, 5);
        client.heartbeat().await.unwrap_err();
        assert_eq!(setup.requests().await.len(), 1, "{status}");
    }
    // Nor is one that wants to be left alone for an hour asked before.
    let setup = Setup::new("").await;
    let later = refusal(503, "later").insert_header("retry-after", "3600");
    setup.answers(Mock::given(any()).respond_with(later)).await;
    let (client, _) = patient(&setup, 5);
    client.heartbeat().await.unwrap_err();
    assert_eq!(setup.requests().await.len(), 1);
    assert!(said.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_that_is_refused_or_breaks_off_is_made_again() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let setup = Setup::new("").await;
    let (listener, whole) = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let body = r#"{"collection":{"items":[{"data":[{"name":"heartbeat","value":{}}]}]}}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        (listener, format!("{head}{body}"))
    };
    let text = format!("[api]\nurl = http://{}/api/v1\n", listener.local_addr().unwrap());
    let (config, _) = ClientConfig::parse(&text, ".migrc", &|_| None).unwrap();
    let half = whole.len() - 20;
    let server = tokio::spawn(async move {
        // Nothing, half an answer, and all of it.
        for length in [0, half, whole.len()] {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await.unwrap();
            connection.write_all(&whole.as_bytes()[..length]).await.unwrap();
        }
    });
    let retry = Retry { times: 2, first: Duration::from_millis(2), ..Retry::default() };
    let client = ApiClient::new(&config, "cmd", "1", None, setup.clock.clone()).unwrap();
    client.with_retry(retry).heartbeat().await.unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn what_an_api_gives_to_everybody_tells_its_generation() {
    let no_key = "Invalid Fingerprint : No PublicKey found for fingerprint '0000'";
    let no_page = "404 page not found\n";
    for (key, home, expected) in [
        ((404, no_key), (200, r#"{"collection":{}}"#), Some(Generation::Own)),
        ((404, no_key), (404, no_page), Some(Generation::Go2019)),
        ((404, no_key), (502, "<html>"), None),
        ((404, no_page), (200, r#"{"collection":{}}"#), Some(Generation::Go2016)),
        ((200, "<html>"), (200, "<html>"), None),
        ((404, "<html>"), (404, "<html>"), None),
    ] {
        let setup = Setup::new("").await;
        let answers = |(status, body): (u16, &str)| {
            ResponseTemplate::new(status).set_body_string(body.to_owned())
        };
        let nobody = format!("/api/v1/publickey/{}", "0".repeat(40));
        setup.answers(Mock::given(path(nobody)).respond_with(answers(key))).await;
        setup.answers(Mock::given(path("/api/v1/")).respond_with(answers(home))).await;
        assert_eq!(setup.client.generation().await.unwrap(), expected, "{key:?} {home:?}");
    }
}

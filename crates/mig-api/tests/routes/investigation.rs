//! Investigating: actions, commands, investigators, searches.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use mig_sign::sign::SecretKey;
use mig_store::{Finished, InvestigatorChange, NewCommand, NewInvestigator, Owner};
use mig_types::{
    Action, ActionId, Agent, AgentMode, CommandStatus, Fingerprint, IdGenerator,
    InvestigatorStatus, ModuleResult, Permissions,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::bench::{BASE, Bench, first, message};

#[tokio::test]
async fn unknown_paths_and_methods_are_plain_404() {
    let bench = Bench::start(Permissions::ALL).await;
    for request in [
        Request::get("/api/v1/action/create"),
        Request::post("/api/v1/dashboard"),
        Request::get("/nowhere"),
        Request::get("/api/v1/dashboard/"),
    ] {
        let (status, body) = bench.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(body, b"404 page not found\n");
    }
}

#[tokio::test]
async fn anybody_may_ask_what_loaders_and_agents_need() {
    let bench = Bench::start(Permissions::NONE).await;
    let plain = |path: &str| Request::get(format!("/api/v1{path}")).body(Body::empty()).unwrap();
    let (status, body) = bench.send(plain("/heartbeat")).await;
    assert_eq!(status, StatusCode::OK);
    // To the byte what the original answers.
    assert_eq!(
        String::from_utf8(body).unwrap(),
        format!(
            r#"{{"collection":{{"version":"1.0","href":"{BASE}/heartbeat","items":[{{"href":"/api/v1/heartbeat","data":[{{"name":"heartbeat","value":"gatorz say hi"}}]}}],"template":{{}},"error":{{}}}}}}"#
        )
    );
    let (status, body) = bench.send(plain("/ip")).await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, &b"0.0.0.0"[..]));
    let fingerprint = bench.key.fingerprint().as_str().to_lowercase();
    let (status, body) = bench.send(plain(&format!("/publickey/{fingerprint}"))).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.starts_with(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n"));
    let (status, body) = bench.send(plain(&format!("/publickey/{}", "A".repeat(40)))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.starts_with(b"Invalid Fingerprint : No PublicKey found for fingerprint 'AAAA"));
    let (status, _) = bench.send(plain("/")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn tokens_expire_and_a_disabled_investigator_is_out_at_once() {
    let bench = Bench::start(Permissions::ALL).await;
    let old = bench.token();
    assert_eq!(bench.get("/dashboard").await.0, StatusCode::OK);
    bench.clock.advance(Duration::from_mins(11));
    let request = Request::get("/api/v1/dashboard")
        .header("x-pgpauthorization", old)
        .body(Body::empty())
        .unwrap();
    assert_eq!(bench.send(request).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(bench.get("/dashboard").await.0, StatusCode::OK);

    // A second administrator, so that the first may be disabled.
    let other = NewInvestigator {
        name: "Bob".to_owned(),
        fingerprint: Some(
            "2466BA175C45F967CD20A06B09C0241F854718C7".parse::<Fingerprint>().unwrap(),
        ),
        public_key: None,
        private_key: None,
        permissions: Permissions::ALL,
    };
    bench.store.insert_investigator(&other, bench.now()).await.unwrap();
    let disabled =
        InvestigatorChange { status: Some(InvestigatorStatus::Disabled), ..Default::default() };
    let fingerprint = bench.key.fingerprint();
    let row = bench.store.investigator_by_fingerprint(fingerprint).await.unwrap().unwrap();
    bench.store.change_investigator(row.id, &disabled, bench.now()).await.unwrap();
    assert_eq!(bench.get("/dashboard").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn with_authentication_off_everybody_may_do_everything() {
    let bench = Bench::with(Permissions::NONE, |config| {
        config.authentication.enabled = false;
    })
    .await;
    let request = Request::get("/api/v1/dashboard").body(Body::empty()).unwrap();
    let (status, body) = bench.send(request).await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["collection"]["items"][0]["data"][0]["name"], "online agents");
    assert_eq!(first(&body), &json!(0));
}

#[tokio::test]
async fn a_signed_action_is_stored_and_read_back() {
    let bench = Bench::start(Permissions::DEFAULT).await;
    let (status, body) = bench.create(&bench.action()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{}", message(&body));
    let stored = first(&body);
    let id = stored["id"].as_u64().unwrap();
    assert_eq!(body["collection"]["items"][0]["data"][0]["name"], json!(format!("action ID {id}")));
    assert_eq!(stored["status"], "pending");
    assert_eq!(stored["finishtime"], "9998-01-11T11:11:11Z");
    let (status, body) = bench.get(&format!("/action?actionid={id}")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(first(&body)["name"], "file -path /etc ");
    assert_eq!(first(&body)["investigators"][0]["name"], "Ada");
    assert!(first(&body)["investigators"][0].get("publickey").is_none());
    let (status, body) = bench.get("/action?actionid=1").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(message(&body), "Action ID '1' not found");
    let (status, body) = bench.get("/action?actionid=abc").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(message(&body), "Invalid Action ID 'abc'");
}

#[tokio::test]
async fn a_bad_action_is_refused_with_its_reason_and_nothing_is_stored() {
    let bench = Bench::start(Permissions::DEFAULT).await;
    let spoil = |change: &dyn Fn(&mut Action), resign: bool| {
        let mut action = bench.action();
        change(&mut action);
        if resign {
            bench.sign(&mut action);
        }
        action
    };
    let past = bench.now() - Duration::from_secs(5);
    for (action, reason) in [
        (spoil(&|a| a.pgpsignatures.clear(), false), "not signed"),
        (spoil(&|a| a.name.push('x'), false), "VerifySignatures()"),
        (spoil(&|a| a.expireafter = past, true), "in the past"),
        (spoil(&|a| a.syntaxversion = 1, true), "syntax version"),
        (spoil(&|a| a.target = "1; drop table agents".into(), true), "target is refused at line 1"),
        (spoil(&|a| a.name = "a;target=b".into(), true), "ambiguous"),
        (spoil(&|a| a.operations = None, true), "no operations"),
    ] {
        let (status, body) = bench.create(&action).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{reason}");
        assert!(message(&body).contains(reason), "{reason}: {}", message(&body));
    }
    let mut twice = bench.action();
    twice.pgpsignatures.push(twice.pgpsignatures[0].clone());
    assert_eq!(bench.create(&twice).await.0, StatusCode::BAD_REQUEST);
    for fields in [&[][..], &[("action", "")], &[("action", "{")]] {
        let (status, body) = bench.post("/action/create/", fields).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(!message(&body).is_empty());
    }
    let (status, body) = bench.get("/search?type=action").await;
    assert_eq!((status, message(&body)), (StatusCode::NOT_FOUND, "no results found"));
}

#[tokio::test]
async fn investigators_are_created_shown_and_changed() {
    let bench = Bench::start(Permissions::ALL).await;
    let key = SecretKey::generate_ed25519("Bob <bob@example.net>", bench.now()).unwrap();
    let armored = key.public_armored().unwrap();
    let fields = [("name", "Bob"), ("publickey", armored.as_str()), ("isadmin", "true")];
    let (status, body) = bench.post("/investigator/create/", &fields).await;
    assert_eq!(status, StatusCode::CREATED, "{}", message(&body));
    let id = first(&body)["id"].as_u64().unwrap();
    assert_eq!(first(&body)["isadmin"], true);
    let (status, _) = bench.post("/investigator/create/", &fields).await;
    assert_eq!(status, StatusCode::CONFLICT);
    for fields in [
        &[("name", ""), ("publickey", armored.as_str())][..],
        &[("name", "migscheduler")],
        &[("name", "Eve"), ("publickey", "garbage")],
        &[("name", "Eve"), ("permissions", "[")],
        &[("name", "Eve"), ("isadmin", "perhaps")],
    ] {
        assert_eq!(bench.post("/investigator/create/", fields).await.0, StatusCode::BAD_REQUEST);
    }
    let id_text = id.to_string();
    let update = [("id", id_text.as_str()), ("isadmin", "false"), ("apikey", "active")];
    let (status, body) = bench.post("/investigator/update/", &update).await;
    assert_eq!(status, StatusCode::OK, "{}", message(&body));
    let api_key = first(&body)["apikey"].as_str().unwrap().to_owned();
    assert_eq!(api_key.len(), 32);
    let (_, body) = bench.get(&format!("/investigator?investigatorid={id}")).await;
    assert_eq!(first(&body)["apikey"], "set");
    assert_eq!(first(&body)["isadmin"], false);
    assert!(first(&body).get("privatekey").is_none());

    let request = Request::get("/api/v1/dashboard")
        .header("x-migapikey", &api_key)
        .body(Body::empty())
        .unwrap();
    assert_eq!(bench.send(request).await.0, StatusCode::OK);

    let unknown = [("id", "999"), ("status", "disabled")];
    assert_eq!(bench.post("/investigator/update/", &unknown).await.0, StatusCode::NOT_FOUND);
    let last = [("id", "1"), ("isadmin", "false")];
    let (status, body) = bench.post("/investigator/update/", &last).await;
    assert_eq!((status, message(&body)), (StatusCode::BAD_REQUEST, "will not remove last admin"));
}

#[tokio::test]
async fn a_multipart_form_creates_an_investigator_too() {
    let bench = Bench::start(Permissions::ALL).await;
    let key = SecretKey::generate_ed25519("Bob <bob@example.net>", bench.now()).unwrap();
    let body = format!(
        "--xx\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nBob\r\n--xx\r\n\
         Content-Disposition: form-data; name=\"permissions\"\r\n\r\n{{\"search\":true}}\r\n--xx\r\n\
         Content-Disposition: form-data; name=\"publickey\"; filename=\"Bob.asc\"\r\n\r\n{}\r\n--xx--\r\n",
        key.public_armored().unwrap()
    );
    let request = Request::post("/api/v1/investigator/create/")
        .header("x-pgpauthorization", bench.token())
        .header(header::CONTENT_TYPE, "multipart/form-data; boundary=xx")
        .body(Body::from(body))
        .unwrap();
    let (status, body) = bench.send(request).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, StatusCode::CREATED, "{}", message(&body));
    assert_eq!(first(&body)["permissions"]["search"], true);
    assert_eq!(first(&body)["permissions"]["action"], false);
}

/// Registers agents and dispatches an action to them.
async fn dispatch(bench: &Bench, names: &[&str]) -> (ActionId, Vec<NewCommand>) {
    let ids = IdGenerator::new(99);
    let beats: Vec<Agent> = names
        .iter()
        .map(|name| Agent {
            name: (*name).to_owned(),
            queueloc: format!("linux.{name}"),
            mode: AgentMode::Daemon,
            version: "1".to_owned(),
            pid: 7,
            ..Agent::default()
        })
        .collect();
    bench.store.upsert_heartbeats(&beats, &ids, bench.now()).await.unwrap();
    let (_, body) = bench.create(&bench.action()).await;
    let id: ActionId = first(&body)["id"].to_string().parse().unwrap();
    let owner = Owner("test".to_owned());
    bench.store.claim_actions(&owner, Duration::from_mins(1), 10, bench.now()).await.unwrap();
    let target = "status='online'".parse().unwrap();
    let agents = bench.store.agents_by_target(&target, bench.now()).await.unwrap();
    let commands: Vec<NewCommand> = agents
        .iter()
        .map(|agent| NewCommand { id: ids.command(bench.now()), agent: agent.id })
        .collect();
    assert!(bench.store.dispatch(id, &owner, &commands, bench.now()).await.unwrap());
    (id, commands)
}

#[tokio::test]
async fn following_streams_each_result_and_ends_with_the_action() {
    let bench = Bench::start(Permissions::DEFAULT).await;
    let names = ["web1", "web2", "web3"];
    let (id, commands) = dispatch(&bench, &names).await;
    let request = Request::get(format!("/api/v1/actions/{id}/follow"))
        .header("x-pgpauthorization", bench.token())
        .body(Body::empty())
        .unwrap();
    let response = bench.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let mut lines: Vec<Value> = Vec::new();
    let mut finished = 0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let frame = tokio::time::timeout_at(deadline, body.frame()).await.unwrap();
        let Some(frame) = frame else { break };
        let bytes = frame.unwrap().into_data().unwrap();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            lines.push(serde_json::from_slice(line).unwrap());
        }
        // One more result for every line read: each must arrive while the
        // stream is open.
        if finished < commands.len() {
            let everybody = "name like '%'".parse().unwrap();
            let agents = bench.store.agents_by_target(&everybody, bench.now()).await.unwrap();
            let queueloc = agents[finished].queueloc.parse().unwrap();
            let result = Finished {
                id: commands[finished].id,
                queueloc,
                status: CommandStatus::Success,
                results: vec![ModuleResult { success: true, ..ModuleResult::default() }],
            };
            bench.store.finish_commands(&[result], bench.now()).await.unwrap();
            finished += 1;
            if finished == commands.len() {
                bench.store.complete_actions(bench.now()).await.unwrap();
            }
        }
    }
    let seen: Vec<u64> = lines.iter().filter_map(|line| line["command"]["id"].as_u64()).collect();
    let mut wanted: Vec<u64> = commands.iter().map(|command| command.id.get()).collect();
    wanted.sort_unstable();
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, wanted, "each command once: {lines:#?}");
    let last = lines.last().unwrap();
    assert_eq!(last["done"], true);
    assert_eq!(last["action"]["counters"]["success"], 3);

    // A reader that resumes after the last command sees the end alone.
    let cursor = lines.iter().filter_map(|line| line["cursor"].as_u64()).max().unwrap();
    let request = Request::get(format!("/api/v1/actions/{id}/follow?cursor={cursor}"))
        .header("x-pgpauthorization", bench.token())
        .body(Body::empty())
        .unwrap();
    let (_, body) = bench.send(request).await;
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line).unwrap();
        assert!(line.get("command").is_none(), "{line}");
    }
}

#[tokio::test]
async fn a_follower_is_let_go_when_the_server_stops() {
    let bench = Bench::start(Permissions::DEFAULT).await;
    let (id, _) = dispatch(&bench, &["web1"]).await;
    let request = Request::get(format!("/api/v1/actions/{id}/follow"))
        .header("x-pgpauthorization", bench.token())
        .body(Body::empty())
        .unwrap();
    let response = bench.router.clone().oneshot(request).await.unwrap();
    bench.trigger.request();
    let read = tokio::time::timeout(Duration::from_secs(20), response.into_body().collect());
    read.await.expect("the stream ends").unwrap();
}

#[tokio::test]
async fn search_finds_commands_and_agents_and_echoes_its_parameters() {
    let bench = Bench::start(Permissions::DEFAULT).await;
    let (id, _) = dispatch(&bench, &["web1", "web2", "db1"]).await;
    let (status, body) = bench.get(&format!("/search?type=command&actionid={id}&limit=2")).await;
    assert_eq!(status, StatusCode::OK);
    let items = body["collection"]["items"].as_array().unwrap();
    assert_eq!(items.len(), 3, "two commands and the parameters");
    assert_eq!(items[2]["data"][0]["name"], "search parameters");
    let path = "/search?type=agent&target=name%20like%20%27web%25%27&limit=1000000";
    let (status, body) = bench.get(path).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["collection"]["items"].as_array().unwrap().len(), 3);
    let (status, body) = bench.get("/search?type=agent&target=nosuchcol%3D1").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(message(&body).contains("target is refused"), "{}", message(&body));
    let (status, body) = bench.get("/search?type=bogus").await;
    assert_eq!((status, message(&body)), (StatusCode::BAD_REQUEST, "search type is invalid"));
    let agent = body["collection"]["items"][0]["data"][0]["name"].clone();
    assert_eq!(agent, "search parameters");
}

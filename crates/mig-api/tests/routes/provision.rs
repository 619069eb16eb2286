//! Manifests and loaders, from the upload to the file on the endpoint.

use std::io::Read as _;

use axum::body::Body;
use axum::http::{StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mig_api::Verb;
use mig_sign::canonical::manifest_document;
use mig_sign::sign::SecretKey;
use mig_sign::token;
use mig_store::NewInvestigator;
use mig_types::{Manifest, ManifestId, ManifestRecord, Permissions, wire};
use serde_json::{Value, json};

use crate::bench::{Bench, first, message, plain};

/// The archive of two files, made by another program.
const ARCHIVE: &str = include_str!("../fixtures/manifest.b64");

const LINUX: &str = "env#>>'{os}'='linux'";

impl Bench {
    async fn upload(&self, name: &str, target: &str) -> (StatusCode, Value) {
        let record = json!({
            "id": 0, "name": name, "content": ARCHIVE.trim(), "target": target,
            "timestamp": "0001-01-01T00:00:00Z", "status": "active", "signatures": null,
        });
        self.post("/manifest/new/", &[("manifest", &record.to_string())]).await
    }

    /// What is signed for a manifest, as a client makes it from the content.
    fn document() -> Vec<u8> {
        let entry = |name: &str, sha256: &str| mig_types::ManifestEntry {
            name: name.to_owned(),
            sha256: sha256.to_owned(),
        };
        manifest_document(&Manifest {
            entries: Some(vec![
                entry(
                    "configuration",
                    "2fd7d6dfbd4a9aee7cb847917f9dcdf6d68d8248d561810312000d32d6a56ab8",
                ),
                entry(
                    "mig-agent",
                    "f45f7870c441d7b6ae4e8702c85e5ebd069edd8f193d6249cca31567201f74a1",
                ),
            ]),
            ..Manifest::default()
        })
    }

    async fn approve(&self, key: &SecretKey, id: &str) -> (StatusCode, Value) {
        let signature = key.sign(&Self::document(), self.now()).unwrap();
        self.post("/manifest/sign/", &[("manifestid", id), ("signature", &signature)]).await
    }

    async fn loader(&self, name: &str, fields: Value) -> (u64, String) {
        let mut entry = json!({ "name": name });
        entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let (status, body) = self.post("/loader/new/", &[("loader", &entry.to_string())]).await;
        assert_eq!(status, StatusCode::CREATED, "{}", message(&body));
        let made = first(&body);
        let key = format!("{}{}", made["prefix"].as_str().unwrap(), made["key"].as_str().unwrap());
        (made["id"].as_u64().unwrap(), key)
    }

    /// A request of a loader on a host.
    async fn ask(&self, path: &str, key: &str, parameters: Value) -> (StatusCode, Value) {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("parameters", &parameters.to_string());
        let request = plain(Verb::Post, &format!("/api/v1{path}"))
            .header("x-loaderkey", key)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.finish()))
            .unwrap();
        let (status, body) = self.send(request).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

fn host(name: &str, os: &str) -> Value {
    json!({
        "agent": {
            "name": name, "queueloc": format!("{os}.{name}"), "mode": "", "pid": 7,
            "starttime": "0001-01-01T00:00:00Z", "destructiontime": "0001-01-01T00:00:00Z",
            "heartbeatts": "0001-01-01T00:00:00Z", "refreshts": "0001-01-01T00:00:00Z",
            "environment": { "os": os, "isproxied": false, "aws": {} },
            "tags": { "operator": "IT" },
        },
        "object": "",
    })
}

fn fetch(name: &str, os: &str, object: &str) -> Value {
    let mut parameters = host(name, os);
    parameters["object"] = object.into();
    parameters
}

#[tokio::test]
async fn a_loader_gets_the_newest_signed_manifest_for_it_and_whole_files() {
    let bench = Bench::with(Permissions::ALL, |c| c.manifest.requiredsignatures = 1).await;
    let (status, body) = bench.upload("base", LINUX).await;
    assert_eq!(status, StatusCode::CREATED, "{}", message(&body));
    assert!(body["collection"].get("items").is_none());
    let (status, body) = bench.get("/manifest?manifestid=1").await;
    assert_eq!(status, StatusCode::OK);
    let record: ManifestRecord = wire::from_value(first(&body).clone()).unwrap();
    assert_eq!(record.content, ARCHIVE.trim());
    assert_eq!(first(&body)["status"], "staged", "whatever was posted");
    assert_eq!(first(&body)["signatures"], Value::Null);

    let (id, key) = bench.loader("web1", json!({ "expectenv": LINUX })).await;
    let refused = bench.ask("/manifest/agent/", &key, host("web1", "linux")).await;
    assert_eq!(refused.0, StatusCode::UNAUTHORIZED, "entries start disabled");
    let id = id.to_string();
    let enable = [("loaderid", id.as_str()), ("status", "enabled")];
    assert_eq!(bench.post("/loader/status/", &enable).await.0, StatusCode::OK);
    let none = "Unable to locate valid manifest for this loader entry";
    let (status, body) = bench.ask("/manifest/agent/", &key, host("web1", "linux")).await;
    assert_eq!((status, message(&body)), (StatusCode::INTERNAL_SERVER_ERROR, none));

    let (status, body) = bench.approve(&bench.key, "1").await;
    assert_eq!(status, StatusCode::OK, "{}", message(&body));
    let (status, body) = bench.ask("/manifest/agent/", &key, host("web1", "linux")).await;
    assert_eq!(status, StatusCode::OK, "{}", message(&body));
    assert_eq!(body["collection"]["items"][0]["href"], "/api/v1/manifest/agent/");
    assert_eq!(body["collection"]["items"][0]["data"][0]["name"], "manifest");
    let mut manifest: Manifest = wire::from_value(first(&body).clone()).unwrap();
    assert_eq!(manifest.loader_name, "web1");
    let signatures = std::mem::take(&mut manifest.signatures);
    assert_eq!(manifest_document(&manifest), Bench::document());
    let mut keyring = mig_sign::keyring::Keyring::default();
    keyring.add_armored(&bench.key.public_armored().unwrap()).unwrap();
    let document = Bench::document();
    for signature in &signatures {
        mig_sign::verify::verify_detached(&keyring, &document, signature, bench.now()).unwrap();
    }
    assert_eq!(signatures.len(), 1);

    let file = fetch("web1", "linux", "mig-agent");
    let (status, body) = bench.ask("/manifest/fetch/", &key, file).await;
    assert_eq!(status, StatusCode::OK, "{}", message(&body));
    let packed = STANDARD.decode(first(&body)["data"].as_str().unwrap()).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"hello agent\n");
    let absent = fetch("web1", "linux", "absent");
    let (status, body) = bench.ask("/manifest/fetch/", &key, absent).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(message(&body), "object absent not found in manifest");
    let (status, body) = bench.ask("/manifest/fetch/", &key, host("web1", "linux")).await;
    assert_eq!(
        (status, message(&body)),
        (StatusCode::BAD_REQUEST, "manifest fetch with no object")
    );

    // On another system it meets neither its expectation nor the target.
    let (status, body) = bench.ask("/manifest/agent/", &key, host("web1", "windows")).await;
    assert_eq!((status, message(&body)), (StatusCode::INTERNAL_SERVER_ERROR, none));
    let clear = [("loaderid", id.as_str()), ("expectenv", "")];
    assert_eq!(bench.post("/loader/expect/", &clear).await.0, StatusCode::OK);
    let (status, _) = bench.ask("/manifest/agent/", &key, host("web1", "windows")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);

    let (_, body) = bench.get(&format!("/loader?loaderid={id}")).await;
    let entry = first(&body);
    assert_eq!((&entry["agentname"], &entry["key"]), (&json!("web1"), &json!("")));
    assert_eq!(entry["enabled"], true);
    bench.ask("/manifest/agent/", &key, host("web1", "linux")).await;
    let (status, body) = bench.get("/manifest/loaders/?manifestid=1").await;
    assert_eq!(status, StatusCode::OK, "{}", message(&body));
    assert_eq!(first(&body)["name"], "web1");
}

#[tokio::test]
async fn a_condition_cannot_reach_beyond_the_loader_it_is_about() {
    let bench = Bench::start(Permissions::ALL).await;
    // Unparenthesised, the second half would hold for every loader there is.
    bench.upload("greedy", "loadername='nobody' OR env#>>'{os}'='windows'").await;
    assert_eq!(bench.approve(&bench.key, "1").await.0, StatusCode::OK);
    let (linux, linux_key) = bench.loader("web1", json!({})).await;
    let (windows, windows_key) = bench.loader("desk1", json!({})).await;
    for id in [linux, windows] {
        let id = id.to_string();
        bench.post("/loader/status/", &[("loaderid", &id), ("status", "enabled")]).await;
    }
    let asked = bench.ask("/manifest/agent/", &windows_key, host("desk1", "windows")).await;
    assert_eq!(asked.0, StatusCode::OK);
    let asked = bench.ask("/manifest/agent/", &linux_key, host("web1", "linux")).await;
    assert_eq!(asked.0, StatusCode::INTERNAL_SERVER_ERROR);
    for target in [
        "1=1); UPDATE loaders SET enabled=true; --",
        "loaderkey IS NOT NULL",
        "id IN (SELECT id FROM investigators)",
        "pg_sleep(10) IS NULL",
        "",
        "name = 'web1'",
    ] {
        let (status, body) = bench.upload("evil", target).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{target}");
        assert!(message(&body).contains("target is refused"), "{}", message(&body));
        let expect = [("loaderid", "1"), ("expectenv", target)];
        let status = bench.post("/loader/expect/", &expect).await.0;
        let wanted = if target.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        assert_eq!(status, wanted, "{target}");
    }
}

#[tokio::test]
async fn only_the_callers_own_signature_over_the_manifest_counts_and_once() {
    let bench = Bench::with(Permissions::ALL, |c| c.manifest.requiredsignatures = 2).await;
    bench.upload("base", LINUX).await;
    let other = SecretKey::generate_ed25519("Bob <bob@example.net>", bench.now()).unwrap();
    let stranger = SecretKey::generate_ed25519("Eve <eve@example.net>", bench.now()).unwrap();
    let bob = NewInvestigator {
        name: "Bob".to_owned(),
        fingerprint: Some(other.fingerprint().clone()),
        public_key: Some(other.public_armored().unwrap()),
        private_key: None,
        permissions: Permissions::MANIFEST,
    };
    bench.store.insert_investigator(&bob, bench.now()).await.unwrap();
    let wrong = bench.key.sign(b"something else", bench.now()).unwrap();
    for (signature, reason) in [
        ("garbage".to_owned(), "signature is refused"),
        (wrong, "does not match"),
        (stranger.sign(&Bench::document(), bench.now()).unwrap(), "unknown entity"),
        (other.sign(&Bench::document(), bench.now()).unwrap(), "not by the caller's"),
        ("x".repeat(4097), "longer than"),
        (String::new(), "missing or empty"),
    ] {
        let fields = [("manifestid", "1"), ("signature", signature.as_str())];
        let (status, body) = bench.post("/manifest/sign/", &fields).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{reason}");
        assert!(message(&body).contains(reason), "{reason}: {}", message(&body));
    }
    assert_eq!(bench.approve(&bench.key, "1").await.0, StatusCode::OK);
    assert_eq!(bench.approve(&bench.key, "1").await.0, StatusCode::CONFLICT);
    assert_eq!(bench.approve(&bench.key, "7").await.0, StatusCode::NOT_FOUND);
    let (_, body) = bench.get("/search?type=manifest").await;
    assert_eq!(first(&body)["status"], "staged");
    assert!(first(&body).get("content").is_none());

    // The second one signs with a token of his own.
    let text = token::text(bench.now(), 9);
    let token = token::assemble(&text, &other.sign(text.as_bytes(), bench.now()).unwrap());
    let signature = other.sign(&Bench::document(), bench.now()).unwrap();
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("manifestid", "1").append_pair("signature", &signature);
    let request = plain(Verb::Post, "/api/v1/manifest/sign/")
        .header("x-pgpauthorization", token)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form.finish()))
        .unwrap();
    assert_eq!(bench.send(request).await.0, StatusCode::OK);
    let (_, body) = bench.get("/search?type=manifest&status=active&manifestname=BASE").await;
    assert_eq!(first(&body)["name"], "base");

    let status = |status: &'static str| [("manifestid", "1"), ("status", status)];
    assert_eq!(bench.post("/manifest/status/", &status("staged")).await.0, StatusCode::OK);
    let id = ManifestId::new(1).unwrap();
    assert!(bench.store.manifest_signatures(id).await.unwrap().is_empty());
    assert_eq!(bench.post("/manifest/status/", &status("disabled")).await.0, StatusCode::OK);
    let (found, body) = bench.post("/manifest/status/", &status("active")).await;
    let wanted = "Invalid status specified, must be disabled or staged";
    assert_eq!((found, message(&body)), (StatusCode::BAD_REQUEST, wanted));
    let (found, body) = bench.post("/manifest/status/", &status("staged")).await;
    assert_eq!(found, StatusCode::BAD_REQUEST, "{}", message(&body));
    let (found, body) = bench.approve(&bench.key, "1").await;
    let wanted = "Manifest signing operation failed";
    assert_eq!((found, message(&body)), (StatusCode::BAD_REQUEST, wanted));
    let (found, body) = bench.get("/manifest/loaders/?manifestid=1").await;
    let wanted = "No matching loaders for manifest '1'";
    assert_eq!((found, message(&body)), (StatusCode::NOT_FOUND, wanted));
}

#[tokio::test]
async fn while_authentication_is_off_the_signer_is_whoever_signed() {
    let bench = Bench::with(Permissions::NONE, |config| {
        config.authentication.enabled = false;
    })
    .await;
    bench.upload("base", LINUX).await;
    assert_eq!(bench.approve(&bench.key, "1").await.0, StatusCode::OK);
    let signatures = bench.store.manifest_signatures(ManifestId::new(1).unwrap()).await.unwrap();
    assert_eq!(signatures[0].0.get(), 1);
}

#[tokio::test]
async fn keys_of_loaders_are_drawn_or_taken_from_clients_of_2016() {
    let bench = Bench::start(Permissions::ALL).await;
    let own = json!({ "prefix": "abcdefgh", "key": "k".repeat(32) });
    let (id, key) = bench.loader("old", own).await;
    assert_eq!(key, format!("abcdefgh{}", "k".repeat(32)));
    let (_, drawn) = bench.loader("new", json!({ "prefix": "short", "key": "" })).await;
    assert_eq!(drawn.len(), 40);
    let doubled = [("loader", r#"{"name":"old"}"#)];
    let (status, body) = bench.post("/loader/new/", &doubled).await;
    assert_eq!(status, StatusCode::CONFLICT, "{}", message(&body));
    let long = json!({ "name": "x".repeat(257) }).to_string();
    for text in ["{", r#"{"name":""}"#, &long, r#"{"name":"n","expectenv":"1; drop"}"#] {
        let (status, _) = bench.post("/loader/new/", &[("loader", text)]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    }
    let id = id.to_string();
    let enable = [("loaderid", id.as_str()), ("status", "enabled")];
    bench.post("/loader/status/", &enable).await;
    let ask = |key: String| {
        let bench = &bench;
        async move { bench.ask("/manifest/agent/", &key, host("old", "linux")).await.0 }
    };
    // No manifest yet, but let in.
    assert_eq!(ask(key.clone()).await, StatusCode::INTERNAL_SERVER_ERROR);
    let given = "g".repeat(32);
    let rekey = [("loaderid", id.as_str()), ("loaderkey", given.as_str())];
    let (status, body) = bench.post("/loader/key/", &rekey).await;
    assert_eq!((status, &first(&body)["key"]), (StatusCode::OK, &json!(given)));
    assert_eq!(ask(key).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(format!("abcdefgh{given}")).await, StatusCode::INTERNAL_SERVER_ERROR);
    let (_, body) = bench.post("/loader/key/", &[("loaderid", &id)]).await;
    assert_eq!(first(&body)["key"].as_str().unwrap().len(), 32);
    let bad = [("loaderid", id.as_str()), ("loaderkey", "short")];
    assert_eq!(bench.post("/loader/key/", &bad).await.0, StatusCode::BAD_REQUEST);
    for path in ["/loader/key/", "/loader/status/", "/loader/expect/"] {
        let (status, body) = bench.post(path, &[("loaderid", "404")]).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(message(&body), "Loader ID '404' not found");
        assert_eq!(bench.post(path, &[("loaderid", "x")]).await.0, StatusCode::BAD_REQUEST);
    }
    let (_, body) = bench.get("/search?type=loader&loadername=old").await;
    let listed = first(&body);
    assert_eq!((&listed["agentname"], &listed["prefix"]), (&json!("old"), &json!("")));
    let (_, body) = bench.get("/search?type=loader&loadername=new").await;
    assert_eq!(first(&body)["agentname"], "unset");
}

#[tokio::test]
async fn a_manifest_that_is_none_is_refused() {
    let bench = Bench::start(Permissions::ALL).await;
    let record = |change: &dyn Fn(&mut Value)| {
        let mut value = json!({ "name": "n", "content": ARCHIVE.trim(), "target": LINUX });
        change(&mut value);
        value.to_string()
    };
    for text in [
        "{".to_owned(),
        record(&|v| v["name"] = "".into()),
        record(&|v| v["name"] = "x".repeat(257).into()),
        record(&|v| v["name"] = "a\nb".into()),
        record(&|v| v["target"] = format!("loadername='{}'", "x".repeat(2048)).into()),
        record(&|v| v["content"] = "".into()),
        record(&|v| v["content"] = "aGVsbG8=".into()),
        record(&|v| v["content"] = "%".into()),
    ] {
        let (status, body) = bench.post("/manifest/new/", &[("manifest", &text)]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{text:.80}");
        assert!(!message(&body).is_empty());
    }
    let (status, body) = bench.get("/search?type=manifest").await;
    assert_eq!((status, message(&body)), (StatusCode::NOT_FOUND, "no results found"));
    for (path, wanted) in [
        ("/manifest?manifestid=1", StatusCode::NOT_FOUND),
        ("/manifest?manifestid=x", StatusCode::BAD_REQUEST),
        ("/manifest/loaders/?manifestid=1", StatusCode::NOT_FOUND),
        ("/loader?loaderid=1", StatusCode::NOT_FOUND),
        ("/search?type=manifest&manifestid=x", StatusCode::BAD_REQUEST),
        ("/search?type=loader&loaderid=x", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(bench.get(path).await.0, wanted, "{path}");
    }
}

#[tokio::test]
async fn a_loader_cannot_ask_for_ever() {
    let bench = Bench::start(Permissions::ALL).await;
    let (id, key) = bench.loader("web1", json!({})).await;
    let id = id.to_string();
    bench.post("/loader/status/", &[("loaderid", &id), ("status", "enabled")]).await;
    for parameters in
        ["{", "{}", r#"{"agent":{"name":""}}"#, r#"{"agent":{"name":"a","queueloc":"results"}}"#]
    {
        let request = plain(Verb::Post, "/api/v1/manifest/agent/")
            .header("x-loaderkey", &key)
            .body(Body::from(format!("parameters={parameters}")))
            .unwrap();
        assert_eq!(bench.send(request).await.0, StatusCode::BAD_REQUEST, "{parameters}");
    }
    let mut last = StatusCode::OK;
    for _ in 0..80 {
        last = bench.ask("/manifest/agent/", &key, host("web1", "linux")).await.0;
        if last == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

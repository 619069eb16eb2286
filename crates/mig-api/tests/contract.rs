//! Same request, same rows, same answer as the original of 2019, on both
//! databases. What differs is listed here with its reason, and in
//! `docs/compatibility.md`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use http_body_util::BodyExt as _;
use mig_api::{ApiConfig, ApiState, router};
use mig_runtime::Shutdown;
use mig_runtime::clock::ManualClock;
use mig_store::target_sql::sqlite_time;
use mig_store::{PostgresConfig, SslMode, Store};
use mig_types::Timestamp;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use tower::ServiceExt as _;

/// Tables in an order that foreign keys allow.
const TABLES: &[&str] =
    &["investigators", "actions", "agents", "agents_stats", "commands", "signatures", "loaders"];

/// A difference that is meant.
struct Accepted {
    /// Numbers of the requests.
    requests: &'static str,
    /// Where: `status`, or how the place in the document ends; a final `*`
    /// stands for everything below.
    at: &'static str,
    reason: &'static str,
}

include!("contract/accepted.rs");

struct Exchange {
    number: String,
    name: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    status: u16,
    answer: Vec<u8>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract")
}

fn exchanges() -> Vec<Exchange> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder().join("requests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "http") {
            found.push(exchange(&path));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn exchange(path: &Path) -> Exchange {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut sent = Vec::new();
    let mut status = 0;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix('>') {
            sent.push(rest.strip_prefix(' ').unwrap_or(rest));
        } else if let Some(code) = line.strip_prefix("< ") {
            status = code.trim().parse().unwrap();
        }
    }
    let mut parts = sent[0].split(' ');
    let blank = sent.iter().position(|line| line.is_empty()).unwrap_or(sent.len());
    let headers = sent[1..blank].iter().map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_owned(), value.to_owned())
    });
    Exchange {
        number: name.split('-').next().unwrap().to_owned(),
        method: parts.next().unwrap().to_owned(),
        path: parts.next().unwrap().to_owned(),
        headers: headers.collect(),
        body: sent.get(blank + 1..).unwrap_or_default().join("\n"),
        status,
        answer: std::fs::read(path.with_extension("body")).unwrap(),
        name,
    }
}

fn rows(table: &str) -> Vec<Map<String, Value>> {
    let text = std::fs::read_to_string(folder().join(format!("rows/{table}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn seed_sqlite(path: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    for table in TABLES {
        for row in rows(table) {
            let columns: Vec<&str> = row.keys().map(String::as_str).collect();
            let marks = vec!["?"; columns.len()].join(", ");
            let sql = format!("insert into {table} ({}) values ({marks})", columns.join(", "));
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for (column, value) in &row {
                query = match value {
                    Value::Null => query.bind(None::<String>),
                    Value::Bool(value) => query.bind(*value),
                    Value::Number(number) => query.bind(number.as_i64().unwrap()),
                    Value::String(text) => match text.strip_prefix("\\x") {
                        Some(digits) => query.bind(hex::decode(digits).unwrap()),
                        None if is_time(column) => {
                            query.bind(sqlite_time(Timestamp::parse(text).unwrap()))
                        }
                        None => query.bind(text.clone()),
                    },
                    document => query.bind(document.to_string()),
                };
            }
            query.execute(&pool).await.unwrap();
        }
    }
    pool.close().await;
}

fn is_time(column: &str) -> bool {
    column.ends_with("time")
        || ["validfrom", "expireafter", "createdat", "lastmodified", "lastseen", "timestamp"]
            .contains(&column)
}

async fn seed_postgres(pool: &PgPool) {
    for table in TABLES {
        for row in rows(table) {
            // What the row does not have, the database fills in.
            let columns: Vec<&str> = row.keys().map(String::as_str).collect();
            let columns = columns.join(", ");
            let sql = format!(
                "insert into {table} ({columns}) \
                 select {columns} from json_populate_record(null::{table}, $1::json)"
            );
            let row = Value::from(row).to_string();
            sqlx::query(AssertSqlSafe(sql)).bind(row).execute(pool).await.unwrap();
        }
    }
    // The rows came with their ids; new ones follow them.
    for table in ["investigators", "loaders"] {
        let sql = format!("select setval('{table}_id_seq', (select max(id) from {table})::bigint)");
        sqlx::query(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    }
}

/// The API as it was when the answers were recorded.
fn api(store: Arc<dyn Store>) -> Router {
    let mut config = ApiConfig::default();
    "http://127.0.0.1:51664".clone_into(&mut config.server.host);
    let now = Timestamp::parse("2026-11-23T07:16:51Z").unwrap();
    let (trigger, shutdown) = Shutdown::new();
    // Nobody asks it to stop; without the trigger it would count as asked.
    std::mem::forget(trigger);
    let clock = Arc::new(ManualClock::new(now));
    router(ApiState::new(store, clock, config.validate().unwrap(), shutdown))
}

async fn replay(router: &Router, exchange: &Exchange) -> (u16, Vec<u8>) {
    let mut request = Request::builder().method(exchange.method.as_str()).uri(&exchange.path);
    for (name, value) in &exchange.headers {
        request = request.header(name, value);
    }
    let mut request = request.body(Body::from(exchange.body.clone())).unwrap();
    let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 40_000));
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

/// One place at which two answers differ.
type Difference = (String, String);

fn compare(exchange: &Exchange, status: u16, body: &[u8]) -> Vec<Difference> {
    let mut found = Vec::new();
    if status != exchange.status {
        found.push(("status".to_owned(), format!("{} is {status}", exchange.status)));
        // Where the original failed and we do not, there is nothing to compare.
        if exchange.status >= 500 && status < 500 && (status < 400 || status == 409) {
            return found;
        }
    }
    let parse = |bytes: &[u8]| -> Option<Value> { serde_json::from_slice(bytes).ok() };
    match (parse(&exchange.answer), parse(body)) {
        (Some(theirs), Some(ours)) => walk("", &theirs, &ours, &mut found),
        _ if exchange.answer == body => {}
        _ => {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            found
                .push(("body".to_owned(), format!("{} is {}", text(&exchange.answer), text(body))));
        }
    }
    found
}

fn walk(place: &str, theirs: &Value, ours: &Value, found: &mut Vec<Difference>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let place = format!("{place}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => walk(&place, a, b, found),
                    (Some(a), None) => found.push((place, format!("{a} is missing"))),
                    (None, b) => {
                        found.push((place, format!("{} is new", b.unwrap_or(&Value::Null))));
                    }
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            if a.len() != b.len() {
                found.push((format!("{place}.length"), format!("{} is {}", a.len(), b.len())));
            }
            for (a, b) in a.iter().zip(b) {
                walk(&format!("{place}[]"), a, b, found);
            }
        }
        _ if theirs == ours || is_drawn(place) => {}
        _ => found.push((place.to_owned(), format!("{theirs} is {ours}"))),
    }
}

/// Whether a place is meant: by its end, or as a part of `at` up to its `*`.
fn fits(place: &str, at: &str) -> bool {
    match at.strip_suffix('*') {
        Some(part) => place.contains(part),
        None => place.ends_with(at),
    }
}

/// What no two runs have in common: the number of a request, a default bound
/// of a search to the nanosecond, a key that was just drawn.
fn is_drawn(place: &str) -> bool {
    place.ends_with(".error.code")
        || place.ends_with(".value.after")
        || place.ends_with(".value.before")
        || place == ".collection.items[].data[].value.key"
}

async fn answers_as_the_original_did(store: Arc<dyn Store>) {
    let router = api(Arc::clone(&store));
    let mut used: BTreeMap<usize, usize> = BTreeMap::new();
    let mut surprises = String::new();
    let mut same = 0;
    let exchanges = exchanges();
    for exchange in &exchanges {
        let (status, body) = replay(&router, exchange).await;
        let differences = compare(exchange, status, &body);
        same += usize::from(differences.is_empty());
        for (place, what) in differences {
            let accepted = ACCEPTED.iter().position(|accepted| {
                fits(&place, accepted.at)
                    && accepted.requests.split(", ").any(|number| number == exchange.number)
            });
            match accepted {
                Some(index) => *used.entry(index).or_default() += 1,
                None => writeln!(surprises, "{} {place}: {what}", exchange.name).unwrap(),
            }
        }
    }
    store.close().await;
    assert!(surprises.is_empty(), "not as the original answered:\n{surprises}");
    for (index, accepted) in ACCEPTED.iter().enumerate() {
        assert!(
            used.contains_key(&index),
            "no longer different: {} {}",
            accepted.requests,
            accepted.at
        );
    }
    eprintln!("{} exchanges, {same} the same to the value", exchanges.len());
}

#[tokio::test]
async fn sqlite_answers_as_the_original_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mig.sqlite");
    let store = mig_store::open_sqlite(&path).await.unwrap();
    seed_sqlite(&path).await;
    answers_as_the_original_did(store).await;
}

#[tokio::test]
async fn postgres_answers_as_the_original_did() {
    let Ok(url) = std::env::var("MIG_TEST_POSTGRES_URL") else {
        eprintln!("skipped: MIG_TEST_POSTGRES_URL is not set");
        return;
    };
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let dbname = format!("mig_contract_{}", std::process::id());
    let config = PostgresConfig {
        host: options.get_host().to_owned(),
        port: options.get_port(),
        user: options.get_username().to_owned(),
        dbname: dbname.clone(),
        sslmode: SslMode::Disable,
        ..PostgresConfig::default()
    };
    let admin = PgPool::connect_with(options.clone()).await.unwrap();
    let run = |sql: String| sqlx::query(AssertSqlSafe(sql)).execute(&admin);
    run(format!("create database {dbname}")).await.unwrap();
    mig_store::migrate_postgres(&config).await.unwrap();
    let pool = PgPool::connect_with(options.database(&dbname)).await.unwrap();
    seed_postgres(&pool).await;
    pool.close().await;
    let store = mig_store::open_postgres(&config).await.unwrap();
    answers_as_the_original_did(store).await;
    let run = |sql: String| sqlx::query(AssertSqlSafe(sql)).execute(&admin);
    run(format!("drop database {dbname} with (force)")).await.unwrap();
}

#[test]
fn the_document_lists_exactly_the_accepted_differences() {
    let document = include_str!("../../../docs/compatibility.md");
    let listed: Vec<&str> = document.lines().filter(|line| is_row(line)).collect();
    let accepted: Vec<String> = ACCEPTED
        .iter()
        .map(|one| format!("| {} | `{}` | {} |", one.requests, one.at, one.reason))
        .collect();
    assert_eq!(listed, accepted, "docs/compatibility.md");
}

/// Rows of the table begin with the number of a request.
fn is_row(line: &str) -> bool {
    line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

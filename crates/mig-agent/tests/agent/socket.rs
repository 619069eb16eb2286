//! What a running agent tells at its stat socket, and to whom.

use std::net::SocketAddr;
use std::time::Duration;

use mig_types::CommandStatus;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage, by_name, eventually, program};

const OPEN: &str = "socket = \"127.0.0.1:0\"\n";

/// Where the agent listens, from its log.
async fn address(stage: &Stage) -> SocketAddr {
    let log = stage.path("agent.log");
    eventually("the stat socket", || {
        let text = std::fs::read_to_string(&log).ok()?;
        let (_, rest) = text.split_once("Stat socket connected successfully on ")?;
        rest.split_whitespace().next()?.trim_matches('"').parse().ok()
    })
    .await
}

async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // One that is refused half-way need not take all of it.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    timeout(PATIENCE, exchange).await.expect("an answer")
}

fn id(stage: &Stage) -> String {
    std::fs::read_to_string(stage.path("run/.migagtid")).unwrap()
}

/// Runs `-q` against `address`; exit code, standard output, standard error.
async fn query(stage: &Stage, address: &str, request: &str) -> (Option<i32>, String, String) {
    let config = stage.path("query.cfg");
    let rundir = stage.path("run");
    let text = format!("[agent]\nsocket = \"{address}\"\nrundir = \"{}\"\n", rundir.display());
    std::fs::write(&config, text).unwrap();
    let mut command = program();
    command.arg("-c").arg(config).args(["-q", request]).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.expect("an end").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_protocol_and_http_share_a_port() {
    let stage = Stage::play(OPEN).await;
    let address = address(&stage).await;
    assert!(address.ip().is_loopback());
    let pid = stage.pid();
    let help = ask(address, b"help\n").await;
    assert!(help.starts_with("\nWelcome to the MIG agent socket. The commands are:\npid "));
    assert_eq!(ask(address, b"pid\n").await, format!("{pid}\n"));
    assert_eq!(ask(address, b"nonsense\n").await, "unknown command\n");
    assert_eq!(ask(address, b"\n").await, "input too short\n");
    // Without the end of the line, the patience of the agent ends it.
    assert_eq!(ask(address, b"pid").await, format!("{pid}\n"));

    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let answer = ask(address, get("/pid").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(&format!("\r\n\r\n{pid}")), "{answer}");
    let rebound = "GET /pid HTTP/1.1\r\nHost: evil.example.com\r\n\r\n";
    assert!(ask(address, rebound.as_bytes()).await.starts_with("HTTP/1.1 403 "));
    assert!(ask(address, get("/x").as_bytes()).await.starts_with("HTTP/1.1 404 "));

    for status in [ask(address, b"status\n").await, ask(address, get("/").as_bytes()).await] {
        assert!(status.contains(&format!("pid {pid}\n")), "{status}");
        assert!(status.contains("privacy mode off\n"), "{status}");
        for secret in [id(&stage).as_str(), stage.queueloc.as_str(), "agent:secret"] {
            assert!(!status.contains(secret), "{status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_peers_cost_the_agent_nothing() {
    let mut stage = Stage::play(OPEN).await;
    let address = address(&stage).await;
    let pid = format!("{}\n", stage.pid());
    let flood = vec![b'x'; 4 << 20];
    assert_eq!(ask(address, &flood).await, "input too long\n");
    let head = [b"GET /".to_vec(), flood].concat();
    assert!(ask(address, &head).await.starts_with("HTTP/1.1 413 "));
    assert_eq!(ask(address, &[0xff, 0, 0x1b, b'\n']).await, "unknown command\n");
    // More than are looked after at a time, and none of them says anything.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let begun = std::time::Instant::now();
    assert_eq!(ask(address, b"pid\n").await, pid);
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    drop(silent);
    let answer = stage.ask(stage.action(vec![by_name(&stage.path("conf"), "acl")])).await;
    assert_eq!(answer.status, CommandStatus::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_owner_learns_who_investigates() {
    let mut stage = Stage::play(OPEN).await;
    let address = address(&stage).await;
    let mut action = stage.action(vec![by_name(&stage.path("conf"), "acl")]);
    action.name = "find the intruder".into();
    stage.sign(&mut action);
    let mut forged = action.clone();
    forged.name = "forged".into();
    stage.ask(action).await;
    stage.ask(forged).await;

    for request in ["history\n", "history wrong\n", "status\n"] {
        let answer = ask(address, request.as_bytes()).await;
        assert!(!answer.contains("intruder"), "{request}: {answer}");
    }
    let (code, _, stderr) = query(&stage, &address.to_string(), "history wrong").await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("history refused: invalid agent id"), "{stderr}");
    let (_, help, _) = query(&stage, &address.to_string(), "help").await;
    assert!(help.starts_with("\nWelcome to the MIG agent socket."), "{help}");
    let (code, history, _) = query(&stage, &address.to_string(), "history").await;
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = history.lines().collect();
    let signer = stage.key.fingerprint().as_str();
    assert!(lines[0].contains(" Accepted find the intruder [file] signed by ["), "{history}");
    assert!(lines[0].contains(signer), "{history}");
    assert!(lines[1].contains(" Rejected forged [file]"), "{history}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_owner_stops_the_agent_and_sees_it_gone() {
    let mut stage = Stage::play(OPEN).await;
    let address = address(&stage).await;
    let wrong = "x".repeat(100);
    for request in
        ["shutdown\n".to_owned(), format!("shutdown {wrong}\n"), "shutdown \0\n".to_owned()]
    {
        let answer = ask(address, request.as_bytes()).await;
        assert_eq!(answer, "shutdown refused: invalid agent id\n");
    }
    let head = format!("GET /shutdown HTTP/1.1\r\nHost: {address}\r\nAGENTID: {wrong}\r\n\r\n");
    assert!(ask(address, head.as_bytes()).await.starts_with("HTTP/1.1 401 "));
    let (code, _, stderr) = query(&stage, &address.to_string(), "shutdown wrong").await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("invalid agent id"), "{stderr}");
    assert_eq!(ask(address, b"pid\n").await, format!("{}\n", stage.pid()));

    let (code, stdout, _) = query(&stage, &address.to_string(), "shutdown").await;
    assert_eq!((code, stdout.as_str()), (Some(0), "done\n"));
    assert_eq!(stage.ended().await, Some(0));
    let (code, stdout, stderr) = query(&stage, &address.to_string(), "pid").await;
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("cannot ask the agent at"), "{stderr}");
    // And over HTTP, as a loader of another generation does.
    std::fs::remove_file(stage.path("agent.log")).unwrap();
    stage.start();
    let address = self::address(&stage).await;
    let head =
        format!("GET /shutdown HTTP/1.1\r\nHost: {address}\r\nAGENTID: {}\r\n\r\n", id(&stage));
    assert!(ask(address, head.as_bytes()).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(stage.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_never_open_to_the_network() {
    let stage = Stage::play("socket = \"0.0.0.0:0\"\n").await;
    let log = stage.path("agent.log");
    eventually("a refusal in the log", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("the stat socket listens on a loopback address only").then_some(())
    })
    .await;
    let (code, _, stderr) = query(&stage, "", "pid").await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("the stat socket is off"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extra_privacy_hides_names_and_says_so() {
    let settings = format!("{OPEN}extraprivacymode = on\n");
    let mut stage = Stage::play(&settings).await;
    let answer = stage.ask(stage.action(vec![by_name(&stage.path("conf"), "acl")])).await;
    assert_eq!(answer.status, CommandStatus::Success);
    let result = &answer.results.as_ref().unwrap()[0];
    assert!(result.foundanything);
    let text = serde_json::to_string(result).unwrap();
    assert!(!text.contains("acl.cfg") && text.contains("masked"), "{text}");
    let status = ask(address(&stage).await, b"status\n").await;
    assert!(status.contains("privacy mode on\n"), "{status}");
}

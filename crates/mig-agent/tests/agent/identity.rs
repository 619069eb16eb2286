//! Who the agent is, and what others tell it about itself.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::stage::{PATIENCE, Stage, eventually, program};

type Answer = dyn Fn(&str) -> Option<(u16, String)> + Send + Sync;

/// A server that answers each head with a status and a body; `None`: never.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let answer: Arc<Answer> = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let head = String::from_utf8(head).unwrap();
                    let answered = answer(&head);
                    seen.lock().unwrap().push(head);
                    let Some((status, body)) = answered else {
                        return std::future::pending().await;
                    };
                    let text = format!(
                        "HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(text.as_bytes()).await;
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_tells_the_public_address() {
    let server = Server::start(|_| Some((200, "198.51.100.7\n".into()))).await;
    let settings = format!("discoverpublicip = on\napi = \"http://{}/api/v1/\"\n", server.address);
    let mut stage = Stage::set(&settings).await;
    stage.start();
    assert_eq!(stage.heartbeat().await.environment.publicip, "198.51.100.7");
    let heads = server.heads();
    assert!(heads[0].starts_with("GET /api/v1/ip HTTP/1.1\r\n"), "{heads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cloud_tells_only_those_who_show_a_token() {
    let server = Server::start(|head| {
        let word = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
        if head.starts_with("PUT /latest/api/token ") {
            let asked = head.contains("\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n");
            return Some(if asked { (200, "TOKEN==".into()) } else { (400, String::new()) });
        }
        if !head.contains("\r\nX-aws-ec2-metadata-token: TOKEN==\r\n") {
            return Some((401, String::new()));
        }
        Some(match word.as_str() {
            "/latest/meta-data/" => (200, "ami-id\ninstance-id".into()),
            "/latest/meta-data/instance-id" => (200, "i-0123".into()),
            "/latest/meta-data/local-ipv4" => (200, "10.0.0.9".into()),
            "/latest/meta-data/ami-id" => (200, "ami-42".into()),
            "/latest/meta-data/instance-type" => (200, "m5.large".into()),
            _ => (404, String::new()),
        })
    })
    .await;
    let settings = format!("discoverawsmeta = on\nawsmetadata = \"http://{}\"\n", server.address);
    let mut stage = Stage::set(&settings).await;
    stage.start();
    let aws = stage.heartbeat().await.environment.aws;
    assert_eq!(
        [aws.instanceid, aws.localipv4, aws.amiid, aws.instancetype],
        ["i-0123", "10.0.0.9", "ami-42", "m5.large"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_cloud_knows_no_tokens() {
    let server = Server::start(|head| {
        if head.starts_with("PUT ") {
            return Some((404, String::new()));
        }
        Some((200, "value".into()))
    })
    .await;
    let settings = format!("discoverawsmeta = on\nawsmetadata = \"http://{}/\"\n", server.address);
    let mut stage = Stage::set(&settings).await;
    stage.start();
    assert_eq!(stage.heartbeat().await.environment.aws.instanceid, "value");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_is_asked_can_keep_the_agent_from_starting() {
    let api = Server::start(|_| None).await;
    let cloud = Server::start(|head| {
        let hostile = format!("i-1\r\nInjected: {}", "x".repeat(100_000));
        Some((200, if head.starts_with("PUT ") { "T".into() } else { hostile }))
    })
    .await;
    let settings = format!(
        "discoverpublicip = on\napi = \"http://{}/\"\ndiscoverawsmeta = on\n\
         awsmetadata = \"http://{}\"\n",
        api.address, cloud.address
    );
    let mut stage = Stage::set(&settings).await;
    let begun = std::time::Instant::now();
    stage.start();
    let agent = stage.heartbeat().await;
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    assert_eq!(agent.environment.publicip, "");
    assert_eq!(agent.environment.aws, mig_types::Aws::default());
    let log = std::fs::read_to_string(stage.path("agent.log")).unwrap();
    assert!(log.contains("the public address is not known"), "{log}");
    assert!(log.contains("the cloud's metadata is not known"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_address_is_noticed_and_a_silent_api_changes_nothing() {
    let answer = Arc::new(Mutex::new((200, "198.51.100.7".to_owned())));
    let told = Arc::clone(&answer);
    let server = Server::start(move |_| Some(told.lock().unwrap().clone())).await;
    let settings = format!(
        "discoverpublicip = on\napi = \"http://{}/\"\nrefreshenv = \"1s\"\nheartbeatfreq = \"1s\"\n",
        server.address
    );
    let mut stage = Stage::set(&settings).await;
    stage.start();
    let first = stage.heartbeat().await;
    assert_eq!(first.environment.publicip, "198.51.100.7");
    *answer.lock().unwrap() = (200, "2001:db8::7".to_owned());
    let second = loop {
        let agent = stage.heartbeat().await;
        if agent.environment.publicip != first.environment.publicip {
            break agent;
        }
        assert_eq!(agent.refreshts, first.refreshts);
    };
    assert_eq!(second.environment.publicip, "2001:db8::7");
    assert!(second.refreshts > first.refreshts);
    *answer.lock().unwrap() = (503, "be right back".to_owned());
    let asked = server.heads().len();
    eventually("two more questions", || (server.heads().len() > asked + 2).then_some(())).await;
    for _ in 0..2 {
        let agent = stage.heartbeat().await;
        assert_eq!(agent.environment.publicip, "2001:db8::7");
        assert_eq!(agent.refreshts, second.refreshts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_takes_the_place_of_a_go_agent() {
    let mut stage = Stage::set("").await;
    let id = "0z9y8x7w6v5u4t3s2r1q0p9o8n7m6l5k4j3i2h1g0f9e8d7c6b5a".repeat(2)[..98].to_owned();
    std::fs::create_dir(stage.path("run")).unwrap();
    std::fs::write(stage.path("run/.migagtid"), &id).unwrap();
    stage.start();
    let os = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    assert_eq!(stage.heartbeat().await.queueloc, format!("{os}.{id}"));
    assert_eq!(std::fs::read_to_string(stage.path("run/.migagtid")).unwrap(), id);
    stage.terminate().await;
    stage.start();
    assert_eq!(stage.heartbeat().await.queueloc, format!("{os}.{id}"));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_renamed_keeps_its_address() {
    let mut stage = Stage::set("refreshenv = \"1s\"\nheartbeatfreq = \"1s\"\n").await;
    // A world where only the agent's host name changes.
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--uts", "--", "sh", "-c"]);
    command.arg("hostname web1.example.net && exec \"$0\" -f -c \"$1\"");
    command.arg(program().as_std().get_program()).arg(stage.path("agent.cfg"));
    let allowed = tokio::process::Command::new("unshare").args(["--uts", "true"]).status().await;
    if !allowed.is_ok_and(|status| status.success()) {
        println!("skipped: this account may not make namespaces");
        return;
    }
    stage.agent = Some(command.kill_on_drop(true).spawn().unwrap());
    let first = stage.heartbeat().await;
    assert_eq!(first.name, "web1.example.net");
    assert!(first.queueloc.starts_with("linux.web1.example.net."), "{}", first.queueloc);
    let pid = stage.pid().to_string();
    let rename = tokio::process::Command::new("nsenter")
        .args(["--target", &pid, "--uts", "hostname", "db7.example.net"])
        .status();
    assert!(tokio::time::timeout(PATIENCE, rename).await.unwrap().unwrap().success());
    loop {
        let agent = stage.heartbeat().await;
        assert_eq!(agent.queueloc, first.queueloc);
        if agent.name == "db7.example.net" {
            assert!(agent.refreshts > first.refreshts);
            break;
        }
    }
}

//! The stat socket: one line in, a few lines out, on the loopback only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mig_runtime::{Shutdown, ShutdownTrigger};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::context::Context;
use crate::identity::Identity;

/// Longest request, in bytes.
const MAX_REQUEST: usize = 8190;
/// A request must be complete within that time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two tries to get the port.
const BIND_EVERY: Duration = Duration::from_mins(1);
/// Longest answer `-q` waits for.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Largest answer `-q` prints.
const MAX_ANSWER: u64 = 1 << 20;

const HELP: &str = "
Welcome to the MIG agent socket. The commands are:
pid              returns the PID of the running agent
status           returns version and state of the running agent
history          returns the last actions and who signed them
shutdown <id>    stops the agent; <id> is its secret id
";

/// What the socket gives access to.
pub struct Door {
    pub context: Arc<Context>,
    pub identity: Identity,
    /// Pulled by an authorised `shutdown`.
    pub asked: ShutdownTrigger,
}

/// Answers requests, one connection at a time, until shutdown.
pub async fn serve(door: Door, address: String, shutdown: Shutdown) {
    let listen = async {
        let listener = loop {
            match bind(&address).await {
                Ok(listener) => break listener,
                Err(error) => {
                    tracing::error!("Stat socket cannot be opened on {address}: {error}");
                    tokio::time::sleep(BIND_EVERY).await;
                }
            }
        };
        tracing::debug!("Stat socket connected successfully on {address}");
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                // A peer that does not talk costs its own second.
                let _ = timeout(PATIENCE * 2, answer(&door, stream)).await;
            }
        }
    };
    tokio::select! {
        () = shutdown.requested() => {}
        () = listen => {}
    }
}

async fn bind(address: &str) -> std::io::Result<TcpListener> {
    let mut addresses = tokio::net::lookup_host(address).await?;
    match addresses.find(|address: &SocketAddr| address.ip().is_loopback()) {
        Some(address) => TcpListener::bind(address).await,
        None => Err(std::io::Error::other("the stat socket listens on a loopback address only")),
    }
}

async fn answer(door: &Door, mut stream: TcpStream) -> std::io::Result<()> {
    let request = timeout(PATIENCE, read_line(&mut stream)).await.unwrap_or_default();
    let reply = match request.as_deref() {
        Some(line) if line.len() > MAX_REQUEST => "input too long".to_owned(),
        Some(line) if line.trim().is_empty() => "input too short".to_owned(),
        Some(line) => reply(door, line),
        None => "input too short".to_owned(),
    };
    stream.write_all(format!("{reply}\n").as_bytes()).await?;
    stream.shutdown().await
}

/// The first line, or what there is until the peer stops sending.
async fn read_line(stream: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    let mut buffer = [0; 512];
    while line.len() <= MAX_REQUEST && !line.contains(&b'\n') {
        let count = stream.read(&mut buffer).await.ok()?;
        if count == 0 {
            break;
        }
        line.extend_from_slice(buffer.get(..count)?);
    }
    if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
        line.truncate(end);
    }
    Some(String::from_utf8_lossy(&line).into_owned())
}

fn reply(door: &Door, line: &str) -> String {
    let mut words = line.split_whitespace();
    match (words.next(), words.next()) {
        (Some("help"), _) => HELP.trim_end().to_owned(),
        (Some("pid"), _) => std::process::id().to_string(),
        (Some("status"), _) => status(&door.context),
        (Some("history"), _) => door.context.history.lines().join("\n"),
        (Some("shutdown"), Some(id)) if door.identity.is_id(id) => {
            door.asked.request();
            "shutdown requested".to_owned()
        }
        (Some("shutdown"), _) => "shutdown refused: invalid agent id".to_owned(),
        _ => "unknown command".to_owned(),
    }
}

/// Nothing here helps to find the agent's queue or to impersonate it.
fn status(context: &Context) -> String {
    let record = context.record.borrow();
    format!(
        "version {}\npid {}\nhost {}\nrelay {}\ncommands waiting {}\nmodules {}",
        record.version,
        std::process::id(),
        record.name,
        context.relay.endpoint(),
        context.journal.accepted(),
        record.environment.modules.join(","),
    )
}

/// Sends one request to a running agent; its answer.
///
/// # Errors
///
/// When nobody answers.
pub async fn query(address: &str, request: &str) -> std::io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{request}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer).await?;
        Ok(answer)
    };
    timeout(ANSWER_WITHIN, exchange)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::other("no answer in time")))
}

//! The stat socket: one request, one answer, on the loopback only. What begins
//! like HTTP is answered in HTTP, for peers of 2017 and later.

pub mod http;
mod query;
pub mod request;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mig_runtime::{Shutdown, ShutdownTrigger};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::context::Context;
use crate::identity::Identity;
use request::{MAX_REQUEST, Request, Tongue};

pub use query::{query, stop};

/// A request must be complete within that time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two tries to get the port.
const BIND_EVERY: Duration = Duration::from_mins(1);
/// Connections looked after at a time: silent peers do not shut out others.
const CONNECTIONS: usize = 16;

const HELP: &str = "
Welcome to the MIG agent socket. The commands are:
pid              returns the PID of the running agent
status           returns version and state of the running agent
history <id>     returns the last actions and who signed them
shutdown <id>    stops the agent
<id> is the agent's secret id, which only root can read";

/// What the socket gives access to.
pub struct Door {
    pub context: Arc<Context>,
    pub identity: Identity,
    /// Pulled by an authorised `shutdown`.
    pub asked: ShutdownTrigger,
}

/// Answers requests until shutdown.
pub async fn serve(door: Door, address: String, shutdown: Shutdown) {
    let door = Arc::new(door);
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
        let bound = listener.local_addr().map_or(address, |bound| bound.to_string());
        tracing::debug!("Stat socket connected successfully on {bound}");
        let mut talking = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let door = Arc::clone(&door);
                    // A peer that does not talk or listen costs its own time.
                    talking.spawn(timeout(PATIENCE * 2, async move {
                        let _ = answer(&door, stream).await;
                    }));
                }
                // No descriptor left, say: no reason to spin.
                Err(error) => {
                    tracing::warn!("Stat socket: {error}");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
            while talking.try_join_next().is_some() {}
            if talking.len() >= CONNECTIONS {
                talking.join_next().await;
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
    let mut bytes = Vec::new();
    // What has arrived by then is the request: not every peer ends its line.
    let _ = timeout(PATIENCE, read(&mut stream, &mut bytes)).await;
    let (tongue, request) = request::parse(&bytes);
    let (status, text) = reply(door, &request);
    let reply = match tongue {
        Tongue::Text => format!("{text}\n"),
        Tongue::Http => http::answer(status, &text),
    };
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    // Closed with input unread, the answer could be lost on its way.
    let mut rest = [0; 512];
    for _ in 0..MAX_REQUEST / rest.len() {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Reads until the request is complete or too long, or the peer stops sending.
async fn read(stream: &mut TcpStream, request: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; 512];
    while request.len() <= MAX_REQUEST && !request::is_complete(request) {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        request.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    Ok(())
}

/// The answer, and what HTTP calls it.
fn reply(door: &Door, request: &Request) -> (u16, String) {
    match request {
        Request::Help => (200, HELP.to_owned()),
        // Bare: this is what programs read.
        Request::Pid => (200, std::process::id().to_string()),
        Request::Status => (200, status(&door.context)),
        Request::History(id) if door.identity.is_id(id) => {
            (200, door.context.history.lines().join("\n"))
        }
        // Who is investigated shall not learn it here.
        Request::History(_) => (401, "history refused: invalid agent id".to_owned()),
        Request::Shutdown(id) if door.identity.is_id(id) => {
            door.asked.request();
            (200, "shutdown requested".to_owned())
        }
        Request::Shutdown(_) => {
            tracing::warn!("Stat socket: a shutdown with a wrong agent id was refused");
            (401, "shutdown refused: invalid agent id".to_owned())
        }
        Request::Unknown => (404, "unknown command".to_owned()),
        Request::Foreign => (403, "this is not for browsers".to_owned()),
        Request::TooShort => (400, "input too short".to_owned()),
        Request::TooLong => (413, "input too long".to_owned()),
        Request::Garbled => (400, "the request is not understood".to_owned()),
    }
}

/// Nothing here helps to find the agent's queue or to impersonate it.
fn status(context: &Context) -> String {
    let record = context.record.borrow();
    format!(
        "version {}\npid {}\nhost {}\nrelay {}{}\nprivacy mode {}\n\
         commands waiting {}\nmodules {}",
        record.version,
        std::process::id(),
        record.name,
        context.relay.endpoint(),
        if *context.listening.borrow() { "" } else { " (not reached yet)" },
        if context.executor.privacy { "on" } else { "off" },
        context.journal.accepted(),
        record.environment.modules.join(","),
    )
}

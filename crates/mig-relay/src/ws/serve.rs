//! The server side.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{
    AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE,
};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};

use super::PROTOCOL;
use super::frame::{Failure, ToClient, ToServer};
use super::socket::{self, Counted, Socket};
use crate::link::{Fault, asked};
use crate::local::{LocalRelay, failed};
use crate::names::refused;
use crate::{Consumer, Relay as _, RelayError, Route, Source};

/// TLS, upgrade and credentials must be done in this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections that have not shown credentials yet.
const MAX_HANDSHAKES: usize = 1024;
const MAX_CONNECTIONS: usize = 20_000;
const MAX_CONSUMERS: usize = 16;
/// Bodies one connection may have on their way into the file, KiB.
const MAX_INFLIGHT_KIB: u32 = 65 * 1024;
/// Prefetch of a reader that asks for no bound.
const MAX_PREFETCH: u16 = 4096;
/// Between two pings, and the silence after which a client is gone.
const PING: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(150);
/// For connections to end after a stop.
const DRAIN: Duration = Duration::from_secs(5);

/// What the bearer of an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads agents' queues, publishes results and heartbeats.
    Agent,
    /// Reads event queues.
    Worker,
}

/// An account of the server. `Debug` shows no password.
#[derive(Clone)]
pub struct WsAccount {
    pub user: String,
    pub password: String,
    pub role: Role,
}

impl std::fmt::Debug for WsAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WsAccount({}, {:?})", self.user, self.role)
    }
}

/// Serves a built-in relay to the network until `stop`.
///
/// `tls` is left out on loopback only. Ends every connection in an orderly way
/// before it returns; the relay itself stays open.
///
/// # Errors
///
/// [`RelayError::Failed`] when the listener is unusable.
pub async fn serve_ws(
    relay: LocalRelay,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    accounts: Vec<WsAccount>,
    stop: impl Future<Output = ()>,
) -> Result<(), RelayError> {
    let endpoint = relay.endpoint();
    listener.local_addr().map_err(failed(&endpoint))?;
    let server = Arc::new(Server {
        relay,
        tls: tls.map(TlsAcceptor::from),
        accounts,
        handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
        connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    });
    let (stopping, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
            Some(_) = tasks.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let server = Arc::clone(&server);
                let stopped = stopped.clone();
                tasks.spawn(async move {
                    if let Err(fault) = server.serve(stream, stopped).await {
                        tracing::debug!(%peer, reason = %fault.source, "a relay connection ended");
                    }
                });
            }
            Err(error) => {
                // Mostly too many open files: it passes when connections end.
                tracing::warn!(%error, "cannot accept a relay connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let drained = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tasks.shutdown().await;
    }
    Ok(())
}

struct Server {
    relay: LocalRelay,
    tls: Option<TlsAcceptor>,
    accounts: Vec<WsAccount>,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Server {
    async fn serve(
        &self,
        stream: TcpStream,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), Fault> {
        let full = || Fault::away("too many connections");
        let _connection = Arc::clone(&self.connections).try_acquire_owned().map_err(|_| full())?;
        let handshake = Arc::clone(&self.handshakes).try_acquire_owned().map_err(|_| full())?;
        let _ = stream.set_nodelay(true);
        let accepted = timeout(HANDSHAKE_TIMEOUT, self.accept(stream)).await;
        let (socket, role) = accepted.map_err(|_| Fault::away("the handshake took too long"))??;
        drop(handshake);

        let (sink, mut source) = socket::split(socket);
        let (outbox, waiting) = mpsc::channel(socket::OUTBOX);
        let mut writer = tokio::spawn(socket::write(sink, waiting, PING));
        let mut connection = Connection {
            relay: self.relay.clone(),
            role,
            outbox,
            consumers: HashMap::new(),
            inflight: Arc::new(Semaphore::new(MAX_INFLIGHT_KIB as usize)),
            tasks: JoinSet::new(),
        };
        let fault = loop {
            let bytes = tokio::select! {
                bytes = socket::read(&mut source, SILENCE) => bytes,
                _ = &mut writer => break Fault::away("the client takes nothing"),
                () = asked(&mut stopped) => break Fault::away("the server stops"),
            };
            let frame = match bytes {
                Ok(bytes) => ToServer::decode(bytes),
                Err(error) => break Fault::away(error),
            };
            match frame {
                Ok(frame) => connection.handle(frame).await,
                Err(error) => break Fault::away(error),
            }
        };
        // Dropping the connection ends its tasks, whose consumers give back
        // what they hold; then the writer says good-bye.
        connection.tasks.shutdown().await;
        drop(connection);
        if !writer.is_finished() && timeout(Duration::from_secs(2), &mut writer).await.is_err() {
            writer.abort();
        }
        Err(fault)
    }

    async fn accept(&self, stream: TcpStream) -> Result<(Socket, Role), Fault> {
        let io = match &self.tls {
            None => Counted::new(stream),
            Some(tls) => Counted::new(tls.accept(stream).await.map_err(Fault::away)?),
        };
        let mut role = None;
        #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let check = |request: &Request, mut response: Response| {
            role = Some(self.check(request)?);
            let protocol = HeaderValue::from_static(PROTOCOL);
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
            Ok(response)
        };
        let socket = accept_hdr_async_with_config(io, check, Some(socket::config()))
            .await
            .map_err(Fault::away)?;
        let role = role.ok_or_else(|| Fault::away("nobody was let in"))?;
        Ok((socket, role))
    }

    /// Who asks; the response refusing them otherwise.
    #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
    fn check(&self, request: &Request) -> Result<Role, ErrorResponse> {
        let headers = request.headers();
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(role) = authorization.and_then(|value| role_of(&self.accounts, value)) else {
            let mut response = ErrorResponse::new(None);
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            let basic = HeaderValue::from_static("Basic realm=\"mig-relay\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, basic);
            return Err(response);
        };
        let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let mut offered =
            protocols.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        if offered.any(|protocol| protocol.trim() == PROTOCOL) {
            Ok(role)
        } else {
            let mut response = ErrorResponse::new(Some(format!("speak {PROTOCOL}\n")));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            Err(response)
        }
    }
}

/// The role of the account an `Authorization` header proves.
///
/// Every account is compared in full, whatever the first difference.
fn role_of(accounts: &[WsAccount], authorization: &str) -> Option<Role> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let given = STANDARD.decode(encoded.trim()).ok()?;
    let mut found = None;
    for account in accounts {
        let wanted = format!("{}:{}", account.user, account.password);
        // An empty password is an account nobody may use.
        if equal(&given, wanted.as_bytes()) && !account.password.is_empty() {
            found = Some(account.role);
        }
    }
    found
}

/// Compares in a time that depends on the lengths only.
fn equal(left: &[u8], right: &[u8]) -> bool {
    let mut difference = u8::from(left.len() != right.len());
    for index in 0..left.len().max(right.len()) {
        let byte = |text: &[u8]| text.get(index).copied().unwrap_or_default();
        difference |= std::hint::black_box(byte(left) ^ byte(right));
    }
    std::hint::black_box(difference) == 0
}

struct Connection {
    relay: LocalRelay,
    role: Role,
    outbox: mpsc::Sender<WsMessage>,
    consumers: HashMap<u64, mpsc::Sender<Order>>,
    inflight: Arc<Semaphore>,
    /// Dropped with the connection, and their consumers with them.
    tasks: JoinSet<()>,
}

/// What the task of a consumer is told.
enum Order {
    Ack { id: u64, tags: Vec<u64> },
    Requeue { id: u64, tags: Vec<u64> },
    Cancel,
}

impl Connection {
    async fn handle(&mut self, frame: ToServer) {
        while self.tasks.try_join_next().is_some() {}
        match frame {
            ToServer::Publish { id, message } => self.publish(id, message).await,
            ToServer::Consume { id, source, prefetch } => {
                self.consume(id, source, prefetch).await;
            }
            ToServer::Ack { id, consumer, tags } => {
                self.order(consumer, id, Order::Ack { id, tags }).await;
            }
            ToServer::Requeue { id, consumer, tags } => {
                self.order(consumer, id, Order::Requeue { id, tags }).await;
            }
            ToServer::Cancel { consumer } => {
                // What the client asks next must find the messages back in
                // their queue, in their place.
                if let Some(orders) = self.consumers.remove(&consumer)
                    && orders.send(Order::Cancel).await.is_ok()
                {
                    orders.closed().await;
                }
            }
        }
    }

    async fn publish(&mut self, id: u64, message: crate::Message) {
        let allowed = match (self.role, &message.route) {
            (Role::Agent, Route::Results | Route::Heartbeats) => true,
            (Role::Agent, Route::Agent(_) | Route::Event(_)) | (Role::Worker, _) => false,
        };
        if !allowed {
            let error = refused(&self.relay.endpoint(), "this account may not publish there");
            return reply(&self.outbox, id, Err(error)).await;
        }
        // Waiting here stops reading from a client that sends faster than the
        // file takes.
        let Some(permit) = self.room_for(message.body.len()).await else { return };
        let outcomes = self.relay.submit(vec![message]).await;
        let (relay, outbox) = (self.relay.clone(), self.outbox.clone());
        self.tasks.spawn(async move {
            let outcome = relay.outcomes(1, outcomes).await.pop();
            drop(permit);
            reply(&outbox, id, outcome.unwrap_or(Ok(()))).await;
        });
    }

    async fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(MAX_INFLIGHT_KIB);
        Arc::clone(&self.inflight).acquire_many_owned(kib.min(MAX_INFLIGHT_KIB)).await.ok()
    }

    async fn consume(&mut self, id: u64, source: Source, prefetch: u16) {
        let allowed = matches!(
            (self.role, &source),
            (Role::Agent, Source::Agent(_)) | (Role::Worker, Source::Events { .. })
        );
        self.consumers.retain(|_, orders| !orders.is_closed());
        let reason = if !allowed {
            Some("this account may not read there")
        } else if self.consumers.len() >= MAX_CONSUMERS || self.consumers.contains_key(&id) {
            Some("too many readers on one connection")
        } else {
            None
        };
        if let Some(reason) = reason {
            let error = refused(&self.relay.endpoint(), reason);
            return reply(&self.outbox, id, Err(error)).await;
        }
        let prefetch = if prefetch == 0 { MAX_PREFETCH } else { prefetch.min(MAX_PREFETCH) };
        match self.relay.consume(source, prefetch).await {
            Ok(consumer) => {
                let (orders, taken) = mpsc::channel(64);
                self.consumers.insert(id, orders);
                reply(&self.outbox, id, Ok(())).await;
                self.tasks.spawn(feed(taken, consumer, id, self.outbox.clone()));
            }
            Err(error) => reply(&self.outbox, id, Err(error)).await,
        }
    }

    async fn order(&self, consumer: u64, id: u64, order: Order) {
        let sent = match self.consumers.get(&consumer) {
            Some(orders) => orders.send(order).await.is_ok(),
            None => false,
        };
        if !sent {
            // Tags of a reader that is gone are old tags: nothing to do.
            reply(&self.outbox, id, Ok(())).await;
        }
    }
}

/// Sends one consumer's deliveries and follows its orders until cancelled.
///
/// The orders come first so that they are dropped last: when they are closed,
/// the consumer has given its messages back.
async fn feed(
    mut orders: mpsc::Receiver<Order>,
    mut consumer: Box<dyn Consumer>,
    id: u64,
    outbox: mpsc::Sender<WsMessage>,
) {
    loop {
        let batch = tokio::select! {
            order = orders.recv() => {
                match order {
                    Some(Order::Ack { id, tags }) => {
                        reply(&outbox, id, consumer.ack(&tags).await).await;
                    }
                    Some(Order::Requeue { id, tags }) => {
                        reply(&outbox, id, consumer.requeue(&tags).await).await;
                    }
                    Some(Order::Cancel) | None => return,
                }
                continue;
            }
            batch = consumer.next_batch(64, Duration::ZERO) => batch,
        };
        match batch {
            Ok(deliveries) => {
                for delivery in deliveries {
                    let frame = ToClient::Delivery { consumer: id, delivery };
                    if outbox.send(WsMessage::Binary(frame.encode())).await.is_err() {
                        return;
                    }
                }
            }
            // The feed ends at the client, which asks again.
            Err(error) => return reply(&outbox, id, Err(error)).await,
        }
    }
}

async fn reply(outbox: &mpsc::Sender<WsMessage>, id: u64, outcome: Result<(), RelayError>) {
    let frame = match outcome {
        Ok(()) => ToClient::Done { id },
        Err(error) => ToClient::Failed { id, failure: Failure::from_error(&error) },
    };
    // A writer that is gone takes the connection with it.
    let _ = outbox.send(WsMessage::Binary(frame.encode())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_credentials_of_an_account_are_let_in() {
        let account = |user: &str, password: &str, role| WsAccount {
            user: user.to_owned(),
            password: password.to_owned(),
            role,
        };
        let accounts = [
            account("agent", "s3cret:with-colon", Role::Agent),
            account("worker", "other", Role::Worker),
            account("nobody", "", Role::Worker),
        ];
        let role = |text: &str| role_of(&accounts, &format!("Basic {}", STANDARD.encode(text)));
        for text in [
            "",
            ":",
            "agent",
            "agent:",
            "agent:s3cret",
            "agent:other",
            "worker:s3cret:with-colon",
            "nobody:",
            "agent:s3cret:with-colon\0",
        ] {
            assert_eq!(role(text), None, "{text:?}");
        }
        assert_eq!(role("agent:s3cret:with-colon"), Some(Role::Agent));
        assert_eq!(role("worker:other"), Some(Role::Worker));
        for header in ["", "Basic", "Basic !", "Bearer YTpi"] {
            assert_eq!(role_of(&accounts, header), None, "{header:?}");
        }
    }
}

//! One connection of a client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::{Error as WsError, Message as WsMessage};

use super::PROTOCOL;
use super::frame::{Failure, ToClient, ToServer};
use super::socket::{self, Counted};
use crate::Delivery;
use crate::address::Address;
use crate::dial::{Dialer, is_certificate_refusal};
use crate::link::{Connector, Fault};

/// What a request came to.
type Answer = Result<(), Failure>;

/// A connection and what waits for answers over it.
pub(crate) struct Session {
    shared: Arc<Shared>,
    outbox: mpsc::Sender<WsMessage>,
    next_id: AtomicU64,
    pub(super) proxy: Option<String>,
    tasks: [AbortHandle; 2],
}

struct Shared {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    consumers: Mutex<HashMap<u64, mpsc::UnboundedSender<Delivery>>>,
    over: watch::Sender<Option<Fault>>,
}

/// The session ended before it could do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost")]
pub(super) struct Lost;

impl Session {
    /// Sends a frame and returns where its answer will arrive; nothing arrives
    /// when the session ends first.
    pub(super) async fn request(
        &self,
        frame: impl FnOnce(u64) -> ToServer,
    ) -> Result<oneshot::Receiver<Answer>, Lost> {
        let id = self.reserve_id();
        self.request_as(id, frame(id)).await
    }

    /// Where the deliveries for a consumer will arrive. The channel has no
    /// bound of its own: the server sends no more than the prefetch.
    pub(super) fn deliveries(&self, consumer: u64) -> mpsc::UnboundedReceiver<Delivery> {
        let (sender, deliveries) = mpsc::unbounded_channel();
        lock(&self.shared.consumers).insert(consumer, sender);
        deliveries
    }

    pub(super) fn reserve_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request under an id reserved before.
    pub(super) async fn request_as(
        &self,
        id: u64,
        frame: ToServer,
    ) -> Result<oneshot::Receiver<Answer>, Lost> {
        let (sender, answer) = oneshot::channel();
        lock(&self.shared.waiting).insert(id, sender);
        // Looked at after the insertion: an ending session either clears what
        // was inserted or is seen here.
        if self.shared.over.borrow().is_some() {
            return Err(Lost);
        }
        self.outbox.send(WsMessage::Binary(frame.encode())).await.map_err(|_| Lost)?;
        Ok(answer)
    }

    /// Ends a consumer without waiting. If even that cannot be said, the
    /// session ends, or the server would keep deliveries for nobody.
    pub(super) fn cancel(&self, consumer: u64) {
        lock(&self.shared.consumers).remove(&consumer);
        let frame = ToServer::Cancel { consumer };
        if self.outbox.try_send(WsMessage::Binary(frame.encode())).is_err() {
            self.end("a reader could not be ended");
        }
    }

    /// Ends the session because the server does not answer or follow.
    pub(super) fn end(&self, reason: &str) {
        self.shared.finish(Fault::away(reason));
    }

    /// Whether the session is over.
    pub(super) async fn over(&self) -> Fault {
        let mut over = self.shared.over.subscribe();
        match over.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(fault)) => fault.clone(),
            _ => Fault::away("the session is gone"),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn finish(&self, fault: Fault) {
        self.over.send_if_modified(|over| {
            let first = over.is_none();
            if first {
                *over = Some(fault);
            }
            first
        });
        lock(&self.waiting).clear();
        lock(&self.consumers).clear();
    }

    fn receive(&self, frame: ToClient) {
        match frame {
            ToClient::Done { id } => self.answer(id, Ok(())),
            ToClient::Failed { id, failure } => {
                // A consumer that failed ends its feed, which asks again.
                lock(&self.consumers).remove(&id);
                self.answer(id, Err(failure));
            }
            ToClient::Delivery { consumer, delivery } => {
                if let Some(deliveries) = lock(&self.consumers).get(&consumer) {
                    // A dropped receiver is about to cancel the consumer.
                    let _ = deliveries.send(delivery);
                }
            }
        }
    }

    fn answer(&self, id: u64, answer: Answer) {
        if let Some(waiting) = lock(&self.waiting).remove(&id) {
            // A caller that lost patience does not listen any more.
            let _ = waiting.send(answer);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes sessions.
pub(super) struct WsConnector {
    pub(super) address: Address,
    pub(super) dialer: Dialer,
    /// Between two signs of life.
    pub(super) heartbeat: Duration,
}

#[async_trait]
impl Connector for WsConnector {
    type Session = Session;

    async fn connect(&self) -> Result<Session, Fault> {
        let dialled = self.dialer.dial().await.map_err(Fault::away)?;
        let upgrade = self.upgrade(dialled.stream);
        let socket = timeout(self.dialer.timeout(), upgrade)
            .await
            .map_err(|_| Fault::away("the relay does not answer the handshake"))??;
        let (sink, mut source) = socket::split(socket);
        let (outbox, waiting) = mpsc::channel(socket::OUTBOX);
        let (over, _) = watch::channel(None);
        let shared =
            Arc::new(Shared { waiting: Mutex::default(), consumers: Mutex::default(), over });
        let writer = tokio::spawn({
            let shared = Arc::clone(&shared);
            let ping = self.heartbeat / 2;
            async move {
                socket::write(sink, waiting, ping).await;
                shared.finish(Fault::away("the relay takes nothing"));
            }
        });
        let reader = tokio::spawn({
            let shared = Arc::clone(&shared);
            let silence = self.heartbeat * 2;
            async move {
                let fault = loop {
                    let frame = match socket::read(&mut source, silence).await {
                        Ok(bytes) => ToClient::decode(bytes),
                        Err(error) => break Fault::away(error),
                    };
                    match frame {
                        Ok(frame) => shared.receive(frame),
                        Err(error) => break Fault::away(error),
                    }
                };
                shared.finish(fault);
            }
        });
        let tasks = [writer.abort_handle(), reader.abort_handle()];
        let next_id = AtomicU64::new(1);
        Ok(Session { shared, outbox, next_id, proxy: dialled.proxy, tasks })
    }

    async fn ended(&self, session: &Session) -> Fault {
        session.over().await
    }

    async fn close(&self, session: &Session) {
        // The server ends its side on the close frame, and our reader with it.
        let _ = session.outbox.try_send(WsMessage::Close(None));
        let _ = timeout(Duration::from_secs(1), session.over()).await;
        session.end("the relay was closed");
    }
}

impl WsConnector {
    async fn upgrade(&self, stream: tokio::net::TcpStream) -> Result<socket::Socket, Fault> {
        let io = match &self.dialer.tls {
            None => Counted::new(stream),
            Some(tls) => {
                let name = ServerName::try_from(self.address.host.clone()).map_err(Fault::away)?;
                let connector = TlsConnector::from(Arc::clone(tls));
                let stream = connector.connect(name, stream).await.map_err(|error| {
                    if is_certificate_refusal(&error) {
                        Fault::refused(error)
                    } else {
                        Fault::away(error)
                    }
                })?;
                Counted::new(stream)
            }
        };
        // The scheme only shapes the request; TLS is in place already.
        let uri = format!("ws://{}/", self.address.authority());
        let mut request = uri.into_client_request().map_err(Fault::away)?;
        let credentials = format!("{}:{}", self.address.user, self.address.password);
        let basic = format!("Basic {}", STANDARD.encode(credentials));
        let basic = HeaderValue::from_str(&basic).map_err(Fault::away)?;
        request.headers_mut().insert(AUTHORIZATION, basic);
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        match client_async_with_config(request, io, Some(socket::config())).await {
            Ok((socket, _)) => Ok(socket),
            Err(WsError::Http(response)) if [401, 403].contains(&response.status().as_u16()) => {
                Err(Fault::refused(format!("the relay answered {}", response.status())))
            }
            Err(error) if is_certificate_refusal(&error) => Err(Fault::refused(error)),
            Err(error) => Err(Fault::away(error)),
        }
    }
}

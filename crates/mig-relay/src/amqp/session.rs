//! One connection to a broker.

use std::net::Shutdown;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_compat::CompatExt as _;
use async_rs::Runtime;
use async_trait::async_trait;
use futures_util::StreamExt as _;
use lapin::options::{
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::tcp::AsyncTcpStream;
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties, Event, ExchangeKind};
use rustls_connector::RustlsConnector;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};

use super::fault;
use crate::address::Address;
use crate::dial::{Dialer, is_certificate_refusal};
use crate::link::{Connector, Fault};
use crate::names::{TO_AGENTS, TO_SCHEDULERS, TO_WORKERS};

/// Frames are small: buffers of 64 frames are set aside for each connection,
/// and agents shall stay small. Bodies are split over frames.
const FRAME_MAX: u32 = 16 * 1024;
/// How often a connection's state is looked at, beside its events.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) struct Session {
    connection: Connection,
    /// The same socket again: shutting it down ends the connection whatever
    /// state its own task is in.
    socket: std::net::TcpStream,
    /// One channel with confirms for each exchange, since a refusal closes the
    /// channel. Empty while in use, so that a publisher that gives up half-way
    /// leaves no half-read confirms behind.
    publishers: [tokio::sync::Mutex<Option<Channel>>; 3],
    over: watch::Sender<Option<Fault>>,
    pub(super) proxy: Option<String>,
}

/// The exchange messages go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchange {
    Agents,
    Schedulers,
    Workers,
}

impl Exchange {
    pub(super) const ALL: [Self; 3] = [Self::Agents, Self::Schedulers, Self::Workers];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Agents => TO_AGENTS,
            Self::Schedulers => TO_SCHEDULERS,
            Self::Workers => TO_WORKERS,
        }
    }
}

impl Session {
    pub(super) async fn open_channel(&self) -> Result<Channel, lapin::Error> {
        self.connection.create_channel().await
    }

    pub(super) async fn open_publisher(&self) -> Result<Channel, lapin::Error> {
        let channel = self.open_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    pub(super) fn publisher(&self, exchange: Exchange) -> &tokio::sync::Mutex<Option<Channel>> {
        let [agents, schedulers, workers] = &self.publishers;
        match exchange {
            Exchange::Agents => agents,
            Exchange::Schedulers => schedulers,
            Exchange::Workers => workers,
        }
    }

    /// Whether the broker has asked publishers to wait (memory or disk alarm).
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Ends the session because the broker does not answer.
    pub(super) fn end(&self, reason: &str) {
        self.finish(Fault::away(reason));
    }

    fn finish(&self, fault: Fault) {
        self.over.send_if_modified(|over| {
            let first = over.is_none();
            if first {
                *over = Some(fault);
            }
            first
        });
        // Fails when it is closed already, which is what is wanted.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Waits until the session is over.
    pub(super) async fn over(&self) -> Fault {
        let mut over = self.over.subscribe();
        match over.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(fault)) => fault.clone(),
            _ => Fault::away("the session is gone"),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// A name of at most 255 bytes.
pub(super) fn short(text: &str) -> Result<ShortString, lapin::Error> {
    ShortString::try_new(text).map_err(|error| std::io::Error::other(error.to_string()).into())
}

/// The three exchanges every peer knows, exactly as it declares them.
pub(super) async fn declare_exchanges(channel: &Channel) -> Result<(), lapin::Error> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    for (name, kind) in [
        (TO_AGENTS, ExchangeKind::Direct),
        (TO_SCHEDULERS, ExchangeKind::Direct),
        (TO_WORKERS, ExchangeKind::Topic),
    ] {
        channel.exchange_declare(name.into(), kind, durable, FieldTable::default()).await?;
    }
    Ok(())
}

/// A durable queue without arguments, bound to an exchange.
pub(super) async fn declare_queue(
    channel: &Channel,
    queue: &str,
    exchange: &str,
    key: &str,
) -> Result<(), lapin::Error> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let queue = short(queue)?;
    channel.queue_declare(queue.clone(), durable, FieldTable::default()).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(queue, short(exchange)?, short(key)?, options, FieldTable::default()).await
}

/// Makes sessions.
pub(super) struct AmqpConnector {
    pub(super) address: Address,
    pub(super) dialer: Dialer,
    /// Seconds.
    pub(super) heartbeat: u16,
}

#[async_trait]
impl Connector for AmqpConnector {
    type Session = Session;

    async fn connect(&self) -> Result<Session, Fault> {
        let dialled = self.dialer.dial().await.map_err(Fault::away)?;
        let stream = dialled.stream.into_std().map_err(Fault::away)?;
        let socket = stream.try_clone().map_err(Fault::away)?;
        let stream = tokio::net::TcpStream::from_std(stream).map_err(Fault::away)?;
        // Whatever becomes of the handshakes, the socket does not outlive them.
        let mut closing = CloseOnDrop(Some(socket));
        let handshake = self.handshake(stream);
        let connection = timeout(self.dialer.timeout(), handshake)
            .await
            .map_err(|_| Fault::away("the broker does not answer the handshake"))??;
        let socket = closing.0.take().ok_or_else(|| Fault::away("no socket"))?;
        let (over, _) = watch::channel(None);
        Ok(Session {
            connection,
            socket,
            publishers: Default::default(),
            over,
            proxy: dialled.proxy,
        })
    }

    async fn ended(&self, session: &Session) -> Fault {
        let mut events = std::pin::pin!(session.connection.events_listener());
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reason = None;
        loop {
            let fault = tokio::select! {
                fault = session.over() => fault,
                event = events.next() => match event {
                    // A channel's end is told here as well; it is the affair
                    // of whoever uses the channel.
                    Some(Event::Error(error)) if session.connection.status().connected() => {
                        reason = Some(error);
                        continue;
                    }
                    Some(Event::Error(error)) => fault::to_fault(error),
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(%reason, "the broker takes no messages for now");
                        continue;
                    }
                    Some(_) => continue,
                    None => Fault::away("the connection is gone"),
                },
                // An error may have come before anybody listened, or before
                // the state showed it.
                _ = look.tick() => {
                    if session.connection.status().connected() {
                        reason = None;
                        continue;
                    }
                    let closed = || Fault::away("the connection is closed");
                    reason.take().map_or_else(closed, fault::to_fault)
                }
            };
            session.finish(fault.clone());
            return fault;
        }
    }

    async fn close(&self, session: &Session) {
        let _ = timeout(Duration::from_secs(2), session.connection.close(200, "OK".into())).await;
        session.end("the relay was closed");
    }
}

impl AmqpConnector {
    async fn handshake(&self, stream: tokio::net::TcpStream) -> Result<Connection, Fault> {
        let mut stream = AsyncTcpStream::Plain(stream.compat());
        if let Some(tls) = &self.dialer.tls {
            let connector = RustlsConnector::from(std::sync::Arc::clone(tls));
            stream = stream.into_rustls(&connector, &self.address.host).await.map_err(|error| {
                if is_certificate_refusal(&error) {
                    Fault::refused(error)
                } else {
                    Fault::away(error)
                }
            })?;
        }
        // Connected before the client library starts, so that its thread never
        // waits for a dial; asked a second time it gets an error.
        let once = Mutex::new(Some(stream));
        let connect = async move |_, _: Runtime<async_rs::Tokio>| {
            let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
            stream.ok_or_else(|| std::io::Error::other("the connection was lost").into())
        };
        let properties = ConnectionProperties::default().with_connection_name("mig".into());
        Connection::connector(self.uri(), Runtime::tokio_current(), connect, properties)
            .await
            .map_err(fault::to_fault)
    }

    fn uri(&self) -> AMQPUri {
        let query = AMQPQueryString {
            frame_max: Some(FRAME_MAX),
            heartbeat: Some(self.heartbeat),
            ..AMQPQueryString::default()
        };
        AMQPUri {
            scheme: if self.address.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.address.user.clone(),
                    password: self.address.password.clone(),
                },
                host: self.address.host.clone(),
                port: self.address.port,
            },
            vhost: self.address.vhost.clone(),
            query,
        }
    }
}

struct CloseOnDrop(Option<std::net::TcpStream>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

//! What both ends do with their socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message as WsMessage};

/// The largest message taken, bytes.
const MAX_FRAME: usize = 64 * 1024 * 1024;
/// A peer that takes nothing for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Slower lines, bytes per second, are taken for dead.
const SLOWEST_LINE: usize = 16 * 1024;
/// Bytes written before a flush.
const FLUSH_BYTES: usize = 256 * 1024;
/// Frames waiting to be written.
pub(super) const OUTBOX: usize = 256;

/// A socket, with TLS or without.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(super) type Socket = WebSocketStream<Counted>;
pub(super) type Sink = SplitSink<Socket, WsMessage>;

/// A socket that counts what it reads, so that a large message on a slow line
/// is told from silence.
pub(super) struct Counted {
    io: Box<dyn Io>,
    read: Arc<AtomicU64>,
}

impl Counted {
    pub(super) fn new(io: impl Io + 'static) -> Self {
        Self { io: Box::new(io), read: Arc::default() }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let read = buf.filled().len().saturating_sub(before);
        self.read.fetch_add(u64::try_from(read).unwrap_or(u64::MAX), Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The reading half.
pub(super) struct Source {
    stream: SplitStream<Socket>,
    read: Arc<AtomicU64>,
}

pub(super) fn split(socket: Socket) -> (Sink, Source) {
    let read = Arc::clone(&socket.get_ref().read);
    let (sink, stream) = socket.split();
    (sink, Source { stream, read })
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("the peer said nothing for {seconds} s")]
    Silent { seconds: u64 },
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer sent text")]
    Text,
    #[error("the connection broke")]
    Broken { source: Box<WsError> },
}

pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME))
}

/// Reads the next binary message; pings and pongs only prove life.
pub(super) async fn read(source: &mut Source, silence: Duration) -> Result<Bytes, SocketError> {
    loop {
        let before = source.read.load(Ordering::Relaxed);
        let next = match timeout(silence, source.stream.next()).await {
            Ok(next) => next,
            Err(_) if source.read.load(Ordering::Relaxed) != before => continue,
            Err(_) => return Err(SocketError::Silent { seconds: silence.as_secs() }),
        };
        match next {
            Some(Ok(WsMessage::Binary(bytes))) => return Ok(bytes),
            Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Frame(_))) => {}
            Some(Ok(WsMessage::Text(_))) => return Err(SocketError::Text),
            Some(Ok(WsMessage::Close(_))) | None => return Err(SocketError::Closed),
            Some(Err(error)) => return Err(SocketError::Broken { source: Box::new(error) }),
        }
    }
}

/// Writes what comes, and a ping every `ping`, until the senders are gone or
/// the peer is. Ends with a close frame.
pub(super) async fn write(mut sink: Sink, mut outbox: mpsc::Receiver<WsMessage>, ping: Duration) {
    let mut pings = tokio::time::interval(ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = outbox.recv() => message,
            _ = pings.tick() => Some(WsMessage::Ping(Bytes::new())),
        };
        let Some(message) = message else { break };
        // One flush for what is waiting already.
        let mut bytes = message.len();
        let mut batch = vec![message];
        while bytes < FLUSH_BYTES
            && batch.len() < OUTBOX
            && let Ok(more) = outbox.try_recv()
        {
            bytes += more.len();
            batch.push(more);
        }
        let patience = WRITE_TIMEOUT
            + Duration::from_secs(u64::try_from(bytes / SLOWEST_LINE).unwrap_or_default());
        let written = timeout(patience, async {
            for message in batch {
                sink.feed(message).await?;
            }
            sink.flush().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(Duration::from_secs(1), sink.close()).await;
}

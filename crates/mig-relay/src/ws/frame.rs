//! Frames of the protocol: encoding, and decoding what a stranger sent.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::{Delivery, Message, RelayError, Route, Source};

/// The most tags one ack or requeue names.
pub(super) const MAX_TAGS: usize = 65_536;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToServer {
    Publish { id: u64, message: Message },
    Consume { id: u64, source: Source, prefetch: u16 },
    Ack { id: u64, consumer: u64, tags: Vec<u64> },
    Requeue { id: u64, consumer: u64, tags: Vec<u64> },
    Cancel { consumer: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToClient {
    Done { id: u64 },
    Failed { id: u64, failure: Failure },
    Delivery { consumer: u64, delivery: Delivery },
}

/// A [`RelayError`] as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Unavailable = 1,
    Unroutable = 2,
    Refused = 3,
    TooLarge = 4,
    Failed = 5,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("frame ends early")]
    Short,
    #[error("frame goes on after its end")]
    Long,
    #[error("unknown value {0} in a frame")]
    Unknown(u8),
    #[error("text in a frame is not UTF-8")]
    Text,
    #[error("a frame names an impossible queueloc")]
    QueueLoc,
    #[error("a frame names too many tags")]
    Tags,
}

/// Reads bytes as a frame of either direction, as a fuzz target does; whether
/// both readings write back what they read.
#[doc(hidden)]
pub fn frame_is_stable(bytes: &[u8]) -> bool {
    let frame = Bytes::copy_from_slice(bytes);
    let to_server = ToServer::decode(frame.clone()).map_or(true, |read| read.encode() == frame);
    let to_client = ToClient::decode(frame.clone()).map_or(true, |read| read.encode() == frame);
    to_server && to_client
}

impl ToServer {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Publish { id, message } => {
                out.reserve(message.body.len() + 300);
                out.put_u8(1);
                out.put_u64(*id);
                match &message.route {
                    Route::Agent(queueloc) => put_named(&mut out, 0, queueloc.as_str()),
                    Route::Results => out.put_u8(1),
                    Route::Heartbeats => out.put_u8(2),
                    Route::Event(key) => put_named(&mut out, 3, key),
                }
                out.put_u64(u64::try_from(message.ttl.as_millis()).unwrap_or(u64::MAX));
                out.put_slice(&message.body);
            }
            Self::Consume { id, source, prefetch } => {
                out.put_u8(2);
                out.put_u64(*id);
                match source {
                    Source::Agent(queueloc) => put_named(&mut out, 0, queueloc.as_str()),
                    Source::Results => out.put_u8(1),
                    Source::Heartbeats => out.put_u8(2),
                    Source::Events { queue, key } => {
                        put_named(&mut out, 3, queue);
                        put_text(&mut out, key);
                    }
                }
                out.put_u16(*prefetch);
            }
            Self::Ack { id, consumer, tags } => put_tags(&mut out, 3, *id, *consumer, tags),
            Self::Requeue { id, consumer, tags } => put_tags(&mut out, 4, *id, *consumer, tags),
            Self::Cancel { consumer } => {
                out.put_u8(5);
                out.put_u64(*consumer);
            }
        }
        out.freeze()
    }

    pub(super) fn decode(mut frame: Bytes) -> Result<Self, FrameError> {
        let kind = take_u8(&mut frame)?;
        let id = take_u64(&mut frame)?;
        let decoded = match kind {
            1 => {
                let route = take_route(&mut frame)?;
                let ttl = Duration::from_millis(take_u64(&mut frame)?);
                // A slice of a large read buffer would keep all of it alive.
                let body = Bytes::copy_from_slice(&frame);
                return Ok(Self::Publish { id, message: Message { route, body, ttl } });
            }
            2 => {
                let source = take_source(&mut frame)?;
                Self::Consume { id, source, prefetch: take_u16(&mut frame)? }
            }
            3 | 4 => {
                let consumer = take_u64(&mut frame)?;
                let tags = take_tags(&mut frame)?;
                if kind == 3 {
                    Self::Ack { id, consumer, tags }
                } else {
                    Self::Requeue { id, consumer, tags }
                }
            }
            5 => Self::Cancel { consumer: id },
            other => return Err(FrameError::Unknown(other)),
        };
        if frame.is_empty() { Ok(decoded) } else { Err(FrameError::Long) }
    }
}

impl ToClient {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Done { id } => {
                out.put_u8(129);
                out.put_u64(*id);
            }
            Self::Failed { id, failure } => {
                out.put_u8(130);
                out.put_u64(*id);
                out.put_u8(failure.reason as u8);
                put_text(&mut out, &failure.text);
            }
            Self::Delivery { consumer, delivery } => {
                out.reserve(delivery.body.len() + 18);
                out.put_u8(131);
                out.put_u64(*consumer);
                out.put_u64(delivery.tag);
                out.put_u8(u8::from(delivery.redelivered));
                out.put_slice(&delivery.body);
            }
        }
        out.freeze()
    }

    pub(super) fn decode(mut frame: Bytes) -> Result<Self, FrameError> {
        let kind = take_u8(&mut frame)?;
        let id = take_u64(&mut frame)?;
        let decoded = match kind {
            129 => Self::Done { id },
            130 => {
                let reason = take_reason(&mut frame)?;
                Self::Failed { id, failure: Failure { reason, text: take_text(&mut frame)? } }
            }
            131 => {
                let tag = take_u64(&mut frame)?;
                let redelivered = take_u8(&mut frame)? != 0;
                let body = Bytes::copy_from_slice(&frame);
                let delivery = Delivery { tag, body, redelivered };
                return Ok(Self::Delivery { consumer: id, delivery });
            }
            other => return Err(FrameError::Unknown(other)),
        };
        if frame.is_empty() { Ok(decoded) } else { Err(FrameError::Long) }
    }
}

impl Failure {
    pub(super) fn from_error(error: &RelayError) -> Self {
        let reason = match error {
            RelayError::Unavailable { .. } => Reason::Unavailable,
            RelayError::Unroutable { route } => {
                return Self { reason: Reason::Unroutable, text: route.clone() };
            }
            RelayError::Refused { .. } => Reason::Refused,
            RelayError::TooLarge { .. } => Reason::TooLarge,
            RelayError::Address { .. } | RelayError::Failed { .. } => Reason::Failed,
        };
        // The innermost cause says what is wrong; the layers above it name an
        // endpoint the client knows under another name.
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        Self { reason, text: innermost.to_string() }
    }

    /// The error for a message of `bytes`.
    pub(super) fn into_error(self, endpoint: &str, bytes: usize) -> RelayError {
        let endpoint = endpoint.to_owned();
        match self.reason {
            Reason::Unavailable => {
                RelayError::Unavailable { endpoint, source: Some(self.text.into()) }
            }
            Reason::Unroutable => RelayError::Unroutable { route: self.text },
            Reason::Refused => RelayError::Refused { endpoint, source: Some(self.text.into()) },
            Reason::TooLarge => RelayError::TooLarge { bytes, limit: crate::MAX_BODY },
            Reason::Failed => RelayError::Failed { endpoint, source: self.text.into() },
        }
    }
}

fn put_named(out: &mut BytesMut, kind: u8, text: &str) {
    out.put_u8(kind);
    put_text(out, text);
}

/// Cuts what a 16-bit length cannot hold; nothing that long is a name.
fn put_text(out: &mut BytesMut, text: &str) {
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    let text = text.get(..end).unwrap_or_default();
    out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.put_slice(text.as_bytes());
}

fn put_tags(out: &mut BytesMut, kind: u8, id: u64, consumer: u64, tags: &[u64]) {
    out.put_u8(kind);
    out.put_u64(id);
    out.put_u64(consumer);
    for tag in tags {
        out.put_u64(*tag);
    }
}

fn take_u8(frame: &mut Bytes) -> Result<u8, FrameError> {
    frame.try_get_u8().map_err(|_| FrameError::Short)
}

fn take_u16(frame: &mut Bytes) -> Result<u16, FrameError> {
    frame.try_get_u16().map_err(|_| FrameError::Short)
}

fn take_u64(frame: &mut Bytes) -> Result<u64, FrameError> {
    frame.try_get_u64().map_err(|_| FrameError::Short)
}

fn take_text(frame: &mut Bytes) -> Result<String, FrameError> {
    let len = usize::from(take_u16(frame)?);
    if frame.len() < len {
        return Err(FrameError::Short);
    }
    let text = frame.split_to(len);
    std::str::from_utf8(&text).map(str::to_owned).map_err(|_| FrameError::Text)
}

fn take_tags(frame: &mut Bytes) -> Result<Vec<u64>, FrameError> {
    if frame.len() / 8 > MAX_TAGS {
        return Err(FrameError::Tags);
    }
    let mut tags = Vec::with_capacity(frame.len() / 8);
    while !frame.is_empty() {
        tags.push(take_u64(frame)?);
    }
    Ok(tags)
}

fn take_queueloc(frame: &mut Bytes) -> Result<mig_types::QueueLoc, FrameError> {
    take_text(frame)?.parse().map_err(|_| FrameError::QueueLoc)
}

fn take_route(frame: &mut Bytes) -> Result<Route, FrameError> {
    Ok(match take_u8(frame)? {
        0 => Route::Agent(take_queueloc(frame)?),
        1 => Route::Results,
        2 => Route::Heartbeats,
        3 => Route::Event(take_text(frame)?),
        other => return Err(FrameError::Unknown(other)),
    })
}

fn take_source(frame: &mut Bytes) -> Result<Source, FrameError> {
    Ok(match take_u8(frame)? {
        0 => Source::Agent(take_queueloc(frame)?),
        1 => Source::Results,
        2 => Source::Heartbeats,
        3 => Source::Events { queue: take_text(frame)?, key: take_text(frame)? },
        other => return Err(FrameError::Unknown(other)),
    })
}

fn take_reason(frame: &mut Bytes) -> Result<Reason, FrameError> {
    Ok(match take_u8(frame)? {
        1 => Reason::Unavailable,
        2 => Reason::Unroutable,
        3 => Reason::Refused,
        4 => Reason::TooLarge,
        5 => Reason::Failed,
        other => return Err(FrameError::Unknown(other)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_no_frame() {
        let cases: [(&[u8], FrameError); 8] = [
            (b"", FrameError::Short),
            (b"\x01", FrameError::Short),
            (b"\x09\0\0\0\0\0\0\0\x01", FrameError::Unknown(9)),
            (b"\x05\0\0\0\0\0\0\0\x01x", FrameError::Long),
            (b"\x02\0\0\0\0\0\0\0\x01\x07", FrameError::Unknown(7)),
            (b"\x02\0\0\0\0\0\0\0\x01\0\xff\xffa", FrameError::Short),
            (b"\x02\0\0\0\0\0\0\0\x01\0\0\x01\xff", FrameError::Text),
            (b"\x02\0\0\0\0\0\0\0\x01\0\0\x07results\0\x01", FrameError::QueueLoc),
        ];
        for (bytes, error) in cases {
            assert_eq!(ToServer::decode(Bytes::copy_from_slice(bytes)), Err(error), "{bytes:?}");
        }
        let many = [vec![3_u8; 17], vec![0; 8 * (MAX_TAGS + 1)]].concat();
        assert_eq!(ToServer::decode(many.into()), Err(FrameError::Tags));
    }

    fn route() -> impl Strategy<Value = Route> {
        prop_oneof![
            "[a-z.]{1,20}".prop_filter_map("a queueloc", |t| Some(Route::Agent(t.parse().ok()?))),
            Just(Route::Results),
            Just(Route::Heartbeats),
            ".{0,30}".prop_map(Route::Event),
        ]
    }

    fn to_server() -> impl Strategy<Value = ToServer> {
        let body = vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        let tags = || vec(any::<u64>(), 0..20);
        prop_oneof![
            (any::<u64>(), route(), body, any::<u64>()).prop_map(|(id, route, body, ms)| {
                let ttl = Duration::from_millis(ms);
                ToServer::Publish { id, message: Message { route, body, ttl } }
            }),
            (any::<u64>(), ".{0,9}", ".{0,9}", any::<u16>()).prop_map(|(id, queue, key, n)| {
                ToServer::Consume { id, source: Source::Events { queue, key }, prefetch: n }
            }),
            (any::<u64>(), any::<u64>(), tags()).prop_map(|(id, consumer, tags)| ToServer::Ack {
                id,
                consumer,
                tags
            }),
            (any::<u64>(), any::<u64>(), tags())
                .prop_map(|(id, consumer, tags)| ToServer::Requeue { id, consumer, tags }),
            any::<u64>().prop_map(|consumer| ToServer::Cancel { consumer }),
        ]
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_give_no_more_than_they_hold(
            bytes in vec(any::<u8>(), 0..400),
            kind in prop_oneof![1..6_u8, 128..132_u8],
        ) {
            for kinded in [false, true] {
                let mut bytes = bytes.clone();
                if let (true, Some(first)) = (kinded, bytes.first_mut()) {
                    *first = kind;
                }
                let len = bytes.len();
                let bytes = Bytes::from(bytes);
                match ToServer::decode(bytes.clone()) {
                    Ok(ToServer::Publish { message, .. }) => prop_assert!(message.body.len() < len),
                    Ok(ToServer::Ack { tags, .. } | ToServer::Requeue { tags, .. }) => {
                        prop_assert!(tags.len() * 8 < len);
                    }
                    _ => {}
                }
                if let Ok(ToClient::Delivery { delivery, .. }) = ToClient::decode(bytes) {
                    prop_assert!(delivery.body.len() < len);
                }
            }
        }

        #[test]
        fn frames_to_the_server_come_back_as_sent(frame in to_server()) {
            prop_assert_eq!(ToServer::decode(frame.encode()), Ok(frame));
        }

        #[test]
        fn frames_to_the_client_come_back_as_sent(
            id in any::<u64>(), tag in any::<u64>(), redelivered in any::<bool>(),
            text in ".{0,50}", body in vec(any::<u8>(), 0..200),
        ) {
            let body = Bytes::from(body);
            for frame in [
                ToClient::Done { id },
                ToClient::Failed { id, failure: Failure { reason: Reason::Refused, text } },
                ToClient::Delivery { consumer: id, delivery: Delivery { tag, body, redelivered } },
            ] {
                prop_assert_eq!(ToClient::decode(frame.encode()), Ok(frame));
            }
        }
    }
}

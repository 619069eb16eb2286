//! The network face of the built-in relay: WebSocket, usually over TLS.
//!
//! # Protocol `mig-relay.v1`
//!
//! The client upgrades any path with `Sec-WebSocket-Protocol: mig-relay.v1`
//! and HTTP Basic credentials. The server answers 401 to unknown credentials
//! and 400 to another protocol. Afterwards every message is binary, at most
//! 64 MiB, and holds one frame: a kind byte, then fields, integers in network
//! order, `text` as a 16-bit length and UTF-8, `rest` to the end.
//!
//! | Kind | Client to server | Fields |
//! |---|---|---|
//! | 1 | publish | id u64, route, ttl in ms u64, body rest |
//! | 2 | consume | id u64, source, prefetch u16 |
//! | 3 | ack | id u64, consumer u64, tags u64 each |
//! | 4 | requeue | id u64, consumer u64, tags u64 each |
//! | 5 | cancel | consumer u64 |
//!
//! | Kind | Server to client | Fields |
//! |---|---|---|
//! | 129 | done | id u64 |
//! | 130 | failed | id u64, reason u8, text |
//! | 131 | delivery | consumer u64, tag u64, redelivered u8, body rest |
//!
//! A route or source is one byte and its texts: 0 an agent and its queueloc,
//! 1 results, 2 heartbeats, 3 an event and its routing key (as a source: the
//! queue, then the key). A consumer is named by the id that asked for it.
//! Reasons: 1 unavailable, 2 unroutable, 3 refused, 4 too large, 5 failed.
//!
//! Publishes are answered once durable, acks once carried out; answers may
//! come in any order. Both sides send WebSocket pings and end a connection
//! that stays silent. What a connection held unacknowledged when it ended is
//! delivered again. A frame that does not parse ends the connection.
//!
//! Agents may read agents' queues and publish results and heartbeats, workers
//! may read event queues; everything else is refused by the server.

mod client;
mod frame;
mod serve;
mod session;
mod socket;

pub(crate) use client::WsRelay;
#[doc(hidden)]
pub use frame::frame_is_stable;
pub use serve::{Role, WsAccount, serve_ws};

/// Names the protocol and its version in the upgrade.
const PROTOCOL: &str = "mig-relay.v1";

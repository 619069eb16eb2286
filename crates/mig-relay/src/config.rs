//! What it takes to reach a relay, and reaching it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::address::{Address, Transport};
use crate::dial::Dialer;
use crate::{Relay, RelayError, amqp, ws};

/// How to reach a relay. `Debug` shows no credentials.
#[derive(Clone)]
pub struct RelayConfig {
    /// `amqp://`, `amqps://`, `ws://` or `wss://`, with user and password.
    pub address: String,
    /// The only certificate authorities trusted; without, the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// Client certificate chain; needs `key_pem`.
    pub cert_pem: Option<Vec<u8>>,
    pub key_pem: Option<Vec<u8>>,
    /// Wanted time between two signs of life on the connection.
    pub heartbeat: Duration,
    /// For one attempt to connect, all steps of it.
    pub connect_timeout: Duration,
    /// HTTP proxies `[user:password@]host:port`, tried in order before
    /// `environment_proxy` and the direct way.
    pub proxies: Vec<String>,
    /// The proxy the environment names, if it applies to this relay.
    pub environment_proxy: Option<String>,
}

impl RelayConfig {
    /// An address, and defaults for the rest: public authorities, heartbeat
    /// 60 s, 5 s to connect, no proxy.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            ca_pem: None,
            cert_pem: None,
            key_pem: None,
            heartbeat: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(5),
            proxies: Vec::new(),
            environment_proxy: None,
        }
    }
}

impl fmt::Debug for RelayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Address::parse(&self.address);
        f.debug_struct("RelayConfig")
            .field("address", &address.ok())
            .field("heartbeat", &self.heartbeat)
            .field("connect_timeout", &self.connect_timeout)
            .field("proxies", &self.proxies.len())
            .finish_non_exhaustive()
    }
}

/// Starts a connection to a relay and returns at once: it is made, and remade
/// for ever, in the background.
///
/// # Errors
///
/// [`RelayError::Address`] when address, proxies or certificates make no sense.
pub async fn connect(config: &RelayConfig) -> Result<Arc<dyn Relay>, RelayError> {
    let address = Address::parse(&config.address)?;
    let dialer = Dialer::new(&address, config)?;
    Ok(match address.transport {
        Transport::Amqp => Arc::new(amqp::AmqpRelay::start(address, dialer, config)),
        Transport::Ws => Arc::new(ws::WsRelay::start(address, dialer, config)),
    })
}

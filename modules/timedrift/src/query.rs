//! One question to one server.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use mig_host::Host;
use mig_types::{Timestamp, duration};

use crate::sntp;

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The server's time when its answer arrived.
    pub(crate) time: Timestamp,
    pub(crate) latency: Duration,
    /// Local time minus the server's.
    pub(crate) drift_nanos: i64,
}

impl Answer {
    pub(crate) fn text(&self, server: &str) -> String {
        let by = duration::format(Duration::from_nanos(self.drift_nanos.unsigned_abs()));
        let side = if self.drift_nanos < 0 { "behind" } else { "ahead of" };
        format!("Local time is {side} ntp host {server} by {by}")
    }
}

/// Asks a server for its time.
pub(crate) fn ask(
    host: &dyn Host,
    server: &str,
    port: u16,
    patience: Duration,
) -> io::Result<Answer> {
    let deadline = Instant::now() + patience;
    let socket = connect(server, port)?;
    let local = host.now();
    let sent = sntp::from_timestamp(local);
    let begun = Instant::now();
    socket.send(&sntp::request(sent))?;
    let mut buffer = [0; 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            // How a read says that its time is over.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => continue,
            Err(error) => return Err(error),
        };
        let latency = begun.elapsed();
        match sntp::decode(buffer.get(..length).unwrap_or_default(), sent) {
            Ok(reply) => {
                let drift_nanos = reply.drift_nanos(sent, latency);
                let arrived = local + latency;
                let by = Duration::from_nanos(drift_nanos.unsigned_abs());
                let time = if drift_nanos < 0 { arrived + by } else { arrived - by };
                return Ok(Answer { time, latency, drift_nanos });
            }
            // Late, or somebody else's: the right one may still come.
            Err(sntp::ReplyError::Foreign) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

/// A socket of an own port that hears this server only.
fn connect(server: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (server, port).to_socket_addrs()? {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let connected = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(address)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => return Ok(socket),
            // No route for this kind of address, perhaps for the next.
            Err(error) => last = error,
        }
    }
    Err(last)
}

//! One probe.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

#[cfg(unix)]
use mig_host::net::echo::{Request, Socket};

use crate::elements::{FAILED, REFUSED, TIMED_OUT};
use crate::plan::{Plan, Protocol};

const UDP_PAYLOAD: &[u8] = b"Ping!Ping!Ping!";
/// Three times the above.
#[cfg(unix)]
const ICMP_PAYLOAD: &[u8] = b"Ping!Ping!Ping!Ping!Ping!Ping!Ping!Ping!Ping!";

/// What became of one probe.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answered(Duration),
    Silence,
    Refused,
    Failed(io::Error),
}

impl Outcome {
    /// Its value in the result.
    pub(crate) fn latency(&self) -> f64 {
        match self {
            // Never the zero that means a failure.
            Self::Answered(time) => (time.as_secs_f64() * 1000.0).max(0.000_001),
            Self::Silence => TIMED_OUT,
            Self::Refused => REFUSED,
            Self::Failed(_) => FAILED,
        }
    }

    /// Whether the destination may have been reached. A UDP service need not
    /// answer what it does not understand.
    pub(crate) fn is_found(&self, protocol: Protocol) -> bool {
        match self {
            Self::Answered(_) => true,
            Self::Silence => protocol == Protocol::Udp,
            Self::Refused | Self::Failed(_) => false,
        }
    }
}

/// Sends one probe and waits for what becomes of it.
pub(crate) fn probe(plan: &Plan, to: IpAddr, number: u16) -> Outcome {
    let begun = Instant::now();
    let answered = match plan.protocol {
        Protocol::Icmp => icmp(to, number, begun + plan.timeout),
        Protocol::Tcp => {
            TcpStream::connect_timeout(&(to, plan.port).into(), plan.timeout).map(drop)
        }
        Protocol::Udp => udp((to, plan.port).into(), begun + plan.timeout),
    };
    match answered {
        Ok(()) => Outcome::Answered(begun.elapsed()),
        Err(error) => match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Outcome::Silence,
            io::ErrorKind::ConnectionRefused => Outcome::Refused,
            _ => Outcome::Failed(error),
        },
    }
}

fn udp(to: SocketAddr, deadline: Instant) -> io::Result<()> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.send(UDP_PAYLOAD)?;
    let mut buffer = [0; 16];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            Ok(_) => return Ok(()),
            // A signal, or the clock is a little early.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(unix)]
fn icmp(to: IpAddr, number: u16, deadline: Instant) -> io::Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    let identifier = std::process::id() as u16;
    let request = Request { to, identifier, sequence: number };
    match Socket::open(to)?.exchange(request, ICMP_PAYLOAD, deadline)? {
        Some(()) => Ok(()),
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(not(unix))]
fn icmp(_: IpAddr, _: u16, _: Instant) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

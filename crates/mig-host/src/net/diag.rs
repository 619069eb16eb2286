//! Sockets, asked from the kernel itself: a table in `/proc` of fifty thousand of
//! them takes it seven times as long.
//!
//! **Source** `sock_diag(7)`. The parser takes bytes and never indexes by guess,
//! although the kernel wrote them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::{self, Message};
use super::{Protocol, Socket};

const BY_FAMILY: u16 = 20;
const INET: u8 = 2;
const INET6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The open sockets of the own network namespace, in any state.
///
/// # Errors
///
/// The system's; `NotFound` where the kernel cannot tell of this protocol.
pub fn sockets(protocol: Protocol) -> io::Result<Vec<Socket>> {
    let family = if protocol.is_ipv6() { INET6 } else { INET };
    let transport = match protocol {
        Protocol::Tcp | Protocol::Tcp6 => TCP,
        Protocol::Udp | Protocol::Udp6 => UDP,
    };
    // Family, protocol, no extensions, all states; no socket in particular.
    let mut question = vec![family, transport, 0, 0, 0xff, 0xff, 0xff, 0xff];
    question.resize(56, 0);
    let mut found = Vec::new();
    netlink::dump(Some(rustix::net::netlink::SOCK_DIAG), BY_FAMILY, &question, |message| {
        found.extend(socket(message));
    })?;
    Ok(found)
}

/// A message about one socket.
pub fn socket((kind, body): Message<'_>) -> Option<Socket> {
    if kind != BY_FAMILY {
        return None;
    }
    let ip = |at: usize| match *body.first()? {
        INET => Some(IpAddr::from(Ipv4Addr::from(bytes::<4>(body, at)?))),
        INET6 => Some(IpAddr::from(Ipv6Addr::from(bytes::<16>(body, at)?))),
        _ => None,
    };
    let port = |at| Some(u16::from_be_bytes(bytes::<2>(body, at)?));
    Some(Socket { local: ip(8)?, local_port: port(4)?, remote: ip(24)?, remote_port: port(6)? })
}

fn bytes<const N: usize>(body: &[u8], at: usize) -> Option<[u8; N]> {
    body.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::proc;
    use proptest::prelude::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    /// What the kernel tells of a socket is what its table says.
    #[test]
    fn agrees_with_the_tables() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let both = TcpListener::bind("[::]:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp6 = UdpSocket::bind("[::1]:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // Seen by the other end as an IPv4 address in IPv6's clothes.
        let port = both.local_addr().unwrap().port();
        let mapped = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let ends = (listener.accept().unwrap(), both.accept().unwrap());
        let own = [
            listener.local_addr().unwrap().port(),
            port,
            udp.local_addr().unwrap().port(),
            udp6.local_addr().unwrap().port(),
            client.local_addr().unwrap().port(),
            mapped.local_addr().unwrap().port(),
        ];
        let mut seen = 0;
        for protocol in Protocol::ALL {
            let Ok(found) = sockets(protocol) else {
                println!("skipped: this kernel does not tell of {}", protocol.as_str());
                continue;
            };
            let table =
                std::fs::read_to_string(format!("/proc/net/{}", protocol.as_str())).unwrap();
            let ours = |all: Vec<Socket>| {
                let mut all: Vec<String> = all
                    .iter()
                    .filter(|socket| own.contains(&socket.local_port))
                    .map(|socket| format!("{socket:?}"))
                    .collect();
                all.sort();
                all
            };
            let rows = proc::sockets(&table, protocol).into_iter().map(Result::unwrap).collect();
            let found = ours(found);
            seen += found.len();
            assert_eq!(found, ours(rows), "{}", protocol.as_str());
        }
        assert!(seen >= 6 || seen == 0, "{seen}");
        drop((ends, client, mapped, udp, udp6));
    }

    proptest! {
        #[test]
        fn no_message_panics(kind in 19u16..22, body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = socket((kind, &body));
        }
    }
}

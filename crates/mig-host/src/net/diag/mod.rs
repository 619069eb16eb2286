//! Sockets, asked from the kernel itself: a table in `/proc` of fifty thousand of
//! them takes it seven times as long.
//!
//! **Source** `sock_diag(7)`. The parser takes bytes and never indexes by guess,
//! although the kernel wrote them.

mod condition;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::{self, Message};
use super::{Protocol, Socket, Wanted};

const BY_FAMILY: u16 = 20;
/// The older question: TCP only, and of both families at once.
const TCP_OF_ANY_FAMILY: u16 = 18;
const ANY: u8 = 0;
const INET: u8 = 2;
const INET6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Established to closing, and half-open ones: the states `/proc` lists. What is
/// bound and does nothing has a state beyond them.
const STATES: u32 = 0x1fff;
/// Bytes that name a socket; zeros name none in particular.
const NO_SOCKET: [u8; 48] = [0; 48];

/// The TCP sockets of the own network namespace, in any state, of both families.
///
/// The kernel leaves out what meets no condition; `wanted` without any asks for all.
///
/// # Errors
///
/// The system's.
pub fn tcp(wanted: &[Wanted]) -> io::Result<Vec<Socket>> {
    // Family and no extensions, no socket, the states, no number of a database.
    let mut question = vec![ANY, 0, 0, 0];
    question.extend_from_slice(&NO_SOCKET);
    question.extend_from_slice(&STATES.to_ne_bytes());
    question.extend_from_slice(&[0; 4]);
    ask(TCP_OF_ANY_FAMILY, question, wanted).or_else(|_| {
        // Each family is walked for by itself: twice the time.
        let mut found = sockets(Protocol::Tcp, wanted)?;
        found.extend(sockets(Protocol::Tcp6, wanted)?);
        Ok(found)
    })
}

/// The same for one table.
///
/// # Errors
///
/// The system's; `NotFound` where the kernel cannot tell of this protocol.
pub fn sockets(protocol: Protocol, wanted: &[Wanted]) -> io::Result<Vec<Socket>> {
    let family = if protocol.is_ipv6() { INET6 } else { INET };
    let transport = match protocol {
        Protocol::Tcp | Protocol::Tcp6 => TCP,
        Protocol::Udp | Protocol::Udp6 => UDP,
    };
    let mut question = vec![family, transport, 0, 0];
    question.extend_from_slice(&STATES.to_ne_bytes());
    question.extend_from_slice(&NO_SOCKET);
    ask(BY_FAMILY, question, wanted)
}

fn ask(kind: u16, mut question: Vec<u8>, wanted: &[Wanted]) -> io::Result<Vec<Socket>> {
    question.extend_from_slice(&condition::attribute(wanted));
    let mut found = Vec::new();
    netlink::dump(Some(rustix::net::netlink::SOCK_DIAG), kind, &question, |message| {
        found.extend(socket(message));
    })?;
    Ok(found)
}

/// A message about one socket.
pub fn socket((kind, body): Message<'_>) -> Option<Socket> {
    if !matches!(kind, BY_FAMILY | TCP_OF_ANY_FAMILY) {
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
            let Ok(mut found) = sockets(protocol, &[]).map(|all| ours(all, &own)) else {
                println!("skipped: this kernel does not tell of {}", protocol.as_str());
                continue;
            };
            // A table is read in parts: while sockets of others come and go, rows may be
            // missing or be there twice.
            let mut rows = listed(protocol, &own);
            for _ in 0..1_000 {
                if found == rows {
                    break;
                }
                found = ours(sockets(protocol, &[]).unwrap(), &own);
                rows = listed(protocol, &own);
            }
            seen += found.len();
            assert_eq!(found, rows, "{}", protocol.as_str());
        }
        assert!(seen >= 6 || seen == 0, "{seen}");
        told_by_condition(&own);
        drop((ends, client, mapped, udp, udp6));
    }

    /// The rows of a table with one of these local ports.
    fn listed(protocol: Protocol, own: &[u16]) -> Vec<String> {
        let table = std::fs::read_to_string(format!("/proc/net/{}", protocol.as_str())).unwrap();
        ours(proc::sockets(&table, protocol).into_iter().map(Result::unwrap).collect(), own)
    }

    /// Those with one of these local ports, in order.
    fn ours(mut all: Vec<Socket>, own: &[u16]) -> Vec<String> {
        all.retain(|socket| own.contains(&socket.local_port));
        let mut all: Vec<String> = all.iter().map(|socket| format!("{socket:?}")).collect();
        all.sort();
        all
    }

    /// What is told by conditions is what is told without any and meets one.
    fn told_by_condition(own: &[u16; 6]) {
        let loopback = IpAddr::from([127, 0, 0, 0]);
        let conditions = [
            vec![],
            vec![Wanted::LocalPort(own[0])],
            vec![Wanted::LocalPort(own[2]), Wanted::LocalPort(own[5]), Wanted::LocalPort(own[3])],
            vec![Wanted::Remote(loopback, 8)],
            vec![Wanted::Remote(IpAddr::from([192, 0, 2, 1]), 32)],
            vec![Wanted::Remote(IpAddr::from([0; 4]), 0)],
            vec![Wanted::Remote(IpAddr::from([0; 16]), 127), Wanted::LocalPort(own[4])],
            vec![Wanted::Remote(IpAddr::from([192, 0, 2, 1]), 32), Wanted::LocalPort(own[1])],
            (0..=255).map(|_| Wanted::LocalPort(own[0])).collect(),
            (0..=256).map(|_| Wanted::LocalPort(own[0])).collect(),
        ];
        let all = |wanted: &[Wanted]| {
            let mut all = tcp(wanted)?;
            for protocol in [Protocol::Udp, Protocol::Udp6] {
                all.extend(sockets(protocol, wanted)?);
            }
            all.retain(|socket| own.contains(&socket.local_port));
            all.sort_by_key(|socket| (socket.local, socket.local_port, socket.remote_port));
            io::Result::Ok(all)
        };
        let Ok(every) = all(&[]) else {
            println!("skipped: this kernel does not tell of all protocols");
            return;
        };
        for wanted in conditions {
            let mut told = all(&wanted).unwrap();
            if wanted.is_empty() || wanted.len() > 256 {
                // Nothing was left out by the kernel.
                assert_eq!(format!("{told:?}"), format!("{every:?}"));
            } else {
                let mut expected = every.clone();
                expected.retain(|socket| wanted.iter().any(|wanted| meets(socket, *wanted)));
                // IPv6's "any address" takes in mapped ones for the kernel alone.
                told.retain(|socket| wanted.iter().any(|wanted| meets(socket, *wanted)));
                assert_eq!(format!("{told:?}"), format!("{expected:?}"), "{wanted:?}");
            }
        }
        let none = all(&[Wanted::Remote(IpAddr::from([192, 0, 2, 1]), 32)]).unwrap();
        assert!(none.is_empty(), "the kernel was not asked to compare: {none:?}");
    }

    fn meets(socket: &Socket, wanted: Wanted) -> bool {
        match (wanted, socket.remote.to_canonical()) {
            (Wanted::LocalPort(port), _) => socket.local_port == port,
            (Wanted::Remote(IpAddr::V4(network), prefix), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                (u32::from(network) ^ u32::from(ip)) & mask == 0
            }
            (Wanted::Remote(IpAddr::V6(network), prefix), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                (u128::from(network) ^ u128::from(ip)) & mask == 0
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn no_message_panics(kind in 19u16..22, body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = socket((kind, &body));
        }
    }
}

//! The socket tables of Windows, as it copies them into a buffer.
//!
//! **Source** `GetExtendedTcpTable`, `GetExtendedUdpTable`: a count, then rows with the
//! process that owns each. Addresses and ports are in the order of the network. The
//! parser never indexes by guess, although the system wrote them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Protocol, Socket};

/// Bytes in front of the rows.
const COUNT: usize = 4;
const LISTENING: u32 = 2;

/// Where things are in a row.
struct Layout {
    size: usize,
    local: usize,
    local_port: usize,
    /// Address, port and state; UDP has none of them.
    tcp: Option<(usize, usize, usize)>,
}

const fn layout(protocol: Protocol) -> Layout {
    match protocol {
        Protocol::Tcp => Layout { size: 24, local: 4, local_port: 8, tcp: Some((12, 16, 0)) },
        Protocol::Tcp6 => Layout { size: 56, local: 0, local_port: 20, tcp: Some((24, 44, 48)) },
        Protocol::Udp => Layout { size: 12, local: 0, local_port: 4, tcp: None },
        Protocol::Udp6 => Layout { size: 28, local: 0, local_port: 20, tcp: None },
    }
}

/// Reads a table of `OWNER_PID` rows; stops at the first that is cut off.
pub fn sockets(table: &[u8], protocol: Protocol) -> Vec<Socket> {
    let Some(count) = bytes::<COUNT>(table, 0).map(u32::from_ne_bytes) else { return Vec::new() };
    let layout = layout(protocol);
    let rows = table.get(COUNT..).unwrap_or_default().chunks_exact(layout.size);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    rows.take(count).filter_map(|row| socket(row, &layout, protocol.is_ipv6())).collect()
}

fn socket(row: &[u8], layout: &Layout, ipv6: bool) -> Option<Socket> {
    let ip = |at| {
        Some(if ipv6 {
            IpAddr::V6(Ipv6Addr::from(bytes::<16>(row, at)?))
        } else {
            IpAddr::V4(Ipv4Addr::from(bytes::<4>(row, at)?))
        })
    };
    let port = |at| Some(u16::from_be_bytes(bytes::<2>(row, at)?));
    let nobody = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let mut found = Socket {
        local: ip(layout.local)?,
        local_port: port(layout.local_port)?,
        remote: nobody,
        remote_port: 0,
    };
    if let Some((remote, remote_port, state)) = layout.tcp
        // What a listener has there means nothing.
        && u32::from_ne_bytes(bytes::<4>(row, state)?) != LISTENING
    {
        found.remote = ip(remote)?;
        found.remote_port = port(remote_port)?;
    }
    Some(found)
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(rows: &[Vec<u8>]) -> Vec<u8> {
        let mut table = u32::try_from(rows.len()).unwrap().to_ne_bytes().to_vec();
        table.extend(rows.concat());
        table
    }

    fn words(words: &[[u8; 4]]) -> Vec<u8> {
        words.concat()
    }

    fn said(found: &[Socket]) -> Vec<String> {
        let one =
            |s: &Socket| format!("{} {} {} {}", s.local, s.local_port, s.remote, s.remote_port);
        found.iter().map(one).collect()
    }

    #[test]
    fn reads_each_table() {
        let state = |state: u32| state.to_ne_bytes();
        let (home, away, nothing) = ([127, 0, 0, 1], [192, 0, 2, 7], [0; 4]);
        let (ssh, high) = ([0, 22, 9, 9], [0xc0, 0, 0, 0]);
        let tcp = table(&[
            words(&[state(2), home, ssh, away, high, nothing]),
            words(&[state(5), home, ssh, away, high, nothing]),
        ]);
        assert_eq!(
            said(&sockets(&tcp, Protocol::Tcp)),
            ["127.0.0.1 22 0.0.0.0 0", "127.0.0.1 22 192.0.2.7 49152"]
        );
        let one = [nothing, nothing, nothing, [0, 0, 0, 1]];
        let row = [&one[..], &[nothing, ssh], &one[..], &[nothing, high, state(5), nothing]];
        let tcp6 = table(&[words(&row.concat())]);
        assert_eq!(said(&sockets(&tcp6, Protocol::Tcp6)), ["::1 22 ::1 49152"]);
        let udp = table(&[words(&[home, ssh, nothing])]);
        assert_eq!(said(&sockets(&udp, Protocol::Udp)), ["127.0.0.1 22 0.0.0.0 0"]);
        let udp6 = table(&[words(&[&one[..], &[nothing, ssh, nothing]].concat())]);
        assert_eq!(said(&sockets(&udp6, Protocol::Udp6)), ["::1 22 :: 0"]);
        // Fewer rows than counted, and more.
        assert_eq!(sockets(&udp[..12], Protocol::Udp).len(), 0);
        assert_eq!(sockets(&[&udp[..], &[0; 24]].concat(), Protocol::Udp).len(), 1);
    }

    proptest! {
        #[test]
        fn no_table_panics(table in proptest::collection::vec(any::<u8>(), 0..200)) {
            for protocol in Protocol::ALL {
                let _ = sockets(&table, protocol);
            }
        }
    }
}

//! Parsers of the tables below `/proc/net`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{InterfaceAddress, Neighbour, Protocol, RowError, Socket};

/// Reads a socket table: `/proc/net/{tcp,tcp6,udp,udp6}`.
///
/// **Shape** a header, then rows whose second and third columns are addresses.
/// **Source** `proc_pid_net(5)`. A malformed row is an error of its own.
pub fn sockets(table: &str, protocol: Protocol) -> Vec<Result<Socket, RowError>> {
    let rows = table.lines().enumerate().skip(1).filter(|(_, row)| !row.trim().is_empty());
    rows.map(|(index, row)| {
        socket(row, protocol.is_ipv6())
            .ok_or(RowError { table: protocol.as_str(), line: index + 1 })
    })
    .collect()
}

fn socket(row: &str, ipv6: bool) -> Option<Socket> {
    let mut columns = row.split_ascii_whitespace().skip(1);
    let (local, local_port) = address(columns.next()?, ipv6)?;
    let (remote, remote_port) = address(columns.next()?, ipv6)?;
    Some(Socket { local, local_port, remote, remote_port })
}

/// Decodes an address column.
///
/// **Shape** `HHHHHHHH:PPPP`, with four words for IPv6: each word in the host's
/// byte order, the port in plain hexadecimal.
pub fn address(column: &str, ipv6: bool) -> Option<(IpAddr, u16)> {
    let (ip, port) = column.split_once(':')?;
    let port = (port.len() == 4).then(|| hex(port)).flatten()?;
    let port = u16::try_from(port).ok()?;
    if !ipv6 {
        let word = (ip.len() == 8).then(|| hex(ip)).flatten()?;
        return Some((IpAddr::V4(Ipv4Addr::from(word.to_ne_bytes())), port));
    }
    if ip.len() != 32 || !ip.is_ascii() {
        return None;
    }
    let mut octets = [0; 16];
    for (index, chunk) in octets.chunks_exact_mut(4).enumerate() {
        let word = hex(ip.get(index * 8..index * 8 + 8)?)?;
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    Some((IpAddr::V6(Ipv6Addr::from(octets)), port))
}

/// Hexadecimal digits only: `from_str_radix` would accept a sign.
fn hex(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// How many sockets are open as `/proc/net/sockstat` or `sockstat6` has it: of TCP,
/// those that wait for the last packet of a connection among them, and of UDP.
pub fn open_sockets(table: &str) -> u64 {
    let mut open = 0_u64;
    for row in table.lines() {
        let Some((name, counters)) = row.split_once(':') else { continue };
        if !matches!(name, "TCP" | "UDP" | "TCP6" | "UDP6") {
            continue;
        }
        let mut words = counters.split_ascii_whitespace();
        while let (Some(name), Some(number)) = (words.next(), words.next()) {
            if matches!(name, "inuse" | "tw") {
                open = open.saturating_add(number.parse().unwrap_or(0));
            }
        }
    }
    open
}

/// Reads the ARP table: a header, then rows with the address first and the MAC
/// fourth. Rows with fewer columns are not entries and are left out.
pub fn neighbours(table: &str) -> Vec<Result<Neighbour, RowError>> {
    let mut found = Vec::new();
    for (index, row) in table.lines().enumerate().skip(1) {
        let columns: Vec<&str> = row.split_ascii_whitespace().take(4).collect();
        if let [ip, _, _, mac] = columns.as_slice() {
            found.push(match ip.parse() {
                Ok(ip) => Ok(Neighbour { ip, mac: mac.to_ascii_lowercase() }),
                Err(_) => Err(RowError { table: "arp", line: index + 1 }),
            });
        }
    }
    found
}

/// Reads `/proc/net/if_inet6`: address, index, prefix length, scope, flags, name.
pub fn ipv6_addresses(table: &str) -> Vec<(String, InterfaceAddress)> {
    let row = |row: &str| {
        let columns: Vec<&str> = row.split_ascii_whitespace().collect();
        let [ip, _, prefix, _, _, name] = columns.as_slice() else { return None };
        let plain = ip.len() == 32 && ip.bytes().all(|byte| byte.is_ascii_hexdigit());
        let ip = plain.then(|| u128::from_str_radix(ip, 16).ok()).flatten()?;
        let prefix = hex(prefix).and_then(|prefix| u8::try_from(prefix).ok())?;
        let ip = IpAddr::V6(Ipv6Addr::from(ip));
        (prefix <= 128).then(|| ((*name).to_owned(), InterfaceAddress { ip, prefix }))
    };
    table.lines().filter_map(row).collect()
}

/// Reads the local IPv4 addresses out of `/proc/net/fib_trie`.
pub fn ipv4_addresses(table: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut leaf = None;
    for row in table.lines() {
        let row = row.trim_start();
        if let Some(ip) = row.strip_prefix("|-- ") {
            leaf = ip.trim().parse().ok();
        } else if row.starts_with("/32 host LOCAL")
            && let Some(ip) = leaf
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    found
}

/// A directly connected network: interface, network, prefix length.
pub type Connected = (String, Ipv4Addr, u8);

/// Reads the directly connected networks out of `/proc/net/route`.
pub fn connected_networks(table: &str) -> Vec<Connected> {
    let word = |text: &str| (text.len() == 8).then(|| hex(text)).flatten().map(u32::to_ne_bytes);
    let row = |row: &str| {
        let columns: Vec<&str> = row.split_ascii_whitespace().collect();
        let [name, network, gateway, _, _, _, _, mask, ..] = columns.as_slice() else {
            return None;
        };
        let mask = u32::from_be_bytes(word(mask)?);
        let prefix = u8::try_from(mask.leading_ones()).ok()?;
        let direct = word(gateway)? == [0; 4] && prefix > 0;
        direct.then_some(((*name).to_owned(), Ipv4Addr::from(word(network)?), prefix))
    };
    table.lines().skip(1).filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue\n\
        \x20  0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n\
        garbage\n\
        \x20  1: 0F02000A:0016 0202000A:D431 01 00000000:00000000 02:000AF3C1 00000000\n";

    #[test]
    fn refuses_what_is_not_an_address() {
        for column in ["", "0100007F", "0100007F:", "+100007F:0016", "ą00007F:0016", "0:0"] {
            assert_eq!(address(column, false), None, "{column:?}");
        }
        for column in ["0100007F:0016", "é000000000000000000000000100000:0016"] {
            assert_eq!(address(column, true), None, "{column:?}");
        }
    }

    #[test]
    fn counts_open_sockets() {
        let table = "sockets: used 9\nTCP: inuse 5 orphan 1 tw 2 alloc 8 mem 0\n\
                     UDP: inuse 3 mem 0\nUDPLITE: inuse 7\nRAW: inuse 7\nTCP tw x\n";
        assert_eq!(open_sockets(table), 10);
        assert_eq!(open_sockets("TCP6: inuse 4\nUDP6: inuse 1\nFRAG6: inuse 9 memory 0\n"), 5);
        assert_eq!(open_sockets("TCP: inuse\nTCP: inuse -1\n"), 0);
    }

    #[test]
    fn reads_sockets_and_reports_bad_rows() {
        let rows = sockets(TCP, Protocol::Tcp);
        assert_eq!(rows.len(), 3);
        let first = rows[0].clone().unwrap();
        assert_eq!((first.local.to_string(), first.local_port), ("127.0.0.1".into(), 22));
        assert_eq!(first.remote_port, 0);
        assert_eq!(rows[1], Err(RowError { table: "tcp", line: 3 }));
        assert_eq!(rows[2].clone().unwrap().remote.to_string(), "10.0.2.2");
        assert_eq!(rows[2].clone().unwrap().remote_port, 54321);
    }

    #[test]
    fn reads_ipv6_words() {
        let column = "00000000000000000000000001000000:0050";
        assert_eq!(address(column, true), Some((IpAddr::V6(Ipv6Addr::LOCALHOST), 80)));
        let mapped = "0000000000000000FFFF00000100007F:0050";
        assert_eq!(address(mapped, true).unwrap().0.to_canonical().to_string(), "127.0.0.1");
    }

    #[test]
    fn reads_the_arp_table() {
        let table = "IP address HW type Flags HW address Mask Device\n\
            10.0.2.2 0x1 0x2 52:55:0A:00:02:02 * eth0\n\
            10.0.2.9 0x1 0x0 00:00:00:00:00:00 * eth0\nshort row\nx 1 2 3 4\n";
        let rows = neighbours(table);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].clone().unwrap().mac, "52:55:0a:00:02:02");
        assert_eq!(rows[2], Err(RowError { table: "arp", line: 5 }));
    }

    #[test]
    fn reads_addresses_of_both_families() {
        let six = "fe800000000000000000000000000001 02 40 20 80 eth0\nbad\n";
        let found = ipv6_addresses(six);
        assert_eq!(found[0].0, "eth0");
        assert_eq!(found[0].1.to_string(), "fe80::1/64");
        assert_eq!(found.len(), 1);
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.2.15\n        /32 host LOCAL\n\
            \x20    |-- 10.0.2.255\n        /32 link BROADCAST\n     |-- 10.0.2.15\n        /32 host LOCAL\n";
        assert_eq!(ipv4_addresses(trie), [Ipv4Addr::new(10, 0, 2, 15)]);
        let route = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU\n\
            eth0 00000000 0202000A 0003 0 0 0 00000000 0 0 0\n\
            eth0 0002000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        assert_eq!(
            connected_networks(route),
            [("eth0".to_owned(), Ipv4Addr::new(10, 0, 2, 0), 24)]
        );
    }

    proptest! {
        #[test]
        fn no_table_panics(text in "\\PC{0,200}|([0-9A-F:]{1,40}[ \n]){0,20}") {
            for protocol in Protocol::ALL {
                let _ = (sockets(&text, protocol), open_sockets(&text));
            }
            let _ = (neighbours(&text), ipv6_addresses(&text), ipv4_addresses(&text));
            let _ = connected_networks(&text);
        }

        #[test]
        fn every_ipv4_address_survives(ip: [u8; 4], port: u16) {
            let word = u32::from_ne_bytes(ip);
            let read = address(&format!("{word:08X}:{port:04X}"), false);
            prop_assert_eq!(read, Some((IpAddr::from(ip), port)));
        }
    }
}

//! What macOS prints of its sockets and neighbours.
//!
//! **Source** `netstat(1)` with `-naW -f inet` or `inet6`, `arp(8)` and `ndp(8)` with
//! `-an`. Addresses and ports are numbers, separated by the last dot; `*` stands for
//! any. A row that cannot be read with certainty is an error of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Neighbour, RowError, Socket};

/// Width of the columns of addresses. Without `-W`, and in some versions with it, what
/// is longer is cut off there.
const WIDTH: usize = 22;
/// Where the addresses are in a row.
const LOCAL: usize = 3;
const REMOTE: usize = 4;

/// A row that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Printed {
    pub socket: Socket,
    /// Of both families: printed in both tables.
    pub is_dual: bool,
}

/// Reads the table of TCP and UDP sockets of a family.
///
/// **Shape** `<tcp|udp><4|6|46> <n> <n> <address>.<port> <address>.<port> [<state>]`;
/// what does not begin with such a protocol is passed over.
pub fn sockets(text: &str, ipv6: bool) -> Vec<Result<Printed, RowError>> {
    let table = if ipv6 { "netstat -f inet6" } else { "netstat -f inet" };
    let rows = || {
        text.lines().enumerate().filter_map(|(index, line)| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            Some((index, family(columns.first()?)?, columns))
        })
    };
    // Something that is wider shows that nothing was cut off.
    let is_whole = rows().any(|(_, _, columns)| {
        let wide = |at: usize| columns.get(at).is_some_and(|column| column.len() > WIDTH);
        wide(LOCAL) || wide(REMOTE)
    });
    rows()
        .map(|(index, family, columns)| {
            socket(&columns, family, is_whole).ok_or(RowError { table, line: index + 1 })
        })
        .collect()
}

/// Which addresses a socket has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Four,
    Six,
    Both,
}

fn family(protocol: &str) -> Option<Family> {
    let family = protocol.strip_prefix("tcp").or_else(|| protocol.strip_prefix("udp"))?;
    match family {
        "4" => Some(Family::Four),
        "6" => Some(Family::Six),
        "46" => Some(Family::Both),
        _ => None,
    }
}

fn socket(columns: &[&str], family: Family, is_whole: bool) -> Option<Printed> {
    // Neither may be missing: the state would be taken for an address.
    let local = endpoint(columns.get(LOCAL)?, family, is_whole)?;
    let remote = endpoint(columns.get(REMOTE)?, family, is_whole)?;
    let socket =
        Socket { local: local.0, local_port: local.1, remote: remote.0, remote_port: remote.1 };
    Some(Printed { socket, is_dual: family == Family::Both })
}

/// An address and a port.
fn endpoint(column: &str, family: Family, is_whole: bool) -> Option<(IpAddr, u16)> {
    let (address, port) = column.rsplit_once('.')?;
    let port = match port {
        "*" => 0,
        // `parse` would take a sign.
        port if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        _ => return None,
    };
    if address == "*" {
        let any = match family {
            Family::Four => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::Six | Family::Both => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        return Some((any, port));
    }
    let is_four = match family {
        Family::Four => true,
        Family::Six => false,
        Family::Both => !address.contains(':'),
    };
    let ip: IpAddr =
        if is_four { IpAddr::V4(address.parse().ok()?) } else { IpAddr::V6(six(address)?) };
    // Digits may be missing, and what is left looks like an address and a port.
    let may_be_cut = column.len() == WIDTH && !is_whole;
    (!may_be_cut || ip.is_ipv4()).then_some((ip, port))
}

/// An address of IPv6, without the zone it may have.
fn six(text: &str) -> Option<Ipv6Addr> {
    let (address, zone) = text.split_once('%').unwrap_or((text, "-"));
    if zone.is_empty() { None } else { address.parse().ok() }
}

/// Reads the neighbours of IPv4.
///
/// **Shape** `<name> (<address>) at <mac> on <interface> …`; the MAC without leading
/// zeros, or `(incomplete)`.
pub fn arp(text: &str) -> Vec<Result<Neighbour, RowError>> {
    neighbours(text, "arp", |columns| {
        let [_, address, "at", mac, ..] = columns else { return None };
        let address = address.strip_prefix('(')?.strip_suffix(')')?;
        Some((IpAddr::V4(address.parse().ok()?), *mac))
    })
}

/// Reads the neighbours of IPv6.
///
/// **Shape** a header, then `<address>[%<zone>] <mac> <interface> …`.
pub fn ndp(text: &str) -> Vec<Result<Neighbour, RowError>> {
    neighbours(text, "ndp", |columns| {
        let [address, mac, _, ..] = columns else { return None };
        Some((IpAddr::V6(six(address)?), *mac))
    })
}

fn neighbours(
    text: &str,
    table: &'static str,
    read: for<'t> fn(&[&'t str]) -> Option<(IpAddr, &'t str)>,
) -> Vec<Result<Neighbour, RowError>> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if columns.is_empty() || columns.first() == Some(&"Neighbor") {
            continue;
        }
        let row = read(&columns).map(|(ip, mac)| (ip, mac, padded(mac)));
        found.push(match row {
            Some((ip, _, Some(mac))) => Ok(Neighbour { ip, mac }),
            // One of a link without hardware addresses.
            Some((_, mac, None)) if mac.starts_with('(') => continue,
            _ => Err(RowError { table, line: index + 1 }),
        });
    }
    found
}

/// A hardware address with the zeros its parts were printed without.
fn padded(mac: &str) -> Option<String> {
    if mac == "(incomplete)" {
        return Some("00:00:00:00:00:00".to_owned());
    }
    let part = |part: &str| {
        let is_hex = part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let fits = (1..=2).contains(&part.len()) && is_hex;
        fits.then(|| format!("{part:0>2}").to_ascii_lowercase())
    };
    let parts = mac.split(':').map(part).collect::<Option<Vec<String>>>()?;
    [6, 8].contains(&parts.len()).then(|| parts.join(":"))
}

/// Both tables as one: what is of both families is in each of them.
pub fn merged(
    four: Vec<Result<Printed, RowError>>,
    six: Vec<Result<Printed, RowError>>,
) -> Vec<Result<Socket, RowError>> {
    let is_dual = |row: &&Result<Printed, RowError>| row.as_ref().is_ok_and(|row| row.is_dual);
    let twice: Vec<_> = four.iter().filter(is_dual).cloned().collect();
    let once = six.into_iter().filter(|row| !twice.contains(row)).collect::<Vec<_>>();
    four.into_iter().chain(once).map(|row| row.map(|row| row.socket)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FOUR: &str = "\
Active Internet connections (including servers)
Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)    
tcp4       0      0  192.0.2.15.50123       198.51.100.20.5223     ESTABLISHED
tcp46      0      0  *.8080                 *.*                    LISTEN     
udp4       0      0  *.*                    *.*                               
udp46      0      0  *.5353                 *.*                               
icm4       0      0  *.*                    *.*                               
Active Multipath Internet connections
Proto/ID  Flags      Local Address          Foreign Address        (state)
mptcp/00  00000010/00000000 ESTABLISHED
 tcp4/01  00000020   192.0.2.15.50124       198.51.100.20.443      ESTABLISHED
";
    const SIX: &str = "\
Active Internet connections (including servers)
Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)    
tcp6       0      0  2001:db8:85a3:8d3:1319:8a2e:370:7348.50125 2001:db8::15.443 ESTABLISHED
tcp6       0      0  fe80::1%lo0.631        *.*                    LISTEN     
tcp46      0      0  *.8080                 *.*                    LISTEN     
tcp46      0      0  ::ffff:192.0.2.15.80   ::ffff:192.0.2.9.4000  ESTABLISHED
udp6       0      0  *.123                  *.*                               
";

    fn texts(rows: &[Result<Socket, RowError>]) -> Vec<String> {
        rows.iter()
            .map(|row| match row {
                Ok(s) => format!("{} {} {} {}", s.local, s.local_port, s.remote, s.remote_port),
                Err(error) => error.to_string(),
            })
            .collect()
    }

    fn alone(rows: Vec<Result<Printed, RowError>>) -> Vec<String> {
        texts(&merged(rows, Vec::new()))
    }

    #[test]
    fn both_tables_are_read_as_one() {
        let found = merged(sockets(FOUR, false), sockets(SIX, true));
        assert_eq!(
            texts(&found),
            [
                "192.0.2.15 50123 198.51.100.20 5223",
                ":: 8080 :: 0",
                "0.0.0.0 0 0.0.0.0 0",
                ":: 5353 :: 0",
                "2001:db8:85a3:8d3:1319:8a2e:370:7348 50125 2001:db8::15 443",
                "fe80::1 631 :: 0",
                "::ffff:192.0.2.15 80 ::ffff:192.0.2.9 4000",
                ":: 123 :: 0",
            ]
        );
    }

    #[test]
    fn refuses_rows_that_make_no_sense() {
        for row in [
            "tcp4 0 0",
            "tcp4 0 0 *.22",
            "tcp4 0 0 *.22 LISTEN",
            "tcp4 0 0 192.0.2.15 *.*",
            "tcp4 0 0 192.0.2.15.+22 *.*",
            "tcp4 0 0 192.0.2.15.70000 *.*",
            "tcp4 0 0 192.0.2.15. *.*",
            "tcp4 0 0 192.0.2.415.22 *.*",
            "tcp4 0 0 ::1.22 *.*",
            "tcp6 0 0 192.0.2.15.22 *.*",
            "tcp6 0 0 fe80::1%.22 *.*",
            "tcp6 0 0 2001:db8:85a3:8d3:1319 *.*",
            "tcp6 0 0 2001:db8:85a3:8d3:1319.22 *.*",
        ] {
            let text = format!("Proto Recv-Q\n{row}\n");
            let ipv6 = row.starts_with("tcp6");
            let table = if ipv6 { "inet6" } else { "inet" };
            let expected = format!("row 2 of netstat -f {table} is malformed");
            assert_eq!(alone(sockets(&text, ipv6)), [expected], "{row}");
        }
    }

    #[test]
    fn refuses_what_may_have_been_cut_off() {
        // 22 characters of "fe80::aede:48ff:fe00.5353", of the same with a zone, and of
        // what only just fits.
        for column in ["fe80::aede:48ff:fe00.5", "fe80::ae48:f0%en0.5353"] {
            assert_eq!(column.len(), WIDTH);
            let row = format!("tcp6 0 0 {column} *.* LISTEN\n");
            assert!(sockets(&row, true)[0].is_err(), "{column}");
            // A wider column elsewhere shows that nothing is cut off.
            let wide = "udp6 0 0 2001:db8:85a3:8d3:1319:8a2e:370:7348.5 *.*\n";
            let found = sockets(&format!("{row}{wide}"), true);
            assert!(found.iter().all(Result::is_ok), "{column}");
        }
    }

    #[test]
    fn neighbours_have_addresses_of_full_length() {
        let printed = "\
? (192.0.2.1) at 0:1b:2:AB:c:d on en0 ifscope [ethernet]
? (192.0.2.7) at (incomplete) on en0 ifscope [ethernet]
gate.example.net (224.0.0.251) at 1:0:5e:0:0:fb on en0 ifscope permanent [ethernet]
? (192.0.2.8) at (none) on utun0 [tunnel]
? (192.0.2.9) at 0:1b:2:zz:c:d on en0
? 192.0.2.9 at 0:1b:2:3:c:d on en0
arp: something else
";
        let texts = |rows: Vec<Result<Neighbour, RowError>>| {
            rows.into_iter()
                .map(|row| match row {
                    Ok(neighbour) => format!("{} {}", neighbour.ip, neighbour.mac),
                    Err(error) => error.to_string(),
                })
                .collect::<Vec<String>>()
        };
        assert_eq!(
            texts(arp(printed)),
            [
                "192.0.2.1 00:1b:02:ab:0c:0d",
                "192.0.2.7 00:00:00:00:00:00",
                "224.0.0.251 01:00:5e:00:00:fb",
                "row 5 of arp is malformed",
                "row 6 of arp is malformed",
                "row 7 of arp is malformed",
            ]
        );
        let printed = "\
Neighbor                                Linklayer Address  Netif Expire    St Flgs Prbs
2001:db8::15                            0:1b:2:ab:c:d        en0 23s       R  R
fe80::1%lo0                             (incomplete)         lo0 permanent R
fe80::1.5%lo0                           (incomplete)         lo0 permanent R
";
        assert_eq!(
            texts(ndp(printed)),
            [
                "2001:db8::15 00:1b:02:ab:0c:0d",
                "fe80::1 00:00:00:00:00:00",
                "row 4 of ndp is malformed",
            ]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            text in "(tcp|udp|x)(4|6|46) [0-9 ]{1,4}[0-9a-f:.*% ]{0,60}\n.{0,40}",
            ip in prop::array::uniform8(prop_oneof![Just(0_u16), 0_u16..16, any::<u16>()]),
            port in 1_u16..,
        ) {
            for ipv6 in [false, true] {
                let _ = merged(sockets(&text, ipv6), sockets(&text, !ipv6));
            }
            let _ = (arp(&text), ndp(&text));
            // Whatever is read from a table that was cut off is right.
            let ip = Ipv6Addr::from(ip);
            let whole = format!("{ip}.{port}");
            let cut: String = whole.chars().take(WIDTH).collect();
            let row = format!("tcp6 0 0 {cut} *.* LISTEN");
            for socket in sockets(&row, true).into_iter().flatten() {
                prop_assert_eq!((socket.socket.local, socket.socket.local_port), (ip.into(), port));
            }
        }
    }
}

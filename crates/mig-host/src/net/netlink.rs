//! Links, addresses and neighbours, asked from the kernel by route netlink.
//!
//! **Source** `rtnetlink(7)`, `netlink(7)`. The parsers take bytes and never
//! index by guess, although the kernel wrote them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::{Interface, InterfaceAddress, Neighbour};

const GET_LINK: u16 = 18;
const GET_ADDRESS: u16 = 22;
const GET_NEIGHBOUR: u16 = 30;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_NEIGHBOUR: u16 = 28;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Request, root, match: all of it.
const DUMP: u16 = 0x301;
const HEADER: usize = 16;
/// Most answers read for one question: a kernel that never says "done" must
/// not hold us.
const MAX_ANSWERS: usize = 65_536;

/// One message: its type and what follows the header.
pub type Message<'a> = (u16, &'a [u8]);

/// Asks for the interfaces with their addresses.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut found = BTreeMap::new();
    ask(GET_LINK, |(kind, body)| {
        if kind == NEW_LINK
            && let Some((index, interface)) = link(body)
        {
            found.insert(index, interface);
        }
    })?;
    ask(GET_ADDRESS, |(kind, body)| {
        if kind == NEW_ADDRESS
            && let Some((index, address)) = address(body)
        {
            let interface: &mut Interface = found.entry(index).or_default();
            interface.addresses.push(address);
        }
    })?;
    Ok(found.into_values().collect())
}

/// Asks for the neighbours of both families.
pub fn neighbours() -> io::Result<Vec<Neighbour>> {
    let mut found = Vec::new();
    ask(GET_NEIGHBOUR, |(kind, body)| {
        if kind == NEW_NEIGHBOUR {
            found.extend(neighbour(body));
        }
    })?;
    Ok(found)
}

fn ask(question: u16, each: impl FnMut(Message<'_>)) -> io::Result<()> {
    // A zeroed body suits every question.
    dump(None, question, &[0; 12], each)
}

/// Asks a family of netlink, that of routes when none is named, for all it knows of
/// something.
pub(super) fn dump(
    family: Option<Protocol>,
    question: u16,
    body: &[u8],
    mut each: impl FnMut(Message<'_>),
) -> io::Result<()> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        family,
    )?;
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&question.to_ne_bytes());
    request.extend_from_slice(&DUMP.to_ne_bytes());
    // Sequence and port 0.
    request.resize(HEADER, 0);
    request.extend_from_slice(body);
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..MAX_ANSWERS {
        let (length, _) = rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        for message in messages(buffer.get(..length).unwrap_or_default()) {
            match message {
                (DONE, _) => return Ok(()),
                (ERROR, body) => {
                    let code = word(body, 0).map_or(0, |code| i32::from_ne_bytes(code).abs());
                    return Err(io::Error::from_raw_os_error(code));
                }
                message => each(message),
            }
        }
    }
    Err(io::Error::from(io::ErrorKind::InvalidData))
}

/// Cuts one datagram into its messages; stops at the first that does not fit.
pub fn messages(datagram: &[u8]) -> Vec<Message<'_>> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while let Some(length) = word(rest, 0).map(|word| u32::from_ne_bytes(word) as usize) {
        let (Some(kind), Some(body)) = (half(rest, 4), rest.get(HEADER..length)) else { break };
        found.push((kind, body));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// A link message: index, name and hardware address.
pub fn link(body: &[u8]) -> Option<(u32, Interface)> {
    let index = u32::from_ne_bytes(word(body, 4)?);
    let mut interface = Interface::default();
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            1 => interface.mac = mac(value),
            3 => {
                let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
                interface.name = String::from_utf8_lossy(name).into_owned();
            }
            _ => {}
        }
    }
    // The loopback has an address of zeros, which the peers do not report.
    if interface.mac == "00:00:00:00:00:00" {
        interface.mac.clear();
    }
    Some((index, interface))
}

/// An address message: interface index, address and prefix length.
pub fn address(body: &[u8]) -> Option<(u32, InterfaceAddress)> {
    let prefix = *body.get(1)?;
    let index = u32::from_ne_bytes(word(body, 4)?);
    let (mut local, mut remote) = (None, None);
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            1 => remote = ip(value),
            2 => local = ip(value),
            _ => {}
        }
    }
    // On a point-to-point link the first is the other end; IPv6 has no second.
    Some((index, InterfaceAddress { ip: local.or(remote)?, prefix }))
}

/// A neighbour message. Entries that need no resolution are left out.
pub fn neighbour(body: &[u8]) -> Option<Neighbour> {
    const NO_ARP: u16 = 0x40;
    if half(body, 8)? & NO_ARP != 0 {
        return None;
    }
    let (mut found, mut hardware) = (None, String::from("00:00:00:00:00:00"));
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            1 => found = ip(value),
            2 => hardware = mac(value),
            _ => {}
        }
    }
    Some(Neighbour { ip: found?, mac: hardware })
}

fn attributes(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let Some(value) = rest.get(4..usize::from(length)) else { break };
        found.push((kind & 0x3fff, value));
        rest = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> String {
    let octets: Vec<String> = bytes.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    octets.join(":")
}

fn word(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_the_loopback_of_this_machine() {
        let found = interfaces().unwrap();
        let loopback = found.iter().find(|interface| interface.name == "lo").unwrap();
        assert_eq!(loopback.mac, "");
        assert!(loopback.addresses.iter().any(|a| a.to_string() == "127.0.0.1/8"), "{found:?}");
        neighbours().unwrap();
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for (_, body) in messages(&bytes) {
                let _ = (link(body), address(body), neighbour(body));
            }
            let _ = (link(&bytes), address(&bytes), neighbour(&bytes));
        }
    }
}

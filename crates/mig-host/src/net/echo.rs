//! ICMP echo: the packets, and a socket to exchange them.

use std::net::IpAddr;

/// What a packet says about a request of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the answer.
    Reply,
    /// Somebody on the way says that it cannot be delivered; the code says why.
    Unreachable(u8),
    /// It is about something else.
    Foreign,
}

/// What tells one request from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub to: IpAddr,
    pub identifier: u16,
    pub sequence: u16,
}

const HEAD: usize = 8;
const IPV6_HEAD: usize = 40;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;

/// Types of one family's messages.
struct Types {
    request: u8,
    reply: u8,
    unreachable: u8,
}

const V4: Types = Types { request: 8, reply: 0, unreachable: 3 };
const V6: Types = Types { request: 128, reply: 129, unreachable: 1 };

impl Request {
    fn types(&self) -> &'static Types {
        if self.to.is_ipv4() { &V4 } else { &V6 }
    }

    /// The packet to send. The checksum of an IPv6 packet is left to the kernel,
    /// which knows both addresses.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![self.types().request, 0, 0, 0];
        packet.extend(self.identifier.to_be_bytes());
        packet.extend(self.sequence.to_be_bytes());
        packet.extend_from_slice(payload);
        if self.to.is_ipv4() {
            let sum = checksum(&packet).to_be_bytes();
            if let Some(place) = packet.get_mut(2..4) {
                place.copy_from_slice(&sum);
            }
        }
        packet
    }

    /// What a message from `from` means for this request. With `any_identifier`
    /// the kernel has chosen it, and compares it.
    ///
    /// **Shape** an ICMP message without the IP header before it. Never panics:
    /// anybody can send one.
    pub fn judge(&self, from: IpAddr, message: &[u8], any_identifier: bool) -> Verdict {
        self.understand(from, message, any_identifier).unwrap_or(Verdict::Foreign)
    }

    fn understand(&self, from: IpAddr, message: &[u8], any_identifier: bool) -> Option<Verdict> {
        let types = self.types();
        let (kind, code) = (*message.first()?, *message.get(1)?);
        if kind == types.reply && from == self.to {
            return self.is_named(message, any_identifier)?.then_some(Verdict::Reply);
        }
        if kind != types.unreachable {
            return None;
        }
        // The beginning of the packet it is about follows, IP header included.
        let original = message.get(HEAD..)?;
        let inner = if self.to.is_ipv4() {
            let is_ours = *original.get(9)? == PROTOCOL_ICMP
                && original.get(16..20)? == self.address_bytes().as_slice();
            is_ours.then_some(())?;
            original.get(usize::from(original.first()? & 0x0f) * 4..)?
        } else {
            let is_ours = *original.get(6)? == PROTOCOL_ICMPV6
                && original.get(24..40)? == self.address_bytes().as_slice();
            is_ours.then_some(())?;
            original.get(IPV6_HEAD..)?
        };
        let is_ours = *inner.first()? == types.request && self.is_named(inner, any_identifier)?;
        is_ours.then_some(Verdict::Unreachable(code))
    }

    /// Whether a message carries our numbers.
    fn is_named(&self, message: &[u8], any_identifier: bool) -> Option<bool> {
        let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
        let is_identified = any_identifier || word(4)? == self.identifier;
        Some(is_identified && word(6)? == self.sequence)
    }

    fn address_bytes(&self) -> Vec<u8> {
        match self.to {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        }
    }
}

/// The ICMP message in a packet of a raw IPv4 socket.
pub fn without_ipv4_header(packet: &[u8]) -> &[u8] {
    let length = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    packet.get(length..).unwrap_or_default()
}

/// **Source** RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "folded to sixteen bits above")]
    let folded = sum as u16;
    !folded
}

#[cfg(unix)]
pub use socket::Socket;

#[cfg(unix)]
mod socket {
    use std::io;
    use std::net::{IpAddr, SocketAddr};
    use std::os::fd::OwnedFd;
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto,
        socket_with,
    };

    use super::{Request, Verdict, without_ipv4_header};

    /// A socket for echo requests to one family of addresses.
    #[derive(Debug)]
    pub struct Socket {
        fd: OwnedFd,
        is_raw: bool,
    }

    impl Socket {
        /// A raw socket; where that takes a right we do not have, the kind that
        /// the kernel allows to some users.
        ///
        /// # Errors
        ///
        /// When neither is allowed.
        pub fn open(to: IpAddr) -> io::Result<Self> {
            let (family, protocol) = match to {
                IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
                IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
            };
            let open = |kind| socket_with(family, kind, SocketFlags::empty(), Some(protocol));
            match open(SocketType::RAW) {
                Ok(fd) => Ok(Self { fd, is_raw: true }),
                Err(Errno::PERM | Errno::ACCESS) => {
                    Ok(Self { fd: open(SocketType::DGRAM)?, is_raw: false })
                }
                Err(error) => Err(error.into()),
            }
        }

        /// Sends a request and waits for what becomes of it. `None` when nothing
        /// was heard until `deadline`.
        ///
        /// # Errors
        ///
        /// When it cannot be sent, or the network says that it cannot arrive.
        pub fn exchange(
            &self,
            request: Request,
            payload: &[u8],
            deadline: Instant,
        ) -> io::Result<Option<()>> {
            let to = SocketAddr::new(request.to, 0);
            sendto(&self.fd, &request.packet(payload), SendFlags::empty(), &to)?;
            let mut buffer = [0; 2048];
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let time = Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                };
                match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&time)) {
                    Ok(0) => return Ok(None),
                    Ok(_) => {}
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                }
                let (length, _, from) =
                    match recvfrom(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                        Ok(received) => received,
                        Err(Errno::INTR | Errno::AGAIN) => continue,
                        Err(error) => return Err(error.into()),
                    };
                let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) else {
                    continue;
                };
                let packet = buffer.get(..length).unwrap_or_default();
                let has_header = self.is_raw && request.to.is_ipv4();
                let message = if has_header { without_ipv4_header(packet) } else { packet };
                match request.judge(from.ip(), message, !self.is_raw) {
                    Verdict::Reply => return Ok(Some(())),
                    Verdict::Unreachable(code) => {
                        let text = format!("destination unreachable (code {code})");
                        return Err(io::Error::new(io::ErrorKind::HostUnreachable, text));
                    }
                    Verdict::Foreign => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(to: &str) -> Request {
        Request { to: to.parse().unwrap(), identifier: 0x1234, sequence: 7 }
    }

    /// The answer a host would give.
    fn reply(request: &Request, payload: &[u8]) -> Vec<u8> {
        let mut packet = request.packet(payload);
        packet[0] = request.types().reply;
        packet
    }

    #[test]
    fn checksums_add_up_to_nothing() {
        for payload in [&b""[..], b"Ping!", b"Ping!Ping!"] {
            assert_eq!(checksum(&request("127.0.0.1").packet(payload)), 0);
        }
    }

    #[test]
    fn only_the_answer_to_this_request_is_one() {
        for to in ["192.0.2.1", "2001:db8::1"] {
            let request = request(to);
            let good = reply(&request, b"x");
            assert_eq!(request.judge(request.to, &good, false), Verdict::Reply);
            assert_eq!(request.judge("192.0.2.9".parse().unwrap(), &good, false), Verdict::Foreign);
            // Our own request, which the loopback interface shows as well.
            let own = request.packet(b"x");
            assert_eq!(request.judge(request.to, &own, false), Verdict::Foreign);
            for at in [0, 4, 5, 6, 7] {
                let mut other = good.clone();
                other[at] ^= 1;
                assert_eq!(request.judge(request.to, &other, false), Verdict::Foreign, "{at}");
            }
            let mut chosen = good.clone();
            chosen[4] ^= 1;
            assert_eq!(request.judge(request.to, &chosen, true), Verdict::Reply);
            for length in 0..8 {
                let short = &good[..length];
                assert_eq!(request.judge(request.to, short, false), Verdict::Foreign);
            }
        }
    }

    #[test]
    fn a_router_may_say_that_it_does_not_arrive() {
        let router: IpAddr = "192.0.2.254".parse().unwrap();
        let request = request("192.0.2.1");
        let mut original = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, PROTOCOL_ICMP, 0, 0, 10, 0, 0, 1];
        original.extend([192, 0, 2, 1]);
        original.extend(request.packet(b""));
        let mut message = vec![3, 1, 0, 0, 0, 0, 0, 0];
        message.extend(&original);
        assert_eq!(request.judge(router, &message, false), Verdict::Unreachable(1));
        // About another address, protocol or request.
        for at in [8 + 9, 8 + 19, 8 + 20, 8 + 24] {
            let mut other = message.clone();
            other[at] ^= 2;
            assert_eq!(request.judge(router, &other, false), Verdict::Foreign, "{at}");
        }
        let request = Request { to: "2001:db8::1".parse().unwrap(), ..request };
        let mut message = vec![1, 4, 0, 0, 0, 0, 0, 0];
        message.extend([0x60, 0, 0, 0, 0, 8, PROTOCOL_ICMPV6, 64]);
        message.extend([0; 16]);
        message.extend(request.address_bytes());
        message.extend(request.packet(b""));
        assert_eq!(request.judge(router, &message, false), Verdict::Unreachable(4));
    }

    proptest! {
        #[test]
        fn any_packet_means_something(
            bytes in proptest::collection::vec(any::<u8>(), 0..120),
            kind in 0..4_u8,
            any_identifier: bool,
        ) {
            for to in ["192.0.2.1", "2001:db8::1"] {
                let request = request(to);
                let mut message = bytes.clone();
                if let Some(first) = message.first_mut() {
                    *first = kind;
                }
                let _ = request.judge(request.to, &message, any_identifier);
                let _ = request.judge(request.to, without_ipv4_header(&message), any_identifier);
            }
        }
    }
}

//! Addresses of interfaces, as macOS writes them into memory.
//!
//! **Source** `getifaddrs(3)`, `sockaddr_in`, `sockaddr_in6`, `sockaddr_dl`: a length, a
//! family, then what the family has. Masks are shortened by the zeros at their end, and
//! need not say a family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Families, in the numbers of macOS.
const INET: u8 = 2;
const LINK: u8 = 18;
const INET6: u8 = 30;

/// What an interface has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Ip(IpAddr),
    /// Lower case with colons.
    Mac(String),
}

/// Reads an address; `None` for one of another kind, and for one that is no address.
pub fn address(bytes: &[u8]) -> Option<Address> {
    match *bytes.get(1)? {
        INET => Some(Address::Ip(Ipv4Addr::from(part::<4>(bytes, 4)?).into())),
        INET6 => {
            let mut octets = part::<16>(bytes, 8)?;
            // The kernel keeps the zone of an address of a link in it.
            if octets.starts_with(&[0xfe, 0x80]) {
                octets.iter_mut().skip(2).take(2).for_each(|octet| *octet = 0);
            }
            Some(Address::Ip(Ipv6Addr::from(octets).into()))
        }
        LINK => {
            // The name of the interface, and behind it the address.
            let (name, length) = (usize::from(*bytes.get(5)?), usize::from(*bytes.get(6)?));
            let mac = bytes.get(8 + name..8 + name + length)?;
            let octets: Vec<String> = mac.iter().map(|octet| format!("{octet:02x}")).collect();
            mac.iter().any(|octet| *octet != 0).then(|| Address::Mac(octets.join(":")))
        }
        _ => None,
    }
}

/// The length of the prefix a mask of addresses like `of` stands for.
pub fn prefix(mask: &[u8], of: IpAddr) -> u8 {
    let (begin, length) = if of.is_ipv4() { (4, 4) } else { (8, 16) };
    let mut ones = 0;
    for octet in mask.iter().skip(begin).take(length) {
        let found = octet.leading_ones();
        ones += found;
        if found < 8 {
            break;
        }
    }
    u8::try_from(ones).unwrap_or(0)
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_and_others_are_not() {
        let ip = |text: &str| Some(Address::Ip(text.parse().unwrap()));
        let four = [16, INET, 0, 0, 192, 0, 2, 15, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(address(&four), ip("192.0.2.15"));
        let six =
            |octets: [u8; 16]| [&[28, INET6, 0, 0, 0, 0, 0, 0][..], &octets, &[0; 4]].concat();
        let zoned = [0xfe, 0x80, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(address(&six(zoned)), ip("fe80::1"));
        let plain = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(address(&six(plain)), ip("2001:db8::1"));
        let link = [&[20, LINK, 1, 0, 6, 3, 6, 0][..], b"en0", &[0, 0x1b, 2, 0xab, 0xc, 0xd]];
        let mac = Some(Address::Mac("00:1b:02:ab:0c:0d".to_owned()));
        assert_eq!(address(&link.concat()), mac);
        // None at all, zeros, cut off, another family.
        for other in [
            &[8, LINK, 1, 0, 24, 3, 0, 0, b'l', b'o', b'0'][..],
            &[20, LINK, 1, 0, 6, 0, 2, 0, 0, 0],
            &[20, LINK, 1, 0, 6, 3, 6, 0, b'e', b'n', b'0', 1],
            &[16, INET, 0, 0, 192],
            &[4, 1, 0, 0],
            &[],
        ] {
            assert_eq!(address(other), None, "{other:?}");
        }
    }

    #[test]
    fn shortened_masks_are_prefixes() {
        let four = "192.0.2.15".parse().unwrap();
        let six = "fe80::1".parse().unwrap();
        for (mask, of, length) in [
            (&[5, 0, 0, 0, 255][..], four, 8),
            (&[8, INET, 0, 0, 255, 255, 255, 128], four, 25),
            (&[16, INET, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0], four, 32),
            (&[0, 0, 0, 0], four, 0),
            (&[16, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255], six, 64),
            (&[], six, 0),
        ] {
            assert_eq!(prefix(mask, of), length, "{mask:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            family in prop::sample::select(vec![INET, INET6, LINK]),
            mut bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Some(first) = bytes.get_mut(1) {
                *first = family;
            }
            if let Some(Address::Ip(ip)) = address(&bytes) {
                let longest = if ip.is_ipv4() { 32 } else { 128 };
                prop_assert!(prefix(&bytes, ip) <= longest);
            }
        }
    }
}

//! What can be asked: networks, ports and hardware addresses.

use std::net::IpAddr;

use mig_host::net::Wanted;
use mig_module::ModuleError;
use mig_module::regex::GoRegex;

/// An address or a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    ip: IpAddr,
    prefix: u32,
}

impl Network {
    /// Reads `10.0.0.1`, `10.0.0.0/8`, `::1` or `fe80::/10`.
    ///
    /// # Errors
    ///
    /// On zone identifiers, leading zeros, and prefixes that are too long.
    pub(crate) fn parse(text: &str) -> Result<Self, ModuleError> {
        let invalid = || ModuleError::invalid(format!("invalid IP or CIDR {text:?}"));
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) if !ip.is_empty() => (ip, Some(prefix)),
            _ => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| invalid())?;
        let width: u32 = if ip.is_ipv4() { 32 } else { 128 };
        let prefix: u32 = match prefix {
            None => width,
            Some(digits) => {
                let plain = digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
                let prefix = plain.then(|| digits.parse().ok()).flatten();
                prefix.filter(|prefix| *prefix <= width).ok_or_else(invalid)?
            }
        };
        Ok(Self { ip: ip.to_canonical(), prefix: prefix.saturating_sub(width - bits(ip)) })
    }

    pub(crate) fn is_ipv6(self) -> bool {
        self.ip.is_ipv6()
    }

    /// Asks for the sockets whose other end lies in it.
    pub(crate) fn wanted(self) -> Wanted {
        Wanted::Remote(self.ip, u8::try_from(self.prefix).unwrap_or(u8::MAX))
    }

    /// Whether an address lies in it; an IPv4-mapped one counts as IPv4.
    pub(crate) fn contains(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        match (self.ip, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                (u32::from(network) ^ u32::from(ip)) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                (u128::from(network) ^ u128::from(ip)) & mask == 0
            }
            _ => false,
        }
    }
}

/// Bits of an address in its canonical family.
fn bits(ip: IpAddr) -> u32 {
    if ip.to_canonical().is_ipv4() { 32 } else { 128 }
}

/// Reads a port in decimal; a sign is accepted.
///
/// # Errors
///
/// On anything but 0 to 65535.
pub(crate) fn port(text: &str) -> Result<u16, ModuleError> {
    text.parse::<i64>().ok().and_then(|port| u16::try_from(port).ok()).ok_or_else(|| {
        ModuleError::invalid(format!("invalid port {text:?}, must be a number between 1 and 65535"))
    })
}

/// Compiles an expression for hardware addresses. Neighbours are compared as
/// written, own interfaces in any case.
///
/// # Errors
///
/// When it is not an expression.
pub(crate) fn mac(text: &str, ignore_case: bool) -> Result<GoRegex, ModuleError> {
    let regex = if ignore_case { GoRegex::new_ignoring_case(text) } else { GoRegex::new(text) };
    regex.map_err(|error| ModuleError::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_no_network() {
        for text in [
            "",
            "1.2.3.4/99",
            "1.2.3",
            "01.2.3.4",
            "fe80::1%eth0",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "/8",
            "::/129",
            "1.2.3.4/8/8",
            "host",
        ] {
            assert!(Network::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_port() {
        for text in ["abc", "70000", "-1", "", "1.5", "99999999999999999999"] {
            assert!(port(text).is_err(), "{text:?}");
        }
        for (text, number) in [("22", 22), ("+22", 22), ("0", 0), ("65535", 65535)] {
            assert_eq!(port(text).ok(), Some(number));
        }
    }

    #[test]
    fn tells_what_lies_inside() {
        for (network, ip, inside) in [
            ("127.0.0.0/8", "127.1.2.3", true),
            ("127.0.0.0/8", "128.0.0.1", false),
            ("0.0.0.0/0", "9.9.9.9", true),
            ("0.0.0.0/0", "::", false),
            ("::/0", "::", true),
            ("::/0", "1.2.3.4", false),
            ("::0001", "::1", true),
            ("FE80::/10", "fe80::5", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.9/24", "10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(ip.parse().unwrap()), inside, "{network:?} {ip}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,30}|[0-9a-f:./%+-]{0,24}") {
            let _ = (Network::parse(&text), port(&text), mac(&text, true).is_ok());
        }

        #[test]
        fn an_address_contains_itself(ip: u128, prefix in 0u32..=128) {
            let ip = IpAddr::V6(ip.into());
            if !ip.to_canonical().is_ipv4() {
                let network = Network::parse(&format!("{ip}/{prefix}")).unwrap();
                prop_assert!(network.contains(ip));
            }
        }
    }
}

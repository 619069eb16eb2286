//! Which address a caller has: the socket's, or what a trusted proxy says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;

/// Setting `clientpublicip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientIp {
    /// The address of the connection.
    Peer,
    /// The n-th entry of `X-Forwarded-For`, counted from the end.
    Forwarded(usize),
}

impl ClientIp {
    /// # Errors
    ///
    /// A sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "peer" || text.is_empty() {
            return Ok(Self::Peer);
        }
        text.strip_prefix("x-forwarded-for:")
            .and_then(|index| index.parse().ok())
            .map(Self::Forwarded)
            .ok_or_else(|| format!("{text:?} is neither \"peer\" nor \"x-forwarded-for:<n>\""))
    }

    /// The caller's address; `0.0.0.0` when the proxy says nothing usable.
    pub fn resolve(self, headers: &HeaderMap, peer: SocketAddr) -> IpAddr {
        let Self::Forwarded(index) = self else { return peer.ip().to_canonical() };
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let Some(list) = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok())
        else {
            tracing::warn!("request without a usable X-Forwarded-For header");
            return unknown;
        };
        let entry = list.rsplit(',').nth(index).unwrap_or_else(|| {
            tracing::warn!("X-Forwarded-For has fewer than {} entries", index + 1);
            list.split(',').next().unwrap_or_default()
        });
        entry.trim().parse().unwrap_or(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(setting: &str, header: Option<&str>, peer: &str) -> String {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("x-forwarded-for", value.parse().unwrap());
        }
        ClientIp::parse(setting).unwrap().resolve(&headers, peer.parse().unwrap()).to_string()
    }

    #[test]
    fn counts_from_the_end_and_falls_back_to_the_first() {
        let list = Some("198.51.100.1, 198.51.100.2,198.51.100.3");
        for (setting, header, peer, wanted) in [
            ("peer", None, "192.0.2.1:1", "192.0.2.1"),
            ("peer", None, "[2001:db8::1]:1", "2001:db8::1"),
            ("x-forwarded-for:0", list, "192.0.2.1:1", "198.51.100.3"),
            ("x-forwarded-for:2", list, "192.0.2.1:1", "198.51.100.1"),
            ("x-forwarded-for:9", list, "192.0.2.1:1", "198.51.100.1"),
            ("x-forwarded-for:0", None, "192.0.2.1:1", "0.0.0.0"),
            ("x-forwarded-for:0", Some("evil"), "192.0.2.1:1", "0.0.0.0"),
        ] {
            assert_eq!(resolve(setting, header, peer), wanted, "{setting} {header:?}");
        }
        assert!(ClientIp::parse("x-forwarded-for:").is_err());
    }
}

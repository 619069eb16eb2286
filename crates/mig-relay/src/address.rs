//! Relay addresses: `amqp[s]://user:password@host:port/vhost`,
//! `ws[s]://user:password@host:port`.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use crate::RelayError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Amqp,
    Ws,
}

/// An address taken apart. `Debug` and `Display` never show the password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) transport: Transport,
    pub(crate) tls: bool,
    /// Name or IP address, without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
    /// AMQP virtual host, decoded. `/` when the address names none.
    pub(crate) vhost: String,
}

impl Address {
    /// Takes an address apart, percent-decoding user, password and vhost.
    ///
    /// # Errors
    ///
    /// [`RelayError::Address`], which never repeats the credentials.
    pub(crate) fn parse(text: &str) -> Result<Self, RelayError> {
        // What follows the last `@` is free of credentials.
        let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest).to_owned();
        let bad = |reason: String| RelayError::Address { address: shown.clone(), reason };
        let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
        let (transport, tls, default_port) = match url.scheme() {
            "amqp" => (Transport::Amqp, false, 5672),
            "amqps" => (Transport::Amqp, true, 5671),
            "ws" => (Transport::Ws, false, 80),
            "wss" => (Transport::Ws, true, 443),
            other => {
                return Err(bad(format!("scheme {other:?} is not amqp, amqps, ws or wss")));
            }
        };
        let decode = |part: &str| {
            let text = percent_decode_str(part).decode_utf8();
            text.map(std::borrow::Cow::into_owned).map_err(|_| bad("not UTF-8".to_owned()))
        };
        let host = url.host_str().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(bad("the host is missing".to_owned()));
        }
        let vhost = match url.path().strip_prefix('/').unwrap_or_default() {
            "" => "/".to_owned(),
            path => decode(path)?,
        };
        if vhost.len() > 255 {
            return Err(bad("the virtual host has more than 255 bytes".to_owned()));
        }
        Ok(Self {
            transport,
            tls,
            host: host.to_owned(),
            port: url.port().unwrap_or(default_port),
            user: decode(url.username())?,
            password: decode(url.password().unwrap_or_default())?,
            vhost,
        })
    }

    /// `host:port`, with brackets around IPv6.
    pub(crate) fn authority(&self) -> String {
        authority(&self.host, self.port)
    }
}

/// `host:port`, with brackets around IPv6.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.transport, self.tls) {
            (Transport::Amqp, false) => "amqp",
            (Transport::Amqp, true) => "amqps",
            (Transport::Ws, false) => "ws",
            (Transport::Ws, true) => "wss",
        };
        write!(f, "{scheme}://{}", self.authority())?;
        if self.transport == Transport::Amqp { write!(f, "/{}", self.vhost) } else { Ok(()) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_is_no_relay_address_without_showing_the_password() {
        for text in [
            "",
            "localhost:5672",
            "http://u:hunter2@h/",
            "amqp://u:hunter2@/mig",
            "amqp://u:hunter2@h:99999/mig",
            "amqps://u:%ffhunter2@h/mig",
            "ws://",
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn takes_addresses_apart() {
        let cases = [
            ("amqp://u:p@h", "amqp://h:5672//", "u", "p"),
            ("amqp://guest:guest@h/", "amqp://h:5672//", "guest", "guest"),
            (
                "amqps://agent:a%2Fb%40c@relay.example.net/mig",
                "amqps://relay.example.net:5671/mig",
                "agent",
                "a/b@c",
            ),
            ("amqps://u:p@h:443/%2Fmig", "amqps://h:443//mig", "u", "p"),
            ("amqp://u:p@[::1]:5673/mig", "amqp://[::1]:5673/mig", "u", "p"),
            ("wss://a:b@h:8443", "wss://h:8443", "a", "b"),
            ("ws://127.0.0.1:80/any/path", "ws://127.0.0.1:80", "", ""),
        ];
        for (text, shown, user, password) in cases {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), shown, "{text}");
            assert_eq!((address.user.as_str(), address.password.as_str()), (user, password));
            assert!(!format!("{address:?}").contains('@'));
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(amqps?|wss?|)://[^\\x00]{0,40}") {
            let _ = Address::parse(&text);
        }
    }
}

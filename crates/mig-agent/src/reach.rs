//! How the relay is reached: address, certificates, proxies.

use std::time::Duration;

use mig_relay::RelayConfig;

use crate::config::AgentConfig;
use crate::pem::PemError;

/// What the relay client needs, from the configuration, its certificate files
/// and the environment variables `env` gives.
///
/// # Errors
///
/// [`PemError`] when a configured file cannot be read.
pub fn relay_config(
    config: &AgentConfig,
    env: impl Fn(&str) -> Option<String>,
) -> Result<RelayConfig, PemError> {
    let address = config.relay.expose();
    let mut relay = RelayConfig::new(address.clone());
    relay.ca_pem = config.ca.read()?;
    relay.cert_pem = config.cert.read()?;
    relay.key_pem = config.key.read()?;
    // The protocol counts seconds in 16 bits.
    relay.heartbeat = (config.heartbeatfreq * 2).min(Duration::from_secs(u64::from(u16::MAX)));
    relay.proxies.clone_from(&config.proxies);
    relay.environment_proxy = environment_proxy(host_of(address), env);
    Ok(relay)
}

/// The host in `scheme://user:password@host:port/path`.
pub(crate) fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// The proxy `HTTP_PROXY` names as `[user:password@]host:port`, unless the
/// relay is on this machine or excepted by `NO_PROXY`.
pub(crate) fn environment_proxy(
    host: &str,
    env: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let either = |upper: &str, lower: &str| env(upper).or_else(|| env(lower));
    let value = either("HTTP_PROXY", "http_proxy").filter(|value| !value.is_empty())?;
    if host == "localhost" || host == "::1" || host.starts_with("127.") {
        return None;
    }
    let exceptions = either("NO_PROXY", "no_proxy").unwrap_or_default();
    let excepted = |entry: &str| {
        let entry = entry.split(':').next().unwrap_or_default();
        let domain = entry.trim_start_matches('.');
        !domain.is_empty()
            && (entry == "*"
                || host.eq_ignore_ascii_case(domain)
                || host
                    .to_ascii_lowercase()
                    .ends_with(&format!(".{}", domain.to_ascii_lowercase())))
    };
    if exceptions.split(',').map(str::trim).any(excepted) {
        return None;
    }
    let bare = value.split_once("://").map_or(value.as_str(), |(_, rest)| rest);
    let authority = bare.split('/').next().unwrap_or_default();
    let endpoint = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = endpoint.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port { authority.to_owned() } else { format!("{authority}:80") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_host_in_every_address() {
        for (address, host) in [
            ("amqps://agent:p:w@relay.example.net:5671/mig", "relay.example.net"),
            ("amqp://localhost", "localhost"),
            ("wss://a:b@[::1]:443/relay", "::1"),
            ("nonsense", "nonsense"),
            ("", ""),
        ] {
            assert_eq!(host_of(address), host, "{address}");
        }
    }

    #[test]
    fn the_environment_names_a_proxy_unless_it_excepts_the_relay() {
        let proxy = |host: &str, http: &str, no: &str| {
            environment_proxy(host, |name| match name {
                "HTTP_PROXY" => Some(http.to_owned()),
                "no_proxy" => Some(no.to_owned()),
                _ => None,
            })
        };
        let relay = "relay.example.net";
        for (host, http, no, wanted) in [
            (relay, "http://proxy:3128", "", Some("proxy:3128")),
            (relay, "http://u:p@proxy:3128/", "", Some("u:p@proxy:3128")),
            (relay, "proxy", "", Some("proxy:80")),
            (relay, "", "", None),
            (relay, "proxy:1", "example.net", None),
            (relay, "proxy:1", "other, .example.net", None),
            (relay, "proxy:1", "*", None),
            (relay, "proxy:1", "ample.net", Some("proxy:1")),
            ("localhost", "proxy:1", "", None),
            ("127.0.0.9", "proxy:1", "", None),
        ] {
            assert_eq!(proxy(host, http, no).as_deref(), wanted, "{host} {http} {no}");
        }
    }
}

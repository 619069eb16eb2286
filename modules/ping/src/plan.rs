//! Parameters after every check: what will be done.

use std::time::Duration;

use mig_module::ModuleError;

use crate::Params;

const DEFAULT_COUNT: f64 = 3.0;
const MAX_COUNT: f64 = 1000.0;
const DEFAULT_TIMEOUT: f64 = 5.0;
const MAX_TIMEOUT: f64 = 300.0;
const DEFAULT_PORT: u16 = 80;
/// Longest name the DNS has.
const MAX_NAME: usize = 253;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Icmp,
    Tcp,
    Udp,
}

/// A run, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) count: u16,
    pub(crate) timeout: Duration,
}

impl Plan {
    /// Looks nothing up: the name may be known on the endpoint only.
    pub(crate) fn of(params: &Params) -> Result<Self, ModuleError> {
        let name = &params.destination;
        let is_odd = |c: char| c.is_control() || c.is_whitespace();
        if name.is_empty() || name.len() > MAX_NAME || name.contains(is_odd) {
            return Err(ModuleError::invalid(format!("destination IP is invalid: {name:?}")));
        }
        let protocol = match params.protocol.as_str() {
            "icmp" => Protocol::Icmp,
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => {
                let text = format!("{other:?} is not a supported ping protocol");
                return Err(ModuleError::invalid(text));
            }
        };
        Ok(Self {
            protocol,
            port: port(params, protocol)?,
            count: count(params.count)?,
            timeout: timeout(params.timeout)?,
        })
    }
}

fn port(params: &Params, protocol: Protocol) -> Result<u16, ModuleError> {
    let port = params.destinationport;
    if protocol == Protocol::Icmp {
        return Ok(0);
    }
    if !(0.0..=65_535.0).contains(&port) {
        return Err(ModuleError::invalid(format!(
            "{} ping requires a valid destination port between 0 and 65535, got {port}",
            params.protocol
        )));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 65535; a fraction is cut off"
    )]
    let port = port as u16;
    Ok(if port == 0 { DEFAULT_PORT } else { port })
}

fn count(count: f64) -> Result<u16, ModuleError> {
    let count = if count == 0.0 { DEFAULT_COUNT } else { count };
    if count > MAX_COUNT {
        let text = format!("count must be at most {MAX_COUNT}, got {count}");
        return Err(ModuleError::invalid(text));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 1000; a fraction is cut off, and below zero means none"
    )]
    let count = count.max(0.0) as u16;
    Ok(count)
}

fn timeout(seconds: f64) -> Result<Duration, ModuleError> {
    let seconds = if seconds == 0.0 { DEFAULT_TIMEOUT } else { seconds };
    if !(0.001..=MAX_TIMEOUT).contains(&seconds) {
        return Err(ModuleError::invalid(format!(
            "timeout must be from 0.001 to {MAX_TIMEOUT} seconds, got {seconds}"
        )));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(protocol: &str) -> Params {
        Params {
            destination: "host.example.net".into(),
            protocol: protocol.into(),
            ..Params::default()
        }
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let with = |change: fn(&mut Params)| {
            let mut params = params("tcp");
            change(&mut params);
            Plan::of(&params).unwrap_err().to_string()
        };
        for (change, text) in [
            (
                (|p| p.protocol = "TCP".into()) as fn(&mut Params),
                "\"TCP\" is not a supported ping protocol",
            ),
            (|p| p.destination.clear(), "destination IP is invalid: \"\""),
            (|p| p.destination = "a b".into(), "destination IP is invalid: \"a b\""),
            (
                |p| p.destinationport = 70_000.0,
                "tcp ping requires a valid destination port between 0 and 65535, got 70000",
            ),
            (
                |p| p.destinationport = -1.0,
                "tcp ping requires a valid destination port between 0 and 65535, got -1",
            ),
            (|p| p.count = 1001.0, "count must be at most 1000, got 1001"),
            (|p| p.timeout = -1.0, "timeout must be from 0.001 to 300 seconds, got -1"),
            (|p| p.timeout = 301.0, "timeout must be from 0.001 to 300 seconds, got 301"),
        ] {
            assert_eq!(with(change), text);
        }
    }

    #[test]
    fn counts_and_times_have_defaults_and_fractions() {
        for (count, probes) in [(0.0, 3), (2.9, 2), (-1.0, 0), (1000.0, 1000), (0.5, 0)] {
            let plan = Plan::of(&Params { count, ..params("udp") }).unwrap();
            assert_eq!(plan.count, probes, "{count}");
        }
        let plan = Plan::of(&Params { timeout: 0.2, ..params("udp") }).unwrap();
        assert_eq!(plan.timeout, Duration::from_millis(200));
        let plan = Plan::of(&params("udp")).unwrap();
        assert_eq!((plan.timeout, plan.port), (Duration::from_secs(5), 80));
        let old = Params { destinationport: -1.0, ..params("icmp") };
        assert_eq!(Plan::of(&old).unwrap().protocol, Protocol::Icmp);
    }
}

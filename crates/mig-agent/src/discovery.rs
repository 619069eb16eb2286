//! What only others know about this host: its address on the internet, and what
//! the cloud calls it. Never fatal, and bounded in time.

use std::net::IpAddr;
use std::time::Duration;

use mig_runtime::tls;
use mig_types::{Aws, Environment};

use crate::config::AgentConfig;
use crate::fetch::{FetchError, Request, Way, fetch};
use crate::reach::{environment_proxy, host_of};

/// For a connection to the API, by each of the ways to it.
const API_CONNECT: Duration = Duration::from_secs(5);
/// For the answer of the API, all in all.
const API_TOTAL: Duration = Duration::from_secs(15);
/// The metadata service is next door, or not there.
const CLOUD_CONNECT: Duration = Duration::from_secs(1);
/// For each answer of the metadata service.
const CLOUD_TOTAL: Duration = Duration::from_secs(2);
/// Seconds a token of the metadata service shall be valid.
const TOKEN_SECONDS: &str = "60";
/// Longest value taken from the metadata service.
const MAX_VALUE: usize = 256;

/// Where to ask.
#[derive(Clone)]
pub struct Discovery {
    /// Address that answers with ours.
    public_ip: Option<String>,
    /// The metadata service, without a final slash.
    cloud: Option<String>,
    way: Way,
}

/// What was found out; what was not asked for counts as found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// `None`: nobody could tell.
    pub publicip: Option<String>,
    pub aws: Option<Aws>,
}

impl Discovery {
    /// What the configuration wants to know; `env` gives environment variables.
    pub fn new(config: &AgentConfig, env: impl Fn(&str) -> Option<String>) -> Self {
        let mut proxies = config.proxies.clone();
        proxies.extend(environment_proxy(host_of(&config.api), env));
        let mut trusted = Vec::new();
        // A private API has its certificate from the relay's authority, mostly.
        if let Ok(Some(ca)) = config.ca.read() {
            trusted.extend(tls::client_config(Some(&ca), None).ok());
        }
        trusted.extend(tls::client_config(None, None).ok());
        let api = config.api.trim_end_matches('/');
        Self {
            public_ip: config.discoverpublicip.then(|| format!("{api}/ip")),
            cloud: config
                .discoverawsmeta
                .then(|| config.awsmetadata.trim_end_matches('/').to_owned()),
            way: Way { proxies, tls: trusted, connect: API_CONNECT, total: API_TOTAL },
        }
    }

    /// Asks. What cannot be found out is logged, and left.
    pub async fn look(&self) -> Found {
        let public_ip = async {
            let Some(url) = &self.public_ip else { return Some(String::new()) };
            match public_ip(url, &self.way).await {
                Ok(address) => {
                    tracing::debug!("Found public ip {address}");
                    Some(address.to_string())
                }
                Err(reason) => {
                    tracing::warn!("the public address is not known: {reason}");
                    None
                }
            }
        };
        let cloud = async {
            let Some(base) = &self.cloud else { return Some(Aws::default()) };
            match cloud(base).await {
                Ok(aws) => Some(aws),
                Err(reason) => {
                    tracing::warn!("the cloud's metadata is not known: {reason}");
                    None
                }
            }
        };
        let (address, aws) = tokio::join!(public_ip, cloud);
        Found { publicip: address, aws }
    }
}

impl Found {
    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.publicip.is_some() && self.aws.is_some()
    }

    /// Puts it into `environment`; what is not known now stays as it was in
    /// `before`: an API that is away changes nothing about this host.
    pub fn enter(self, environment: &mut Environment, before: Option<&Environment>) {
        environment.publicip = self
            .publicip
            .or_else(|| before.map(|before| before.publicip.clone()))
            .unwrap_or_default();
        environment.aws =
            self.aws.or_else(|| before.map(|before| before.aws.clone())).unwrap_or_default();
    }
}

async fn public_ip(url: &str, way: &Way) -> Result<IpAddr, String> {
    let (status, body) =
        fetch(Request { method: "GET", url, headers: &[] }, way).await.map_err(said)?;
    if status != 200 {
        return Err(format!("{url} answered with status {status}"));
    }
    body.trim().parse().map_err(|_| format!("{url} answered what is no address"))
}

/// The error and what is behind it, on one line.
fn said(error: FetchError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

/// Asks the metadata service, with a token if it gives one.
async fn cloud(base: &str) -> Result<Aws, String> {
    // Never through a proxy: it would tell about the proxy's machine.
    let way = Way { connect: CLOUD_CONNECT, total: CLOUD_TOTAL, ..Way::default() };
    let url = format!("{base}/latest/api/token");
    let headers = [("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS)];
    let request = Request { method: "PUT", url: &url, headers: &headers };
    let token = match fetch(request, &way).await.map_err(said)? {
        (200, token) if is_value(token.trim()) => Some(token.trim().to_owned()),
        // One that knows no tokens.
        (403..=405, _) => None,
        (status, _) => return Err(format!("{url} answered with status {status}")),
    };
    let ask = async |path: &str| -> Result<String, String> {
        let url = format!("{base}/latest/meta-data/{path}");
        let header = token.as_deref().map(|token| ("X-aws-ec2-metadata-token", token));
        let request = Request { method: "GET", url: &url, headers: header.as_slice() };
        match fetch(request, &way).await.map_err(said)? {
            (200, body) if !body.trim().is_empty() => Ok(body.trim().to_owned()),
            (status, _) => Err(format!("{url} answered with status {status} and no value")),
        }
    };
    let value = async |path: &str| match ask(path).await {
        Ok(value) if is_value(&value) => Ok(value),
        Ok(_) => Err(format!("{path} of the metadata service is no plain word")),
        Err(reason) => Err(reason),
    };
    ask("").await?;
    Ok(Aws {
        instanceid: value("instance-id").await?,
        localipv4: value("local-ipv4").await?,
        amiid: value("ami-id").await?,
        instancetype: value("instance-type").await?,
    })
}

/// One word, as it may stand in a header and in a heartbeat.
fn is_value(text: &str) -> bool {
    (1..=MAX_VALUE).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_now_stays_as_it_was() {
        let aws = Aws { instanceid: "i-1".into(), ..Aws::default() };
        let before = Environment {
            publicip: "192.0.2.1".into(),
            aws: aws.clone(),
            ..Environment::default()
        };
        let mut now = Environment::default();
        Found { publicip: None, aws: None }.enter(&mut now, Some(&before));
        assert_eq!((now.publicip.as_str(), &now.aws), ("192.0.2.1", &aws));
        let found = Found { publicip: Some(String::new()), aws: Some(Aws::default()) };
        assert!(found.is_complete());
        found.enter(&mut now, Some(&before));
        assert_eq!((now.publicip.as_str(), now.aws), ("", Aws::default()));
    }

    #[test]
    fn values_are_single_plain_words() {
        for text in ["", "two words", "x\r\nInjected: 1", "ż", &"x".repeat(257)] {
            assert!(!is_value(text), "{text:?}");
        }
        assert!(is_value("i-0123456789abcdef0") && is_value("m5.large") && is_value("AQAA=="));
    }
}

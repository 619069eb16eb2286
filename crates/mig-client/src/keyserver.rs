//! Public keys from a key server: HKP over TLS, by fingerprint, and only the key
//! that was asked for.

use std::time::Duration;

use mig_runtime::tls;
use mig_sign::keyring::{self, KeyError};
use mig_types::Fingerprint;
use reqwest::{Client, StatusCode, redirect};
use url::Url;

use crate::api::{ClientError, certificates, transport};
use crate::config::ClientConfig;

/// The server that is asked when the configuration names none.
pub const DEFAULT: &str = "https://keys.openpgp.org";

/// Largest key read, in bytes: some carry thousands of signatures.
const MAX_KEY: usize = 1024 * 1024;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Why no key came from a key server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyServerError {
    #[error("key server {server:?} is not an https:// address")]
    NotSecure { server: String },
    #[error("cannot ask key server {server}")]
    Unreachable { server: String, source: ClientError },
    #[error("key server {server} does not have key {key}")]
    Unknown { server: String, key: Fingerprint },
    #[error("key server {server} answered {status}")]
    Refused { server: String, status: u16 },
    #[error("the answer of key server {server} is larger than {MAX_KEY} bytes")]
    TooLarge { server: String },
    #[error("key server {server} did not send one public key")]
    Malformed { server: String, source: KeyError },
    #[error("key server {server} sent key {found} in place of {key}")]
    Other { server: String, key: Fingerprint, found: Fingerprint },
}

/// The armored key with that fingerprint, from `gpg.keyserver` or [`DEFAULT`].
/// Whoever the server is, it cannot pass off another key.
///
/// # Errors
///
/// [`KeyServerError`].
pub async fn fetch(config: &ClientConfig, key: &Fingerprint) -> Result<String, KeyServerError> {
    let server = config.keyserver.as_deref().unwrap_or(DEFAULT).trim_end_matches('/').to_owned();
    let not_secure = || KeyServerError::NotSecure { server: server.clone() };
    let mut url = Url::parse(&server).map_err(|_| not_secure())?;
    if url.scheme() != "https" {
        return Err(not_secure());
    }
    url.set_path(&format!("{}/pks/lookup", url.path().trim_end_matches('/')));
    let search = format!("0x{key}");
    url.query_pairs_mut().extend_pairs([("op", "get"), ("options", "mr"), ("search", &search)]);
    let unreachable = |source| KeyServerError::Unreachable { server: server.clone(), source };

    let client = client(config).map_err(unreachable)?;
    let asked = client.get(url.clone()).send().await;
    let mut answer = asked.map_err(|error| unreachable(transport(error, &url)))?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(KeyServerError::Unknown { server, key: key.clone() }),
        status => return Err(KeyServerError::Refused { server, status: status.as_u16() }),
    }
    let mut body = Vec::new();
    while let Some(chunk) =
        answer.chunk().await.map_err(|error| unreachable(transport(error, &url)))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_KEY {
            return Err(KeyServerError::TooLarge { server });
        }
    }
    let armored = String::from_utf8_lossy(&body).into_owned();
    let info = keyring::inspect(&armored)
        .map_err(|source| KeyServerError::Malformed { server: server.clone(), source })?;
    if info.fingerprint != *key {
        return Err(KeyServerError::Other { server, key: key.clone(), found: info.fingerprint });
    }
    Ok(armored)
}

/// Says nothing about who asks; certificates are always verified.
fn client(config: &ClientConfig) -> Result<Client, ClientError> {
    tls::install_provider();
    let mut builder =
        Client::builder().https_only(true).timeout(TIMEOUT).redirect(redirect::Policy::limited(3));
    if let Some(path) = &config.ca_file {
        // A server of one's own may have one's own authority; others do not.
        builder = builder.tls_certs_merge(certificates(path)?);
    }
    builder.build().map_err(ClientError::Setup)
}

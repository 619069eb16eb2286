//! Reaching a relay's socket: directly or through HTTP proxies, then TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::RelayError;
use crate::address::{Address, authority};
use crate::config::RelayConfig;

/// The longest response head taken from a proxy, bytes.
const MAX_RESPONSE_HEAD: usize = 16 * 1024;

/// Everything needed to open a socket to one relay, any number of times.
#[derive(Clone)]
pub(crate) struct Dialer {
    host: String,
    port: u16,
    /// Tried in order; `None` is the direct way.
    ways: Vec<Option<Proxy>>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
}

#[derive(Clone)]
struct Proxy {
    /// `host:port`.
    authority: String,
    /// Value of `Proxy-Authorization`.
    authorization: Option<String>,
}

/// A connected socket and the proxy it goes through.
pub(crate) struct Dialled {
    pub(crate) stream: TcpStream,
    pub(crate) proxy: Option<String>,
}

/// Why no way led to the relay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("no connection in {seconds} s")]
    TimedOut { seconds: u64 },
    #[error("cannot connect to {authority}")]
    Connect { authority: String, source: io::Error },
    #[error("proxy {proxy} answered {status:?}")]
    Proxy { proxy: String, status: String },
}

/// Opens a connection to any host the way relays are reached: through each of
/// `proxies` (`[user:password@]host:port`) in turn, then directly. `timeout` is
/// for one attempt.
///
/// # Errors
///
/// Why the last way did not lead there.
pub async fn connect_through(
    host: &str,
    port: u16,
    proxies: &[String],
    timeout: Duration,
) -> io::Result<TcpStream> {
    let mut ways = proxies
        .iter()
        .map(|proxy| Proxy::parse(proxy).map(Some).map_err(io::Error::other))
        .collect::<io::Result<Vec<_>>>()?;
    ways.push(None);
    let dialer = Dialer { host: host.to_owned(), port, ways, tls: None, timeout };
    dialer.dial().await.map(|dialled| dialled.stream).map_err(io::Error::other)
}

impl Dialer {
    pub(crate) fn new(address: &Address, config: &RelayConfig) -> Result<Self, RelayError> {
        let bad = |reason: String| RelayError::Address { address: address.to_string(), reason };
        let named = config.proxies.iter().chain(&config.environment_proxy);
        let mut ways = named
            .filter(|proxy| !proxy.trim().is_empty())
            .map(|proxy| Proxy::parse(proxy).map(Some).map_err(&bad))
            .collect::<Result<Vec<_>, _>>()?;
        ways.push(None);
        let tls = if address.tls { Some(client_config(config).map_err(bad)?) } else { None };
        Ok(Self {
            host: address.host.clone(),
            port: address.port,
            ways,
            tls,
            timeout: config.connect_timeout.max(Duration::from_millis(100)),
        })
    }

    /// The time one attempt may take, from the first packet to the last
    /// handshake.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Tries every proxy, then the direct way; the first that works wins.
    pub(crate) async fn dial(&self) -> Result<Dialled, DialError> {
        let mut last = DialError::TimedOut { seconds: self.timeout.as_secs() };
        for way in &self.ways {
            let attempt = self.dial_by(way.as_ref());
            match tokio::time::timeout(self.timeout, attempt).await {
                Ok(Ok(stream)) => {
                    // Small frames both ways: waiting to fill packets only delays.
                    let _ = stream.set_nodelay(true);
                    let proxy = way.as_ref().map(|proxy| proxy.authority.clone());
                    return Ok(Dialled { stream, proxy });
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = DialError::TimedOut { seconds: self.timeout.as_secs() },
            }
        }
        Err(last)
    }

    async fn dial_by(&self, proxy: Option<&Proxy>) -> Result<TcpStream, DialError> {
        let relay = authority(&self.host, self.port);
        let Some(proxy) = proxy else {
            return TcpStream::connect((self.host.as_str(), self.port))
                .await
                .map_err(|source| DialError::Connect { authority: relay, source });
        };
        let failed = |source| DialError::Connect { authority: proxy.authority.clone(), source };
        let mut stream = TcpStream::connect(proxy.authority.as_str()).await.map_err(failed)?;
        stream.write_all(proxy.request(&relay).as_bytes()).await.map_err(failed)?;
        let status = read_response_head(&mut stream).await.map_err(failed)?;
        if accepts(&status) {
            Ok(stream)
        } else {
            Err(DialError::Proxy { proxy: proxy.authority.clone(), status })
        }
    }
}

impl Proxy {
    /// Takes `[http://][user:password@]host:port[/]`.
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text.strip_prefix("http://").unwrap_or(text);
        let url = url::Url::parse(&format!("http://{text}"))
            .map_err(|error| format!("a proxy is not host:port: {error}"))?;
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        let decode = |part| percent_encoding::percent_decode_str(part).decode_utf8_lossy();
        let authorization = (!url.username().is_empty()).then(|| {
            let user = decode(url.username());
            let password = decode(url.password().unwrap_or_default());
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        });
        // `host_str` keeps the brackets of IPv6, as the socket address needs.
        Ok(Self { authority: format!("{host}:{port}"), authorization })
    }

    fn request(&self, relay: &str) -> String {
        let authorization = self.authorization.as_ref();
        let authorization = authorization
            .map(|value| format!("Proxy-Authorization: {value}\r\n"))
            .unwrap_or_default();
        format!("CONNECT {relay} HTTP/1.1\r\nHost: {relay}\r\n{authorization}\r\n")
    }
}

/// Reads a response head to its empty line and not one byte further, and
/// returns the status line. What follows belongs to the relay.
async fn read_response_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::with_capacity(256);
    loop {
        // One byte at a time: a head is short, and there is no giving back.
        head.push(stream.read_u8().await?);
        if head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n") {
            let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
            return Ok(String::from_utf8_lossy(line).trim_end().chars().take(200).collect());
        }
        if head.len() >= MAX_RESPONSE_HEAD {
            return Err(io::Error::other("the proxy's response head has no end"));
        }
    }
}

/// Whether a status line is `HTTP/1.x 2xx …`.
fn accepts(status_line: &str) -> bool {
    let mut words = status_line.split_ascii_whitespace();
    let version = words.next().unwrap_or_default();
    let code = words.next().unwrap_or_default();
    version.starts_with("HTTP/1.")
        && code.len() == 3
        && code.starts_with('2')
        && code.bytes().all(|byte| byte.is_ascii_digit())
}

/// TLS trusting the configured authorities and no other; public ones only
/// when none is configured.
fn client_config(config: &RelayConfig) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = &config.ca_pem {
        for certificate in certificates(pem, "authority")? {
            roots.add(certificate).map_err(|error| format!("authority certificate: {error}"))?;
        }
    } else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let tls = match (&config.cert_pem, &config.key_pem) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| format!("client key: {error}"))?;
            builder
                .with_client_auth_cert(certificates(cert, "client")?, key)
                .map_err(|error| format!("client certificate: {error}"))?
        }
        _ => return Err("client certificate and key need each other".to_owned()),
    };
    Ok(Arc::new(tls))
}

/// All certificates of a PEM text; text around the blocks is skipped.
fn certificates(pem: &[u8], role: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{role} certificate: {error}"))?;
    if found.is_empty() { Err(format!("{role} certificate: none found")) } else { Ok(found) }
}

/// Whether a failure is a certificate one side does not accept: trying again
/// will not help.
pub(crate) fn is_certificate_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error hides what it wraps from `source`.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = error
            .downcast_ref::<rustls::Error>()
            .or_else(|| wrapped.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
        if let Some(tls) = tls {
            return is_refusal(tls);
        }
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

fn is_refusal(error: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(_) => true,
        rustls::Error::AlertReceived(alert) => matches!(
            alert,
            Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::UnknownCA
                | Alert::AccessDenied
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn refuses_status_lines_that_are_no_success() {
        for line in
            ["", "200", "HTTP/1.1", "HTTP/1.1 407 x", "HTTP/1.1 2", "HTTP/1.1 2x0", "SSH-2.0 200"]
        {
            assert!(!accepts(line), "{line:?}");
        }
        assert!(accepts("HTTP/1.0 200 Connection established"));
        assert!(accepts("HTTP/1.1 200"));
    }

    proptest::proptest! {
        #[test]
        fn any_response_is_read_to_its_empty_line_or_refused(
            head in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..9000),
            ends in proptest::bool::ANY,
        ) {
            let mut bytes = head.clone();
            if ends {
                bytes.extend_from_slice(b"\r\n\r\nAMQP");
            }
            let mut rest = bytes.as_slice();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(read_response_head(&mut rest));
            let taken = bytes.len() - rest.len();
            assert!(taken <= MAX_RESPONSE_HEAD);
            if let Ok(status) = read {
                assert!(status.chars().count() <= 200);
                let head = &bytes[..taken];
                assert!(head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n"));
                let _ = accepts(&status);
            } else {
                assert!(taken == MAX_RESPONSE_HEAD || rest.is_empty());
            }
        }
    }

    #[test]
    fn only_certificates_are_refusals() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert!(is_certificate_refusal(&wrapped));
        assert!(is_certificate_refusal(&io::Error::other(wrapped)));
        assert!(!is_certificate_refusal(&io::Error::from(io::ErrorKind::ConnectionReset)));
        let other = rustls::Error::AlertReceived(rustls::AlertDescription::InternalError);
        assert!(!is_certificate_refusal(&other));
    }

    #[test]
    fn refuses_half_a_client_certificate_and_empty_authorities() {
        let mut config = RelayConfig::new("amqps://u:p@h/mig");
        config.cert_pem = Some(Vec::new());
        let address = Address::parse(&config.address).unwrap();
        assert!(Dialer::new(&address, &config).is_err());
        config.cert_pem = None;
        config.ca_pem = Some(b"no certificate here".to_vec());
        assert!(Dialer::new(&address, &config).is_err());
    }

    /// A proxy that answers every request with `response`, then echoes.
    async fn proxy(response: &'static [u8]) -> (String, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(response).await.unwrap();
            request
        });
        (address, task)
    }

    fn through(proxies: &[String]) -> Dialer {
        let mut config = RelayConfig::new("amqp://u:p@127.0.0.1:1/mig");
        config.proxies = proxies.to_vec();
        Dialer::new(&Address::parse(&config.address).unwrap(), &config).unwrap()
    }

    #[tokio::test]
    async fn leaves_the_bytes_after_the_proxys_head_to_the_relay() {
        let head = b"HTTP/1.1 200 OK\r\nVia: x\r\nX-Long: 1234567890\r\n\r\nAMQP-bytes";
        let (address, task) = proxy(head).await;
        let with_password = format!("me:s%40cret@{address}");
        let mut dialled = through(&[with_password]).dial().await.unwrap();
        assert_eq!(dialled.proxy.as_deref(), Some(address.as_str()));
        let mut rest = String::new();
        dialled.stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "AMQP-bytes");
        let request = String::from_utf8(task.await.unwrap()).unwrap();
        assert!(request.starts_with("CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"));
        assert!(request.contains("Proxy-Authorization: Basic bWU6c0BjcmV0\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_refusing_proxy_is_passed_over_for_the_next() {
        let (refusing, _first) = proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let (working, _second) = proxy(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let dialled = through(&[refusing, working.clone()]).dial().await.unwrap();
        assert_eq!(dialled.proxy, Some(working));
    }

    #[tokio::test]
    async fn an_endless_proxy_head_is_an_error() {
        let endless: &'static [u8] =
            Box::leak(vec![b'a'; MAX_RESPONSE_HEAD + 10].into_boxed_slice());
        let (address, _task) = proxy(endless).await;
        // The direct way is tried last and fails too: nothing listens on port 1.
        assert!(through(&[address]).dial().await.is_err());
    }
}

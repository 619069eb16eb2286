//! One POST, bounded in time and size.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use url::{Host, Url};

use crate::trust::client_config;

/// Everything about one delivery.
const WITHIN: Duration = Duration::from_secs(10);
/// Largest head of an answer.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 100;

/// Why a delivery failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    #[error("{0:?} is no http or https address")]
    Address(String),
    #[error("cannot speak TLS")]
    Tls(#[from] rustls::Error),
    #[error("no connection to {host}")]
    Connect { host: String, source: io::Error },
    #[error("no answer of {host}")]
    Talk { host: String, source: io::Error },
    #[error("{host} did not answer within {} seconds", WITHIN.as_secs())]
    TimedOut { host: String },
    #[error("{host} answered what is not HTTP")]
    NotHttp { host: String },
    #[error("{host} answered with status {status}")]
    Refused { host: String, status: u16 },
}

impl PostError {
    /// Whether the endpoint cannot have the document, and may take it later.
    pub fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}

/// Where documents go.
#[derive(Debug, Clone)]
pub struct Endpoint {
    host: String,
    port: u16,
    /// Method, path and fixed headers.
    head: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

trait Stream: Read + Write {
    /// The connection below.
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

impl Endpoint {
    /// Reads an address: `https://collector.example.net/events`.
    ///
    /// # Errors
    ///
    /// [`PostError::Address`] for another scheme, and for user and password,
    /// which do not belong there.
    pub fn parse(address: &str) -> Result<Self, PostError> {
        let url = Url::parse(address).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
        });
        let invalid = || PostError::Address(address.to_owned());
        let url = url.ok_or_else(invalid)?;
        let host = match url.host().ok_or_else(invalid)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        let tls = if url.scheme() == "https" {
            let name = ServerName::try_from(host.clone()).map_err(|_| invalid())?;
            Some((client_config()?, name))
        } else {
            None
        };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let head = format!(
            "POST {}{query} HTTP/1.1\r\nHost: {}{port}\r\nUser-Agent: mig-dispatch/{}\r\n\
             Content-Type: application/json\r\nConnection: close\r\n",
            url.path(),
            url.host_str().unwrap_or_default(),
            env!("CARGO_PKG_VERSION"),
        );
        Ok(Self { host, port: url.port_or_known_default().unwrap_or(80), head, tls })
    }

    /// Trusts these authorities instead of the system's.
    #[must_use]
    pub fn trusting(mut self, config: Arc<ClientConfig>) -> Self {
        if let Some((trust, _)) = &mut self.tls {
            *trust = config;
        }
        self
    }

    /// Delivers a JSON document. Takes no longer than ten seconds, apart from
    /// the time the system takes to look up a name.
    ///
    /// # Errors
    ///
    /// [`PostError`]; any status but 2xx is one.
    pub fn post(&self, document: &[u8]) -> Result<(), PostError> {
        let deadline = Instant::now() + WITHIN;
        let host = || self.host.clone();
        let socket =
            self.connect(deadline).map_err(|source| PostError::Connect { host: host(), source })?;
        let mut stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some((config, name)) => {
                let session = ClientConnection::new(Arc::clone(config), name.clone())?;
                Box::new(StreamOwned::new(session, socket))
            }
        };
        let answer = talk(&mut *stream, &self.head, document, deadline).map_err(|source| {
            match source.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    PostError::TimedOut { host: host() }
                }
                _ => PostError::Talk { host: host(), source },
            }
        })?;
        match status(&answer) {
            Some(200..=299) => Ok(()),
            Some(status) => Err(PostError::Refused { host: host(), status }),
            None => Err(PostError::NotHttp { host: host() }),
        }
    }

    /// The first of the host's addresses that takes us.
    fn connect(&self, deadline: Instant) -> io::Result<TcpStream> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        let addresses: Vec<SocketAddr> =
            (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        for address in addresses {
            match TcpStream::connect_timeout(&address, left(deadline)?) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
}

/// Sends a request and reads the head of its answer.
fn talk(
    stream: &mut dyn Stream,
    head: &str,
    document: &[u8],
    deadline: Instant,
) -> io::Result<Vec<u8>> {
    let length = document.len();
    let mut request = format!("{head}Content-Length: {length}\r\n\r\n").into_bytes();
    request.extend_from_slice(document);
    // In pieces, so that a slow reader cannot stretch the time.
    for piece in request.chunks(16 << 10) {
        stream.socket().set_write_timeout(Some(left(deadline)?))?;
        stream.socket().set_read_timeout(Some(left(deadline)?))?;
        stream.write_all(piece)?;
    }
    stream.flush()?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while answer.len() < MAX_HEAD && status(&answer).is_none() {
        stream.socket().set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// The status of an answer, once its whole head is there. Informational answers
/// are passed over.
///
/// **Source** whoever is at the other end. Never panics.
pub fn status(answer: &[u8]) -> Option<u16> {
    let mut rest = answer;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(rest).ok()? else { return None };
        let status = response.code?;
        if !(100..200).contains(&status) {
            return Some(status);
        }
        rest = rest.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_no_address_to_post_to() {
        for address in ["", "x", "ftp://a/", "http://", "http://u:p@a/", "https://u@a/", "/a"] {
            assert!(matches!(Endpoint::parse(address), Err(PostError::Address(_))), "{address}");
        }
    }

    #[test]
    fn knows_where_to_go() {
        for (address, host, port, start) in [
            ("http://a", "a", 80, "POST / HTTP/1.1\r\nHost: a\r\n"),
            (
                "https://A.example/x?y=1#z",
                "a.example",
                443,
                "POST /x?y=1 HTTP/1.1\r\nHost: a.example\r\n",
            ),
            ("http://[::1]:8080/p", "::1", 8080, "POST /p HTTP/1.1\r\nHost: [::1]:8080\r\n"),
            ("https://192.0.2.1:1/", "192.0.2.1", 1, "POST / HTTP/1.1\r\nHost: 192.0.2.1:1\r\n"),
        ] {
            let endpoint = Endpoint::parse(address).unwrap();
            assert_eq!((&*endpoint.host, endpoint.port), (host, port));
            assert!(endpoint.head.starts_with(start), "{}", endpoint.head);
            assert_eq!(endpoint.tls.is_some(), address.starts_with("https"));
        }
    }

    #[test]
    fn a_status_is_known_when_the_head_is_whole() {
        for (answer, expected) in [
            ("", None),
            ("HTTP/1.1 200 OK\r\n", None),
            ("HTTP/1.1 204 No\r\nA: b\r\n\r\n", Some(204)),
            ("HTTP/1.0 503 X\r\n\r\nbody", Some(503)),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Some(200)),
            ("SSH-2.0-x\r\n\r\n", None),
        ] {
            assert_eq!(status(answer.as_bytes()), expected, "{answer:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes: Vec<u8>, tail in "HTTP/1.1 [0-9]{0,4} \\PC{0,20}(\r\n){0,3}") {
            let _ = status(&bytes);
            let _ = status(tail.as_bytes());
        }

        #[test]
        fn no_address_panics(address in "\\PC{0,40}|https?://[a-z\\[\\]:@/.%0-9]{0,20}") {
            let _ = Endpoint::parse(&address);
        }
    }
}

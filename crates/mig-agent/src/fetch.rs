//! Small documents over HTTP: what the agent asks about itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use url::Url;

use crate::socket::http;

/// Largest answer looked at.
const MAX_ANSWER: usize = 16 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{0:?} is no http or https address")]
    Address(String),
    #[error("no connection to {host}")]
    Connect { host: String, source: std::io::Error },
    #[error("no answer of {host}")]
    Talk { host: String, source: std::io::Error },
    #[error("{host} answered what is not HTTP")]
    NotHttp { host: String },
    #[error("{host} did not answer in time")]
    TimedOut { host: String },
}

/// The way to a server.
#[derive(Clone, Default)]
pub struct Way {
    /// `[user:password@]host:port`, tried in this order, then directly.
    pub proxies: Vec<String>,
    /// Whom to trust: tried in this order.
    pub tls: Vec<Arc<ClientConfig>>,
    /// For one attempt to connect.
    pub connect: Duration,
    /// For everything.
    pub total: Duration,
}

/// A request without a body.
pub struct Request<'a> {
    pub method: &'a str,
    pub url: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
}

/// Status and body of the answer, of which no more than its beginning is read.
///
/// # Errors
///
/// [`FetchError`]; never later than `way.total`.
pub async fn fetch(request: Request<'_>, way: &Way) -> Result<(u16, String), FetchError> {
    let url = Url::parse(request.url).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or_else(|| FetchError::Address(request.url.to_owned()))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let talk = attempt(&request, &url, &host, way);
    match tokio::time::timeout(way.total, talk).await {
        Ok(answer) => answer,
        Err(_) => Err(FetchError::TimedOut { host }),
    }
}

async fn attempt(
    request: &Request<'_>,
    url: &Url,
    host: &str,
    way: &Way,
) -> Result<(u16, String), FetchError> {
    let failed = |source| FetchError::Talk { host: host.to_owned(), source };
    let text = head(request, url);
    let answer = if url.scheme() == "http" {
        let stream = connect(url, host, way).await?;
        talk(stream, &text).await.map_err(failed)?
    } else {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let mut outcome = Err(failed(std::io::Error::other("nobody is trusted")));
        for tls in &way.tls {
            let stream = connect(url, host, way).await?;
            let connector = TlsConnector::from(Arc::clone(tls));
            outcome = match connector.connect(name.clone(), stream).await {
                Ok(stream) => talk(stream, &text).await.map_err(failed),
                Err(error) => Err(failed(error)),
            };
            if outcome.is_ok() {
                break;
            }
        }
        outcome?
    };
    http::read_answer(&answer).ok_or_else(|| FetchError::NotHttp { host: host.to_owned() })
}

async fn connect(url: &Url, host: &str, way: &Way) -> Result<TcpStream, FetchError> {
    let port = url.port_or_known_default().unwrap_or(80);
    let host_only = host.trim_matches(['[', ']']);
    mig_relay::connect_through(host_only, port, &way.proxies, way.connect)
        .await
        .map_err(|source| FetchError::Connect { host: host.to_owned(), source })
}

fn head(request: &Request<'_>, url: &Url) -> String {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let mut text = format!(
        "{} {}{query} HTTP/1.1\r\nHost: {}{port}\r\nUser-Agent: mig-agent/{}\r\n\
         Accept: */*\r\nConnection: close\r\n",
        request.method,
        url.path(),
        url.host_str().unwrap_or_default(),
        crate::VERSION,
    );
    if request.method == "PUT" {
        text.push_str("Content-Length: 0\r\n");
    }
    for &(name, value) in request.headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text + "\r\n"
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    text: &str,
) -> std::io::Result<Vec<u8>> {
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while answer.len() < MAX_ANSWER && !http::is_whole(&answer) {
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            // Some servers end a TLS connection without saying so.
            Err(_) if !answer.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn refuses_what_is_no_address() {
        let way = Way {
            connect: Duration::from_secs(1),
            total: Duration::from_secs(1),
            ..Way::default()
        };
        for url in ["", "x", "ftp://h/", "http://", "file:///etc/passwd"] {
            let answer = fetch(Request { method: "GET", url, headers: &[] }, &way).await;
            assert!(matches!(answer, Err(FetchError::Address(_))), "{url}: {answer:?}");
        }
    }

    /// Answers every connection over TLS and keeps it open.
    async fn secure_server(cert: &str, key: &str) -> u16 {
        let config = mig_runtime::tls::server_config(cert.as_bytes(), key.as_bytes(), None);
        let acceptor = tokio_rustls::TlsAcceptor::from(config.unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let text = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n192.0.2.1";
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.flush().await;
                kept.push(stream);
            }
        });
        port
    }

    #[tokio::test]
    async fn a_server_is_believed_when_one_of_the_authorities_knows_it() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let port = secure_server(&cert, &key).await;
        let public = mig_runtime::tls::client_config(None, None).unwrap();
        let own = mig_runtime::tls::client_config(Some(cert.as_bytes()), None).unwrap();
        let way = |tls: Vec<Arc<ClientConfig>>| Way {
            tls,
            connect: Duration::from_secs(5),
            total: Duration::from_mins(1),
            ..Way::default()
        };
        let url = format!("https://localhost:{port}/ip");
        let ask =
            async |tls| fetch(Request { method: "GET", url: &url, headers: &[] }, &way(tls)).await;
        let wanted = (200, "192.0.2.1".to_owned());
        assert_eq!(ask(vec![public.clone(), own.clone()]).await.unwrap(), wanted);
        assert_eq!(ask(vec![own]).await.unwrap(), wanted);
        assert!(matches!(ask(vec![public]).await, Err(FetchError::Talk { .. })));
        assert!(matches!(ask(vec![]).await, Err(FetchError::Talk { .. })));
    }

    #[test]
    fn a_request_asks_for_the_end_of_the_connection() {
        let url = Url::parse("http://h.example:8080/a/b?c=d").unwrap();
        let request = Request { method: "PUT", url: "", headers: &[("X-A", "1")] };
        let text = head(&request, &url);
        assert!(text.starts_with("PUT /a/b?c=d HTTP/1.1\r\nHost: h.example:8080\r\n"), "{text}");
        assert!(text.contains("\r\nConnection: close\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n"));
    }
}

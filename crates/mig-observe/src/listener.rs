//! A small HTTP/1 listener for monitoring.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use mig_runtime::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::metrics::{self, Metrics};
use crate::readiness::{Readiness, check};

/// Connections at once; more are closed unheard.
const MAX_CONNECTIONS: usize = 32;
/// Time for the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Time for a whole connection.
const CONNECTION_LIMIT: Duration = Duration::from_secs(15);
/// Pause after the system refused us a connection.
const PAUSE: Duration = Duration::from_millis(100);

const PLAIN: &str = "text/plain; charset=utf-8";

/// Opens the listener: `address:port`.
///
/// # Errors
///
/// When the system does not give us the address.
pub async fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(listen).await
}

/// Answers until the stop is requested. What is asked has no body and what is
/// answered no secret; there is no authentication.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    readiness: Arc<dyn Readiness>,
    shutdown: Shutdown,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely; trying at once would spin.
                tracing::warn!("monitoring listener: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (metrics, readiness) = (metrics.clone(), Arc::clone(&readiness));
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.requested() => {}
                _ = timeout(CONNECTION_LIMIT, connection(stream, metrics, readiness)) => {}
            }
            drop(slot);
        });
    }
}

async fn connection(stream: TcpStream, metrics: Metrics, readiness: Arc<dyn Readiness>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (metrics, readiness) = (metrics.clone(), Arc::clone(&readiness));
        async move {
            let (method, path) = (request.method(), request.uri().path());
            Ok::<_, Infallible>(answer(&metrics, readiness.as_ref(), method, path).await)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("monitoring connection: {error}");
    }
}

/// One answer: `/metrics`, `/healthz` or `/readyz`.
pub async fn answer(
    metrics: &Metrics,
    readiness: &dyn Readiness,
    method: &Method,
    path: &str,
) -> Response<Full<Bytes>> {
    let known = matches!(path, "/metrics" | "/healthz" | "/readyz");
    if known && method != Method::GET && method != Method::HEAD {
        let mut response =
            plain(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "method not allowed\n".to_owned());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => plain(StatusCode::OK, metrics::CONTENT_TYPE, metrics.text()),
        "/healthz" => plain(StatusCode::OK, PLAIN, "ok\n".to_owned()),
        "/readyz" => match check(readiness).await {
            Ok(()) => plain(StatusCode::OK, PLAIN, "ok\n".to_owned()),
            Err(missing) => plain(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{missing}\n")),
        },
        _ => plain(StatusCode::NOT_FOUND, PLAIN, "not found\n".to_owned()),
    }
}

fn plain(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use mig_runtime::Shutdown;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[derive(Default)]
    struct Switch(AtomicBool);

    #[async_trait]
    impl Readiness for Switch {
        async fn ready(&self) -> Result<(), String> {
            if self.0.load(Ordering::SeqCst) { Ok(()) } else { Err("database: away".to_owned()) }
        }
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }

    #[tokio::test]
    async fn tells_over_http_what_it_counts_and_whether_it_can_work() {
        let (trigger, shutdown) = Shutdown::new();
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new("test");
        metrics.counter("things", "Things seen").add(2);
        let switch = Arc::new(Switch::default());
        let served =
            tokio::spawn(serve(listener, metrics, Arc::clone(&switch) as Arc<_>, shutdown));

        let text = get(address, "/metrics").await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains(metrics::CONTENT_TYPE) && text.contains("test_things_total 2\n"));
        assert!(get(address, "/healthz").await.ends_with("\r\n\r\nok\n"));
        let away = get(address, "/readyz").await;
        assert!(away.starts_with("HTTP/1.1 503 ") && away.ends_with("database: away\n"), "{away}");
        switch.0.store(true, Ordering::SeqCst);
        assert!(get(address, "/readyz?x").await.starts_with("HTTP/1.1 200 "));
        assert!(get(address, "/").await.starts_with("HTTP/1.1 404 "));
        let post = ask(address, "POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD"), "{post}");
        let garbage = ask(address, "\u{0}\r\n\r\n").await;
        assert!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 400 "), "{garbage}");

        trigger.request();
        served.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn connections_that_say_nothing_do_not_shut_out_others_for_ever() {
        let (_trigger, shutdown) = Shutdown::new();
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new("test");
        tokio::spawn(serve(listener, metrics, Arc::new(crate::AlwaysReady), shutdown));
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut extra = TcpStream::connect(address).await.unwrap();
        // Closed unheard: either an end or a reset.
        let closed = timeout(Duration::from_secs(20), extra.read_u8()).await.unwrap();
        assert!(closed.is_err());
        drop(silent.pop());
        let begun = std::time::Instant::now();
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let sent = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let mut text = String::new();
            if sent.is_ok() && stream.read_to_string(&mut text).await.is_ok() && text.contains("ok")
            {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "no slot became free");
            tokio::task::yield_now().await;
        }
    }
}

//! Which servers the client trusts.
#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

use std::path::Path;
use std::sync::Arc;

use mig_client::keyserver::{self, KeyServerError};
use mig_client::{ApiClient, ClientConfig, ClientError, Unreached};
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_runtime::tls;
use mig_sign::sign::SecretKey;
use mig_types::Fingerprint;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// An authority's PEM text, and a server that shows a certificate of it for
/// `name`. It answers one request a connection with an empty heartbeat.
async fn serve(name: &str) -> (String, u16) {
    serve_until(name, 2100, None).await
}

/// The same, with a certificate that ends with the year before, and another
/// answer.
async fn serve_until(name: &str, year: i32, body: Option<String>) -> (String, u16) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new([name.to_owned()]).unwrap();
    leaf.not_after = rcgen::date_time_ymd(year, 1, 1);
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let (leaf, key) = (leaf.pem(), key.serialize_pem());
    let config = tls::server_config(leaf.as_bytes(), key.as_bytes(), None).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(config);
        while let Ok((socket, _)) = listener.accept().await {
            // A client that trusts us not breaks off here.
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let heartbeat =
                r#"{"collection":{"items":[{"data":[{"name":"heartbeat","value":"ok"}]}]}}"#;
            let body = body.as_deref().unwrap_or(heartbeat);
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close");
            let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (authority, port)
}

fn client(port: u16, extra: &str, ca: Option<&Path>) -> Result<ApiClient, ClientError> {
    let text = format!("[api]\nurl = https://localhost:{port}/api/v1/\n{extra}");
    let ca = ca.map(|path| path.display().to_string());
    let lookup = |name: &str| ca.clone().filter(|_| name == "MIG_CA_FILE");
    let (config, _) = ClientConfig::parse(&text, ".migrc", &lookup).unwrap();
    ApiClient::new(&config, "cmd", "1", None, Arc::new(SystemClock))
}

#[tokio::test]
async fn only_the_given_authority_is_trusted_unless_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let (authority, port) = serve("localhost").await;
    std::fs::write(&ca, authority).unwrap();

    let stranger = client(port, "", None).unwrap().heartbeat().await.unwrap_err();
    assert_eq!(stranger.unreached(), Some(Unreached::Issuer), "{stranger}");
    assert_eq!(client(port, "", Some(&ca)).unwrap().heartbeat().await.unwrap(), "ok");
    let lax = client(port, "skipverifycert = on", None).unwrap();
    assert_eq!(lax.heartbeat().await.unwrap(), "ok");

    // The right authority does not make up for the wrong name.
    let (authority, port) = serve("other.example.net").await;
    std::fs::write(&ca, authority).unwrap();
    let other = client(port, "", Some(&ca)).unwrap().heartbeat().await.unwrap_err();
    assert_eq!(other.unreached(), Some(Unreached::Host), "{other}");

    let missing = client(port, "", Some(&directory.path().join("none"))).err().unwrap();
    assert!(matches!(missing, ClientError::CaFile { .. }), "{missing}");
}

#[tokio::test]
async fn each_way_not_to_reach_an_api_has_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let (authority, port) = serve_until("localhost", 2020, None).await;
    std::fs::write(&ca, authority).unwrap();
    let old = client(port, "", Some(&ca)).unwrap().heartbeat().await.unwrap_err();
    assert_eq!(old.unreached(), Some(Unreached::Dates), "{old}");

    // A server that says the same to everybody, in one protocol or the other.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let url = |text: &str| {
        let text = format!("[api]\nurl = {text}/api/v1/\n");
        let (config, _) = ClientConfig::parse(&text, ".migrc", &|_| None).unwrap();
        ApiClient::new(&config, "cmd", "1", None, Arc::new(SystemClock)).unwrap()
    };
    for (base, step) in [
        (format!("https://localhost:{plain}"), Some(Unreached::NotTls)),
        (format!("http://localhost:{port}"), Some(Unreached::NotHttp)),
        ("http://127.0.0.1:1".to_owned(), Some(Unreached::Refused)),
        ("http://no-such-host.invalid".to_owned(), Some(Unreached::Name)),
        (format!("http://localhost:{plain}"), None),
    ] {
        let error = url(&base).heartbeat().await.unwrap_err();
        assert_eq!(error.unreached(), step, "{base}: {error:?}");
    }
}

#[tokio::test]
async fn a_key_server_is_asked_over_tls_and_gives_the_key_that_was_asked_for() {
    let now = SystemClock.now();
    let ada = SecretKey::generate_ed25519("Ada <ada@example.net>", now).unwrap();
    let eve = SecretKey::generate_ed25519("Ada <ada@example.net>", now).unwrap();
    let public = ada.public_armored().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let ask = async |server: &str, key: &Fingerprint| {
        let text = format!("[api]\nurl = http://h/\n[gpg]\nkeyserver = \"{server}\"\n");
        let ca = ca.display().to_string();
        let lookup = move |name: &str| Some(ca.clone()).filter(|_| name == "MIG_CA_FILE");
        let (config, _) = ClientConfig::parse(&text, ".migrc", &lookup).unwrap();
        keyserver::fetch(&config, key).await
    };
    let (authority, port) = serve_until("localhost", 2100, Some(public.clone())).await;
    std::fs::write(&ca, authority).unwrap();
    for server in [format!("https://localhost:{port}"), format!("https://localhost:{port}/hkp/")] {
        assert_eq!(ask(&server, ada.fingerprint()).await.unwrap(), public);
    }
    let server = format!("https://localhost:{port}");
    let other = ask(&server, eve.fingerprint()).await.unwrap_err();
    assert!(matches!(&other, KeyServerError::Other { .. }), "{other}");
    for insecure in [format!("http://localhost:{port}"), "hkp://h".to_owned(), "h".to_owned()] {
        let refused = ask(&insecure, ada.fingerprint()).await.unwrap_err();
        assert!(matches!(refused, KeyServerError::NotSecure { .. }), "{refused}");
    }
    let (authority, port) = serve_until("localhost", 2100, Some("<html>".to_owned())).await;
    std::fs::write(&ca, authority).unwrap();
    let server = format!("https://localhost:{port}");
    let page = ask(&server, ada.fingerprint()).await.unwrap_err();
    assert!(matches!(page, KeyServerError::Malformed { .. }), "{page}");
    let (authority, port) = serve_until("localhost", 2100, Some("x".repeat(1 << 21))).await;
    std::fs::write(&ca, authority).unwrap();
    let server = format!("https://localhost:{port}");
    let flood = ask(&server, ada.fingerprint()).await.unwrap_err();
    assert!(matches!(flood, KeyServerError::TooLarge { .. }), "{flood}");
}

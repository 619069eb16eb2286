//! Which servers the client trusts.
#![expect(clippy::unwrap_used, reason = "a failed helper fails the test")]

use std::path::Path;
use std::sync::Arc;

use mig_client::{ApiClient, ClientConfig, ClientError};
use mig_runtime::clock::SystemClock;
use mig_runtime::tls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// An authority's PEM text, and a server that shows a certificate of it for
/// `name`. It answers one request a connection with an empty heartbeat.
async fn serve(name: &str) -> (String, u16) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
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
            let body = r#"{"collection":{"items":[{"data":[{"name":"heartbeat","value":"ok"}]}]}}"#;
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
    assert!(matches!(stranger, ClientError::Transport { .. }), "{stranger}");
    assert_eq!(client(port, "", Some(&ca)).unwrap().heartbeat().await.unwrap(), "ok");
    let lax = client(port, "skipverifycert = on", None).unwrap();
    assert_eq!(lax.heartbeat().await.unwrap(), "ok");

    // The right authority does not make up for the wrong name.
    let (authority, port) = serve("other.example.net").await;
    std::fs::write(&ca, authority).unwrap();
    let other = client(port, "", Some(&ca)).unwrap().heartbeat().await.unwrap_err();
    assert!(matches!(other, ClientError::Transport { .. }), "{other}");

    let missing = client(port, "", Some(&directory.path().join("none"))).err().unwrap();
    assert!(matches!(missing, ClientError::CaFile { .. }), "{missing}");
}

//! TLS settings from PEM text: rustls with ring, TLS 1.2 and 1.3.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A PEM file is a handful of certificates; anything larger is a mistake.
const MAX_PEM_BYTES: usize = 1024 * 1024;

/// Why PEM text does not make a TLS configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    #[error("{what} is larger than 1 MiB")]
    TooLarge { what: &'static str },
    #[error("cannot read {what} as PEM")]
    Pem { what: &'static str, source: pem::Error },
    #[error("{what} holds no certificate")]
    NoCertificate { what: &'static str },
    #[error("cannot use {what}")]
    Unusable { what: &'static str, source: rustls::Error },
    #[error("cannot verify client certificates with the given CA")]
    ClientVerifier { source: VerifierBuilderError },
}

const CA: &str = "the CA file";
const CERTIFICATE: &str = "the certificate file";
const KEY: &str = "the private key file";

/// Makes ring the process's provider, for crates that ask for the default.
/// May be called more than once.
pub fn install_provider() {
    // An error means that one is installed already, which is as good.
    let _ = ring::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Settings of a client.
///
/// With `ca_pem`, only that CA is trusted; without, the public roots of
/// Mozilla's programme. The server's name is always verified.
/// `cert_and_key_pem` is the client certificate and its key. Text before and
/// between PEM blocks is skipped, as `openssl ca` writes it.
///
/// # Errors
///
/// [`TlsError`] naming the file that does not fit.
pub fn client_config(
    ca_pem: Option<&[u8]>,
    cert_and_key_pem: Option<(&[u8], &[u8])>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match ca_pem {
        Some(pem) => root_store(pem)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unusable { what: "ring", source })?
        .with_root_certificates(roots);
    let config = match cert_and_key_pem {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(certificates(cert, CERTIFICATE)?, private_key(key)?)
            .map_err(|source| TlsError::Unusable { what: CERTIFICATE, source })?,
    };
    Ok(Arc::new(config))
}

/// Settings of a server; with `client_ca_pem`, clients must show a
/// certificate of that CA.
///
/// # Errors
///
/// [`TlsError`] naming the file that does not fit.
pub fn server_config(
    cert_pem: &[u8],
    key_pem: &[u8],
    client_ca_pem: Option<&[u8]>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unusable { what: "ring", source })?;
    let builder = match client_ca_pem {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let roots = Arc::new(root_store(pem)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|source| TlsError::ClientVerifier { source })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(certificates(cert_pem, CERTIFICATE)?, private_key(key_pem)?)
        .map_err(|source| TlsError::Unusable { what: CERTIFICATE, source })?;
    Ok(Arc::new(config))
}

fn root_store(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, CA)? {
        roots.add(certificate).map_err(|source| TlsError::Unusable { what: CA, source })?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    bounded(pem, what)?;
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { what });
    }
    Ok(found)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    bounded(pem, KEY)?;
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| TlsError::Pem { what: KEY, source })
}

fn bounded(pem: &[u8], what: &'static str) -> Result<(), TlsError> {
    if pem.len() > MAX_PEM_BYTES { Err(TlsError::TooLarge { what }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    struct Authority {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key, each behind the kind of text that `openssl ca` writes.
    fn leaf(authority: &Authority, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        let dump = "Certificate:\n    Data:\n        Version: 3 (0x2)\n\n";
        (format!("{dump}{}", certificate.pem()), format!("a note\n{}", key.serialize_pem()))
    }

    /// What the client reads from a server that greets it.
    fn greet(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> std::io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let serving = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept()?;
            let connection =
                rustls::ServerConnection::new(server).map_err(std::io::Error::other)?;
            let mut stream = rustls::StreamOwned::new(connection, &mut socket);
            stream.write_all(b"hello")?;
            stream.conn.send_close_notify();
            stream.flush()
        });
        let mut socket = TcpStream::connect(address)?;
        let connection =
            rustls::ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
        let mut text = String::new();
        let read = rustls::Stream::new(&mut { connection }, &mut socket).read_to_string(&mut text);
        drop(socket);
        serving.join().unwrap()?;
        read.map(|_| text)
    }

    #[test]
    fn refuses_what_is_not_pem() {
        let huge = vec![b' '; MAX_PEM_BYTES + 1];
        let (cert, key) = leaf(&authority(), "localhost");
        let (cert, key) = (cert.as_bytes(), key.as_bytes());
        let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n".as_slice();
        for (result, message) in [
            (client_config(Some(&huge), None).map(drop), "the CA file is larger than 1 MiB"),
            (client_config(Some(b"nothing"), None).map(drop), "the CA file holds no certificate"),
            (client_config(Some(broken), None).map(drop), "cannot read the CA file as PEM"),
            (
                client_config(None, Some((cert, b""))).map(drop),
                "cannot read the private key file as PEM",
            ),
            (server_config(key, key, None).map(drop), "the certificate file holds no certificate"),
            (server_config(cert, key, Some(b"")).map(drop), "the CA file holds no certificate"),
        ] {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
        let (_, other) = leaf(&authority(), "localhost");
        let mixed = server_config(cert, other.as_bytes(), None).unwrap_err();
        assert_eq!(mixed.to_string(), "cannot use the certificate file");
    }

    #[test]
    fn both_sides_show_certificates_of_the_private_ca() {
        let (ours, theirs) = (authority(), authority());
        let (cert, key) = leaf(&ours, "localhost");
        let server =
            server_config(cert.as_bytes(), key.as_bytes(), Some(ours.pem.as_bytes())).unwrap();
        let client = |ca: &Authority, of: Option<&Authority>| {
            let pair = of.map(|authority| leaf(authority, "agent"));
            let pair = pair.as_ref().map(|(cert, key)| (cert.as_bytes(), key.as_bytes()));
            client_config(Some(ca.pem.as_bytes()), pair).unwrap()
        };
        assert_eq!(greet(client(&ours, Some(&ours)), Arc::clone(&server)).unwrap(), "hello");
        assert!(greet(client(&ours, None), Arc::clone(&server)).is_err());
        assert!(greet(client(&ours, Some(&theirs)), Arc::clone(&server)).is_err());
        assert!(greet(client(&theirs, Some(&ours)), Arc::clone(&server)).is_err());
        assert!(greet(client_config(None, None).unwrap(), server).is_err());
    }

    #[test]
    fn a_server_certificate_for_another_name_is_refused() {
        let ours = authority();
        let (cert, key) = leaf(&ours, "elsewhere.example.net");
        let server = server_config(cert.as_bytes(), key.as_bytes(), None).unwrap();
        let client = client_config(Some(ours.pem.as_bytes()), None).unwrap();
        assert!(greet(client, server).is_err());
    }
}

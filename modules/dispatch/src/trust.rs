//! Whom an https endpoint may be certified by.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Where systems keep the authorities they trust; the first that has any counts.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// The system's authorities; without any, those of Mozilla's programme.
///
/// # Errors
///
/// When the library refuses its own parts.
pub(crate) fn client_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let roots = BUNDLES.iter().map(|path| roots(Path::new(path))).find(|roots| !roots.is_empty());
    let roots =
        roots.unwrap_or_else(|| RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn roots(path: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if let Ok(found) = CertificateDer::pem_file_iter(path) {
        // Bundles hold certificates nobody can use; the others count.
        roots.add_parsable_certificates(found.filter_map(Result::ok));
    }
    roots
}

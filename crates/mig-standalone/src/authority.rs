//! The certificate authority of one standalone server.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the relay's certificate")]
pub struct AuthorityError {
    #[from]
    source: rcgen::Error,
}

/// PEM texts of a new authority and of the relay's certificate signed by it.
pub(crate) struct Certificates {
    pub(crate) ca: String,
    pub(crate) ca_key: String,
    pub(crate) relay: String,
    pub(crate) relay_key: String,
}

/// Makes both; `names` are what agents may call the relay.
pub(crate) fn create(names: &[String]) -> Result<Certificates, AuthorityError> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "MIG standalone relay authority");
    ca.not_before = rcgen::date_time_ymd(2020, 1, 1);
    ca.not_after = rcgen::date_time_ymd(2060, 1, 1);
    let ca_certificate = ca.self_signed(&ca_key)?;

    let relay_key = KeyPair::generate()?;
    let mut relay = CertificateParams::new(names.to_vec())?;
    relay.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    relay.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    relay.distinguished_name.push(DnType::CommonName, "MIG standalone relay");
    relay.not_before = rcgen::date_time_ymd(2020, 1, 1);
    relay.not_after = rcgen::date_time_ymd(2060, 1, 1);
    let issuer = Issuer::new(ca, &ca_key);
    let relay_certificate = relay.signed_by(&relay_key, &issuer)?;

    Ok(Certificates {
        ca: ca_certificate.pem(),
        relay: relay_certificate.pem(),
        relay_key: relay_key.serialize_pem(),
        ca_key: ca_key.serialize_pem(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relays_certificate_loads_in_the_servers_tls() {
        let made = create(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        mig_runtime::tls::install_provider();
        let relay = (made.relay.as_bytes(), made.relay_key.as_bytes());
        mig_runtime::tls::server_config(relay.0, relay.1, None).unwrap();
        mig_runtime::tls::client_config(Some(made.ca.as_bytes()), None).unwrap();
    }
}

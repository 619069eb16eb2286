//! At which step a server was not reached: its name, the way to it, TLS, or
//! what it speaks.

use std::error::Error;
use std::io;

use rustls::{CertificateError, Error as TlsError, InvalidMessage};

use crate::api::ClientError;

/// The step that failed on the way to an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unreached {
    /// The host's name has no address.
    Name,
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    Silent,
    /// Somebody listens there and speaks no HTTP.
    NotHttp,
    /// Somebody listens there and speaks no TLS.
    NotTls,
    /// The certificate is by nobody we trust.
    Issuer,
    /// The certificate is for another host.
    Host,
    /// The certificate is not valid any more, or not yet.
    Dates,
    /// TLS failed in another way.
    Tls,
    /// Something else: the network's own words say more.
    Other,
}

impl Unreached {
    /// The step in words that go on after "cannot reach …: "; `None` where the
    /// network's own words say more.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Name => Some("its host name has no address"),
            Self::Refused => Some("connection refused"),
            Self::Silent => Some("no answer in time"),
            Self::NotHttp => Some("what listens there speaks no HTTP"),
            Self::NotTls => Some("what listens there speaks no TLS"),
            Self::Issuer => Some("its certificate is by nobody trusted here (UnknownIssuer)"),
            Self::Host => Some("its certificate is for another host"),
            Self::Dates => Some("its certificate is not valid at this time"),
            Self::Tls | Self::Other => None,
        }
    }
}

impl ClientError {
    /// At which step the API was not reached; `None` for errors that are no
    /// matter of reaching it.
    pub fn unreached(&self) -> Option<Unreached> {
        let Self::Transport { source, .. } = self else { return None };
        if source.is_timeout() {
            return Some(Unreached::Silent);
        }
        let mut cause: Option<&(dyn Error + 'static)> = Some(source);
        while let Some(error) = cause {
            if let Some(step) = step(error) {
                return Some(step);
            }
            cause = error.source();
        }
        Some(Unreached::Other)
    }
}

fn step(error: &(dyn Error + 'static)) -> Option<Unreached> {
    if let Some(error) = error.downcast_ref::<TlsError>() {
        return Some(tls(error));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // An error of TLS travels inside one or two of the system's, whose own
        // sources skip it.
        if let Some(inner) = error.get_ref() {
            return step(inner);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => return Some(Unreached::Refused),
            io::ErrorKind::TimedOut => return Some(Unreached::Silent),
            _ => {}
        }
    }
    // These two have no type of their own.
    let text = error.to_string();
    if text.contains("dns error") || text.contains("failed to lookup address") {
        return Some(Unreached::Name);
    }
    text.contains("invalid HTTP").then_some(Unreached::NotHttp)
}

const fn tls(error: &TlsError) -> Unreached {
    match error {
        TlsError::InvalidCertificate(reason) => match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Unreached::Host
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Unreached::Dates,
            CertificateError::UnknownIssuer => Unreached::Issuer,
            _ => Unreached::Tls,
        },
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => Unreached::NotTls,
        _ => Unreached::Tls,
    }
}

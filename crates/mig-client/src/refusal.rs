//! Who was not let in, where, and what for.

use std::fmt;

use mig_types::{Fingerprint, Permissions};

/// A caller as requests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// The request says nothing about who sent it.
    Nobody,
    ApiKey,
    /// Tokens of a key, if it can still be told which.
    Key(Option<Fingerprint>),
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("a request without a key"),
            Self::ApiKey => f.write_str("the API key"),
            Self::Key(None) => f.write_str("your key"),
            Self::Key(Some(fingerprint)) => {
                let digits = fingerprint.as_str();
                let (first, last) = (digits.get(..4), digits.get(digits.len().saturating_sub(4)..));
                match (first, last) {
                    (Some(first), Some(last)) => write!(f, "key {first}…{last}"),
                    _ => write!(f, "key {digits}"),
                }
            }
        }
    }
}

/// An answer that lets the caller not in, or not do this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 401, or 403.
    pub status: u16,
    /// What was asked, without its query.
    pub url: String,
    pub caller: Caller,
    /// What the request needs, if it is known here.
    pub permission: Option<&'static str>,
    /// The API's own words.
    pub message: String,
}

impl Refusal {
    /// Whether the API knows the caller, who may only not do this.
    pub fn is_lack(&self) -> bool {
        self.message.to_lowercase().contains("insufficient permission")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, url, caller, permission, message } = self;
        let lack = permission.map(|name| {
            let never = if name == "manifest_status" { " (Go APIs never grant it)" } else { "" };
            format!("lacks the permission \"{name}\"{never}")
        });
        write!(f, "{status} from {url}: {caller} ")?;
        match lack {
            Some(lack) if self.is_lack() => return f.write_str(&lack),
            Some(lack) => write!(f, "is not an active investigator there, or {lack}")?,
            None if self.is_lack() => return f.write_str("lacks the permission"),
            None => f.write_str("is not an active investigator there")?,
        }
        write!(f, ": {message}")
    }
}

/// The permission that a path below the base needs.
pub(crate) fn permission(path: &str) -> Option<&'static str> {
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
    // `actions/7/follow` is the newer way to read an action.
    if path.starts_with("actions/") {
        return Permissions::known("action");
    }
    Permissions::known(&path.replace('/', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_address_and_permission_are_named() {
        let fingerprint = "9F2C03D177AA4E5B8D106C2E51B7F3A904DD7E66".parse().unwrap();
        let refusal = |path: &str, caller: Caller, message: &str| {
            Refusal {
                status: 401,
                url: format!("https://mig.example.net/api/v1/{path}"),
                caller,
                permission: permission(path),
                message: message.to_owned(),
            }
            .to_string()
        };
        let key = Caller::Key(Some(fingerprint));
        assert_eq!(
            refusal("manifest/status/", key.clone(), "no"),
            "401 from https://mig.example.net/api/v1/manifest/status/: key 9F2C…7E66 is not an \
             active investigator there, or lacks the permission \"manifest_status\" (Go APIs \
             never grant it): no"
        );
        let insufficient = "Insufficient permissions to access endpoint";
        assert_eq!(
            refusal("search", key, insufficient),
            "401 from https://mig.example.net/api/v1/search: key 9F2C…7E66 lacks the permission \
             \"search\""
        );
        assert_eq!(
            refusal("ip", Caller::ApiKey, "Forbidden"),
            "401 from https://mig.example.net/api/v1/ip: the API key is not an active \
             investigator there: Forbidden"
        );
    }

    #[test]
    fn a_path_tells_the_permission() {
        for (path, name) in [
            ("dashboard", Some("dashboard")),
            ("search?type=agent", Some("search")),
            ("action/create/", Some("action_create")),
            ("manifest/loaders/", Some("manifest_loaders")),
            ("actions/7/follow", Some("action")),
            ("heartbeat", None),
            ("/readyz", None),
        ] {
            assert_eq!(permission(path), name, "{path}");
        }
    }
}

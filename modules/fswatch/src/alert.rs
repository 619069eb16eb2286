//! What is said about a change.

use mig_types::wire;
use serde::Serialize;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Critical,
    Medium,
    Low,
}

/// The document an alert carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Alert {
    pub(crate) severity: Severity,
    pub(crate) alert: String,
}

impl Alert {
    pub(crate) fn new(severity: Severity, alert: String) -> Self {
        Self { severity, alert }
    }

    /// As it is sent.
    pub(crate) fn to_text(&self) -> String {
        // Plain texts: this cannot fail.
        wire::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_documents() {
        let alert = Alert::new(Severity::Critical, "/a \"100%\" signature changed 1 -> 2".into());
        assert_eq!(
            alert.to_text(),
            r#"{"severity":"critical","alert":"/a \"100%\" signature changed 1 -\u003e 2"}"#
        );
    }
}

//! Investigators: people with keys, and what they may do at the API.

use serde::{Deserialize, Serialize};

use crate::id::InvestigatorId;
use crate::time::Timestamp;

/// The name under which the scheduler keeps its own key.
pub const SCHEDULER_NAME: &str = "migscheduler";

/// A person with a key. Private keys never appear in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Investigator {
    #[serde(skip_serializing_if = "is_unset")]
    pub id: InvestigatorId,
    pub name: String,
    /// 40 upper-case digits, empty when the investigator has no key.
    pub pgpfingerprint: String,
    /// Base64 of the armored key file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub publickey: String,
    #[serde(with = "status_text")]
    pub status: Option<InvestigatorStatus>,
    pub createdat: Timestamp,
    pub lastmodified: Timestamp,
    /// `set` when a key exists; the key itself once, when it is made.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub apikey: String,
    pub permissions: Permissions,
    /// Whether all three `investigator` permissions are held; the form of 2016.
    pub isadmin: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_unset(id: &InvestigatorId) -> bool {
    id.is_unset()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InvestigatorStatus {
    Active,
    Disabled,
}

impl InvestigatorStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Disabled].into_iter().find(|status| status.as_str() == text)
    }
}

mod status_text {
    use super::InvestigatorStatus;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::ref_option,
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature serde asks for"
    )]
    pub(super) fn serialize<S: Serializer>(
        status: &Option<InvestigatorStatus>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        status.map_or("", InvestigatorStatus::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<InvestigatorStatus>, D::Error> {
        Ok(InvestigatorStatus::parse(&String::deserialize(deserializer)?))
    }
}

/// What an investigator may do, one bit an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u32);

/// Members in the order they are written, with their bit.
const MEMBERS: [(&str, u32); 19] = [
    ("search", 1),
    ("action", 1 << 1),
    ("action_create", 1 << 2),
    ("command", 1 << 3),
    ("agent", 1 << 4),
    ("dashboard", 1 << 5),
    ("loader", 1 << 6),
    ("loader_status", 1 << 7),
    ("loader_expect", 1 << 8),
    ("loader_key", 1 << 9),
    ("loader_new", 1 << 10),
    ("manifest", 1 << 11),
    ("manifest_sign", 1 << 12),
    // The written order and the bit order differ here.
    ("manifest_status", 1 << 14),
    ("manifest_new", 1 << 13),
    ("manifest_loaders", 1 << 15),
    ("investigator", 1 << 16),
    ("investigator_create", 1 << 17),
    ("investigator_update", 1 << 18),
];

impl Permissions {
    pub const NONE: Self = Self(0);
    /// Reading, searching, and creating actions.
    pub const DEFAULT: Self = Self(63);
    pub const LOADER: Self = Self(1984);
    pub const MANIFEST: Self = Self(63_488);
    pub const ADMIN: Self = Self(458_752);
    pub const ALL: Self = Self(524_287);

    pub const SEARCH: Self = Self(1);
    pub const ACTION: Self = Self(2);
    pub const ACTION_CREATE: Self = Self(4);
    pub const COMMAND: Self = Self(8);
    pub const AGENT: Self = Self(16);
    pub const DASHBOARD: Self = Self(32);
    pub const LOADER_READ: Self = Self(1 << 6);
    pub const LOADER_STATUS: Self = Self(1 << 7);
    pub const LOADER_EXPECT: Self = Self(1 << 8);
    pub const LOADER_KEY: Self = Self(1 << 9);
    pub const LOADER_NEW: Self = Self(1 << 10);
    pub const MANIFEST_READ: Self = Self(1 << 11);
    pub const MANIFEST_SIGN: Self = Self(1 << 12);
    pub const MANIFEST_NEW: Self = Self(1 << 13);
    pub const MANIFEST_STATUS: Self = Self(1 << 14);
    pub const MANIFEST_LOADERS: Self = Self(1 << 15);
    pub const INVESTIGATOR: Self = Self(1 << 16);
    pub const INVESTIGATOR_CREATE: Self = Self(1 << 17);
    pub const INVESTIGATOR_UPDATE: Self = Self(1 << 18);

    /// Bits that stand for nothing are dropped.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    pub const fn bits(self) -> u32 {
        self.0
    }

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The name of a single permission as it is written, if there is such one.
    pub fn known(name: &str) -> Option<&'static str> {
        MEMBERS.iter().map(|(known, _)| *known).find(|known| *known == name)
    }

    /// The administrator of 2016: may see, create and change investigators.
    pub const fn is_admin(self) -> bool {
        self.contains(Self::ADMIN)
    }
}

impl Serialize for Permissions {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(MEMBERS.iter().map(|(name, bit)| (name, self.0 & bit != 0)))
    }
}

impl<'de> Deserialize<'de> for Permissions {
    /// Members in any case; missing ones are false, unknown ones ignored.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        let mut bits = 0;
        for (name, bit) in MEMBERS {
            let given = members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            match given.map(|(_, value)| value) {
                Some(serde_json::Value::Bool(true)) => bits |= bit,
                None | Some(serde_json::Value::Bool(false) | serde_json::Value::Null) => {}
                Some(other) => {
                    let text = format_args!("permission {name} is {other}, not true or false");
                    return Err(serde::de::Error::custom(text));
                }
            }
        }
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_travel_as_nineteen_booleans() {
        let text = serde_json::to_string(&Permissions::DEFAULT).unwrap();
        assert!(text.starts_with(r#"{"search":true,"action":true,"action_create":true"#));
        assert!(text.ends_with(r#""investigator_update":false}"#));
        assert_eq!(serde_json::from_str::<Permissions>(&text).unwrap(), Permissions::DEFAULT);
        assert!(serde_json::from_str::<Permissions>(r#"{"search":1}"#).is_err());
        let sum = MEMBERS.iter().fold(0, |bits, (_, bit)| bits | bit);
        assert_eq!(sum, Permissions::ALL.bits());
    }
}

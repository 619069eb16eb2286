//! Parameters and results as they travel.

use chrono::{Local, SecondsFormat};
use mig_types::Timestamp;
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    /// Largest difference that is no finding, as a Go duration; empty asks for
    /// the local time only.
    pub drift: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    /// A server answered.
    pub hascheckeddrift: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub iswithindrift: bool,
    /// By how much, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drifts: Vec<String>,
    /// RFC 3339 with the local offset.
    pub localtime: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    pub exectime: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ntpstats: Vec<ServerStatistics>,
}

/// One server that was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerStatistics {
    pub host: String,
    /// Its time; year 1 when it was not reachable.
    pub time: Timestamp,
    /// The round trip, as a duration.
    pub latency: String,
    /// Local time minus its time, as a signed duration.
    pub drift: String,
    pub reachable: bool,
}

/// A time with the offset of the host's time zone.
pub(crate) fn local_text(time: Timestamp) -> String {
    time.datetime().with_timezone(&Local).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

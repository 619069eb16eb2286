//! Parameters and results as they travel.

use mig_types::wire;
use serde::{Deserialize, Serialize, Serializer};

/// What is asked. Absent numbers are zero, and zero is the default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    /// An address or a name.
    pub destination: String,
    /// Ignored by ICMP, which old clients send -1 with.
    #[serde(skip_serializing_if = "is_zero", serialize_with = "number")]
    pub destinationport: f64,
    /// `icmp`, `tcp` or `udp`.
    pub protocol: String,
    #[serde(skip_serializing_if = "is_zero", serialize_with = "number")]
    pub count: f64,
    /// Seconds that one probe may take.
    #[serde(skip_serializing_if = "is_zero", serialize_with = "number")]
    pub timeout: f64,
}

/// What became of the probes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Elements {
    /// One value for each probe: milliseconds, or one of the marks below.
    #[serde(serialize_with = "numbers")]
    pub latencies: Vec<f64>,
    pub protocol: String,
    /// The destination as asked, its port, and the address that was probed.
    pub resolvedhost: String,
    /// Why probes failed for other reasons than silence and refusal.
    #[serde(serialize_with = "wire::null_if_empty")]
    pub failures: Vec<String>,
}

/// Nothing came back in time.
pub const TIMED_OUT: f64 = 9_999_999.0;
/// The destination said that nobody listens.
pub const REFUSED: f64 = -1.0;
/// The failure has a text.
pub const FAILED: f64 = 0.0;

/// This module counts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// A number that is written without fraction where it is whole, as Go does.
struct Number(f64);

impl Serialize for Number {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be exact")]
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let is_whole = self.0.fract() == 0.0 && self.0.abs() < 9_007_199_254_740_992.0;
        if is_whole { out.serialize_i64(self.0 as i64) } else { out.serialize_f64(self.0) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn number<S: Serializer>(value: &f64, out: S) -> Result<S::Ok, S::Error> {
    Number(*value).serialize(out)
}

#[expect(clippy::ptr_arg, reason = "the signature serde asks for")]
fn numbers<S: Serializer>(list: &Vec<f64>, out: S) -> Result<S::Ok, S::Error> {
    if list.is_empty() {
        return out.serialize_none();
    }
    out.collect_seq(list.iter().map(|value| Number(*value)))
}

//! Numeric identifiers: positive integers below 2^53, JSON numbers on the wire.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::Timestamp;

/// The largest integer a JSON number carries exactly through every peer.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// 2013-04-29T18:00:00Z, where identifiers begin.
const EPOCH_UNIX: i64 = 1_367_258_400;

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Zero stands for "not assigned yet". Read from any JSON number form
        /// (`4.88337231053e+12` too), written as plain digits.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// `None` for what no peer could carry.
            pub const fn new(value: u64) -> Option<Self> {
                if value <= MAX_ID { Some(Self(value)) } else { None }
            }

            pub const fn get(self) -> u64 {
                self.0
            }

            /// As a signed integer, for databases.
            #[expect(clippy::cast_possible_wrap, reason = "at most 2^53 - 1")]
            pub const fn as_i64(self) -> i64 {
                self.0 as i64
            }

            pub const fn is_unset(self) -> bool {
                self.0 == 0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                // Decimal first: a double would lose nothing below 2^53, but
                // would also accept "nan".
                text.parse::<u64>()
                    .ok()
                    .or_else(|| text.parse::<f64>().ok().and_then(crate::wire::integer_of))
                    .and_then(Self::new)
                    .ok_or(IdError)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_u64(self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let value = crate::wire::unsigned(d)?;
                Self::new(value).ok_or_else(|| serde::de::Error::custom("id above 2^53 - 1"))
            }
        }
    };
}

numeric_id!(
    /// Identifies an action.
    ActionId
);
numeric_id!(
    /// Identifies a command: one action on one agent.
    CommandId
);
numeric_id!(
    /// Identifies an agent's row; an endpoint has several over its life.
    AgentId
);
numeric_id!(
    /// Identifies an investigator; small, from a database sequence.
    InvestigatorId
);

numeric_id!(
    /// Identifies a manifest; small, from a database sequence.
    ManifestId
);
numeric_id!(
    /// Identifies a loader's entry; small, from a database sequence.
    LoaderId
);

/// Text that is not a positive integer below 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a whole number below 2^53")]
pub struct IdError;

/// Draws identifiers: seconds since the epoch of MIG in the bits above 16, a
/// counter below that starts at an offset of this process.
///
/// The original starts every process of one second at the same number, so two
/// processes draw the same ids. Here the low bits start at random, the second
/// follows the clock, and ids never repeat within a generator.
#[derive(Debug)]
pub struct IdGenerator {
    last: AtomicU64,
    offset: u64,
}

impl IdGenerator {
    /// `seed` is random; its low 16 bits become the process's offset.
    pub const fn new(seed: u64) -> Self {
        Self { last: AtomicU64::new(0), offset: seed & 0xffff }
    }

    /// The next number: greater than every one before it.
    pub fn next(&self, now: Timestamp) -> u64 {
        let seconds = u64::try_from(now.unix().saturating_sub(EPOCH_UNIX)).unwrap_or(0);
        let fresh = ((seconds + 1) << 16) | self.offset;
        let update = |last: u64| Some(fresh.max(last + 1));
        match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update) {
            Ok(last) | Err(last) => fresh.max(last + 1),
        }
    }

    pub fn action(&self, now: Timestamp) -> ActionId {
        ActionId(self.next(now))
    }

    pub fn command(&self, now: Timestamp) -> CommandId {
        CommandId(self.next(now))
    }

    pub fn agent(&self, now: Timestamp) -> AgentId {
        AgentId(self.next(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_number_form_and_refuses_the_rest() {
        for text in ["4883372310530", "4.88337231053e+12", "4883372310530.0"] {
            assert_eq!(text.parse::<ActionId>().unwrap().get(), 4_883_372_310_530, "{text}");
            let id: ActionId = serde_json::from_str(text).unwrap();
            assert_eq!(id.get(), 4_883_372_310_530);
        }
        for text in ["", "-1", "1.5", "nan", "inf", "9007199254740992", "x"] {
            assert!(text.parse::<ActionId>().is_err(), "{text:?}");
        }
        for text in ["\"7\"", "-1", "0.5", "9007199254740992"] {
            assert!(serde_json::from_str::<ActionId>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_guides_example_is_the_first_of_its_second() {
        let now = Timestamp::parse("2015-09-09T04:25:47Z").unwrap();
        let first = IdGenerator::new(0).next(now);
        assert_eq!(first >> 16, 4_883_372_310_530 >> 16);
    }

    #[test]
    fn never_repeats_when_the_clock_stands_or_jumps_back() {
        let ids = IdGenerator::new(0xffff);
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let mut last = 0;
        for step in 0..200_000u64 {
            let at = if step % 7 == 0 { now - std::time::Duration::from_secs(90) } else { now };
            let next = ids.next(at);
            assert!(next > last && next <= MAX_ID);
            last = next;
        }
    }
}

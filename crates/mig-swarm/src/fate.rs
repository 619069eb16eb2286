//! What becomes of a command at a simulated agent.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use mig_types::CommandId;

/// A share of all commands, from none to all, in steps of a ten-thousandth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share(u32);

const WHOLE: u32 = 10_000;

impl FromStr for Share {
    type Err = String;

    /// Reads `5%`, `0.25%` or `0.05`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no share; write 5% or 0.05");
        let (number, scale) = match text.strip_suffix('%') {
            Some(number) => (number, 100.0),
            None => (text, 1.0),
        };
        let share: f64 = number.trim().parse().map_err(|_| wrong())?;
        let steps = (share / scale * f64::from(WHOLE)).round();
        if !(0.0..=f64::from(WHOLE)).contains(&steps) {
            return Err(format!("'{text}' is not between 0% and 100%"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be between 0 and 10,000"
        )]
        Ok(Self(steps as u32))
    }
}

/// What agents do with commands, drawn from each command's identifier: the
/// same command meets the same fate wherever and however often it arrives.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Between a command and its answer.
    pub delay: RangeInclusive<Duration>,
    /// Answered with status `failed`.
    pub fail: Share,
    /// Taken and never answered.
    pub lose: Share,
    /// Bytes of made-up elements in each answer.
    pub payload: usize,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO..=Duration::ZERO,
            fail: Share::default(),
            lose: Share::default(),
            payload: 0,
        }
    }
}

/// What becomes of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Succeed,
    Fail,
    Lose,
}

impl Behaviour {
    pub(crate) fn fate(&self, id: CommandId) -> Fate {
        let draw = u32::try_from(mix(id.get()) % u64::from(WHOLE)).unwrap_or(WHOLE);
        if draw < self.lose.0 {
            Fate::Lose
        } else if draw < self.lose.0.saturating_add(self.fail.0) {
            Fate::Fail
        } else {
            Fate::Succeed
        }
    }

    pub(crate) fn delay(&self, id: CommandId) -> Duration {
        let span = self.delay.end().saturating_sub(*self.delay.start());
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let extra = mix(id.get().rotate_left(32)) % micros.saturating_add(1);
        *self.delay.start() + Duration::from_micros(extra)
    }
}

/// Spreads identifiers that follow each other over all numbers.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_people_write_them() {
        for (text, steps) in [("5%", 500), ("0.05", 500), ("0", 0), ("1", 10_000), ("0.25%", 25)] {
            assert_eq!(text.parse::<Share>(), Ok(Share(steps)), "{text}");
        }
        for text in ["", "x", "-1%", "101%", "NaN", "1.5", "inf%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn fates_come_in_the_shares_asked_for_and_never_change() {
        let behaviour = Behaviour {
            fail: "20%".parse().unwrap(),
            lose: "10%".parse().unwrap(),
            delay: Duration::from_millis(2)..=Duration::from_millis(8),
            payload: 0,
        };
        let ids = (1..=100_000).map(|id| CommandId::new(4_883_372_310_000 + id).unwrap());
        let mut counts = [0_u32; 3];
        for id in ids {
            let fate = behaviour.fate(id);
            assert_eq!(fate, behaviour.fate(id));
            counts[fate as usize] += 1;
            assert!(behaviour.delay.contains(&behaviour.delay(id)));
        }
        for (count, expected) in counts.into_iter().zip([70_000_u32, 20_000, 10_000]) {
            assert!(count.abs_diff(expected) < 600, "{counts:?}");
        }
    }
}

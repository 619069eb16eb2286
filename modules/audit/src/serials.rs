//! Numbers of events that never came.
//!
//! The kernel numbers events one after the other. Their records overlap, so that
//! a number that is passed over is only missing once its time is over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a number may be late.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most gaps that are remembered at a time; more are missing at once.
const MAX_GAPS: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Serials {
    highest: Option<u64>,
    /// First and last number of a gap, and since when it is one.
    gaps: BTreeMap<u64, (u64, Instant)>,
    missing: u64,
}

impl Serials {
    /// A record of the event with this number came.
    pub(crate) fn saw(&mut self, serial: u64, now: Instant) {
        let Some(highest) = self.highest else {
            self.highest = Some(serial);
            return;
        };
        if serial > highest {
            if serial - highest > 1 {
                self.gaps.insert(highest + 1, (serial - 1, now));
                self.bound();
            }
            self.highest = Some(serial);
            return;
        }
        let Some((&first, &(last, since))) = self.gaps.range(..=serial).next_back() else { return };
        if serial > last {
            return;
        }
        self.gaps.remove(&first);
        if first < serial {
            self.gaps.insert(first, (serial - 1, since));
        }
        if serial < last {
            self.gaps.insert(serial + 1, (last, since));
        }
        self.bound();
    }

    /// How many numbers have been missing for too long since this was asked last.
    pub(crate) fn take_missing(&mut self, now: Instant) -> u64 {
        let missing = &mut self.missing;
        self.gaps.retain(|first, (last, since)| {
            let is_open = now.saturating_duration_since(*since) < PATIENCE;
            if !is_open {
                *missing = missing.saturating_add(*last - *first + 1);
            }
            is_open
        });
        std::mem::take(missing)
    }

    fn bound(&mut self) {
        while self.gaps.len() > MAX_GAPS {
            let Some((first, (last, _))) = self.gaps.pop_first() else { return };
            self.missing = self.missing.saturating_add(last - first + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_may_be_late_but_not_for_ever() {
        let mut serials = Serials::default();
        let now = Instant::now();
        for serial in [10, 9, 11, 15, 13, 13, 20] {
            serials.saw(serial, now);
        }
        assert_eq!(serials.take_missing(now), 0);
        // 12, 14, and 16 to 19 never came; 14 does in time.
        serials.saw(14, now + PATIENCE / 2);
        serials.saw(22, now + PATIENCE);
        assert_eq!(serials.take_missing(now + PATIENCE), 5);
        assert_eq!(serials.take_missing(now + PATIENCE), 0);
        assert_eq!(serials.take_missing(now + PATIENCE * 2), 1);
    }

    proptest! {
        #[test]
        fn any_order_is_counted_within_bounds(serials: Vec<u64>, small in proptest::collection::vec(0..50_u64, 0..80)) {
            let now = Instant::now();
            let mut wild = Serials::default();
            for serial in &serials {
                wild.saw(*serial, now);
            }
            wild.take_missing(now + PATIENCE);
            let mut tame = Serials::default();
            for serial in &small {
                tame.saw(*serial, now);
            }
            let expected = small.first().map_or(0, |first| {
                let last = small.iter().max().unwrap();
                (*first..=*last).filter(|number| !small.contains(number)).count()
            });
            prop_assert_eq!(tame.take_missing(now + PATIENCE), expected as u64);
        }
    }
}

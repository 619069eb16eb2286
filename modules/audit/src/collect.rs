//! Puts the records of one event together. Knows no kernel and no clock.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::event::{Decoded, END, Event};

/// An event whose end did not come until then has none. Records that are alone by
/// nature wait that long as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Most events that are open at a time.
const MAX_OPEN: usize = 2_000;
/// Most bytes of all open events.
const MAX_BYTES: usize = 16 << 20;
/// Most bytes of one event: a long command line has hundreds of records.
const MAX_EVENT: usize = 256 << 10;

/// Records that belong together have these in common.
type Key = (u64, String);

#[derive(Debug)]
struct Open {
    since: Instant,
    records: Vec<Decoded>,
    bytes: usize,
    /// Records were left out.
    is_cut: bool,
}

/// Events whose end has not come.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    include_raw: bool,
    open: HashMap<Key, Open>,
    /// In the order of their first records; some are closed already.
    order: VecDeque<(Instant, Key)>,
    bytes: usize,
}

impl Collector {
    pub(crate) fn new(include_raw: bool) -> Self {
        Self { include_raw, ..Self::default() }
    }

    /// Takes a record; the events that are whole by it.
    pub(crate) fn add(&mut self, record: Decoded, now: Instant) -> Vec<Event> {
        if !is_part(record.kind) {
            return vec![Event::single(record, self.include_raw)];
        }
        let key = (record.serial, record.timestamp.clone());
        if record.kind == END {
            return self.close(&key, Some(record)).into_iter().collect();
        }
        let size = size_of(&record);
        if let Some(open) = self.open.get_mut(&key) {
            if open.bytes + size > MAX_EVENT {
                open.is_cut = true;
            } else {
                open.bytes += size;
                self.bytes += size;
                open.records.push(record);
            }
        } else {
            self.order.push_back((now, key.clone()));
            self.bytes += size;
            let open = Open { since: now, records: vec![record], bytes: size, is_cut: false };
            self.open.insert(key, open);
        }
        let mut events = Vec::new();
        while self.open.len() > MAX_OPEN || self.bytes > MAX_BYTES {
            let Some((_, oldest)) = self.order.pop_front() else { break };
            events.extend(self.close(&oldest, None));
        }
        events
    }

    /// Events whose end does not come any more.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some((since, _)) = self.order.front() {
            if now.saturating_duration_since(*since) < PATIENCE {
                break;
            }
            let Some((since, key)) = self.order.pop_front() else { break };
            // Closed, and perhaps opened again since.
            if self.open.get(&key).is_some_and(|open| open.since == since) {
                events.extend(self.close(&key, None));
            }
        }
        events
    }

    /// Everything that is open.
    pub(crate) fn flush(&mut self) -> Vec<Event> {
        let keys: Vec<Key> = self.order.drain(..).map(|(_, key)| key).collect();
        keys.iter().filter_map(|key| self.close(key, None)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn close(&mut self, key: &Key, end: Option<Decoded>) -> Option<Event> {
        let mut open = self.open.remove(key)?;
        self.bytes -= open.bytes;
        // Closed events leave their place in the order until its turn comes.
        if self.open.is_empty() {
            self.order.clear();
        }
        let incomplete = open.is_cut || end.is_none();
        if end.is_none() && open.records.len() == 1 && !open.is_cut {
            // What the kernel says on its own account has no end.
            return open.records.pop().map(|record| Event::single(record, self.include_raw));
        }
        open.records.extend(end);
        Some(Event::joined(open.records, incomplete, self.include_raw))
    }
}

/// Whether a record is a part of an event that ends with an end.
fn is_part(kind: u16) -> bool {
    (1300..2100).contains(&kind)
}

/// What it takes in memory, about.
fn size_of(record: &Decoded) -> usize {
    let fields: usize = record.fields.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
    fields + record.text.len() + 128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::decode;
    use crate::users::Users;
    use serde_json::Value;

    fn record(kind: u16, serial: u64, text: &str) -> Decoded {
        let text = format!("audit(1.2:{serial}): {text}");
        decode(kind, text.as_bytes(), &Users::default()).unwrap()
    }

    fn shown(events: Vec<Event>) -> Vec<(String, usize, bool)> {
        let shown = |event: Event| {
            let event: Value = serde_json::from_str(&event.to_text()).unwrap();
            let records = event["Records"].as_array().map_or(0, Vec::len);
            let name = format!("{} {}", event["Type"].as_str().unwrap(), event["Serial"]);
            (name.replace('"', ""), records, event["Incomplete"] == true)
        };
        events.into_iter().map(shown).collect()
    }

    #[test]
    fn events_that_overlap_are_kept_apart() {
        let mut collector = Collector::default();
        let now = Instant::now();
        for (kind, serial) in [(1300, 7), (1300, 8), (1302, 7), (1302, 8), (1302, 7)] {
            assert_eq!(collector.add(record(kind, serial, "a=b"), now), []);
        }
        let events = collector.add(record(1112, 9, "a=b"), now);
        assert_eq!(shown(events), [("USER_LOGIN 9".into(), 0, false)]);
        let events = collector.add(record(1320, 7, ""), now);
        assert_eq!(shown(events), [("EOE 7".into(), 3, false)]);
        let events = collector.add(record(1320, 8, ""), now);
        assert_eq!(shown(events), [("EOE 8".into(), 2, false)]);
        assert!(collector.is_empty() && collector.order.is_empty() && collector.bytes == 0);
        assert_eq!(collector.add(record(1320, 8, ""), now), [], "an end without a beginning");
    }

    #[test]
    fn an_event_whose_end_never_comes_is_raised_all_the_same() {
        let mut collector = Collector::default();
        let now = Instant::now();
        collector.add(record(1305, 1, "op=add_rule"), now);
        collector.add(record(1300, 2, "a=b"), now);
        collector.add(record(1302, 2, "a=b"), now);
        collector.add(record(1300, 3, "a=b"), now + PATIENCE);
        assert_eq!(collector.expire(now + PATIENCE / 2), []);
        let events = collector.expire(now + PATIENCE);
        // A record alone is whole; of several, one may be missing.
        let expected = [("CONFIG_CHANGE 1".into(), 0, false), ("EOE 2".into(), 2, true)];
        assert_eq!(shown(events), expected);
        assert_eq!(shown(collector.flush()), [("SYSCALL 3".into(), 0, false)]);
        assert!(collector.is_empty() && collector.bytes == 0);
    }

    #[test]
    fn what_is_open_has_a_bound() {
        let mut collector = Collector::default();
        let now = Instant::now();
        let mut events = 0;
        for serial in 0..MAX_OPEN as u64 + 500 {
            events += collector.add(record(1300, serial, "a=b"), now).len();
            assert!(collector.open.len() <= MAX_OPEN && collector.order.len() <= MAX_OPEN + 1);
        }
        assert_eq!(events, 500);
        let mut collector = Collector::default();
        let long = format!("a={}", "x".repeat(4000));
        for _ in 0..100 {
            collector.add(record(1309, 1, &long), now);
            assert!(collector.bytes <= MAX_EVENT);
        }
        let events = shown(collector.add(record(1320, 1, ""), now));
        assert!(events[0].2, "the rest was left out, and this says so");
    }
}

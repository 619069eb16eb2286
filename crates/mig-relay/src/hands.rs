//! What a reader of a remote queue holds.

use std::collections::{BTreeMap, VecDeque};

use crate::Delivery;

/// Deliveries of one reader: those waiting to be handed over, and those in the
/// caller's hands. The caller sees tags of ours, which outlive connections and
/// never repeat; the relay sees its own.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    /// Tagged by the relay.
    ready: VecDeque<Delivery>,
    /// Our tag to the relay's. Both grow together.
    held: BTreeMap<u64, u64>,
    last: u64,
}

/// Tags to settle, as the relay knows them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    /// In rising order.
    pub(crate) tags: Vec<u64>,
    /// Whether nothing older than the last of them is still held, so that one
    /// word to the relay settles them all.
    pub(crate) all_up_to_last: bool,
}

impl Hands {
    pub(crate) fn receive(&mut self, delivery: Delivery) {
        self.ready.push_back(delivery);
    }

    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Everything unacknowledged.
    pub(crate) fn total(&self) -> usize {
        self.ready.len() + self.held.len()
    }

    pub(crate) fn hand_over(&mut self, max: usize) -> Vec<Delivery> {
        let count = self.ready.len().min(max);
        let mut deliveries = Vec::with_capacity(count);
        for mut delivery in self.ready.drain(..count) {
            self.last += 1;
            self.held.insert(self.last, delivery.tag);
            delivery.tag = self.last;
            deliveries.push(delivery);
        }
        deliveries
    }

    /// Lets go of tags; those not held are skipped.
    pub(crate) fn settle(&mut self, tags: &[u64]) -> Settled {
        let mut found: Vec<(u64, u64)> =
            tags.iter().filter_map(|tag| Some((*tag, self.held.remove(tag)?))).collect();
        found.sort_unstable();
        let all_up_to_last = match (found.last(), self.held.first_key_value()) {
            (Some((last, _)), Some((oldest, _))) => oldest > last,
            (Some(_), None) => true,
            (None, _) => false,
        };
        Settled { tags: found.into_iter().map(|(_, theirs)| theirs).collect(), all_up_to_last }
    }

    /// The connection is gone: the relay will deliver all of it again.
    pub(crate) fn let_go(&mut self) {
        self.ready.clear();
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn holding(theirs: &[u64]) -> Hands {
        let mut hands = Hands::default();
        for &tag in theirs {
            hands.receive(Delivery { tag, body: Bytes::new(), redelivered: false });
        }
        hands.hand_over(theirs.len());
        hands
    }

    #[test]
    fn tags_of_a_lost_connection_settle_nothing() {
        let mut hands = holding(&[1, 2]);
        hands.let_go();
        hands.receive(Delivery { tag: 1, body: Bytes::new(), redelivered: true });
        let again = hands.hand_over(9);
        assert!(hands.settle(&[1, 2]).tags.is_empty());
        assert_eq!(hands.settle(&[again[0].tag]).tags, [1]);
    }

    #[test]
    fn one_word_settles_only_when_nothing_older_is_held() {
        let mut hands = holding(&[10, 11, 12, 13]);
        assert_eq!(hands.settle(&[2]), Settled { tags: vec![11], all_up_to_last: false });
        assert_eq!(hands.settle(&[3, 1, 1]), Settled { tags: vec![10, 12], all_up_to_last: true });
        assert_eq!(hands.settle(&[4, 99]), Settled { tags: vec![13], all_up_to_last: true });
        assert_eq!(hands.settle(&[4]), Settled { tags: vec![], all_up_to_last: false });
    }
}

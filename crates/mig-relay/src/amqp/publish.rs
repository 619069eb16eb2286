//! Publishing with confirms, many in flight.

use std::collections::VecDeque;

use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use tokio::time::timeout;

use super::session::{Exchange, Session, short};
use super::{ANSWER_TIMEOUT, fault};
use crate::names::{exchange_and_key, refused, unavailable};
use crate::{Message, RelayError, clock};

/// Messages in flight unconfirmed: a confirm costs the broker an fsync, which
/// it shares among those it has.
const WINDOW: usize = 512;
/// The longest expiration every broker takes, ms.
const MAX_EXPIRATION: u128 = 4_294_967_295;

/// One message on its way.
struct Item<'a> {
    index: usize,
    message: &'a Message,
    key: String,
}

/// What is known about one message after a pass.
enum Fate {
    Done(Result<(), RelayError>),
    /// The channel closed because of another message: try again.
    Again,
}

pub(super) async fn publish(
    endpoint: &str,
    session: &Session,
    messages: &[Message],
) -> Vec<Result<(), RelayError>> {
    let mut outcomes: Vec<Option<Result<(), RelayError>>> = Vec::new();
    outcomes.resize_with(messages.len(), || None);
    for exchange in Exchange::ALL {
        let mut items = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let (name, key) = exchange_and_key(&message.route);
            if name == exchange.name() {
                items.push(Item { index, message, key });
            }
        }
        while !items.is_empty() {
            let fates = pass(endpoint, session, exchange, &items).await;
            let before = items.len();
            let mut again = Vec::new();
            for (item, fate) in items.into_iter().zip(fates) {
                match fate {
                    Fate::Again => again.push(item),
                    Fate::Done(outcome) => {
                        if let Some(slot) = outcomes.get_mut(item.index) {
                            *slot = Some(outcome);
                        }
                    }
                }
            }
            items = again;
            if items.len() == before {
                // No progress; the rest is answered below.
                break;
            }
        }
    }
    let unanswered = || Err(unavailable(endpoint, "the channel closed"));
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unanswered)).collect()
}

/// Publishes to one exchange once; one fate per item.
///
/// The channel is ours alone meanwhile: a returned message comes with *some*
/// confirm of its channel, so returns are matched by routing key and body
/// among the messages of one pass.
async fn pass(
    endpoint: &str,
    session: &Session,
    exchange: Exchange,
    items: &[Item<'_>],
) -> Vec<Fate> {
    let mut slot = session.publisher(exchange).lock().await;
    let channel = match slot.take() {
        Some(channel) if channel.status().connected() => channel,
        _ => match timeout(ANSWER_TIMEOUT, session.open_publisher()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => {
                let fail = || Fate::Done(Err(fault::to_relay_error(endpoint, error.clone())));
                return items.iter().map(|_| fail()).collect();
            }
            Err(_) => {
                session.end("the broker does not answer");
                let fail = || unavailable(endpoint, "the broker does not answer");
                return items.iter().map(|_| Fate::Done(Err(fail()))).collect();
            }
        },
    };
    let mut flight = Flight::new(items.len());
    for (position, item) in items.iter().enumerate() {
        while flight.pending.len() >= WINDOW {
            flight.settle_oldest().await;
        }
        if flight.is_broken() {
            break;
        }
        flight.send(&channel, exchange, position, item).await;
    }
    while !flight.pending.is_empty() {
        flight.settle_oldest().await;
    }
    if flight.timed_out && !session.is_blocked() {
        session.end("the broker does not confirm");
    }
    if !flight.is_broken() {
        *slot = Some(channel);
    }
    flight.fates(endpoint, items)
}

/// Messages of one pass.
struct Flight {
    pending: VecDeque<(usize, PublisherConfirm)>,
    /// Whether the broker holds the message, by position.
    confirmed: Vec<Option<bool>>,
    refused: Vec<usize>,
    returned: Vec<BasicReturnMessage>,
    /// The first error; one the broker gave a reason with is preferred.
    error: Option<lapin::Error>,
    timed_out: bool,
}

impl Flight {
    fn new(len: usize) -> Self {
        Self {
            pending: VecDeque::with_capacity(len.min(WINDOW)),
            confirmed: vec![None; len],
            refused: Vec::new(),
            returned: Vec::new(),
            error: None,
            timed_out: false,
        }
    }

    fn is_broken(&self) -> bool {
        self.timed_out || self.error.is_some()
    }

    fn break_with(&mut self, error: lapin::Error) {
        let known = self.error.as_ref().and_then(fault::code);
        if self.error.is_none() || (known.is_none() && fault::code(&error).is_some()) {
            self.error = Some(error);
        }
    }

    async fn send(
        &mut self,
        channel: &Channel,
        exchange: Exchange,
        position: usize,
        item: &Item<'_>,
    ) {
        let Ok(key) = short(&item.key) else {
            self.refused.push(position);
            return;
        };
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = properties(item.message);
        let body = &item.message.body;
        let sent = channel.basic_publish(exchange.name().into(), key, options, body, properties);
        match timeout(ANSWER_TIMEOUT, sent).await {
            Ok(Ok(confirm)) => self.pending.push_back((position, confirm)),
            Ok(Err(error)) => self.break_with(error),
            Err(_) => self.timed_out = true,
        }
    }

    async fn settle_oldest(&mut self) {
        let Some((position, confirm)) = self.pending.pop_front() else { return };
        if self.timed_out {
            // The others had their time as well.
            return;
        }
        match timeout(ANSWER_TIMEOUT, confirm).await {
            Ok(Ok(confirmation)) => {
                let held = matches!(confirmation, Confirmation::Ack(_));
                if let Some(slot) = self.confirmed.get_mut(position) {
                    *slot = Some(held);
                }
                self.returned.extend(confirmation.take_message());
            }
            Ok(Err(error)) => self.break_with(error),
            Err(_) => self.timed_out = true,
        }
    }

    fn fates(self, endpoint: &str, items: &[Item<'_>]) -> Vec<Fate> {
        let mut unroutable = vec![false; items.len()];
        for message in &self.returned {
            let found = items.iter().zip(&unroutable).position(|(item, taken)| {
                !taken
                    && item.key == message.routing_key.as_str()
                    && item.message.body == message.data
            });
            if let Some(slot) = found.and_then(|position| unroutable.get_mut(position)) {
                *slot = true;
            }
        }
        let limit = self.error.as_ref().and_then(fault::size_limit);
        let fate = |position: usize, item: &Item<'_>| {
            let bytes = item.message.body.len();
            if unroutable.get(position) == Some(&true) {
                return Fate::Done(Err(RelayError::Unroutable { route: item.key.clone() }));
            }
            if self.refused.contains(&position) {
                let reason = "a routing key has more than 255 bytes";
                return Fate::Done(Err(refused(endpoint, reason)));
            }
            match (self.confirmed.get(position).copied().flatten(), &self.error, limit) {
                (Some(true), ..) => Fate::Done(Ok(())),
                (Some(false), ..) => {
                    Fate::Done(Err(unavailable(endpoint, "the broker could not keep the message")))
                }
                (None, Some(_), Some(limit)) if bytes > limit => {
                    Fate::Done(Err(RelayError::TooLarge { bytes, limit }))
                }
                (None, Some(_), Some(_)) => Fate::Again,
                (None, Some(error), None) if fault::code(error) == Some(fault::NOT_FOUND) => {
                    Fate::Done(Err(RelayError::Unroutable { route: item.key.clone() }))
                }
                (None, Some(error), None) => {
                    Fate::Done(Err(fault::to_relay_error(endpoint, error.clone())))
                }
                (None, None, _) => {
                    Fate::Done(Err(unavailable(endpoint, "the broker does not confirm")))
                }
            }
        };
        items.iter().enumerate().map(|(position, item)| fate(position, item)).collect()
    }
}

/// The properties every peer sets, and no other.
fn properties(message: &Message) -> BasicProperties {
    let expiration = message.ttl.as_millis().min(MAX_EXPIRATION).to_string();
    let seconds = u64::try_from(clock::now_ms() / 1000).unwrap_or_default();
    BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_delivery_mode(2)
        .with_timestamp(seconds)
        .with_expiration(expiration.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::Route;

    #[test]
    fn expirations_are_milliseconds_and_clamped() {
        for (ttl, expected) in [
            (Duration::ZERO, "0"),
            (Duration::from_mins(50), "3000000"),
            (Duration::from_millis(4_294_967_296), "4294967295"),
            (Duration::MAX, "4294967295"),
        ] {
            let message = Message { route: Route::Results, body: Bytes::new(), ttl };
            let properties = properties(&message);
            let expiration = properties.expiration().as_ref().unwrap();
            assert_eq!(expiration.as_str(), expected);
            assert_eq!(*properties.delivery_mode(), Some(2));
            assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "text/plain");
            assert!(properties.headers().is_none() && properties.message_id().is_none());
        }
    }

    #[test]
    fn only_what_was_confirmed_is_held() {
        let message = |body: &'static str| Message {
            route: Route::Results,
            body: Bytes::from_static(body.as_bytes()),
            ttl: Duration::from_secs(1),
        };
        let messages = [message("a"), message("b"), message("b")];
        let items: Vec<Item<'_>> = messages
            .iter()
            .enumerate()
            .map(|(index, message)| Item { index, message, key: "k".to_owned() })
            .collect();
        let mut flight = Flight::new(3);
        flight.confirmed = vec![Some(true), Some(true), None];
        flight.timed_out = true;
        let fates = flight.fates("x", &items);
        assert!(matches!(fates[0], Fate::Done(Ok(()))));
        assert!(matches!(fates[1], Fate::Done(Ok(()))));
        assert!(matches!(fates[2], Fate::Done(Err(RelayError::Unavailable { .. }))));
    }
}

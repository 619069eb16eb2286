//! How an event is spelled in a notification of PostgreSQL.

use mig_types::ActionId;

use crate::model::StoreEvent;

/// The channel all parts of the platform listen on.
pub(crate) const CHANNEL: &str = "mig_events";

pub(crate) fn encode(event: StoreEvent) -> String {
    match event {
        StoreEvent::ActionCreated(id) => format!("created {id}"),
        StoreEvent::CommandsReady(id) => format!("ready {id}"),
        StoreEvent::Progress(id) => format!("progress {id}"),
        StoreEvent::InvestigatorsChanged => "investigators".to_owned(),
    }
}

/// `None` for what another version, or anybody with a database login, sent.
pub(crate) fn decode(payload: &str) -> Option<StoreEvent> {
    if payload == "investigators" {
        return Some(StoreEvent::InvestigatorsChanged);
    }
    let (kind, id) = payload.split_once(' ')?;
    let id = ActionId::new(id.parse().ok()?)?;
    match kind {
        "created" => Some(StoreEvent::ActionCreated(id)),
        "ready" => Some(StoreEvent::CommandsReady(id)),
        "progress" => Some(StoreEvent::Progress(id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignores_what_nobody_sends_and_reads_what_it_writes() {
        for payload in ["", "created", "created x", "created -1", "gone 4", "created 1 2"] {
            assert_eq!(decode(payload), None, "{payload:?}");
        }
        let id = ActionId::new(77).unwrap();
        for event in [
            StoreEvent::ActionCreated(id),
            StoreEvent::CommandsReady(id),
            StoreEvent::Progress(id),
            StoreEvent::InvestigatorsChanged,
        ] {
            assert_eq!(decode(&encode(event)), Some(event));
        }
    }
}

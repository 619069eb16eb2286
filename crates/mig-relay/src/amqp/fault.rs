//! What the broker's errors mean to a caller.

use lapin::ErrorKind;

use crate::RelayError;
use crate::dial::is_certificate_refusal;
use crate::link::Fault;

// Reply codes of AMQP 0-9-1.
pub(super) const ACCESS_REFUSED: u16 = 403;
pub(super) const NOT_FOUND: u16 = 404;
pub(super) const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;
pub(super) const NOT_IMPLEMENTED: u16 = 540;

/// The reply code the broker closed a channel or a connection with.
pub(super) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// Whether only an operator can help: permissions, credentials, a virtual
/// host that is not there, a queue declared otherwise, certificates.
fn is_refusal(error: &lapin::Error) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(error) => {
            matches!(error.get_id(), ACCESS_REFUSED | PRECONDITION_FAILED | NOT_ALLOWED)
        }
        ErrorKind::IOError(error) => is_certificate_refusal(&**error),
        _ => false,
    }
}

pub(super) fn to_fault(error: lapin::Error) -> Fault {
    if is_refusal(&error) { Fault::refused(error) } else { Fault::away(error) }
}

/// A refusal, or something that may pass: an exchange not declared yet and a
/// queue whose node is down are both "not found".
pub(super) fn to_relay_error(endpoint: &str, error: lapin::Error) -> RelayError {
    to_fault(error).into_error(endpoint)
}

/// The limit in `message size 17 is larger than configured max size 16`.
pub(super) fn size_limit(error: &lapin::Error) -> Option<usize> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    if error.get_id() != PRECONDITION_FAILED {
        return None;
    }
    limit_in(error.get_message().as_str())
}

fn limit_in(text: &str) -> Option<usize> {
    let (before, after) = text.split_once("max size ")?;
    if !before.contains("larger than") {
        return None;
    }
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_size_limit_in_the_brokers_words_only() {
        for text in ["", "max size 16", "inequivalent arg 'x-max size 5'", "larger than max size "]
        {
            assert_eq!(limit_in(text), None, "{text:?}");
        }
        let text = "PRECONDITION_FAILED - message size 17000001 is larger than configured max size 16777216";
        assert_eq!(limit_in(text), Some(16_777_216));
    }
}

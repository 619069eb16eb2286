//! Preparing an action: times, limits, signature.

use std::time::Duration;

use mig_sign::canonical::{self, CanonicalError};
use mig_types::action::{ActionFault, MAX_SIGNATURES, SYNTAX_VERSION};
use mig_types::wire;
use mig_types::{Action, Timestamp};

use crate::api::MAX_REQUEST;
use crate::signer::{Signer, SignerError};

/// Clocks differ: an action begins in the past and lives a little longer.
const ALLOWANCE: Duration = Duration::from_mins(1);

/// Why an action cannot be launched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    #[error("the action would be refused")]
    Fault(#[source] ActionFault),
    #[error("the action is larger than {MAX_REQUEST} bytes; try compression")]
    TooLarge,
    #[error("the signatures are longer than the {MAX_SIGNATURES} bytes the database holds")]
    SignaturesTooLong,
    #[error(
        "the parameters hold a backspace or form feed, which peers sign in different spellings"
    )]
    ControlCharacter,
    #[error("the action cannot be signed")]
    Canonical(#[source] CanonicalError),
    #[error("the action was not signed")]
    Signer(#[source] SignerError),
}

/// Gives an action its times: from a minute ago, for `validity` and a minute.
pub fn set_times(action: &mut Action, now: Timestamp, validity: Duration) {
    // Whole seconds are signed; a fraction would only invite rounding.
    let now = Timestamp::from_unix(now.unix(), 0).unwrap_or(now);
    action.validfrom = now - ALLOWANCE;
    action.expireafter = action.validfrom + validity + ALLOWANCE;
}

/// [`set_times`], unless the action has times already, as one does that
/// another person signed. Says whether it set them.
pub fn set_missing_times(action: &mut Action, now: Timestamp, validity: Duration) -> bool {
    let missing = action.validfrom.is_zero();
    if missing {
        set_times(action, now, validity);
    }
    missing
}

/// Checks an unsigned or signed action against what API and database accept,
/// so that nobody enters a PIN for nothing.
///
/// # Errors
///
/// [`LaunchError`].
pub fn check(action: &Action, now: Timestamp) -> Result<(), LaunchError> {
    let mut signed = action.clone();
    signed.syntaxversion = SYNTAX_VERSION;
    if signed.pgpsignatures.is_empty() {
        // The only fault that signing will mend.
        signed.pgpsignatures.push("unsigned".into());
    }
    signed.validate(now).map_err(LaunchError::Fault)?;
    let length = |value: &dyn Fn() -> Result<Vec<u8>, wire::WireError>| {
        value().map_or(usize::MAX, |bytes| bytes.len())
    };
    if length(&|| wire::to_vec(&action.pgpsignatures)) > MAX_SIGNATURES {
        return Err(LaunchError::SignaturesTooLong);
    }
    if length(&|| wire::to_vec(action)) > MAX_REQUEST {
        return Err(LaunchError::TooLarge);
    }
    let alternative =
        canonical::action_string_alternative(action).map_err(LaunchError::Canonical)?;
    if alternative.is_some() {
        return Err(LaunchError::ControlCharacter);
    }
    Ok(())
}

/// Checks an action and adds a signature to those it has. Nothing that is
/// signed may change afterwards.
///
/// # Errors
///
/// [`LaunchError`]; the action is then as it was, but for its syntax version.
pub async fn sign_action(
    action: &mut Action,
    signer: &dyn Signer,
    now: Timestamp,
) -> Result<(), LaunchError> {
    check(action, now)?;
    action.syntaxversion = SYNTAX_VERSION;
    let data = canonical::action_string(action).map_err(LaunchError::Canonical)?;
    let signature = signer.sign(&data).await.map_err(LaunchError::Signer)?;
    action.pgpsignatures.push(signature);
    let written = wire::to_vec(&action.pgpsignatures).map_or(usize::MAX, |bytes| bytes.len());
    if written > MAX_SIGNATURES {
        action.pgpsignatures.pop();
        return Err(LaunchError::SignaturesTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::Operation;

    fn now() -> Timestamp {
        Timestamp::parse("2026-06-01T12:00:00.75Z").unwrap()
    }

    fn action() -> Action {
        let operation = Operation { module: "file".into(), ..Operation::default() };
        let mut action = Action {
            name: "n ".into(),
            target: "t".into(),
            operations: Some(vec![operation]),
            ..Action::default()
        };
        set_times(&mut action, now(), Duration::from_mins(5));
        action
    }

    #[test]
    fn times_begin_a_minute_ago_and_end_a_minute_late() {
        let action = action();
        assert_eq!(action.validfrom.to_string(), "2026-06-01T11:59:00Z");
        assert_eq!(action.expireafter.to_string(), "2026-06-01T12:05:00Z");
    }

    #[test]
    fn times_that_are_signed_stay() {
        let mut signed = action();
        assert!(!set_missing_times(&mut signed, now() + ALLOWANCE, ALLOWANCE));
        assert_eq!(signed, action());
        signed.validfrom = Timestamp::ZERO;
        assert!(set_missing_times(&mut signed, now(), Duration::from_mins(5)));
        assert_eq!(signed, action());
    }

    #[test]
    fn what_would_be_refused_is_refused_before_signing() {
        assert!(check(&action(), now()).is_ok());
        let fault = |change: &dyn Fn(&mut Action)| {
            let mut action = action();
            change(&mut action);
            check(&action, now()).unwrap_err()
        };
        assert!(matches!(fault(&|a| a.name.clear()), LaunchError::Fault(ActionFault::NoName)));
        let long = |a: &mut Action| a.target = "x".repeat(2049);
        assert!(matches!(fault(&long), LaunchError::Fault(ActionFault::TooLong { .. })));
        let past = |a: &mut Action| a.expireafter = now() - ALLOWANCE;
        assert!(matches!(fault(&past), LaunchError::Fault(_)));
        let bell = |a: &mut Action| {
            a.operations = Some(vec![Operation { parameters: "\u{8}".into(), ..<_>::default() }]);
        };
        assert!(matches!(fault(&bell), LaunchError::ControlCharacter));
        let many = |a: &mut Action| a.pgpsignatures = vec!["x".repeat(800); 6];
        assert!(matches!(fault(&many), LaunchError::SignaturesTooLong));
        let large = |a: &mut Action| {
            let parameters = "x".repeat(MAX_REQUEST).into();
            a.operations = Some(vec![Operation { parameters, ..<_>::default() }]);
        };
        assert!(matches!(fault(&large), LaunchError::TooLarge));
    }
}

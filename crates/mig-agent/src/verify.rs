//! Whether a command may be run here. The whole of it: no server is believed.
//!
//! Every check is made on the endpoint, with keys, access list, address and
//! target evaluation of its own, in the order below; the first failure is the
//! answer. That an action is not run twice is the journal's part.

use mig_sign::authorize::{self, authorize};
use mig_sign::canonical;
use mig_sign::verify::{VerifyError, verify_action};
use mig_types::action::ActionFault;
use mig_types::target::{Facts, TargetError, Truth};
use mig_types::{Action, Agent, Command, Fingerprint, QueueLoc, Target, Timestamp};

use crate::config::Unverifiable;
use crate::journal::Digest;
use crate::trust::Trust;

/// Operations one action may have; the peers' own limit is far below.
pub const MAX_OPERATIONS: usize = 1000;
/// Signatures one action may have: each costs a verification.
pub const MAX_SIGNATURES: usize = 32;
/// Longest signature, as text.
pub const MAX_SIGNATURE_BYTES: usize = 16 << 10;

/// What decides.
pub struct Policy {
    pub trust: Trust,
    pub queueloc: QueueLoc,
    /// Any key of the keyring may run everything.
    pub onlyverifypubkey: bool,
    pub unverifiabletargets: Unverifiable,
}

/// A command that may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Identifies the action, whatever command carries it.
    pub digest: Digest,
    pub signers: Vec<Fingerprint>,
}

/// Why a command is not run. The text goes back to the investigator.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Action(#[from] ActionFault),
    #[error("action has {count} {what}, at most {limit} are accepted")]
    TooMany { what: &'static str, count: usize, limit: usize },
    #[error("signature {index} is longer than {MAX_SIGNATURE_BYTES} bytes")]
    LongSignature { index: usize },
    #[error("action cannot be put in the form that is signed")]
    Canonical(#[source] canonical::CanonicalError),
    #[error("action signature verification failed")]
    Signature(#[source] VerifyError),
    #[error("action is not authorized")]
    Unauthorized(#[source] authorize::Refusal),
    #[error("command is addressed to another agent")]
    OtherAgent,
    #[error("action target cannot be read")]
    Target(#[source] TargetError),
    #[error("action target does not match this agent")]
    TargetMismatch,
    #[error("action target cannot be verified on this agent, whose owner demands it")]
    TargetUnverifiable,
}

impl Refusal {
    /// Whether a key this agent does not carry signed the action.
    pub const fn is_unknown_signer(&self) -> bool {
        matches!(self, Self::Signature(VerifyError::UnknownKey { .. }))
    }

    /// The whole chain in one line: what the investigator reads.
    pub fn text(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

impl Policy {
    /// Decides about a command. `own` is this agent's own record.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`], in the order of the checks.
    pub fn verify(
        &self,
        command: &Command,
        own: &Agent,
        now: Timestamp,
    ) -> Result<Accepted, Refusal> {
        let action = &command.action;
        check_structure(action, now)?;
        let signers = self.check_signatures(action, now)?;
        if !self.onlyverifypubkey {
            authorize(&self.trust.acl, action.operations(), &signers)
                .map_err(Refusal::Unauthorized)?;
        }
        if command.agent.queueloc != self.queueloc.as_str() {
            return Err(Refusal::OtherAgent);
        }
        self.check_target(action, own, now)?;
        let digest = canonical::action_digest(action).map_err(Refusal::Canonical)?;
        Ok(Accepted { digest, signers })
    }

    fn check_signatures(
        &self,
        action: &Action,
        now: Timestamp,
    ) -> Result<Vec<Fingerprint>, Refusal> {
        let signers =
            verify_action(&self.trust.keyring, action, now).map_err(Refusal::Signature)?;
        Ok(signers.into_iter().map(|signer| signer.fingerprint).collect())
    }

    /// The target is signed, so it is the investigator's own word on whom the
    /// action is for; the choice of the server is not.
    fn check_target(&self, action: &Action, own: &Agent, now: Timestamp) -> Result<(), Refusal> {
        let target: Target = action.target.parse().map_err(Refusal::Target)?;
        match target.evaluate(Facts { agent: own, now }) {
            Truth::True => Ok(()),
            Truth::False => Err(Refusal::TargetMismatch),
            Truth::Unknown if self.unverifiabletargets == Unverifiable::Allow => Ok(()),
            Truth::Unknown => Err(Refusal::TargetUnverifiable),
        }
    }
}

fn check_structure(action: &Action, now: Timestamp) -> Result<(), Refusal> {
    action.validate(now)?;
    if action.operations().is_empty() {
        return Err(ActionFault::NoOperations.into());
    }
    for (what, count, limit) in [
        ("operations", action.operations().len(), MAX_OPERATIONS),
        ("signatures", action.pgpsignatures.len(), MAX_SIGNATURES),
    ] {
        if count > limit {
            return Err(Refusal::TooMany { what, count, limit });
        }
    }
    let long = |text: &String| text.len() > MAX_SIGNATURE_BYTES;
    if let Some(index) = action.pgpsignatures.iter().position(long) {
        return Err(Refusal::LongSignature { index });
    }
    if action.validfrom > now {
        return Err(ActionFault::NotYetValid(action.validfrom).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;

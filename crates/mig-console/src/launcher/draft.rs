//! An action that is not sent yet.

use mig_client::launch::{self, LaunchError};
use mig_client::{Signer, SignerError};
use mig_module::compress;
use mig_module::text::printable;
use mig_terminal::failure::{Failure, code};
use mig_types::{Action, Agent, Fingerprint, Operation, Timestamp};

/// Most of compressed parameters that is unpacked, in bytes.
pub(super) const MAX_PARAMETERS: usize = 64 * 1024 * 1024;

/// An action in the making. Whatever is signed cannot change under its
/// signatures: each change drops them and says how many.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) action: Action,
    /// Agents the target chose when it was last asked for.
    pub(super) evaluated: Option<Vec<Agent>>,
    compress: bool,
}

impl Draft {
    /// A new action that asks the same.
    pub(super) fn like(action: &Action) -> Self {
        let copy = Action {
            name: action.name.clone(),
            target: action.target.clone(),
            description: action.description.clone(),
            threat: action.threat.clone(),
            operations: action.operations.clone(),
            ..Action::default()
        };
        Self { action: copy, ..Self::default() }
    }

    /// An action from a file, with its times and signatures.
    pub(super) fn loaded(action: Action) -> Self {
        Self { action, ..Self::default() }
    }

    pub(super) fn has_times(&self) -> bool {
        !self.action.validfrom.is_zero()
    }

    fn changed(&mut self) -> usize {
        std::mem::take(&mut self.action.pgpsignatures).len()
    }

    pub(super) fn set_name(&mut self, name: String) -> usize {
        self.action.name = name;
        self.changed()
    }

    pub(super) fn set_target(&mut self, target: String) -> usize {
        self.action.target = target;
        self.evaluated = None;
        self.changed()
    }

    pub(super) fn set_times(&mut self, from: Timestamp, until: Timestamp) -> usize {
        self.action.validfrom = from;
        self.action.expireafter = until;
        self.changed()
    }

    pub(super) fn add(&mut self, mut operation: Operation) -> usize {
        operation.want_compressed = self.compress;
        self.action.operations.get_or_insert_default().push(operation);
        self.changed()
    }

    pub(super) fn remove(&mut self, number: Option<usize>) -> Result<usize, Failure> {
        let operations = self.action.operations.get_or_insert_default();
        let last = operations.len().checked_sub(1);
        let last = last.ok_or_else(|| Failure::usage("there is no operation to remove"))?;
        let number = number.filter(|number| *number <= last).ok_or_else(|| {
            Failure::usage(format!("<opnum> must be a positive integer between 0 and {last}"))
        })?;
        operations.remove(number);
        Ok(self.changed())
    }

    /// Takes the action as somebody edited it, who was shown `before`. Only
    /// description and threat can change under signatures.
    pub(super) fn replace(&mut self, before: &Action, mut after: Action) -> usize {
        // Whoever signs, and what the platform says of it, is not edited.
        after.pgpsignatures = std::mem::take(&mut self.action.pgpsignatures);
        after.id = self.action.id;
        let is_signed_the_same = after.name == before.name
            && after.target == before.target
            && after.validfrom == before.validfrom
            && after.expireafter == before.expireafter
            && after.operations == before.operations;
        if after.target != before.target {
            self.evaluated = None;
        }
        if is_signed_the_same {
            // Compressed as it was signed.
            after.operations = self.action.operations.take();
        }
        self.action = after;
        if is_signed_the_same { 0 } else { self.changed() }
    }

    /// Of all operations, those to come as well.
    pub(super) fn set_compression(&mut self, on: bool) -> Result<usize, Failure> {
        self.compress = on;
        for operation in self.action.operations.iter_mut().flatten() {
            if !on && operation.is_compressed {
                operation.parameters = compress::decompress_parameters(operation, MAX_PARAMETERS)
                    .map_err(|error| Failure::of(code::OTHER, &error))?;
                operation.is_compressed = false;
            }
            operation.want_compressed = on;
        }
        Ok(self.changed())
    }

    /// `setdescription` and `setthreat`. Neither is signed.
    pub(super) fn describe(
        &mut self,
        order: &str,
        key: &str,
        value: &str,
    ) -> Result<usize, Failure> {
        let (description, threat) = (&mut self.action.description, &mut self.action.threat);
        let place = match (order, key) {
            ("setdescription", "author") => &mut description.author,
            ("setdescription", "email") => &mut description.email,
            ("setdescription", "url") => &mut description.url,
            ("setdescription", "revision") => {
                description.revision = value
                    .parse()
                    .ok()
                    .filter(|number: &f64| number.is_finite() && *number >= 0.0)
                    .ok_or_else(|| {
                        Failure::usage("the revision is a number, such as 201608291200")
                    })?;
                return Ok(0);
            }
            ("setthreat", "type") => &mut threat.kind,
            ("setthreat", "level") => &mut threat.level,
            ("setthreat", "family") => &mut threat.family,
            ("setthreat", "ref") => &mut threat.reference,
            ("setthreat", _) => {
                let message = "must be 'setthreat <type|level|family|ref> <value>'";
                return Err(Failure::usage(message));
            }
            _ => {
                let message = "must be 'setdescription <author|email|url|revision> <value>'";
                return Err(Failure::usage(message));
            }
        };
        value.clone_into(place);
        Ok(0)
    }

    /// Whether the platform would take it, signed or not yet.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), Failure> {
        launch::check(&self.action, now).map_err(refused)
    }

    /// Compresses what wants it, and adds a signature.
    pub(super) async fn sign(
        &mut self,
        signer: &dyn Signer,
        now: Timestamp,
    ) -> Result<Fingerprint, Failure> {
        for operation in self.action.operations.iter_mut().flatten() {
            if operation.want_compressed && !operation.is_compressed {
                compress::compress_parameters(operation)
                    .map_err(|error| Failure::of(code::OTHER, &error))?;
            }
        }
        let fingerprint = signer.fingerprint().await.map_err(|error: SignerError| error)?;
        launch::sign_action(&mut self.action, signer, now).await.map_err(refused)?;
        Ok(fingerprint)
    }

    pub(super) fn details(&self) -> String {
        let action = &self.action;
        let (description, threat) = (&action.description, &action.threat);
        let operations = action.operations();
        let numbered = operations.iter().enumerate();
        let list: Vec<String> =
            numbered.map(|(at, one)| format!("{at}={}; ", one.module)).collect();
        let lines = [
            format!("ID       {}", action.id),
            format!("Name     {}", action.name),
            format!("Target   {}", action.target),
            format!("Author   {} <{}>", description.author, description.email),
            format!("Revision {}", description.revision),
            format!("URL      {}", description.url),
            format!(
                "Threat Type {}, Level {}, Family {}, Reference {}",
                threat.kind, threat.level, threat.family, threat.reference
            ),
            format!("{} operations: {}", operations.len(), list.concat()),
        ];
        lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
    }
}

fn refused(error: LaunchError) -> Failure {
    match error {
        LaunchError::Signer(error) => error.into(),
        other => Failure::of(code::OTHER, &other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> Draft {
        let operation = Operation { module: "file".into(), ..Operation::default() };
        Draft::loaded(Action {
            name: "n".into(),
            operations: Some(vec![operation]),
            pgpsignatures: vec!["one".into(), "two".into()],
            ..Action::default()
        })
    }

    #[test]
    fn what_is_signed_does_not_change_under_its_signatures() {
        let changes: [fn(&mut Draft) -> usize; 6] = [
            |draft| draft.set_name("other".into()),
            |draft| draft.set_target("status='online'".into()),
            |draft| draft.set_times(Timestamp::ZERO, Timestamp::NEVER),
            |draft| draft.add(Operation::default()),
            |draft| draft.remove(Some(0)).unwrap(),
            |draft| draft.set_compression(true).unwrap(),
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut draft = signed();
            assert_eq!(change(&mut draft), 2, "{at}");
            assert!(draft.action.pgpsignatures.is_empty(), "{at}");
        }
        let mut draft = signed();
        assert_eq!(draft.describe("setthreat", "family", "backdoor").unwrap(), 0);
        assert_eq!(draft.action.pgpsignatures.len(), 2);
    }

    #[test]
    fn an_edited_action_keeps_signatures_that_still_fit() {
        let before = Action { pgpsignatures: Vec::new(), ..signed().action };
        let mut draft = signed();
        let mut described = before.clone();
        "wiki".clone_into(&mut described.description.url);
        assert_eq!(draft.replace(&before, described), 0);
        assert_eq!(draft.action.pgpsignatures.len(), 2);
        assert_eq!(draft.action.description.url, "wiki");
        let mut renamed = before.clone();
        "other".clone_into(&mut renamed.name);
        // Signatures are not written by hand.
        renamed.pgpsignatures.push("three".into());
        assert_eq!(draft.replace(&before, renamed), 2);
        assert!(draft.action.pgpsignatures.is_empty());
    }

    #[test]
    fn operations_are_counted_from_zero_to_the_last() {
        let mut draft = signed();
        for number in [None, Some(1)] {
            let failure = draft.remove(number).unwrap_err();
            assert!(failure.message.ends_with("between 0 and 0"), "{}", failure.message);
        }
        draft.remove(Some(0)).unwrap();
        assert!(draft.remove(Some(0)).is_err());
        assert!(draft.describe("setdescription", "colour", "red").is_err());
        assert!(draft.describe("setdescription", "revision", "-1").is_err());
    }

    #[test]
    fn a_template_is_neither_signed_nor_timed() {
        let mut action = signed().action;
        action.validfrom = Timestamp::NEVER;
        let draft = Draft::like(&action);
        assert!(!draft.has_times() && draft.action.pgpsignatures.is_empty());
        assert_eq!(draft.details().lines().last(), Some("1 operations: 0=file; "));
    }
}

//! Whether the signers of an action together may run its operations.

use mig_types::{Acl, Fingerprint, Operation};

/// Why an action was refused, in words for its investigators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("action has no signer")]
    NoSigner,
    #[error("action has no operations")]
    NoOperations,
    #[error("key {fingerprint} signed the action more than once")]
    DuplicateSigner { fingerprint: Fingerprint },
    #[error("module {module} has no entry in the access control list and there is no default")]
    NoEntry { module: String },
    #[error(
        "module {module} has minimumweight {minimumweight} in the access control list, at least 1 is required"
    )]
    NoMinimum { module: String, minimumweight: i64 },
    #[error("module {module} needs weight {need}, signers give {got}")]
    InsufficientWeight { module: String, need: i64, got: i64 },
}

/// Decides whether `signers`, whose signatures have been verified, may run all
/// of `operations`. One operation refused refuses the action.
///
/// A module's own entry replaces `default` entirely. Signers an entry does not
/// list count nothing and do no harm; one key listed twice counts once.
///
/// # Errors
///
/// The first [`Refusal`]. An action without operations or signers is refused:
/// there is nothing it could be allowed to do.
pub fn authorize(
    acl: &Acl,
    operations: &[Operation],
    signers: &[Fingerprint],
) -> Result<(), Refusal> {
    if signers.is_empty() {
        return Err(Refusal::NoSigner);
    }
    if operations.is_empty() {
        return Err(Refusal::NoOperations);
    }
    let mut seen = signers.iter();
    while let Some(fingerprint) = seen.next() {
        if seen.as_slice().contains(fingerprint) {
            return Err(Refusal::DuplicateSigner { fingerprint: fingerprint.clone() });
        }
    }
    operations.iter().try_for_each(|operation| authorize_module(acl, &operation.module, signers))
}

fn authorize_module(acl: &Acl, module: &str, signers: &[Fingerprint]) -> Result<(), Refusal> {
    // Names come from the network; a long one must not flood a log.
    let name = || module.chars().take(128).collect::<String>();
    let entry = acl.entry(module).ok_or_else(|| Refusal::NoEntry { module: name() })?;
    let need = entry.minimumweight;
    if need < 1 {
        return Err(Refusal::NoMinimum { module: name(), minimumweight: need });
    }
    let got = signers.iter().fold(0i64, |sum, key| sum.saturating_add(entry.weight(key)));
    if got < need {
        return Err(Refusal::InsufficientWeight { module: name(), need, got });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::{AclEntry, AclInvestigator};

    fn key(number: u8) -> Fingerprint {
        Fingerprint::from_bytes(&[number; 20])
    }

    fn entry(minimumweight: i64, investigators: &[(&str, u8, i64)]) -> AclEntry {
        let person = |(name, number, weight): &(&str, u8, i64)| {
            let fingerprint = key(*number);
            ((*name).to_owned(), AclInvestigator { fingerprint, weight: *weight })
        };
        AclEntry { minimumweight, investigators: investigators.iter().map(person).collect() }
    }

    fn acl() -> Acl {
        let mut acl = Acl::default();
        acl.insert("default", entry(2, &[("ann", 1, 2), ("bob", 2, 1), ("cat", 3, 1)]));
        acl.insert("file", entry(1, &[("bob", 2, 1)]));
        acl.insert("broken", entry(0, &[("ann", 1, 9)]));
        acl.insert("twice", entry(2, &[("ann", 1, 1), ("ann again", 1, 1)]));
        acl.insert("negative", entry(1, &[("ann", 1, 2), ("bob", 2, -2)]));
        acl.insert("huge", entry(1, &[("ann", 1, i64::MAX), ("bob", 2, i64::MAX)]));
        acl
    }

    fn operations(modules: &[&str]) -> Vec<Operation> {
        let one = |module: &&str| Operation { module: (*module).into(), ..Operation::default() };
        modules.iter().map(one).collect()
    }

    fn decide(modules: &[&str], signers: &[u8]) -> Result<(), String> {
        let signers: Vec<_> = signers.iter().copied().map(key).collect();
        authorize(&acl(), &operations(modules), &signers).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn refuses_and_says_what_is_missing() {
        let one = key(1);
        for (modules, signers, reason) in [
            (&["file"][..], &[][..], "action has no signer".to_owned()),
            (&[], &[1], "action has no operations".to_owned()),
            (&["file"], &[2, 1, 3, 1], format!("key {one} signed the action more than once")),
            (&["netstat"], &[2], "module netstat needs weight 2, signers give 1".to_owned()),
            (&["netstat"], &[9], "module netstat needs weight 2, signers give 0".to_owned()),
            // An explicit entry replaces the default: ann is not in it.
            (&["file"], &[1], "module file needs weight 1, signers give 0".to_owned()),
            // Every operation is checked, wherever it stands.
            (&["netstat", "file"], &[1], "module file needs weight 1, signers give 0".to_owned()),
            (&["file", "netstat"], &[2], "module netstat needs weight 2, signers give 1".to_owned()),
            (&["twice"], &[1], "module twice needs weight 2, signers give 1".to_owned()),
            (&["negative"], &[1, 2], "module negative needs weight 1, signers give 0".to_owned()),
            (
                &["broken"],
                &[1],
                "module broken has minimumweight 0 in the access control list, at least 1 is required"
                    .to_owned(),
            ),
        ] {
            assert_eq!(decide(modules, signers), Err(reason), "{modules:?} {signers:?}");
        }
    }

    #[test]
    fn without_an_entry_nothing_runs() {
        let refusal = authorize(&Acl::default(), &operations(&["file"]), &[key(1)]).unwrap_err();
        assert_eq!(refusal, Refusal::NoEntry { module: "file".into() });
    }

    #[test]
    fn accepts_when_weights_suffice() {
        for (modules, signers) in [
            (&["file"][..], &[2][..]),
            (&["file"], &[1, 2, 9]),
            (&["netstat"], &[1]),
            (&["netstat"], &[2, 3]),
            (&["netstat", "file"], &[2, 3]),
            (&["huge"], &[1, 2]),
        ] {
            assert_eq!(decide(modules, signers), Ok(()), "{modules:?} {signers:?}");
        }
    }
}

//! Landlock: files can be read below the profile's paths, and nothing else.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

use crate::{Layer, Profile};

/// What is asked for; an older kernel gives the part it knows.
const NEWEST: ABI = ABI::V6;

/// `calls_hold`: seccomp will refuse all that is not reading, too.
pub(crate) fn restrict(profile: &Profile<'_>, calls_hold: bool) -> Layer {
    if profile.processes {
        // A process under Landlock cannot look into one that is not, whatever
        // its rules say: maps, memory and descriptors would be closed to it.
        return Layer::NotApplicable;
    }
    match apply(profile, calls_hold) {
        Ok(RulesetStatus::FullyEnforced) => Layer::Enforced,
        Ok(RulesetStatus::PartiallyEnforced) => Layer::Partial,
        Ok(RulesetStatus::NotEnforced) => Layer::Missing("no support in the kernel".to_owned()),
        Err(error) => Layer::Missing(error.to_string()),
    }
}

fn apply(profile: &Profile<'_>, calls_hold: bool) -> Result<RulesetStatus, RulesetError> {
    let mut reading: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    if profile.programs {
        reading |= AccessFs::Execute;
    }
    let mut network: BitFlags<AccessNet> = AccessNet::BindTcp.into();
    if !profile.network {
        network |= AccessNet::ConnectTcp;
    }
    let mut scope: BitFlags<Scope> = Scope::AbstractUnixSocket.into();
    if !profile.signals {
        scope |= Scope::Signal;
    }
    let mut handled = AccessFs::from_all(NEWEST);
    // Who may read everything gains nothing from rules about it, and the kernel would
    // look for one along the whole path of each file that is opened: a third of the
    // time of a search. It does the same to know who may truncate, which seccomp
    // refuses where it is there.
    let everything = profile.reads.contains(&"/") && !profile.programs && calls_hold;
    if everything {
        handled &= !(AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Truncate);
    }
    let mut rules = Ruleset::default()
        .handle_access(handled)?
        .handle_access(network)?
        .scope(scope)?
        .create()?;
    let reads = if everything { &[] } else { profile.reads };
    for path in reads {
        // What does not exist needs no rule.
        if let Ok(opened) = PathFd::new(path) {
            // A single file has no entries to list.
            let is_directory = std::fs::metadata(path).is_ok_and(|found| found.is_dir());
            let access = if is_directory { reading } else { reading & !AccessFs::ReadDir };
            rules = rules.add_rule(PathBeneath::new(opened, access))?;
        }
    }
    if profile.programs
        && let Ok(null) = PathFd::new("/dev/null")
    {
        rules = rules.add_rule(PathBeneath::new(null, AccessFs::ReadFile | AccessFs::WriteFile))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

//! Landlock: files can be read below the profile's paths, and nothing else.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

use crate::{Layer, Profile};

/// What is asked for; an older kernel gives the part it knows.
const NEWEST: ABI = ABI::V6;

pub(crate) fn restrict(profile: &Profile<'_>) -> Layer {
    if profile.processes {
        // A process under Landlock cannot look into one that is not, whatever
        // its rules say: maps, memory and descriptors would be closed to it.
        return Layer::NotApplicable;
    }
    match apply(profile) {
        Ok(RulesetStatus::FullyEnforced) => Layer::Enforced,
        Ok(RulesetStatus::PartiallyEnforced) => Layer::Partial,
        Ok(RulesetStatus::NotEnforced) => Layer::Missing("no support in the kernel".to_owned()),
        Err(error) => Layer::Missing(error.to_string()),
    }
}

fn apply(profile: &Profile<'_>) -> Result<RulesetStatus, RulesetError> {
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
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(network)?
        .scope(scope)?
        .create()?;
    for path in profile.reads {
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

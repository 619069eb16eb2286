//! The inventory, once, and every expression against it.

use mig_host::containers::{Container, MAX_CONTAINERS, containers};
use mig_host::fs::Root;
use mig_host::pkg::{self, inventory};
use mig_module::{Budget, Host, ModuleError};

use crate::elements::Package;
use crate::query::Query;
use crate::{Elements, Statistics};

/// Bytes of a finding's keys, quotes and commas.
const ELEMENT_BYTES: usize = 80;

#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) elements: Elements,
    pub(crate) statistics: Statistics,
    pub(crate) errors: Vec<String>,
}

pub(crate) fn run(
    host: &dyn Host,
    query: &Query,
    with_containers: bool,
    budget: &Budget,
) -> Result<Outcome, ModuleError> {
    let path = host.path("/".as_ref());
    let root = Root::open(&path).map_err(|error| {
        let reason = mig_host::fs::reason(&error);
        ModuleError::Failed(format!("cannot open {}: {reason}", path.display()))
    })?;
    let mut outcome = Outcome::default();
    let mut systems = vec![(String::new(), outcome.look(&root, "", budget))];
    if with_containers {
        let (found, more) = containers(&root);
        if more {
            outcome.errors.push(format!("only {MAX_CONTAINERS} containers were looked into"));
        }
        outcome.statistics.containers = found.len() as u64;
        for Container { id, root, .. } in found {
            let packages = outcome.look(&root, &id, budget);
            systems.push((id, packages));
        }
    }
    outcome.select(&systems, query, budget);
    Ok(outcome)
}

impl Outcome {
    /// What is installed in the host or in one container.
    fn look(&mut self, root: &Root, container: &str, budget: &Budget) -> Vec<pkg::Package> {
        let found = inventory(root, &|| budget.is_over());
        self.statistics.examined += found.packages.len() as u64;
        self.statistics.damaged += found.damaged;
        self.errors.extend(found.errors.into_iter().map(|error| match container {
            "" => error,
            id => format!("container {id}: {error}"),
        }));
        found.packages
    }

    /// Expression by expression, in the order they were given; what matches two
    /// is listed twice.
    fn select(&mut self, systems: &[(String, Vec<pkg::Package>)], query: &Query, budget: &Budget) {
        let mut bytes_left = budget.result_bytes();
        for name in &query.names {
            for (container, packages) in systems {
                for package in packages {
                    if !name.is_match(package.name.as_bytes())
                        || !query.wants_version(&package.version)
                    {
                        continue;
                    }
                    let texts = package.name.len() + package.version.len() + package.arch.len();
                    let bytes = ELEMENT_BYTES + texts + container.len();
                    let Some(left) = bytes_left.checked_sub(bytes) else {
                        self.statistics.notreturned += 1;
                        continue;
                    };
                    bytes_left = left;
                    self.elements.packages.push(Package {
                        name: package.name.clone(),
                        version: package.version.clone(),
                        kind: package.manager.as_str().to_owned(),
                        arch: package.arch.clone(),
                        container: container.clone(),
                    });
                }
                if budget.is_over() {
                    self.errors.push(ModuleError::Deadline.one_line());
                    return;
                }
            }
        }
        if self.statistics.notreturned > 0 {
            let count = self.statistics.notreturned;
            self.errors
                .push(format!("{count} findings were not returned: the result is too large"));
        }
    }
}

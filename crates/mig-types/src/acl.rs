//! Who may run which module, and how many of them it takes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;

/// The entry used for modules without their own.
pub const DEFAULT_ENTRY: &str = "default";

/// An agent's access control list: module name (or `default`) to entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Acl(BTreeMap<String, AclEntry>);

/// What running one module takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AclEntry {
    /// The sum of signers' weights that is needed; below 1 nothing may run.
    pub minimumweight: i64,
    /// Display name to key and weight.
    pub investigators: BTreeMap<String, AclInvestigator>,
}

/// One investigator's standing in an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclInvestigator {
    pub fingerprint: Fingerprint,
    pub weight: i64,
}

impl Acl {
    /// Merges documents left to right. A name that occurs twice keeps its first
    /// entry; the names given up are returned for a warning.
    pub fn merge(documents: impl IntoIterator<Item = Self>) -> (Self, Vec<String>) {
        let mut merged = BTreeMap::new();
        let mut repeated = Vec::new();
        for (name, entry) in documents.into_iter().flat_map(|acl| acl.0) {
            match merged.entry(name) {
                Entry::Occupied(first) => repeated.push(first.key().clone()),
                Entry::Vacant(free) => {
                    free.insert(entry);
                }
            }
        }
        (Self(merged), repeated)
    }

    /// The entry that decides about `module`: its own, else `default`.
    pub fn entry(&self, module: &str) -> Option<&AclEntry> {
        self.0.get(module).or_else(|| self.0.get(DEFAULT_ENTRY))
    }

    pub fn insert(&mut self, name: impl Into<String>, entry: AclEntry) {
        self.0.insert(name.into(), entry);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &AclEntry)> {
        self.0.iter().map(|(name, entry)| (name.as_str(), entry))
    }
}

impl AclEntry {
    /// The weight one key carries: its highest, however often it is listed.
    /// Counting every listing would let one person be two.
    pub fn weight(&self, fingerprint: &Fingerprint) -> i64 {
        self.investigators
            .values()
            .filter(|investigator| investigator.fingerprint == *fingerprint)
            .map(|investigator| investigator.weight)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    const KEY: &str = "2466BA175C45F967CD20A06B09C0241F854718C7";

    #[test]
    fn reads_keys_in_any_case_and_names_exactly() {
        let text = format!(
            r#"{{"default":{{"MinimumWeight":2,"Investigators":{{"Bob":{{"Fingerprint":"{}","WEIGHT":1}}}}}}}}"#,
            KEY.to_lowercase()
        );
        let acl: Acl = wire::from_slice(text.as_bytes()).unwrap();
        let entry = acl.entry("file").unwrap();
        assert_eq!(entry.minimumweight, 2);
        assert_eq!(entry.weight(&KEY.parse().unwrap()), 1);
    }

    #[test]
    fn a_key_listed_twice_counts_once() {
        let person = |weight| AclInvestigator { fingerprint: KEY.parse().unwrap(), weight };
        let entry = AclEntry {
            minimumweight: 2,
            investigators: [("a".into(), person(1)), ("b".into(), person(1))].into(),
        };
        assert_eq!(entry.weight(&KEY.parse().unwrap()), 1);
    }

    #[test]
    fn the_first_of_two_entries_wins_and_is_reported() {
        let mut first = Acl::default();
        first.insert("file", AclEntry { minimumweight: 1, ..AclEntry::default() });
        let mut second = Acl::default();
        second.insert("file", AclEntry { minimumweight: 9, ..AclEntry::default() });
        let (merged, repeated) = Acl::merge([first, second]);
        assert_eq!(merged.entry("file").unwrap().minimumweight, 1);
        assert_eq!(repeated, ["file"]);
    }
}

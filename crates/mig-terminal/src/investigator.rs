//! An investigator for people to read.

use mig_module::text::printable;
use mig_types::{Investigator, InvestigatorStatus};

use crate::permissions;
use crate::text::moment;

/// What is known of one, a line each.
pub fn details(one: &Investigator) -> String {
    let key = if one.pgpfingerprint.is_empty() {
        "No PGP key assigned"
    } else {
        one.pgpfingerprint.as_str()
    };
    let lines = [
        format!("Investigator ID {}", one.id),
        format!("name           {}", one.name),
        format!("status         {}", one.status.map_or("unknown", InvestigatorStatus::as_str)),
        format!("admin          {}", one.permissions.is_admin() || one.isadmin),
        format!("permissions    {}", permissions::text(one.permissions)),
        format!("key id         {key}"),
        format!("created        {}", moment(one.createdat)),
        format!("modified       {}", moment(one.lastmodified)),
        format!("api key set    {}", !one.apikey.is_empty()),
    ];
    lines.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_those_of_the_original_and_who_is_administrator() {
        let one: Investigator =
            mig_types::wire::from_slice(include_bytes!("../tests/samples/investigator.json"))
                .unwrap();
        let expected = include_str!("../tests/samples/investigator-details.txt");
        let shown = details(&one);
        let without: Vec<&str> = shown.lines().filter(|line| !line.starts_with("admin")).collect();
        assert_eq!(without, expected.lines().collect::<Vec<_>>());
        assert!(shown.contains("\nadmin          true\n"), "{shown}");
        let nobody = details(&Investigator::default());
        assert!(nobody.contains("key id         No PGP key assigned"), "{nobody}");
        assert!(nobody.contains("admin          false"), "{nobody}");
    }
}

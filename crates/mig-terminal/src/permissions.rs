//! Permissions by the names of their sets.

use mig_types::Permissions;

/// The sets that may be granted beside the default one.
pub const GRANTABLE: [(&str, Permissions); 3] = [
    ("PermManifest", Permissions::MANIFEST),
    ("PermLoader", Permissions::LOADER),
    ("PermAdmin", Permissions::ADMIN),
];

/// `Default,PermAdmin,PermLoader (partial)`.
pub fn text(permissions: Permissions) -> String {
    let sets = [
        ("Default", Permissions::DEFAULT),
        ("PermAdmin", Permissions::ADMIN),
        ("PermLoader", Permissions::LOADER),
        ("PermManifest", Permissions::MANIFEST),
    ];
    let named = sets.iter().filter_map(|(name, set)| match permissions.bits() & set.bits() {
        0 => None,
        held if held == set.bits() => Some((*name).to_owned()),
        _ => Some(format!("{name} (partial)")),
    });
    named.collect::<Vec<_>>().join(",")
}

/// `permissions` without those of a set.
pub fn without(permissions: Permissions, set: Permissions) -> Permissions {
    Permissions::from_bits(permissions.bits() & !set.bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_named_in_full_in_part_or_not_at_all() {
        for (permissions, expected) in [
            (Permissions::NONE, ""),
            (Permissions::ALL, "Default,PermAdmin,PermLoader,PermManifest"),
            (Permissions::DEFAULT.with(Permissions::LOADER_READ), "Default,PermLoader (partial)"),
            (without(Permissions::ALL, Permissions::ADMIN), "Default,PermLoader,PermManifest"),
        ] {
            assert_eq!(text(permissions), expected);
        }
    }
}

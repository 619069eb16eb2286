//! Who owns a file of Windows and who may change it, as the system copies that into a
//! buffer.
//!
//! **Source** the formats `SECURITY_DESCRIPTOR_RELATIVE`, `ACL`, `ACE_HEADER` and `SID`
//! of \[MS-DTYP\]. The parser never indexes by guess, although the system wrote them.

/// The identity of a user or a group: revision, authority and numbers below it.
pub type Sid = [u8];

/// The system itself, S-1-5-18.
const SYSTEM: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
/// Administrators, S-1-5-32-544.
const ADMINISTRATORS: &[u8] = &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
/// What installs the system, S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464.
const INSTALLER: &[u8] = &[
    1, 6, 0, 0, 0, 0, 0, 5, 80, 0, 0, 0, 0xb5, 0x89, 0xfb, 0x38, 0x19, 0x84, 0xc2, 0xcb, 0x5c,
    0x6c, 0x23, 0x6d, 0x57, 0x00, 0x77, 0x6e, 0xc0, 0x02, 0x64, 0x87,
];
/// Whoever owns the file, S-1-3-4; who created it, S-1-3-0, is nobody on a file.
const OWNER: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 3, 4, 0, 0, 0];
const CREATOR: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0];

/// To write or append, to remove, to change rights or owner, and everything.
const CHANGES: u32 = 0x0000_0002 | 0x0000_0004 | 0x0001_0000 | 0x000c_0000 | 0x5000_0000;
/// An entry that only files created below take over.
const INHERIT_ONLY: u8 = 8;
/// Kinds of entries: `ACCESS_ALLOWED`, and those that deny, alike in number and place.
const ALLOWED: u8 = 0;
const DENIED: [u8; 4] = [1, 6, 0x0a, 0x0c];

/// Why somebody else than `own`, the system or its administrators may have put a file
/// there; `None` when nobody may.
pub fn doubt(descriptor: &[u8], own: &Sid) -> Option<&'static str> {
    let is_trusted = |sid: &Sid| sid == own || [SYSTEM, ADMINISTRATORS, INSTALLER].contains(&sid);
    let unclear = Some("does not say who may change it");
    let Some(owner) = part(descriptor, 4).and_then(sid) else { return unclear };
    if !is_trusted(owner) {
        return Some("belongs to another user");
    }
    // Without a list, everybody may do everything.
    let Some(list) = part(descriptor, 16) else { return Some("can be written by others") };
    let Some(entries) = entries(list) else { return unclear };
    let is_others = |entry: &&[u8]| {
        let kind = entry.first().copied();
        if kind.is_some_and(|kind| DENIED.contains(&kind))
            || entry.get(1).is_none_or(|flags| flags & INHERIT_ONLY != 0)
            || number(entry, 4).is_none_or(|rights| rights & CHANGES == 0)
        {
            return false;
        }
        // Kinds that allow under conditions allow somebody.
        let whom = entry.get(8..).and_then(sid).filter(|_| kind == Some(ALLOWED));
        !whom.is_some_and(|sid| is_trusted(sid) || sid == OWNER || sid == CREATOR)
    };
    entries.iter().any(is_others).then_some("can be written by others")
}

/// What begins where the descriptor says, at `at`, that it begins.
fn part(descriptor: &[u8], at: usize) -> Option<&[u8]> {
    let begin = number(descriptor, at).filter(|begin| *begin != 0)?;
    descriptor.get(usize::try_from(begin).ok()?..)
}

/// The entries of a list of rights, all of them, or nothing.
fn entries(list: &[u8]) -> Option<Vec<&[u8]>> {
    let count = u16::from_le_bytes(list.get(4..6)?.try_into().ok()?);
    let mut rest = list.get(8..)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let size = usize::from(u16::from_le_bytes(rest.get(2..4)?.try_into().ok()?));
        // A header and the rights.
        found.push(rest.get(..size).filter(|entry| entry.len() >= 8)?);
        rest = rest.get(size..)?;
    }
    Some(found)
}

/// The identity at the beginning.
pub fn sid(bytes: &[u8]) -> Option<&Sid> {
    let count = usize::from(*bytes.get(1)?);
    bytes.get(..8 + 4 * count)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ME: &[u8] = &[1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0];
    const SOMEBODY: &[u8] = &[1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 2, 0, 0, 0];
    const EVERYBODY: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    const ALL: u32 = 0x001f_01ff;
    const READ_AND_RUN: u32 = 0x0012_00a9;

    fn entry(kind: u8, flags: u8, rights: u32, sid: &[u8]) -> Vec<u8> {
        let size = u16::try_from(8 + sid.len()).unwrap().to_le_bytes();
        [&[kind, flags], &size[..], &rights.to_le_bytes()[..], sid].concat()
    }

    fn descriptor(owner: &[u8], list: Option<&[Vec<u8>]>) -> Vec<u8> {
        let at = 20 + u32::try_from(owner.len()).unwrap();
        let at = if list.is_some() { at } else { 0 };
        let mut bytes = vec![1, 0, 4, 0x80];
        for number in [20, 0, 0, at] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(owner);
        if let Some(list) = list {
            let size = u16::try_from(8 + list.concat().len()).unwrap().to_le_bytes();
            let count = u16::try_from(list.len()).unwrap().to_le_bytes();
            bytes.extend([&[2, 0], &size[..], &count[..], &[0, 0], &list.concat()[..]].concat());
        }
        bytes
    }

    #[test]
    fn a_file_of_others_or_open_to_them_is_doubted() {
        let by_others = Some("can be written by others");
        for (owner, list, expected) in [
            (SOMEBODY, Some(vec![]), Some("belongs to another user")),
            (EVERYBODY, None, Some("belongs to another user")),
            (ME, None, by_others),
            (ME, Some(vec![entry(0, 0, ALL, EVERYBODY)]), by_others),
            (ME, Some(vec![entry(0, 0, ALL, ME), entry(0, 0, 2, SOMEBODY)]), by_others),
            (ADMINISTRATORS, Some(vec![entry(0, 0, 0x0001_0000, SOMEBODY)]), by_others),
            (SYSTEM, Some(vec![entry(0, 0, 0x4000_0000, SOMEBODY)]), by_others),
            // Under conditions; of a kind that came later.
            (ME, Some(vec![entry(9, 0, ALL, ME)]), by_others),
            (ME, Some(vec![entry(0x20, 0, ALL, ME)]), by_others),
        ] {
            assert_eq!(doubt(&descriptor(owner, list.as_deref()), ME), expected, "{list:?}");
        }
    }

    #[test]
    fn a_file_that_only_we_and_the_system_can_change_is_not() {
        let usual = vec![
            entry(0, 0x10, ALL, SYSTEM),
            entry(0, 0x10, ALL, ADMINISTRATORS),
            entry(0, 0x10, READ_AND_RUN, EVERYBODY),
            entry(0, 0, ALL, INSTALLER),
            entry(0, 0, ALL, OWNER),
            // For what is created below, and what is denied.
            entry(0, INHERIT_ONLY, ALL, EVERYBODY),
            entry(1, 0, ALL, EVERYBODY),
        ];
        for owner in [ME, SYSTEM, ADMINISTRATORS, INSTALLER] {
            assert_eq!(doubt(&descriptor(owner, Some(&usual)), ME), None);
        }
        // Nobody may do anything.
        assert_eq!(doubt(&descriptor(ME, Some(&[])), ME), None);
    }

    #[test]
    fn well_known_identities_are_what_they_are_called() {
        let text = |sid: &[u8]| {
            let numbers = sid[8..].chunks_exact(4);
            let numbers = numbers.map(|n| u32::from_le_bytes(n.try_into().unwrap()).to_string());
            format!("S-{}-{}-{}", sid[0], sid[7], numbers.collect::<Vec<_>>().join("-"))
        };
        assert_eq!(text(SYSTEM), "S-1-5-18");
        assert_eq!(text(ADMINISTRATORS), "S-1-5-32-544");
        let installer = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
        assert_eq!(text(INSTALLER), installer);
        assert_eq!((text(OWNER), text(CREATOR)), ("S-1-3-4".into(), "S-1-3-0".into()));
    }

    #[test]
    fn what_is_cut_off_is_doubted() {
        let whole = descriptor(ME, Some(&[entry(0, 0, READ_AND_RUN, EVERYBODY)]));
        assert_eq!(doubt(&whole, ME), None);
        for length in 0..whole.len() {
            assert!(doubt(&whole[..length], ME).is_some(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = doubt(&bytes, ME);
        }
    }
}

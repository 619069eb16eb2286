//! One header: what rpm knows of a package.

use mig_types::wire::lossy_bytewise;

use super::be32;
use crate::pkg::{Manager, Package};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCH: u32 = 1022;

const TYPE_INT32: u32 = 4;
const TYPE_STRING: u32 = 6;

/// Bytes before the index, and of one entry of it.
const PREAMBLE: usize = 8;
const ENTRY: usize = 16;
/// Most entries of an index; rpm's own limit.
const MAX_ENTRIES: usize = 0xffff;

/// A header without a name or version, or one that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed package header")]
pub struct HeaderError;

/// Decodes a header as it lies in a database.
///
/// **Shape** two big-endian words, the number of index entries and the bytes of
/// data; the entries, four words each: tag, type, offset into the data, count;
/// the data. **Source** rpm, `docs/manual/format_header.md`.
///
/// # Errors
///
/// [`HeaderError`] on anything else. Never panics: the bytes come from a host
/// that may be hostile.
pub fn package(header: &[u8]) -> Result<Package, HeaderError> {
    decode(header).ok_or(HeaderError)
}

fn decode(header: &[u8]) -> Option<Package> {
    let entries = usize::try_from(be32(header, 0)?).ok().filter(|count| *count <= MAX_ENTRIES)?;
    let length = usize::try_from(be32(header, 4)?).ok()?;
    let start = PREAMBLE + ENTRY * entries;
    let index = header.get(PREAMBLE..start)?;
    let data = header.get(start..start.checked_add(length)?)?;
    let (mut name, mut version, mut release, mut epoch, mut arch) = (None, None, None, None, None);
    for entry in index.chunks_exact(ENTRY) {
        let (tag, kind) = (be32(entry, 0)?, be32(entry, 4)?);
        let place = match (tag, kind) {
            (NAME, TYPE_STRING) => &mut name,
            (VERSION, TYPE_STRING) => &mut version,
            (RELEASE, TYPE_STRING) => &mut release,
            (ARCH, TYPE_STRING) => &mut arch,
            (EPOCH, TYPE_INT32) => {
                let offset = usize::try_from(be32(entry, 8)?).ok()?;
                epoch = Some(be32(data, offset)?);
                continue;
            }
            _ => continue,
        };
        let offset = usize::try_from(be32(entry, 8)?).ok()?;
        let text = data.get(offset..)?;
        let end = text.iter().position(|byte| *byte == 0)?;
        *place = Some(lossy_bytewise(text.get(..end)?));
    }
    let (version, release) = (version?, release?);
    let version = match epoch {
        // Zero as well, where it is given: rpm shows it.
        Some(epoch) => format!("{epoch}:{version}-{release}"),
        None => format!("{version}-{release}"),
    };
    let name = name.filter(|name| !name.is_empty())?;
    let arch = arch.unwrap_or_else(|| "(none)".to_owned());
    Some(Package { name, version, arch, manager: Manager::Rpm })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header of string tags, and an epoch.
    fn header(tags: &[(u32, &str)], epoch: Option<u32>) -> Vec<u8> {
        let mut data = Vec::new();
        let mut index = Vec::new();
        let mut entry = |tag: u32, kind: u32, offset: usize| {
            for word in [tag, kind, u32::try_from(offset).unwrap(), 1] {
                index.extend(word.to_be_bytes());
            }
        };
        if let Some(epoch) = epoch {
            entry(EPOCH, TYPE_INT32, 0);
            data.extend(epoch.to_be_bytes());
        }
        for (tag, text) in tags {
            entry(*tag, TYPE_STRING, data.len());
            data.extend(text.bytes());
            data.push(0);
        }
        let count = u32::try_from(index.len() / ENTRY).unwrap();
        let mut header = count.to_be_bytes().to_vec();
        header.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        header.extend(index);
        header.extend(data);
        header
    }

    #[test]
    fn refuses_headers_that_say_too_little_or_lie() {
        let good = header(&[(NAME, "a"), (VERSION, "1"), (RELEASE, "2")], Some(3));
        assert_eq!(package(&good).unwrap().version, "3:1-2");
        for length in 0..good.len() {
            assert_eq!(package(&good[..length]), Err(HeaderError), "{length}");
        }
        for missing in [NAME, VERSION, RELEASE] {
            let tags = [(NAME, "a"), (VERSION, "1"), (RELEASE, "2")];
            let tags: Vec<_> = tags.into_iter().filter(|(tag, _)| *tag != missing).collect();
            assert!(package(&header(&tags, None)).is_err());
        }
        let mut far = good.clone();
        far[PREAMBLE + 8] = 0x7f;
        assert!(package(&far).is_err());
        assert!(package(&[0xff; 64]).is_err());
    }

    #[test]
    fn shows_what_rpm_shows() {
        let tags = [(NAME, "bind"), (VERSION, "9.9.5"), (RELEASE, "4.el7"), (ARCH, "x86_64")];
        for (epoch, version) in
            [(None, "9.9.5-4.el7"), (Some(0), "0:9.9.5-4.el7"), (Some(32), "32:9.9.5-4.el7")]
        {
            let found = package(&header(&tags, epoch)).unwrap();
            assert_eq!((found.version.as_str(), found.arch.as_str()), (version, "x86_64"));
        }
        let key = package(&header(&[(NAME, "gpg-pubkey"), (VERSION, "1"), (RELEASE, "2")], None));
        assert_eq!(key.unwrap().arch, "(none)");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_package_or_an_error(
            entries in 0..20_u32,
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut blob = entries.to_be_bytes().to_vec();
            blob.extend((u32::try_from(bytes.len()).unwrap() / 2).to_be_bytes());
            blob.extend(bytes);
            if let Ok(found) = package(&blob) {
                prop_assert!(!found.name.is_empty());
            }
        }
    }
}

#![doc = include_str!("../README.md")]

use std::io::{self, Read, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use mig_types::ManifestEntry;
use sha2::{Digest as _, Sha256};

/// Most bytes an archive may unpack to.
const MAX_UNPACKED: u64 = 1024 * 1024 * 1024;
/// Most members an archive may have.
const MAX_MEMBERS: usize = 1000;
/// Longest name of a file, in bytes.
const MAX_NAME: usize = 255;

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    #[error("manifest content is not a base64 encoded, gzip compressed tar archive")]
    Unreadable(#[source] io::Error),
    #[error("manifest archive has more than {MAX_MEMBERS} members")]
    TooMany,
    #[error(
        "manifest archive holds a file whose name is empty, longer than {MAX_NAME} bytes or not UTF-8"
    )]
    Name,
}

/// The regular files of an archive in its order; `None` when it has none.
///
/// # Errors
///
/// [`ArchiveError`]; never panics.
pub fn entries(content: &str) -> Result<Option<Vec<ManifestEntry>>, ArchiveError> {
    let mut entries = Vec::new();
    walk(content, |name, member| {
        let mut digest = Sha256::new();
        io::copy(member, &mut digest)?;
        entries.push(ManifestEntry { name, sha256: hex::encode(digest.finalize()) });
        Ok(false)
    })?;
    Ok((!entries.is_empty()).then_some(entries))
}

/// The first file of that name: base64 of its gzip stream.
///
/// # Errors
///
/// [`ArchiveError`]; never panics.
pub fn object(content: &str, wanted: &str) -> Result<Option<String>, ArchiveError> {
    let mut found = None;
    walk(content, |name, member| {
        if name != wanted {
            return Ok(false);
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        io::copy(member, &mut encoder)?;
        encoder.flush()?;
        found = Some(STANDARD.encode(encoder.finish()?));
        Ok(true)
    })?;
    Ok(found)
}

/// Shows each regular file to `visit` until it says that it has seen enough.
fn walk(
    content: &str,
    mut visit: impl FnMut(String, &mut dyn Read) -> io::Result<bool>,
) -> Result<(), ArchiveError> {
    let bytes = DecoderReader::new(content.as_bytes(), &STANDARD);
    let unpacked = Bounded { inner: MultiGzDecoder::new(bytes), left: MAX_UNPACKED };
    let mut archive = tar::Archive::new(unpacked);
    let members = archive.entries().map_err(ArchiveError::Unreadable)?;
    for (index, member) in members.enumerate() {
        if index >= MAX_MEMBERS {
            return Err(ArchiveError::TooMany);
        }
        let mut member = member.map_err(ArchiveError::Unreadable)?;
        if !member.header().entry_type().is_file() {
            continue;
        }
        let path = member.path_bytes().into_owned();
        // Go's archives of old kind mark directories by a final slash only.
        if path.ends_with(b"/") {
            continue;
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(ArchiveError::Name);
        }
        let name = String::from_utf8(name.to_vec()).map_err(|_| ArchiveError::Name)?;
        if visit(name, &mut member).map_err(ArchiveError::Unreadable)? {
            break;
        }
    }
    Ok(())
}

/// Fails, rather than ends, when too much comes out.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!("archive unpacks to more than {MAX_UNPACKED} bytes"))
        })?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of these files, as investigators upload it.
    fn pack(files: &[(&str, &[u8])]) -> String {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, data) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *data).unwrap();
        }
        STANDARD.encode(builder.into_inner().unwrap().finish().unwrap())
    }

    fn unpack(object: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let packed = STANDARD.decode(object).unwrap();
        MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn lists_regular_files_by_their_last_name_with_the_hash_of_the_whole_file() {
        // Made by another program: a ustar with directories.
        let content = include_str!("../tests/fixtures/manifest.b64").trim();
        let entries = entries(content).unwrap().unwrap();
        let found: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.sha256.as_str())).collect();
        assert_eq!(
            found,
            [
                (
                    "configuration",
                    "2fd7d6dfbd4a9aee7cb847917f9dcdf6d68d8248d561810312000d32d6a56ab8"
                ),
                ("mig-agent", "f45f7870c441d7b6ae4e8702c85e5ebd069edd8f193d6249cca31567201f74a1"),
            ]
        );
        let object = object(content, "mig-agent").unwrap().unwrap();
        assert_eq!(unpack(&object), b"hello agent\n");
    }

    #[test]
    fn the_first_of_two_files_of_one_name_is_delivered() {
        let long = format!("{}/mig-agent", "d".repeat(200));
        let large = vec![7; 3_000_000];
        let content = pack(&[(&long, &large), ("b/mig-agent", b"second"), ("c/other", b"")]);
        let names: Vec<_> = entries(&content).unwrap().unwrap();
        assert_eq!(names.len(), 3);
        assert_eq!(unpack(&object(&content, "mig-agent").unwrap().unwrap()), large);
        assert_eq!(unpack(&object(&content, "other").unwrap().unwrap()), b"");
        assert_eq!(object(&content, "absent").unwrap(), None);
    }

    #[test]
    fn an_archive_without_files_has_no_list() {
        assert_eq!(entries(&pack(&[])).unwrap(), None);
    }

    #[test]
    fn refuses_what_is_no_archive() {
        let cut = pack(&[("a", &[1; 5000])]);
        let no_tar = {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&[b'x'; 2048]).unwrap();
            STANDARD.encode(encoder.finish().unwrap())
        };
        for content in ["", "%%%", "aGVsbG8=", &cut[..cut.len() / 2], &no_tar] {
            let error = entries(content).unwrap_err();
            assert!(matches!(error, ArchiveError::Unreadable(_)), "{content}: {error:?}");
        }
    }

    #[test]
    fn a_bomb_of_many_members_is_refused() {
        let files = vec![("f", &b""[..]); MAX_MEMBERS + 1];
        assert!(matches!(entries(&pack(&files)), Err(ArchiveError::TooMany)));
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let mut bounded = Bounded { inner: io::repeat(0), left: 10 };
        let error = io::copy(&mut bounded, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("unpacks to more"));
    }

    proptest::proptest! {
        #[test]
        fn damaged_archives_never_panic(at in 0usize..400, byte: u8, raw: Vec<u8>) {
            let mut bytes = STANDARD.decode(pack(&[("a/b", b"data"), ("c", b"more")])).unwrap();
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            let _ = entries(&STANDARD.encode(&bytes));
            // The same below the compression, where damage reaches the tar.
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&raw).unwrap();
            let _ = entries(&STANDARD.encode(encoder.finish().unwrap()));
        }
    }
}

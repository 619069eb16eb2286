//! Programs as files: the slot is looked for, the block put behind the program.

use std::fs::{self, File};
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use super::slot::{LEN, MARK_LEN, Slot, mark};
use super::{Carried, EmbedError};

/// Largest program looked into: one with all its debugging data is large.
const MAX_PROGRAM: u64 = 1 << 30;

/// What the program in `bytes` carries.
///
/// # Errors
///
/// [`EmbedError::NoAgent`] when it is no agent, [`EmbedError::Damaged`] when
/// the data is not what was put there. `path` is for messages.
pub fn read_block(bytes: &[u8], path: &Path) -> Result<Option<Carried>, EmbedError> {
    let at = find(bytes, path)?;
    match Slot::parse(bytes.get(at..at + LEN).unwrap_or_default())? {
        Some(slot) => Carried::parse(&slot.block(&mut Cursor::new(bytes))?).map(Some),
        None => Ok(None),
    }
}

/// Reads a program.
///
/// # Errors
///
/// [`EmbedError::Read`], [`EmbedError::NoAgent`] when it is too large.
pub(super) fn load(path: &Path) -> Result<Vec<u8>, EmbedError> {
    let read = |source| EmbedError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    let mut bytes = Vec::new();
    file.take(MAX_PROGRAM + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > MAX_PROGRAM {
        return Err(EmbedError::NoAgent { path: path.to_owned(), reason: "it is too large" });
    }
    Ok(bytes)
}

/// Copies the agent `from`, of any system, to `to` and lets the copy carry
/// `carried` instead of what it carried before. Nothing is at `to` but the old
/// file or the complete new one.
///
/// # Errors
///
/// [`EmbedError`] when one cannot be read or the other not be written.
pub fn embed(carried: &Carried, from: &Path, to: &Path) -> Result<(), EmbedError> {
    let mut bytes = load(from)?;
    let at = find(&bytes, from)?;
    // What it carries now is at its end, unless someone has added more.
    if let Ok(Some(old)) = Slot::parse(bytes.get(at..at + LEN).unwrap_or_default())
        && old.offset.checked_add(old.len) == Some(bytes.len() as u64)
        && let Ok(offset) = usize::try_from(old.offset)
    {
        bytes.truncate(offset.max(at + LEN));
    }
    let block = carried.to_block()?;
    let slot = Slot::of(bytes.len() as u64, &block).to_bytes();
    if let Some(place) = bytes.get_mut(at..at + LEN) {
        place.copy_from_slice(&slot);
    }
    bytes.extend_from_slice(&block);
    write(&bytes, from, to).map_err(|source| EmbedError::Write { path: to.to_owned(), source })
}

fn write(bytes: &[u8], from: &Path, to: &Path) -> std::io::Result<()> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let name = to.file_name().ok_or_else(|| std::io::Error::other("it is not a file name"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    let temporary = folder.unwrap_or(Path::new(".")).join(temporary);
    let _ = fs::remove_file(&temporary);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    // It holds a password and a key: nobody else looks while it is written.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o700);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // Who may run the original may run the copy, but not read what it carries.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(from)?.permissions().mode() & 0o711 | 0o700;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    let _ = from;
    drop(file);
    fs::rename(&temporary, to)
}

/// Where the slot is.
fn find(bytes: &[u8], path: &Path) -> Result<usize, EmbedError> {
    let no_agent = |reason| Err(EmbedError::NoAgent { path: path.to_owned(), reason });
    let mark = mark();
    let mut found = memchr::memmem::find_iter(bytes, &mark);
    match (found.next(), found.next()) {
        (Some(at), None) if at + LEN <= bytes.len() => Ok(at),
        (None, _) => no_agent("it has no place for one"),
        _ => no_agent("it has more than one place for it"),
    }
}

const _: () = assert!(MARK_LEN < LEN);

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Vec<u8> {
        let mut bytes = b"\x7fELF and code".to_vec();
        bytes.extend_from_slice(&mark());
        bytes.extend_from_slice(&[0; LEN - MARK_LEN]);
        bytes.extend_from_slice(b"more code");
        bytes
    }

    fn carried(name: &str) -> Carried {
        Carried::new(name, "[agent]\ncheckin = on\n")
    }

    #[test]
    fn refuses_what_is_no_agent() {
        let two = [program(), program()].concat();
        let cut = &program()[..40];
        for bytes in [&b""[..], b"\x7fELF", &two, cut] {
            let read = read_block(bytes, Path::new("x"));
            assert!(matches!(read, Err(EmbedError::NoAgent { .. })), "{read:?}");
        }
    }

    #[test]
    fn a_copy_carries_the_last_that_was_embedded() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("agent"), program()).unwrap();
        embed(&carried("one"), &path("agent"), &path("first")).unwrap();
        embed(&carried("two"), &path("first"), &path("second")).unwrap();
        embed(&carried("two"), &path("agent"), &path("direct")).unwrap();
        let read = |name: &str| read_block(&fs::read(path(name)).unwrap(), &path(name)).unwrap();
        assert_eq!(read("agent"), None);
        assert_eq!(read("first"), Some(carried("one")));
        assert_eq!(read("second"), Some(carried("two")));
        assert_eq!(fs::read(path("second")).unwrap(), fs::read(path("direct")).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "nothing is left over");
    }

    #[test]
    fn every_changed_byte_of_slot_and_block_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("agent"), program()).unwrap();
        embed(&carried("one"), &path("agent"), &path("out")).unwrap();
        let good = fs::read(path("out")).unwrap();
        let slot = find(&good, Path::new("x")).unwrap();
        let block = program().len();
        for at in (slot..slot + LEN).chain(block..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(read_block(&bad, Path::new("x")).is_err(), "byte {at}");
        }
        for len in block..good.len() {
            assert!(read_block(&good[..len], Path::new("x")).is_err(), "cut at {len}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_a_program_that_carries_secrets() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&from, program()).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o755)).unwrap();
        embed(&carried("one"), &from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o711);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_programs_never_panic(before: Vec<u8>, slot: [u8; 48], after: Vec<u8>) {
            let bytes = [before.as_slice(), &mark(), &slot, &after].concat();
            let _ = read_block(&bytes, Path::new("x"));
            let _ = read_block(&before, Path::new("x"));
        }
    }
}

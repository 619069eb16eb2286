//! What a file holds, as far as it matters here.

use std::io::{self, Read as _};
use std::path::Path;

use mig_host::fs;
use sha2::{Digest as _, Sha256};

/// Read at a time.
const BLOCK: usize = 128 << 10;

/// The SHA-256 of a file, in lower-case hexadecimal. Reads no more than the file
/// had when it was opened: one that grows is read as it was.
///
/// # Errors
///
/// The system's; `InvalidInput` for what is no regular file.
pub(crate) fn digest(path: &Path) -> io::Result<String> {
    let file = fs::open_file(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut rest = file.take(metadata.len());
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        match rest.read(&mut block) {
            Ok(0) => return Ok(hex::encode(hasher.finalize())),
            Ok(count) => hasher.update(block.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

//! What an agent carries inside its own executable: configuration, keys,
//! access list, certificates.
//!
//! Nothing is compiled in. A block of data is put behind the program, and a
//! slot inside the program is told where it is and what its digest is. An
//! executable that was cut short or changed is noticed at the start. The digest
//! is no signature: who may write the executable may write both.

mod binary;
mod carried;
mod gather;
mod show;
mod slot;

use std::path::PathBuf;

pub use binary::{embed, read_block};
pub use carried::{Carried, Key};
pub use gather::gather;
pub use show::show;

/// Largest block.
pub const MAX_BLOCK: u64 = 8 << 20;

/// Why the data a program carries cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    /// The program runs, and is not what was installed.
    #[error("the configuration this program carries is damaged: {0}")]
    Damaged(&'static str),
    #[error("{path} is not an agent that can carry a configuration: {reason}")]
    NoAgent { path: PathBuf, reason: &'static str },
    /// What is to be embedded makes no sense.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

/// What this very program carries.
///
/// # Errors
///
/// [`EmbedError::Damaged`] when it carries something that is not what was put
/// there.
pub fn own() -> Result<Option<Carried>, EmbedError> {
    let Some(slot) = slot::own()? else { return Ok(None) };
    let path = own_path();
    let read = |source| EmbedError::Read { path: path.clone(), source };
    let mut file = std::fs::File::open(&path).map_err(read)?;
    let block = slot.block(&mut file)?;
    Carried::parse(&block).map(Some)
}

/// The running program's file, even when another has taken its place.
fn own_path() -> PathBuf {
    if cfg!(target_os = "linux") {
        return "/proc/self/exe".into();
    }
    std::env::current_exe().unwrap_or_default()
}

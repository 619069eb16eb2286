//! Files that a command line names; `-` is standard input, or standard output.

use std::io::{self, Read, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Failure, code};
use crate::output::Output;

/// The name of both standard streams.
pub const STANDARD: &str = "-";

/// Whether standard input was somebody's already.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Reads a file of that many bytes at most; one that cannot be read ends the program
/// with `code`.
///
/// # Errors
///
/// [`Failure`]; for the second who wants standard input that of wrong usage.
pub fn read(path: &str, most: u64, code: u8) -> Result<Vec<u8>, Failure> {
    if path == STANDARD && TAKEN.swap(true, Ordering::Relaxed) {
        return Err(Failure::usage("standard input (-) can stand for one file only"));
    }
    bytes(path, most, &mut io::stdin())
        .map_err(|error| Failure::new(code, format!("cannot read {}: {error}", name(path))))
}

/// [`read`], where `-` is a name like any other: a person is asked for it on the very
/// standard input.
///
/// # Errors
///
/// [`Failure`] when it cannot be read, or is larger.
pub fn read_named(path: &str, most: u64, code: u8) -> Result<Vec<u8>, Failure> {
    let path = if path == STANDARD { "./-" } else { path };
    read(path, most, code)
}

fn bytes(path: &str, most: u64, input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == STANDARD {
        input.take(most + 1).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}

/// Writes a new file, or standard output; what is there stays.
///
/// # Errors
///
/// [`Failure`] when it cannot be written, or is there already.
pub fn create(path: &str, bytes: &[u8], output: &mut Output) -> Result<(), Failure> {
    let mut options = std::fs::File::options();
    write(path, bytes, options.write(true).create_new(true), output)
}

/// Writes a file whether it is there or not, or standard output.
///
/// # Errors
///
/// [`Failure`] when it cannot be written.
pub fn replace(path: &str, bytes: &[u8], output: &mut Output) -> Result<(), Failure> {
    let mut options = std::fs::File::options();
    write(path, bytes, options.write(true).create(true).truncate(true), output)
}

fn write(
    path: &str,
    bytes: &[u8],
    options: &std::fs::OpenOptions,
    output: &mut Output,
) -> Result<(), Failure> {
    if path == STANDARD {
        return output.bytes(bytes);
    }
    let written = options.open(Path::new(path)).and_then(|mut file| file.write_all(bytes));
    written
        .map_err(|error| Failure::new(code::OTHER, format!("cannot write {}: {error}", name(path))))
}

/// What a file is called in a sentence.
pub fn name(path: &str) -> String {
    if path == STANDARD { "standard input".to_owned() } else { mig_module::text::printable(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_a_stream_and_everything_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").display().to_string();
        let mut output = Output::kept();
        create(&path, b"four", &mut output).unwrap();
        let again = create(&path, b"five", &mut output).unwrap_err();
        assert!(again.message.starts_with(&format!("cannot write {path}: ")), "{again:?}");
        assert_eq!(bytes(&path, 4, &mut io::empty()).unwrap(), b"four");
        assert!(bytes(&path, 3, &mut io::empty()).unwrap_err().to_string().contains("larger"));
        replace(&path, b"x", &mut output).unwrap();
        assert_eq!(bytes(&path, 4, &mut io::empty()).unwrap(), b"x");
        assert!(output.take_data().is_empty());

        create(STANDARD, b"data", &mut output).unwrap();
        assert_eq!(output.take_data(), "data");
        assert_eq!(bytes(STANDARD, 4, &mut &b"data"[..]).unwrap(), b"data");
        assert!(bytes(STANDARD, 3, &mut &b"data"[..]).is_err());
        assert_eq!(name(STANDARD), "standard input");
    }
}

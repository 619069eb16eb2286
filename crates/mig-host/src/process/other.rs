//! Systems whose processes cannot be held: an error that says so.

use std::io;
use std::time::Duration;

use super::Executable;

/// A process of this machine.
#[derive(Debug)]
pub struct Process(());

impl Process {
    pub fn open(_: u32) -> io::Result<Self> {
        Err(unsupported())
    }

    pub fn is_parent(&self) -> bool {
        false
    }

    pub fn executable(&self) -> io::Result<Executable> {
        Err(unsupported())
    }

    pub fn ask(&self, _: &Executable, _: &[&str], _: Duration, _: usize) -> io::Result<Vec<u8>> {
        Err(unsupported())
    }

    pub fn kill(&self) -> io::Result<()> {
        Err(unsupported())
    }
}

fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

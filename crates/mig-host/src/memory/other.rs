//! Systems whose processes cannot be looked into: an error that says so.

use std::io;

use super::{Listed, Mapping, Name, Touched};
use crate::host::{Host, HostError};

pub fn processes(_: &dyn Host) -> Result<Vec<Listed>, HostError> {
    Err(HostError::new("the processes of this system", unsupported()))
}

pub fn own_processes() -> Vec<u32> {
    vec![std::process::id()]
}

pub struct Process<'a>(&'a Listed);

impl<'a> Process<'a> {
    pub fn new(_: &dyn Host, listed: &'a Listed) -> Self {
        Self(listed)
    }

    pub fn name(&self) -> io::Result<Name> {
        Ok(Name { shown: format!("[{}]", self.0.name), link: String::new() })
    }

    pub fn mappings(&self) -> io::Result<Vec<Mapping>> {
        Err(unsupported())
    }

    pub fn memory(&self) -> io::Result<Memory> {
        Err(unsupported())
    }
}

#[derive(Debug)]
pub struct Memory;

impl Memory {
    pub fn read(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Err(unsupported())
    }

    pub fn touched(&self, start: u64, end: u64) -> Touched {
        Touched { used: Some((start, end)), next: end }
    }
}

fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

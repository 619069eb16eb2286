//! Systems whose auditing is not known here.

use std::io;
use std::time::Duration;

use super::{Record, Status};

/// Never made: see [`Link::open`].
#[derive(Debug)]
pub struct Link(());

/// Never made.
#[derive(Debug, Clone)]
pub struct Waker(());

impl Waker {
    /// # Errors
    ///
    /// Always.
    pub fn new() -> io::Result<Self> {
        Err(unsupported())
    }

    pub fn wake(&self) {}
}

impl Link {
    /// # Errors
    ///
    /// Always: this system's auditing is not known.
    pub fn open() -> io::Result<Self> {
        Err(unsupported())
    }

    pub fn status(&mut self) -> io::Result<Status> {
        Err(unsupported())
    }

    pub fn enable(&mut self, _how: u32) -> io::Result<()> {
        Err(unsupported())
    }

    pub fn limit_rate(&mut self, _per_second: u32) -> io::Result<()> {
        Err(unsupported())
    }

    pub fn limit_backlog(&mut self, _records: u32) -> io::Result<()> {
        Err(unsupported())
    }

    pub fn register(&mut self) -> io::Result<()> {
        Err(unsupported())
    }

    pub fn resign(&mut self) -> io::Result<()> {
        Err(unsupported())
    }

    pub fn add_rule(&mut self, _rule: &[u8]) -> io::Result<()> {
        Err(unsupported())
    }

    pub fn remove_rules(&mut self) -> io::Result<Vec<Vec<u8>>> {
        Err(unsupported())
    }

    pub fn records(&mut self, _longest: Duration, _waker: &Waker) -> io::Result<Vec<Record>> {
        Err(unsupported())
    }

    pub fn take_dropped(&mut self) -> u64 {
        0
    }
}

fn unsupported() -> io::Error {
    io::Error::from(io::ErrorKind::Unsupported)
}

//! The auditing of this machine's kernel, for one test at a time.

use std::fs::File;
use std::io;

use mig_host::audit::{Link, Status};

/// The kernel's auditing without rules; put back as it was when this is dropped.
#[derive(Debug)]
pub struct Auditing {
    pub link: Link,
    found: Status,
    rules: Vec<Vec<u8>>,
    _lock: File,
}

impl Auditing {
    /// Waits until no other test has it.
    ///
    /// # Errors
    ///
    /// Why it cannot be used here: the kernel has none, this process has not the
    /// right, or somebody else has it.
    pub fn claim() -> io::Result<Self> {
        let lock = File::create(std::env::temp_dir().join("mig-test-audit.lock"))?;
        lock.lock()?;
        let mut link = Link::open()?;
        let found = link.status()?;
        if found.pid != 0 || found.enabled > 1 {
            return Err(io::Error::other(format!("auditing is somebody else's: {found:?}")));
        }
        let rules = link.remove_rules()?;
        Ok(Self { link, found, rules, _lock: lock })
    }

    /// The state that was found.
    pub fn found(&self) -> Status {
        self.found
    }

    fn put_back(&mut self) -> io::Result<()> {
        self.link.remove_rules()?;
        for rule in &self.rules {
            self.link.add_rule(rule)?;
        }
        self.link.limit_rate(self.found.rate_limit)?;
        self.link.limit_backlog(self.found.backlog_limit)?;
        self.link.enable(self.found.enabled)
    }
}

impl Drop for Auditing {
    fn drop(&mut self) {
        // Panicking twice would hide why the test failed.
        let _ = self.put_back();
    }
}

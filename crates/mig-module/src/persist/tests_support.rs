//! An outlet whose words can be read.

use std::io;
use std::sync::{Arc, Mutex};

use super::Outlet;

struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::Error::other("poisoned"))?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn outlet() -> (Arc<Mutex<Vec<u8>>>, Outlet) {
    let said = Arc::new(Mutex::new(Vec::new()));
    (Arc::clone(&said), Outlet::new(Sink(said)))
}

//! Systems that have none.

use std::io;

use super::super::{Job, ServiceError};

/// Never made: see [`attach`].
#[derive(Debug)]
pub enum Service {}

impl Service {
    pub fn on_stop(&self, _pass_on: impl FnOnce() + Send + 'static) {
        match *self {}
    }

    pub fn running(&self) {
        match *self {}
    }

    pub fn ended(self, _is_well: bool) {
        match self {}
    }
}

/// Nobody started this process as a service of Windows.
///
/// # Errors
///
/// None.
pub fn attach() -> io::Result<Option<Service>> {
    Ok(None)
}

/// # Errors
///
/// Always: there is no such manager.
pub fn deploy(_job: &Job) -> Result<(), ServiceError> {
    let source = io::Error::from(io::ErrorKind::Unsupported);
    Err(ServiceError::Command { command: "reaching the service control manager".into(), source })
}

pub fn log_error(_text: &str) {}

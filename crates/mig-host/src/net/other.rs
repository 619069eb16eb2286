//! Systems whose tables cannot be read yet: an error that says so.

use std::io;

use super::{Interface, Namespace, Neighbour, RowError, Sockets, Wanted};
use crate::host::{HostError, LocalHost};

fn unsupported(what: &str) -> HostError {
    HostError::new(what, io::Error::from(io::ErrorKind::Unsupported))
}

pub(crate) fn interfaces(_: &LocalHost) -> Result<Vec<Interface>, HostError> {
    Err(unsupported("network interfaces"))
}

pub(crate) fn neighbours(
    _: &LocalHost,
    _: &Namespace,
) -> Result<Vec<Result<Neighbour, RowError>>, HostError> {
    Err(unsupported("the neighbour table"))
}

pub(crate) fn sockets(_: &LocalHost, _: &Namespace, _: &[Wanted]) -> Sockets {
    Sockets { failures: vec![unsupported("the socket tables")], ..Sockets::default() }
}

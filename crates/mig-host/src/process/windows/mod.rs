//! Windows: a handle is the process, and while it is open nobody else gets its number.

pub(crate) mod raw;

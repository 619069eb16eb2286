//! API, scheduler, store and relay in one process.

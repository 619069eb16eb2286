//! The API through its door: HTTP requests against the router on a real store.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod bench;
mod guards;
mod heartbeats;
mod investigation;
mod provision;

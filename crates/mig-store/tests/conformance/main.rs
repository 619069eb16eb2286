//! The promises of the store, proved on both databases.
//!
//! SQLite uses a file in a temporary directory. PostgreSQL uses a database of
//! its own for every test on the server that `MIG_TEST_POSTGRES_URL` names;
//! without it those tests say that they were skipped.

#![expect(clippy::unwrap_used, reason = "a failure of the set-up fails the test")]

mod actions;
mod agents;
mod commands;
mod duplicates;
mod events;
mod finish;
mod heartbeats;
mod investigators;
mod leases;
mod loaders;
mod manifests;
mod migrations;
mod outage;
mod search;
mod stats;
mod support;

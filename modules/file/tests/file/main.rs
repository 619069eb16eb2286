//! The module through its public door: trees, searches, results.
#![cfg(test)]
#![cfg(unix)]

mod checks;
mod containers;
mod results;
mod selection;
mod tree;
mod walking;

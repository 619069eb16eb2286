//! Schedulers over SQLite and the built-in relay. Real servers come in the
//! end-to-end tests.

#[cfg(test)]
mod agents;
mod duplicates;
#[cfg(test)]
mod flaky;
#[cfg(test)]
mod life;
mod lines;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod platform;
mod postgres;

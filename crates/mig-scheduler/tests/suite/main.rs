//! Schedulers over SQLite and the built-in relay. Real servers come in the
//! end-to-end tests.

#[cfg(test)]
mod agents;
#[cfg(test)]
mod duplicates;
#[cfg(test)]
mod flaky;
#[cfg(test)]
mod life;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod platform;
#[cfg(test)]
mod postgres;

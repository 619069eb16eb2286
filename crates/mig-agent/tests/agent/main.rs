//! The real program over a real relay.

mod checkin;
mod commands;
mod endurance;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod troubles;

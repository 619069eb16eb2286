//! The real program over a real relay.

mod commands;
mod endurance;
#[cfg(test)]
mod stage;

//! The real program over a real relay.

mod checkin;
mod commands;
#[cfg(test)]
mod embed;
mod endurance;
#[cfg(test)]
mod identity;
#[cfg(target_os = "linux")]
#[cfg(test)]
mod service;
#[cfg(test)]
mod socket;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod troubles;

#[cfg(test)]
const AGENT: &str = env!("CARGO_BIN_EXE_mig-agent");

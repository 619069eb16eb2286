#![doc = include_str!("../README.md")]

mod agent;
mod ask;
mod audit;
mod book;
mod connection;
mod fate;
mod fleet;
mod floor;
mod plan;
mod seed;

pub use ask::{AskError, Asked, Question, ask};
pub use audit::{Audit, audit};
pub use book::{Book, Tally};
pub use fate::{Behaviour, Share};
pub use fleet::{Fleet, FleetError};
pub use floor::{Floor, FloorError, floor};
pub use plan::{Plan, PlanError};
pub use seed::{Past, SeedError, seed};

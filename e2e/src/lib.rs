#![doc = include_str!("../README.md")]

pub mod attacker;
pub mod card;
pub mod gnupg;
pub mod measure;
pub mod operator;
pub mod sql;
pub mod swarm;
pub mod terminal;

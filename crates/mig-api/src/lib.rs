#![doc = include_str!("../README.md")]

mod access;
mod auth;
mod client_ip;
mod collection;
mod config;
mod enrol;
mod form;
mod keys;
mod problem;
mod routes;
mod serve;
mod state;

pub use client_ip::ClientIp;
pub use config::{ApiConfig, Authentication, PostgresSection, Server};
pub use enrol::enrol;
pub use routes::{guarded_routes, router};
pub use serve::{open, serve};
pub use state::{ApiSettings, ApiState};

#![doc = include_str!("../README.md")]

mod access;
mod auth;
mod client_ip;
mod collection;
mod config;
mod enrol;
mod form;
pub mod heartbeat;
mod intake;
mod keys;
mod limits;
mod manifests;
mod metrics;
mod openapi;
mod problem;
mod reuse;
mod routes;
mod secrets;
mod serve;
mod state;

pub use client_ip::ClientIp;
pub use config::{
    AgentSection, ApiConfig, Authentication, Manifest, MetricsSection, PostgresSection, Server,
};
pub use enrol::enrol;
pub use openapi::openapi;
pub use routes::{Guard, RouteInfo, Verb, router, routes};
pub use serve::{open, serve};
pub use state::{ApiSettings, ApiState};

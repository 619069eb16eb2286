#![doc = include_str!("../README.md")]
#![cfg(unix)]

mod authority;
mod locate;
mod postgres;
mod process;
mod rabbitmq;

pub use locate::{postgres_bin, rabbitmq_bin};
pub use postgres::Postgres;
pub use process::{Watchdog, wait_until};
pub use rabbitmq::{Account, Permissions, RabbitMq};

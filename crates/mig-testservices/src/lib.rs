#![doc = include_str!("../README.md")]
#![cfg(unix)]

mod authority;
mod locate;
mod postgres;
mod process;
mod rabbitmq;
mod smartcards;

pub use locate::{pcscd, postgres_bin, rabbitmq_bin, scdaemon, virtual_reader};
pub use postgres::Postgres;
pub use process::{Watchdog, wait_until};
pub use rabbitmq::{Account, Permissions, RabbitMq};
pub use smartcards::Smartcards;

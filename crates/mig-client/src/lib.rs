#![doc = include_str!("../README.md")]

pub mod api;
pub mod collection;
pub mod config;
pub mod follow;
pub mod items;
pub mod keyserver;
pub mod launch;
pub mod provision;
pub mod reach;
pub mod refusal;
pub mod retry;
pub mod search;
pub mod signatures;
pub mod signer;
pub mod target;

mod calls;
mod commands;
mod tell;

pub use api::{ApiClient, ClientError};
pub use calls::{Generation, InvestigatorChange, NewInvestigator, armored_key};
pub use collection::{Collection, Item};
pub use commands::{CommandQuery, Commands};
pub use config::ClientConfig;
pub use follow::{FollowEvent, FollowOptions, Follower};
pub use items::Items;
pub use reach::Unreached;
pub use refusal::{Caller, Refusal};
pub use retry::Retry;
pub use search::{Found, Search};
pub use signer::{GpgSigner, Signer, SignerError, SoftwareSigner};

#![doc = include_str!("../README.md")]
#![warn(clippy::indexing_slicing)]

pub mod acl;
pub mod action;
pub mod agent;
pub mod command;
pub mod duration;
pub mod fingerprint;
pub mod heartbeat;
pub mod id;
pub mod investigator;
pub mod loader;
pub mod manifest;
pub mod queueloc;
pub mod target;
pub mod time;
pub mod wire;

pub use acl::{Acl, AclEntry, AclInvestigator};
pub use action::{Action, ActionStatus, Counters, Description, Operation, Threat};
pub use agent::{Agent, AgentMode, AgentStatus, Aws, Environment, Tags};
pub use command::{Command, CommandStatus, ModuleResult};
pub use fingerprint::Fingerprint;
pub use id::{ActionId, AgentId, CommandId, IdGenerator, InvestigatorId, LoaderId, ManifestId};
pub use investigator::{Investigator, InvestigatorStatus, Permissions};
pub use loader::{Loader, LoaderParameters};
pub use manifest::{Manifest, ManifestEntry, ManifestRecord, ManifestStatus};
pub use queueloc::QueueLoc;
pub use target::{LoaderTarget, Target};
pub use time::Timestamp;

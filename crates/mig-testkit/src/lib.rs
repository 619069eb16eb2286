#![doc = include_str!("../README.md")]

mod agent;
mod auditing;
mod cpu;
mod investigator;
mod platform;
mod process;
mod wait;

pub use agent::{AgentOptions, RelayAccess, TestAgent};
pub use auditing::Auditing;
pub use cpu::{anonymous, cpu_time, resident};
pub use investigator::TestInvestigator;
pub use platform::{Backends, Outcome, PlatformOptions, Servers, TestPlatform};
pub use process::{Managed, binary};
pub use wait::{until, until_async};

//! What goes into the store and comes out of it.

use std::time::Duration;

use mig_types::{
    Action, ActionId, ActionStatus, Agent, AgentId, AgentStatus, Command, CommandId, CommandStatus,
    Environment, Fingerprint, InvestigatorId, InvestigatorStatus, Loader, LoaderId, ManifestId,
    ManifestStatus, ModuleResult, Permissions, QueueLoc, Tags, Timestamp,
};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Away: try again later.
    #[error("database is not reachable")]
    Unavailable {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An identifier or unique value is taken.
    #[error("{what} already exists")]
    Conflict { what: String },
    /// The schema is older or newer than this program.
    #[error("database schema is at version {found}, this program needs {wanted}")]
    Schema { found: i64, wanted: i64 },
    /// A target that parses but fails in the database, such as a bad cast.
    #[error("the target cannot be evaluated: {message}")]
    Target { message: String },
    /// A value that no row can hold, such as a text beyond its column.
    #[error("database refuses a value: {what}")]
    Refused { what: String },
    /// The last active administrator would lose that right.
    #[error("will not remove last admin")]
    LastAdmin,
    /// Any other failure.
    #[error("database failed")]
    Failed {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Something happened that another part may be waiting for. A lost event costs
/// latency, never correctness: every listener also has a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreEvent {
    /// A pending action was stored.
    ActionCreated(ActionId),
    /// Commands wait to be published.
    CommandsReady(ActionId),
    /// Commands of the action reached a final status, or the action did.
    Progress(ActionId),
    /// Investigators or their keys changed.
    InvestigatorsChanged,
}

/// Names one process for leases; unique per start.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner(pub String);

/// An agent that a target chooses, as far as dispatching needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub id: AgentId,
    pub name: String,
    pub queueloc: String,
    pub loadername: String,
}

/// A command to create, at dispatch.
#[derive(Debug, Clone)]
pub struct NewCommand {
    pub id: CommandId,
    pub agent: AgentId,
}

/// A command that waits to be published, with all that its message needs.
#[derive(Debug, Clone)]
pub struct Unpublished {
    /// Complete as the agent shall receive it.
    pub command: Command,
    pub queueloc: QueueLoc,
}

/// A result as an agent reported it.
#[derive(Debug, Clone)]
pub struct Finished {
    pub id: CommandId,
    pub queueloc: QueueLoc,
    pub status: CommandStatus,
    pub results: Vec<ModuleResult>,
}

/// What became of a [`Finished`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishOutcome {
    /// Stored; the action it belongs to.
    Stored(ActionId),
    /// The command had a final status already; nothing changed.
    AlreadyFinal(ActionId, CommandStatus),
    /// No such command for this queueloc, or a status no agent may report.
    Unknown,
}

/// What became of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatOutcome {
    /// A row was created: the agent is new here.
    New(AgentId),
    /// The environment changed: the old row went offline, a new one took over.
    Refreshed(AgentId),
    /// The row was kept alive.
    Updated(AgentId),
}

/// Times after which a silent agent changes status.
#[derive(Debug, Clone, Copy)]
pub struct Liveness {
    /// `online` → `idle` after this silence (5 × heartbeat frequency).
    pub idle_after: Duration,
    /// `idle` → `offline` after this silence.
    pub offline_after: Duration,
}

/// An investigator's row, keys included.
#[derive(Debug, Clone, PartialEq)]
pub struct InvestigatorRow {
    pub id: InvestigatorId,
    pub name: String,
    pub fingerprint: Option<Fingerprint>,
    /// Armored text.
    pub public_key: Option<String>,
    pub status: InvestigatorStatus,
    pub created_at: Timestamp,
    pub last_modified: Timestamp,
    pub permissions: Permissions,
    pub has_api_key: bool,
}

/// An investigator to create.
#[derive(Debug, Clone)]
pub struct NewInvestigator {
    pub name: String,
    pub fingerprint: Option<Fingerprint>,
    /// Armored text.
    pub public_key: Option<String>,
    /// Armored text; only the scheduler's own identity has one.
    pub private_key: Option<String>,
    pub permissions: Permissions,
}

/// A stored API key: salted hash, never the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRow {
    pub investigator: InvestigatorId,
    pub hash: Vec<u8>,
    pub salt: Vec<u8>,
}

/// A change of an investigator; `None` leaves a part as it is.
#[derive(Debug, Clone, Default)]
pub struct InvestigatorChange {
    pub status: Option<InvestigatorStatus>,
    pub permissions: Option<Permissions>,
    /// `Some(None)` removes the key; `Some(Some((hash, salt)))` replaces it.
    pub api_key: Option<Option<(Vec<u8>, Vec<u8>)>>,
}

/// A page of a listing.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub limit: u32,
    pub offset: u32,
}

/// Filters of `GET /search`. `None` and empty mean "no filter"; patterns are
/// SQL `ILIKE` patterns (`%`, `_`, backslash escapes).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    pub after: Option<Timestamp>,
    pub before: Option<Timestamp>,
    pub action_id: Option<ActionId>,
    pub action_name: Option<String>,
    pub command_id: Option<CommandId>,
    pub agent_id: Option<AgentId>,
    pub agent_name: Option<String>,
    pub agent_version: Option<String>,
    pub investigator_id: Option<InvestigatorId>,
    pub investigator_name: Option<String>,
    pub threat_family: Option<String>,
    pub status: Option<String>,
    pub found_anything: Option<bool>,
    pub manifest_id: Option<ManifestId>,
    pub manifest_name: Option<String>,
    pub loader_id: Option<LoaderId>,
    pub loader_name: Option<String>,
}

/// A manifest to create; it starts staged.
#[derive(Debug, Clone)]
pub struct NewManifest {
    pub name: String,
    /// Base64 of a gzip-compressed tar archive.
    pub content: String,
    pub target: String,
}

/// A manifest without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRow {
    pub id: ManifestId,
    pub name: String,
    pub timestamp: Timestamp,
    pub status: ManifestStatus,
    pub target: String,
}

/// What became of a manifest's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignOutcome {
    /// Stored; the status now in force.
    Stored(ManifestStatus),
    /// A disabled manifest takes no signature.
    Disabled,
    /// No such manifest.
    Unknown,
}

/// A loader's entry to create; it starts disabled.
#[derive(Debug, Clone)]
pub struct NewLoader {
    pub name: String,
    pub prefix: String,
    pub secret: LoaderSecret,
    pub expectenv: String,
}

/// The secret half of a loader's key as it is stored: salted hash, never the
/// key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderSecret {
    pub hash: Vec<u8>,
    pub salt: Vec<u8>,
}

/// A loader's entry with what proves its key.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderRow {
    /// Without the key.
    pub loader: Loader,
    pub secret: LoaderSecret,
}

/// What a loader says about its host.
#[derive(Debug, Clone, Default)]
pub struct LoaderReport {
    /// Host name.
    pub name: String,
    pub environment: Environment,
    pub tags: Tags,
    /// Empty when its agent never ran.
    pub queueloc: String,
}

/// What one of several schedulers does for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Counting agents.
    Statistics,
    /// Looking for endpoints with several agents.
    Duplicates,
    /// Deleting the queues of endpoints that vanished.
    QueueCleanup,
}

impl Job {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Statistics => "statistics",
            Self::Duplicates => "duplicates",
            Self::QueueCleanup => "queue cleanup",
        }
    }
}

/// What schedulers tell of themselves, for those who cannot see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A scheduler works.
    Scheduler,
    /// A scheduler reaches the relay.
    Relay,
}

impl Sign {
    /// The name in the database, beside those of jobs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler works",
            Self::Relay => "relay reached",
        }
    }
}

/// An action that ends one of several agents of an endpoint.
#[derive(Debug, Clone)]
pub struct KillOrder {
    /// Signed; its target names the endpoint.
    pub action: Action,
    /// The scheduler's identity and its signature.
    pub signer: (InvestigatorId, String),
    /// The agent that must go.
    pub victim: AgentId,
    /// A victim of an earlier order is ordered again after this long.
    pub again_after: Duration,
}

/// A row of `agents_stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentsStats {
    pub timestamp: Timestamp,
    pub online_agents: u64,
    pub online_agents_by_version: Vec<VersionCount>,
    pub online_endpoints: u64,
    pub idle_agents: u64,
    pub idle_agents_by_version: Vec<VersionCount>,
    pub idle_endpoints: u64,
    pub new_endpoints: u64,
    pub multi_agents_endpoints: u64,
    pub disappeared_endpoints: u64,
    pub flapping_endpoints: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VersionCount {
    pub version: String,
    pub count: u64,
}

/// Where an action and its commands stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub action: Action,
    /// Commands of the action by id order that finished after the cursor asked
    /// for; see `CommandStore::finished_since`.
    pub finished: Vec<Command>,
}

/// A status an agent row may be filtered by.
pub type AgentStatusFilter = Option<AgentStatus>;
/// A status an action row may be filtered by.
pub type ActionStatusFilter = Option<ActionStatus>;

/// An agent chosen by a target.
pub type TargetedAgent = Agent;

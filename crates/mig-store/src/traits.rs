//! The promises of the store, one trait per aggregate. `Store` is their sum.

use std::time::Duration;

use async_trait::async_trait;
use mig_types::{
    Action, ActionId, Agent, AgentId, Command, CommandId, Fingerprint, IdGenerator, InvestigatorId,
    Loader, LoaderId, LoaderTarget, ManifestId, ManifestStatus, QueueLoc, Target, Timestamp,
};
use tokio::sync::broadcast;

use crate::model::{
    AgentsStats, ApiKeyRow, Chosen, FinishOutcome, Finished, HeartbeatOutcome, InvestigatorChange,
    InvestigatorRow, Job, KillOrder, Liveness, LoaderReport, LoaderRow, LoaderSecret, ManifestRow,
    NewCommand, NewInvestigator, NewLoader, NewManifest, Owner, Page, Search, Sign, SignOutcome,
    StoreError, StoreEvent, Unpublished,
};

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Actions at rest.
#[async_trait]
pub trait ActionStore: Send + Sync {
    /// Stores a new action and its signatures in one transaction, each
    /// signature under its signer. The id is the caller's draw.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the id is taken (draw another).
    async fn insert_action(
        &self,
        action: &Action,
        signers: &[(InvestigatorId, String)],
    ) -> Result<()>;

    /// The action with counters and investigators.
    async fn action(&self, id: ActionId) -> Result<Option<Action>>;

    /// Takes up to `limit` actions to work on: `pending` ones that are valid
    /// now, and `scheduled` or `preparing` ones whose owner's lease ran out.
    /// Each becomes `scheduled` under a lease of `owner`; no two callers get
    /// the same one.
    async fn claim_actions(
        &self,
        owner: &Owner,
        lease: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Action>>;

    /// Creates some of an action's commands, to be published while the others
    /// are created, and renews its lease; the action is `preparing`. Repeating
    /// it changes nothing. `false` when the lease was lost.
    async fn prepare_commands(
        &self,
        action: ActionId,
        owner: &Owner,
        commands: &[NewCommand],
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool>;

    /// Creates the commands of an action that it does not have yet and sets it
    /// `inflight`, in one transaction. Repeating it changes nothing: (action,
    /// agent) is unique.
    /// Returns whether this call did it; `false` when the lease was lost or the
    /// action is past that point.
    async fn dispatch(
        &self,
        action: ActionId,
        owner: &Owner,
        commands: &[NewCommand],
        now: Timestamp,
    ) -> Result<bool>;

    /// Ends an action that cannot run. `reason` is kept, for
    /// [`ActionStore::reason`].
    async fn invalidate(&self, action: ActionId, reason: &str, now: Timestamp) -> Result<bool>;

    /// Why an action was not run, when a scheduler said so.
    async fn reason(&self, action: ActionId) -> Result<Option<String>>;

    /// Ends `pending`, `scheduled` and `preparing` actions without commands
    /// whose validity passed. Returns them.
    async fn sweep_expired_actions(&self, now: Timestamp) -> Result<Vec<ActionId>>;

    /// Completes `inflight` actions without a command in `sent`. Set-based.
    /// Returns them with final counters.
    async fn complete_actions(&self, now: Timestamp) -> Result<Vec<Action>>;

    /// Actions by filter, newest `validfrom` first, with counters and
    /// investigators, in a constant number of queries.
    async fn search_actions(&self, search: &Search, page: Page) -> Result<Vec<Action>>;

    /// The ten actions started last, for the dashboard.
    async fn last_actions(&self, limit: u32) -> Result<Vec<Action>>;
}

/// Commands at rest.
#[async_trait]
pub trait CommandStore: Send + Sync {
    /// Takes commands that wait to be published and leases them to `owner`, so
    /// that two schedulers do not publish the same one at once.
    async fn claim_unpublished(
        &self,
        owner: &Owner,
        lease: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Unpublished>>;

    /// Records that the relay holds the commands.
    async fn mark_published(&self, ids: &[CommandId]) -> Result<()>;

    /// Records a batch of results in one transaction; one outcome each, in
    /// their order. A final status is never overwritten, except that a late
    /// result replaces `expired`. Results are matched by command id and
    /// queueloc, whatever became of the agent's row. U+0000 in any text of the
    /// results is stored as `NULL`.
    async fn finish_commands(
        &self,
        results: &[Finished],
        now: Timestamp,
    ) -> Result<Vec<FinishOutcome>>;

    /// `sent` → `expired` for commands of actions that ended before
    /// `now - grace`; set-based. Returns the actions touched and how many
    /// commands.
    async fn expire_commands(
        &self,
        grace: Duration,
        now: Timestamp,
    ) -> Result<Vec<(ActionId, u64)>>;

    /// Commands without an answer yet.
    async fn count_in_flight(&self) -> Result<u64>;

    async fn command(&self, id: CommandId) -> Result<Option<Command>>;

    /// Commands by filter, newest first (ties by id).
    async fn search_commands(&self, search: &Search, page: Page) -> Result<Vec<Command>>;

    /// Final commands of one action with a finish sequence above `cursor`,
    /// oldest first, and the cursor after them. Never skips one that commits
    /// late: the sequence is drawn under the action's row lock.
    async fn finished_since(
        &self,
        action: ActionId,
        cursor: u64,
        limit: u32,
    ) -> Result<(Vec<Command>, u64)>;
}

/// Agents at rest.
#[async_trait]
pub trait AgentStore: Send + Sync {
    /// Takes a batch of heartbeats in one transaction, one outcome each, in
    /// their order. `heartbeatts` is set to `now`; see the specification for
    /// when a row is created, refreshed or kept. Bodies were checked before.
    async fn upsert_heartbeats(
        &self,
        beats: &[Agent],
        ids: &IdGenerator,
        now: Timestamp,
    ) -> Result<Vec<HeartbeatOutcome>>;

    /// `idle` → `offline`, then `online` → `idle`. Returns how many of each.
    async fn sweep_agents(&self, liveness: Liveness, now: Timestamp) -> Result<(u64, u64)>;

    async fn agent(&self, id: AgentId) -> Result<Option<Agent>>;

    /// `online` and `idle` agents for which the target holds, one row per
    /// queueloc (the one heard last), ordered by queueloc. Read-only, with a
    /// statement timeout.
    ///
    /// # Errors
    ///
    /// [`StoreError::Target`] when the database cannot evaluate it.
    async fn agents_by_target(&self, target: &Target, now: Timestamp) -> Result<Vec<Chosen>>;

    /// A page of what [`AgentStore::agents_by_target`] chooses, whole.
    ///
    /// # Errors
    ///
    /// As there.
    async fn page_by_target(
        &self,
        target: &Target,
        page: Page,
        now: Timestamp,
    ) -> Result<Vec<Agent>>;

    /// Agents by filter, heard last first.
    async fn search_agents(&self, search: &Search, page: Page) -> Result<Vec<Agent>>;

    /// Endpoints on which several agents take turns: daemons that each were
    /// heard of at least twice within `window`, one between two heartbeats of
    /// the other. One list an endpoint, the agent started first at its head,
    /// destroyed ones among them.
    async fn duplicate_agents(&self, window: Duration, now: Timestamp) -> Result<Vec<Vec<Agent>>>;

    /// Stores a kill order as a pending action and marks its victim
    /// `destroyed`, in one transaction. Does nothing, and returns `false`, when
    /// an order of the same signer for the same target is still open, or the
    /// victim is neither live nor destroyed long enough ago.
    async fn order_kill(&self, order: &KillOrder, now: Timestamp) -> Result<bool>;

    /// Computes all counters from the agents' rows and appends them.
    async fn store_stats(&self, now: Timestamp) -> Result<AgentsStats>;

    /// Deletes statistics older than `age`; how many rows.
    async fn prune_stats(&self, age: Duration, now: Timestamp) -> Result<u64>;

    /// The newest statistics, if any were stored.
    async fn latest_stats(&self) -> Result<Option<AgentsStats>>;

    /// Queuelocs of endpoints that vanished within `window` and have no live
    /// agent, for queue clean-up.
    async fn vanished_endpoints(&self, window: Duration, now: Timestamp) -> Result<Vec<QueueLoc>>;
}

/// Investigators at rest.
#[async_trait]
pub trait InvestigatorStore: Send + Sync {
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the fingerprint is taken.
    async fn insert_investigator(
        &self,
        new: &NewInvestigator,
        now: Timestamp,
    ) -> Result<InvestigatorRow>;

    async fn investigator(&self, id: InvestigatorId) -> Result<Option<InvestigatorRow>>;

    /// By fingerprint, whatever the status.
    async fn investigator_by_fingerprint(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Option<InvestigatorRow>>;

    /// Active investigators with a public key: the platform's keyring.
    async fn active_investigators(&self) -> Result<Vec<InvestigatorRow>>;

    /// Applies a change in one serializable step with the guard against losing
    /// the last administrator. `None` when there is no such investigator.
    async fn change_investigator(
        &self,
        id: InvestigatorId,
        change: &InvestigatorChange,
        now: Timestamp,
    ) -> Result<Option<InvestigatorRow>>;

    async fn search_investigators(
        &self,
        search: &Search,
        page: Page,
    ) -> Result<Vec<InvestigatorRow>>;

    /// API keys of active investigators.
    async fn api_keys(&self) -> Result<Vec<ApiKeyRow>>;

    /// The scheduler's own identity: the lowest active investigator named
    /// `migscheduler` that has a private key, as `(row, armored private key)`.
    /// Creates it from `new` under a lock when there is none.
    async fn scheduler_identity(
        &self,
        new: &NewInvestigator,
        now: Timestamp,
    ) -> Result<(InvestigatorRow, String)>;
}

/// Manifests at rest: what loaders install.
#[async_trait]
pub trait ManifestStore: Send + Sync {
    /// Stores a manifest as staged.
    async fn insert_manifest(&self, new: &NewManifest, now: Timestamp) -> Result<ManifestId>;

    async fn manifest(&self, id: ManifestId) -> Result<Option<ManifestRow>>;

    /// The archive, base64 of a gzip-compressed tar. It never changes.
    async fn manifest_content(&self, id: ManifestId) -> Result<Option<String>>;

    /// Signatures by signer, in the order of the signers' ids.
    async fn manifest_signatures(&self, id: ManifestId) -> Result<Vec<(InvestigatorId, String)>>;

    /// Adds a signature and sets the status by the number there are now, in one
    /// transaction under the manifest's row lock.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the investigator signed it already.
    async fn sign_manifest(
        &self,
        id: ManifestId,
        signer: InvestigatorId,
        signature: &str,
        required: u32,
    ) -> Result<SignOutcome>;

    /// Disables a manifest for good, or stages it again, which drops its
    /// signatures. A disabled one stays as it is. The status now in force;
    /// `None` when there is no such manifest.
    async fn change_manifest(
        &self,
        id: ManifestId,
        status: ManifestStatus,
    ) -> Result<Option<ManifestStatus>>;

    /// Active manifests, newest first.
    async fn active_manifests(&self, limit: u32) -> Result<Vec<ManifestRow>>;

    /// Manifests by filter, newest first.
    async fn search_manifests(&self, search: &Search, page: Page) -> Result<Vec<ManifestRow>>;
}

/// Loaders at rest. Keys never come out, [`Loader::key`] is always empty.
#[async_trait]
pub trait LoaderStore: Send + Sync {
    /// Stores an entry as disabled.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when name or prefix is taken.
    async fn insert_loader(&self, new: &NewLoader, now: Timestamp) -> Result<Loader>;

    async fn loader(&self, id: LoaderId) -> Result<Option<Loader>>;

    /// The enabled entry with that prefix of a key.
    async fn loader_by_prefix(&self, prefix: &str) -> Result<Option<LoaderRow>>;

    /// Whether there is such an entry.
    async fn enable_loader(&self, id: LoaderId, enabled: bool) -> Result<bool>;

    /// Sets what a report must satisfy; empty means anything. Whether there is
    /// such an entry.
    async fn expect_of_loader(&self, id: LoaderId, expectenv: &str) -> Result<bool>;

    /// Replaces the secret half of a key. The entry, if there is one.
    async fn rekey_loader(&self, id: LoaderId, secret: &LoaderSecret) -> Result<Option<Loader>>;

    /// Records what a loader says about its host. U+0000 in any text is stored
    /// as `NULL`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when another entry has the queueloc.
    async fn report_loader(
        &self,
        id: LoaderId,
        report: &LoaderReport,
        now: Timestamp,
    ) -> Result<()>;

    /// Whether a condition holds for one entry as it is stored. Read-only, with
    /// a statement timeout.
    ///
    /// # Errors
    ///
    /// [`StoreError::Target`] when the database cannot evaluate it.
    async fn loader_fits(
        &self,
        id: LoaderId,
        target: &LoaderTarget,
        now: Timestamp,
    ) -> Result<bool>;

    /// Enabled entries for which a condition holds, by name. As
    /// [`LoaderStore::loader_fits`].
    async fn loaders_by_target(&self, target: &LoaderTarget, now: Timestamp)
    -> Result<Vec<Loader>>;

    /// Entries by filter, by name.
    async fn search_loaders(&self, search: &Search, page: Page) -> Result<Vec<Loader>>;
}

/// Who does what for all.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Takes a job for a while, when it is free, its lease ran out, or `owner`
    /// has it already. Whether it did.
    async fn lease(&self, job: Job, owner: &Owner, lease: Duration, now: Timestamp)
    -> Result<bool>;

    /// Gives up every job that `owner` has.
    async fn release(&self, owner: &Owner) -> Result<()>;

    /// Tells that something works until `until`. Of several who tell, the one
    /// who promises longest counts.
    async fn tell(&self, sign: Sign, until: Timestamp) -> Result<()>;

    /// Until when something is said to work; `None` when nobody ever said so.
    async fn told(&self, sign: Sign) -> Result<Option<Timestamp>>;
}

/// Everything at rest.
#[async_trait]
pub trait Store:
    ActionStore
    + CommandStore
    + AgentStore
    + InvestigatorStore
    + ManifestStore
    + LoaderStore
    + LeaseStore
{
    /// Events from this and, where the database can tell, other processes.
    fn events(&self) -> broadcast::Receiver<StoreEvent>;

    /// Answers when the database does.
    async fn ping(&self) -> Result<()>;

    async fn close(&self);
}

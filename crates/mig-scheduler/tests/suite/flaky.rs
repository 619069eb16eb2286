//! A store that can be taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mig_store::{
    ActionStore, AgentStore, AgentsStats, ApiKeyRow, Chosen, CommandStore, FinishOutcome, Finished,
    HeartbeatOutcome, InvestigatorChange, InvestigatorRow, InvestigatorStore, Job, KillOrder,
    LeaseStore, Liveness, LoaderReport, LoaderRow, LoaderSecret, LoaderStore, ManifestRow,
    ManifestStore, NewCommand, NewInvestigator, NewLoader, NewManifest, Owner, Page, Search, Sign,
    SignOutcome, Store, StoreError, StoreEvent, Unpublished,
};
use mig_types::{
    Action, ActionId, Agent, AgentId, Command, CommandId, Fingerprint, IdGenerator, InvestigatorId,
    Loader, LoaderId, LoaderTarget, ManifestId, ManifestStatus, QueueLoc, Target, Timestamp,
};
use tokio::sync::broadcast;

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Passes every call on, unless it is away.
pub(crate) struct FlakyStore {
    inner: Arc<dyn Store>,
    pub(crate) away: AtomicBool,
    /// Goes away once some of an action's commands are created.
    pub(crate) leaves_in_dispatch: AtomicBool,
    refused: AtomicU64,
}

impl FlakyStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            away: AtomicBool::new(false),
            leaves_in_dispatch: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }

    /// Calls refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    fn gate(&self) -> Result<()> {
        if self.away.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::Unavailable { source: "taken away".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl ActionStore for FlakyStore {
    async fn insert_action(
        &self,
        action: &Action,
        signers: &[(InvestigatorId, String)],
    ) -> Result<()> {
        self.gate()?;
        self.inner.insert_action(action, signers).await
    }

    async fn action(&self, id: ActionId) -> Result<Option<Action>> {
        self.gate()?;
        self.inner.action(id).await
    }

    async fn claim_actions(
        &self,
        owner: &Owner,
        lease: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Action>> {
        self.gate()?;
        self.inner.claim_actions(owner, lease, limit, now).await
    }

    async fn prepare_commands(
        &self,
        action: ActionId,
        owner: &Owner,
        commands: &[NewCommand],
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        self.gate()?;
        let created = self.inner.prepare_commands(action, owner, commands, lease, now).await;
        if self.leaves_in_dispatch.load(Ordering::SeqCst) {
            self.away.store(true, Ordering::SeqCst);
        }
        created
    }

    async fn dispatch(
        &self,
        action: ActionId,
        owner: &Owner,
        commands: &[NewCommand],
        now: Timestamp,
    ) -> Result<bool> {
        self.gate()?;
        self.inner.dispatch(action, owner, commands, now).await
    }

    async fn invalidate(&self, action: ActionId, reason: &str, now: Timestamp) -> Result<bool> {
        self.gate()?;
        self.inner.invalidate(action, reason, now).await
    }

    async fn reason(&self, action: ActionId) -> Result<Option<String>> {
        self.gate()?;
        self.inner.reason(action).await
    }

    async fn sweep_expired_actions(&self, now: Timestamp) -> Result<Vec<ActionId>> {
        self.gate()?;
        self.inner.sweep_expired_actions(now).await
    }

    async fn complete_actions(&self, now: Timestamp) -> Result<Vec<Action>> {
        self.gate()?;
        self.inner.complete_actions(now).await
    }

    async fn search_actions(&self, search: &Search, page: Page) -> Result<Vec<Action>> {
        self.gate()?;
        self.inner.search_actions(search, page).await
    }

    async fn last_actions(&self, limit: u32) -> Result<Vec<Action>> {
        self.gate()?;
        self.inner.last_actions(limit).await
    }
}

#[async_trait]
impl CommandStore for FlakyStore {
    async fn claim_unpublished(
        &self,
        owner: &Owner,
        lease: Duration,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Unpublished>> {
        self.gate()?;
        self.inner.claim_unpublished(owner, lease, limit, now).await
    }

    async fn mark_published(&self, ids: &[CommandId]) -> Result<()> {
        self.gate()?;
        self.inner.mark_published(ids).await
    }

    async fn finish_commands(
        &self,
        results: &[Finished],
        now: Timestamp,
    ) -> Result<Vec<FinishOutcome>> {
        self.gate()?;
        self.inner.finish_commands(results, now).await
    }

    async fn expire_commands(
        &self,
        grace: Duration,
        now: Timestamp,
    ) -> Result<Vec<(ActionId, u64)>> {
        self.gate()?;
        self.inner.expire_commands(grace, now).await
    }

    async fn count_in_flight(&self) -> Result<u64> {
        self.gate()?;
        self.inner.count_in_flight().await
    }

    async fn command(&self, id: CommandId) -> Result<Option<Command>> {
        self.gate()?;
        self.inner.command(id).await
    }

    async fn search_commands(&self, search: &Search, page: Page) -> Result<Vec<Command>> {
        self.gate()?;
        self.inner.search_commands(search, page).await
    }

    async fn finished_since(
        &self,
        action: ActionId,
        cursor: u64,
        limit: u32,
    ) -> Result<(Vec<Command>, u64)> {
        self.gate()?;
        self.inner.finished_since(action, cursor, limit).await
    }
}

#[async_trait]
impl AgentStore for FlakyStore {
    async fn upsert_heartbeats(
        &self,
        beats: &[Agent],
        ids: &IdGenerator,
        now: Timestamp,
    ) -> Result<Vec<HeartbeatOutcome>> {
        self.gate()?;
        self.inner.upsert_heartbeats(beats, ids, now).await
    }

    async fn sweep_agents(&self, liveness: Liveness, now: Timestamp) -> Result<(u64, u64)> {
        self.gate()?;
        self.inner.sweep_agents(liveness, now).await
    }

    async fn agent(&self, id: AgentId) -> Result<Option<Agent>> {
        self.gate()?;
        self.inner.agent(id).await
    }

    async fn agents_by_target(&self, target: &Target, now: Timestamp) -> Result<Vec<Chosen>> {
        self.gate()?;
        self.inner.agents_by_target(target, now).await
    }

    async fn page_by_target(
        &self,
        target: &Target,
        page: Page,
        now: Timestamp,
    ) -> Result<Vec<Agent>> {
        self.gate()?;
        self.inner.page_by_target(target, page, now).await
    }

    async fn search_agents(&self, search: &Search, page: Page) -> Result<Vec<Agent>> {
        self.gate()?;
        self.inner.search_agents(search, page).await
    }

    async fn store_stats(&self, now: Timestamp) -> Result<AgentsStats> {
        self.gate()?;
        self.inner.store_stats(now).await
    }

    async fn duplicate_agents(&self, window: Duration, now: Timestamp) -> Result<Vec<Vec<Agent>>> {
        self.gate()?;
        self.inner.duplicate_agents(window, now).await
    }

    async fn order_kill(&self, order: &KillOrder, now: Timestamp) -> Result<bool> {
        self.gate()?;
        self.inner.order_kill(order, now).await
    }

    async fn prune_stats(&self, age: Duration, now: Timestamp) -> Result<u64> {
        self.gate()?;
        self.inner.prune_stats(age, now).await
    }

    async fn latest_stats(&self) -> Result<Option<AgentsStats>> {
        self.gate()?;
        self.inner.latest_stats().await
    }

    async fn vanished_endpoints(&self, window: Duration, now: Timestamp) -> Result<Vec<QueueLoc>> {
        self.gate()?;
        self.inner.vanished_endpoints(window, now).await
    }
}

#[async_trait]
impl InvestigatorStore for FlakyStore {
    async fn insert_investigator(
        &self,
        new: &NewInvestigator,
        now: Timestamp,
    ) -> Result<InvestigatorRow> {
        self.gate()?;
        self.inner.insert_investigator(new, now).await
    }

    async fn investigator(&self, id: InvestigatorId) -> Result<Option<InvestigatorRow>> {
        self.gate()?;
        self.inner.investigator(id).await
    }

    async fn investigator_by_fingerprint(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Option<InvestigatorRow>> {
        self.gate()?;
        self.inner.investigator_by_fingerprint(fingerprint).await
    }

    async fn active_investigators(&self) -> Result<Vec<InvestigatorRow>> {
        self.gate()?;
        self.inner.active_investigators().await
    }

    async fn change_investigator(
        &self,
        id: InvestigatorId,
        change: &InvestigatorChange,
        now: Timestamp,
    ) -> Result<Option<InvestigatorRow>> {
        self.gate()?;
        self.inner.change_investigator(id, change, now).await
    }

    async fn search_investigators(
        &self,
        search: &Search,
        page: Page,
    ) -> Result<Vec<InvestigatorRow>> {
        self.gate()?;
        self.inner.search_investigators(search, page).await
    }

    async fn api_keys(&self) -> Result<Vec<ApiKeyRow>> {
        self.gate()?;
        self.inner.api_keys().await
    }

    async fn scheduler_identity(
        &self,
        new: &NewInvestigator,
        now: Timestamp,
    ) -> Result<(InvestigatorRow, String)> {
        self.gate()?;
        self.inner.scheduler_identity(new, now).await
    }
}

#[async_trait]
impl ManifestStore for FlakyStore {
    async fn insert_manifest(&self, new: &NewManifest, now: Timestamp) -> Result<ManifestId> {
        self.gate()?;
        self.inner.insert_manifest(new, now).await
    }

    async fn manifest(&self, id: ManifestId) -> Result<Option<ManifestRow>> {
        self.gate()?;
        self.inner.manifest(id).await
    }

    async fn manifest_content(&self, id: ManifestId) -> Result<Option<String>> {
        self.gate()?;
        self.inner.manifest_content(id).await
    }

    async fn manifest_signatures(&self, id: ManifestId) -> Result<Vec<(InvestigatorId, String)>> {
        self.gate()?;
        self.inner.manifest_signatures(id).await
    }

    async fn sign_manifest(
        &self,
        id: ManifestId,
        signer: InvestigatorId,
        signature: &str,
        required: u32,
    ) -> Result<SignOutcome> {
        self.gate()?;
        self.inner.sign_manifest(id, signer, signature, required).await
    }

    async fn change_manifest(
        &self,
        id: ManifestId,
        status: ManifestStatus,
    ) -> Result<Option<ManifestStatus>> {
        self.gate()?;
        self.inner.change_manifest(id, status).await
    }

    async fn active_manifests(&self, limit: u32) -> Result<Vec<ManifestRow>> {
        self.gate()?;
        self.inner.active_manifests(limit).await
    }

    async fn search_manifests(&self, search: &Search, page: Page) -> Result<Vec<ManifestRow>> {
        self.gate()?;
        self.inner.search_manifests(search, page).await
    }
}

#[async_trait]
impl LoaderStore for FlakyStore {
    async fn insert_loader(&self, new: &NewLoader, now: Timestamp) -> Result<Loader> {
        self.gate()?;
        self.inner.insert_loader(new, now).await
    }

    async fn loader(&self, id: LoaderId) -> Result<Option<Loader>> {
        self.gate()?;
        self.inner.loader(id).await
    }

    async fn loader_by_prefix(&self, prefix: &str) -> Result<Option<LoaderRow>> {
        self.gate()?;
        self.inner.loader_by_prefix(prefix).await
    }

    async fn enable_loader(&self, id: LoaderId, enabled: bool) -> Result<bool> {
        self.gate()?;
        self.inner.enable_loader(id, enabled).await
    }

    async fn expect_of_loader(&self, id: LoaderId, expectenv: &str) -> Result<bool> {
        self.gate()?;
        self.inner.expect_of_loader(id, expectenv).await
    }

    async fn rekey_loader(&self, id: LoaderId, secret: &LoaderSecret) -> Result<Option<Loader>> {
        self.gate()?;
        self.inner.rekey_loader(id, secret).await
    }

    async fn report_loader(
        &self,
        id: LoaderId,
        report: &LoaderReport,
        now: Timestamp,
    ) -> Result<()> {
        self.gate()?;
        self.inner.report_loader(id, report, now).await
    }

    async fn loader_fits(
        &self,
        id: LoaderId,
        target: &LoaderTarget,
        now: Timestamp,
    ) -> Result<bool> {
        self.gate()?;
        self.inner.loader_fits(id, target, now).await
    }

    async fn loaders_by_target(
        &self,
        target: &LoaderTarget,
        now: Timestamp,
    ) -> Result<Vec<Loader>> {
        self.gate()?;
        self.inner.loaders_by_target(target, now).await
    }

    async fn search_loaders(&self, search: &Search, page: Page) -> Result<Vec<Loader>> {
        self.gate()?;
        self.inner.search_loaders(search, page).await
    }
}

#[async_trait]
impl LeaseStore for FlakyStore {
    async fn lease(
        &self,
        job: Job,
        owner: &Owner,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        self.gate()?;
        self.inner.lease(job, owner, lease, now).await
    }

    async fn release(&self, owner: &Owner) -> Result<()> {
        self.gate()?;
        self.inner.release(owner).await
    }

    async fn tell(&self, sign: Sign, until: Timestamp) -> Result<()> {
        self.gate()?;
        self.inner.tell(sign, until).await
    }

    async fn told(&self, sign: Sign) -> Result<Option<Timestamp>> {
        self.gate()?;
        self.inner.told(sign).await
    }
}

#[async_trait]
impl Store for FlakyStore {
    fn events(&self) -> broadcast::Receiver<StoreEvent> {
        self.inner.events()
    }

    async fn ping(&self) -> Result<()> {
        self.gate()?;
        self.inner.ping().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

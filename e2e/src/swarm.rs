//! A swarm of simulated agents on a platform of real processes.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mig_client::{ApiClient, ClientConfig, Signer, SoftwareSigner};
use mig_relay::RelayConfig;
use mig_runtime::clock::{Clock, SystemClock};
use mig_swarm::{Fleet, Plan};
use mig_testkit::{RelayAccess, TestPlatform, until_async};

/// A fleet, and the investigator who asks it.
pub struct Swarm {
    pub fleet: Fleet,
    pub api: ApiClient,
    pub signer: Arc<dyn Signer>,
    pub clock: Arc<dyn Clock>,
}

impl Swarm {
    /// Starts a fleet and waits until each agent listens and the platform
    /// knows it.
    ///
    /// # Errors
    ///
    /// When that does not happen within `limit`.
    pub async fn start(
        platform: &TestPlatform,
        agents: usize,
        limit: Duration,
        change: impl FnOnce(&mut Plan),
    ) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (api, signer) = client(platform, "alice", &clock)?;
        let mut plan = Plan::new(relay(&platform.relay_access()?)?, "swarm", agents);
        change(&mut plan);
        let fleet = Fleet::start(plan, Arc::clone(&clock)).await?;
        until_async("agents to listen", limit, || async {
            (fleet.ready() == agents).then_some(())
        })
        .await
        .with_context(|| format!("{} of {agents} agents listen", fleet.ready()))?;
        let target = fleet.plan().target();
        until_async("the platform to know all agents", limit, || async {
            let known = api.evaluate_target(&target).await.ok()?;
            (known.len() == agents).then_some(())
        })
        .await?;
        Ok(Self { fleet, api, signer, clock })
    }
}

/// The way to a relay, as a program that is not an agent takes it.
///
/// # Errors
///
/// When the certificates cannot be read.
pub fn relay(access: &RelayAccess) -> anyhow::Result<RelayConfig> {
    let mut config = RelayConfig::new(access.url.clone());
    config.ca_pem = access.ca.as_deref().map(fs::read).transpose()?;
    if let Some((certificate, key)) = &access.certificate {
        config.cert_pem = Some(fs::read(certificate)?);
        config.key_pem = Some(fs::read(key)?);
    }
    Ok(config)
}

/// An investigator's client, with the key that signs.
///
/// # Errors
///
/// When there is no such investigator, or key or configuration cannot be read.
pub fn client(
    platform: &TestPlatform,
    investigator: &str,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(ApiClient, Arc<dyn Signer>)> {
    let person = platform.investigator(investigator)?;
    let home = person.home().display().to_string();
    let environment = move |name: &str| (name == "HOME").then(|| home.clone());
    let (config, _) = ClientConfig::load(&person.home().join(".migrc"), &environment)?;
    let signer: Arc<dyn Signer> =
        Arc::new(SoftwareSigner::load(&person.secret_key_file(), Arc::clone(clock))?);
    let api = ApiClient::new(&config, "swarm", "1", Some(Arc::clone(&signer)), Arc::clone(clock))?;
    // All commands of a large action with their results.
    Ok((api.with_max_answer(1 << 30), signer))
}

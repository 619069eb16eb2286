//! All parts in one process, each the one that serves on the platform too.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use mig_api::ApiState;
use mig_relay::{Role, WsAccount};
use mig_runtime::clock::SystemClock;
use mig_runtime::{Shutdown, tls};
use mig_scheduler::Scheduler;
use tokio::net::TcpListener;

use crate::config::{StandaloneConfig, Validated};
use crate::data::DataDir;

/// The account agents share, as on the platform.
const AGENT_ACCOUNT: &str = "agent";

/// Serves until asked to stop; then drains and closes both databases.
pub async fn serve(
    config: &StandaloneConfig,
    validated: Validated,
    data: &DataDir,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let _lock = data.lock()?;
    // Sockets first: a port in use must not cost a migration.
    let api_listener = listen(validated.api_listen, "server.port").await?;
    let relay_listener = listen(validated.relay_listen, "relay.listen").await?;
    tls::install_provider();
    let (certificate, key) = (data.read("relay.crt")?, data.read("relay.key")?);
    let relay_tls = tls::server_config(certificate.as_bytes(), key.as_bytes(), None)?;

    let store = mig_store::open_sqlite(&data.store()).await.context("opening the store")?;
    let relay = mig_relay::open_local(&data.relay()).await.context("opening the relay")?;
    let clock = Arc::new(SystemClock);
    let settings = config.scheduler_settings();
    let scheduler =
        Scheduler::new(Arc::clone(&store), Arc::new(relay.clone()), clock.clone(), settings);
    let state = ApiState::new(Arc::clone(&store), clock, validated.api.clone(), shutdown.clone());
    let accounts = vec![WsAccount {
        user: AGENT_ACCOUNT.to_owned(),
        password: data.read("agent.password")?,
        role: Role::Agent,
    }];
    tracing::info!("relay listens on {}", relay_listener.local_addr()?);
    let stop = {
        let shutdown = shutdown.clone();
        async move { shutdown.requested().await }
    };
    let relay_server =
        mig_relay::serve_ws(relay.clone(), relay_listener, Some(relay_tls), accounts, stop);
    let outcome = tokio::try_join!(
        async { scheduler.serve(shutdown.clone()).await.context("the scheduler failed") },
        async {
            mig_api::serve(api_listener, state, shutdown.clone()).await.context("the API failed")
        },
        async { relay_server.await.context("the relay failed") },
    );
    mig_relay::Relay::close(&relay).await;
    store.close().await;
    outcome.map(|_| ())
}

async fn listen(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; set {key} to a free address and port")
    })
}

/// A configuration file for an agent that shall connect to this server.
pub fn agent_config(config: &StandaloneConfig, data: &DataDir) -> anyhow::Result<String> {
    let port = config.relay.listen.rsplit(':').next().unwrap_or_default();
    let password = data.read("agent.password")?;
    let ca = std::path::absolute(data.ca())?;
    let api = format!("{}{}/", config.server.host.trim_end_matches('/'), config.server.baseroute);
    let frequency = mig_types::duration::format(config.agent.heartbeatfreq);
    let mut text = String::new();
    writeln!(text, "; connects an agent to this server; copy ca.crt to each endpoint")?;
    writeln!(text, "[agent]")?;
    let name = &config.relay.name;
    writeln!(text, "    relay = \"wss://{AGENT_ACCOUNT}:{password}@{name}:{port}/\"")?;
    writeln!(text, "    api = \"{api}\"")?;
    writeln!(text, "    socket = \"\"")?;
    writeln!(text, "    heartbeatfreq = \"{frequency}\"")?;
    writeln!(text, "    moduletimeout = \"5m0s\"")?;
    writeln!(text, "[certs]")?;
    writeln!(text, "    ca = \"{}\"", ca.display())?;
    writeln!(text, "[logging]")?;
    writeln!(text, "    mode = stdout")?;
    writeln!(text, "    level = info")?;
    Ok(text)
}

//! Opens PostgreSQL databases and listens to their events.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgSslMode};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::Db;
use crate::config::{PostgresConfig, SslMode};
use crate::events;
use crate::model::StoreEvent;

/// Longest wait for a connection, so that an outage is reported, not endured.
const ACQUIRE: Duration = Duration::from_secs(5);
/// Between two attempts to listen again.
const RETRY: Duration = Duration::from_secs(1);

fn options(config: &PostgresConfig) -> PgConnectOptions {
    let mode = match config.sslmode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    };
    // The driver sets TimeZone to UTC for each session.
    let options = PgConnectOptions::new_without_pgpass()
        .host(&config.host)
        .port(config.port)
        .database(&config.dbname)
        .username(&config.user)
        .ssl_mode(mode)
        .application_name("mig");
    if config.password.is_empty() { options } else { options.password(&config.password) }
}

/// Connects when first used.
pub(crate) fn db(config: &PostgresConfig) -> Db {
    let pool = PgPoolOptions::new()
        .max_connections(config.maxconn.max(1))
        .acquire_timeout(ACQUIRE)
        .connect_lazy_with(options(config));
    Db::Postgres { pool, target_limit: config.target_timeout }
}

/// Feeds notifications into the broadcast until told to stop.
#[derive(Debug)]
pub(crate) struct Listener {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens on a connection of its own, so that the smallest pool works.
    pub(crate) fn start(config: &PostgresConfig, events: broadcast::Sender<StoreEvent>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            .connect_lazy_with(options(config));
        let task = tokio::spawn(listen(pool, events, stopped));
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        // The task may have ended by itself; both failures mean "stopped".
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

async fn listen(
    pool: PgPool,
    events: broadcast::Sender<StoreEvent>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            // Dropping the store counts as "stop" too.
            _ = stopped.changed() => break,
            outcome = forward(&pool, &events) => {
                if let Err(error) = outcome {
                    let error: &dyn std::error::Error = &error;
                    tracing::debug!(error, "lost the database's notifications, listening again");
                }
            }
        }
        tokio::select! {
            _ = stopped.changed() => break,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
    pool.close().await;
}

async fn forward(pool: &PgPool, events: &broadcast::Sender<StoreEvent>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(events::CHANNEL).await?;
    while let Some(notification) = listener.try_recv().await? {
        if let Some(event) = events::decode(notification.payload()) {
            // Nobody listening is fine.
            let _ = events.send(event);
        }
    }
    Ok(())
}

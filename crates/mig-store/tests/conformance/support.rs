//! Databases for tests, and the actors in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mig_store::{
    FinishOutcome, Finished, NewCommand, NewInvestigator, Owner, Page, PostgresConfig, SslMode,
    Store, StoreEvent,
};
use mig_types::{
    Action, ActionId, Agent, AgentId, AgentMode, CommandId, CommandStatus, Environment,
    Fingerprint, IdGenerator, ModuleResult, Operation, Permissions, Timestamp,
};
use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use tokio::sync::broadcast;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const LEASE: Duration = Duration::from_mins(1);
pub(crate) const ALL: Page = Page { limit: 1000, offset: 0 };

static DATABASES: AtomicU64 = AtomicU64::new(0);

/// Runs each test on both databases.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    $crate::support::on_sqlite(super::$name).await;
                }
            )*
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    $crate::support::on_postgres(super::$name).await;
                }
            )*
        }
    };
}
pub(crate) use on_both;

/// Two processes on one database, as two schedulers would be.
pub(crate) struct Platform {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) second: Arc<dyn Store>,
    pub(crate) ids: IdGenerator,
    raw: Raw,
}

enum Raw {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

pub(crate) async fn on_sqlite(test: impl AsyncFnOnce(&Platform)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mig.sqlite");
    let store = mig_store::open_sqlite(&path).await.unwrap();
    let second = mig_store::open_sqlite(&path).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .busy_timeout(Duration::from_secs(5));
    let raw = Raw::Sqlite(SqlitePool::connect_lazy_with(options));
    let platform = Platform { store, second, ids: IdGenerator::new(1), raw };
    test(&platform).await;
    platform.store.close().await;
    platform.second.close().await;
}

pub(crate) async fn on_postgres(test: impl AsyncFnOnce(&Platform)) {
    on_postgres_with(|_| {}, test).await;
}

/// [`on_postgres`] with settings of one's own.
pub(crate) async fn on_postgres_with(
    change: impl FnOnce(&mut PostgresConfig),
    test: impl AsyncFnOnce(&Platform),
) {
    let Some(mut database) = Database::create("conf").await else { return };
    change(&mut database.config);
    mig_store::migrate_postgres(&database.config).await.unwrap();
    let store = mig_store::open_postgres(&database.config).await.unwrap();
    let second = mig_store::open_postgres(&database.config).await.unwrap();
    let raw = Raw::Postgres(database.pool());
    let platform = Platform { store, second, ids: IdGenerator::new(1), raw };
    test(&platform).await;
    platform.store.close().await;
    platform.second.close().await;
    database.drop().await;
}

/// A fresh database on the private server.
pub(crate) struct Database {
    pub(crate) config: PostgresConfig,
    admin: PgPool,
}

impl Database {
    /// `None`, saying so, without a server.
    pub(crate) async fn create(prefix: &str) -> Option<Self> {
        let Ok(url) = std::env::var("MIG_TEST_POSTGRES_URL") else {
            skipped("MIG_TEST_POSTGRES_URL is not set");
            return None;
        };
        let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let dbname = format!("mig_{prefix}_{}_{number}", std::process::id());
        let config = PostgresConfig {
            host: options.get_host().to_owned(),
            port: options.get_port(),
            user: options.get_username().to_owned(),
            dbname,
            sslmode: SslMode::Disable,
            maxconn: 5,
            ..PostgresConfig::default()
        };
        let admin = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let sql = format!("create database {}", config.dbname);
        sqlx::query(AssertSqlSafe(sql)).execute(&admin).await.unwrap();
        Some(Self { config, admin })
    }

    pub(crate) fn pool(&self) -> PgPool {
        let url = format!(
            "postgres://{}@{}:{}/{}?sslmode=disable",
            self.config.user, self.config.host, self.config.port, self.config.dbname
        );
        PgPoolOptions::new().max_connections(1).connect_lazy(&url).unwrap()
    }

    pub(crate) async fn drop(self) {
        let sql = format!("drop database {} with (force)", self.config.dbname);
        sqlx::query(AssertSqlSafe(sql)).execute(&self.admin).await.unwrap();
        self.admin.close().await;
    }
}

impl Platform {
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.raw, Raw::Postgres(_))
    }

    /// Changes the database behind the store's back.
    pub(crate) async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.raw {
            Raw::Sqlite(pool) => sqlx::query(sql).execute(pool).await.map(drop),
            Raw::Postgres(pool) => sqlx::query(sql).execute(pool).await.map(drop),
        }
        .unwrap();
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.raw {
            Raw::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await,
            Raw::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await,
        }
        .unwrap()
    }

    /// Heartbeats of agents, one process each.
    pub(crate) async fn enroll(&self, queuelocs: &[&str], now: Timestamp) -> Vec<AgentId> {
        let beats: Vec<_> = queuelocs.iter().map(|queueloc| beat(queueloc, 100)).collect();
        let outcomes = self.store.upsert_heartbeats(&beats, &self.ids, now).await.unwrap();
        outcomes
            .into_iter()
            .map(|outcome| match outcome {
                mig_store::HeartbeatOutcome::New(id)
                | mig_store::HeartbeatOutcome::Refreshed(id)
                | mig_store::HeartbeatOutcome::Updated(id) => id,
            })
            .collect()
    }

    /// A pending action, valid for an hour from [`at`] zero.
    pub(crate) async fn insert(&self, id: u64) -> Action {
        let action = action(id);
        self.store.insert_action(&action, &[]).await.unwrap();
        action
    }

    /// Commands of an action, dispatched by `scheduler`.
    pub(crate) async fn launch(
        &self,
        id: u64,
        agents: &[AgentId],
        now: Timestamp,
    ) -> (ActionId, Vec<CommandId>) {
        let action = self.insert(id).await.id;
        let owner = owner("scheduler");
        let claimed = self.store.claim_actions(&owner, LEASE, 100, now).await.unwrap();
        assert!(claimed.iter().any(|claimed| claimed.id == action));
        let commands: Vec<_> = agents
            .iter()
            .map(|agent| NewCommand { id: self.ids.command(now), agent: *agent })
            .collect();
        assert!(self.store.dispatch(action, &owner, &commands, now).await.unwrap());
        (action, commands.iter().map(|command| command.id).collect())
    }

    pub(crate) async fn finish(&self, result: Finished, now: Timestamp) -> FinishOutcome {
        self.store.finish_commands(&[result], now).await.unwrap()[0]
    }

    pub(crate) async fn investigator(&self, name: &str, permissions: Permissions) -> u64 {
        let new = investigator(name, permissions);
        self.store.insert_investigator(&new, at(0)).await.unwrap().id.get()
    }
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// Seconds after the tests' epoch.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::parse("2026-03-01T00:00:00Z").unwrap() + Duration::from_secs(seconds)
}

pub(crate) fn owner(name: &str) -> Owner {
    Owner(name.to_owned())
}

pub(crate) fn action_id(id: u64) -> ActionId {
    ActionId::new(id).unwrap()
}

pub(crate) fn action(id: u64) -> Action {
    Action {
        id: action_id(id),
        name: format!("action {id}"),
        target: "status='online'".into(),
        validfrom: at(0),
        expireafter: at(3600),
        operations: Some(vec![Operation {
            module: "file".into(),
            parameters: json!({ "searches": {} }),
            ..Operation::default()
        }]),
        pgpsignatures: vec!["wsBc".into()],
        syntaxversion: 2,
        ..Action::default()
    }
}

pub(crate) fn beat(queueloc: &str, pid: i64) -> Agent {
    Agent {
        name: queueloc.replace('.', "-"),
        queueloc: queueloc.into(),
        mode: AgentMode::Daemon,
        version: "1.0".into(),
        pid,
        refreshts: at(0),
        environment: Environment { os: "linux".into(), ..Environment::default() },
        tags: json!({ "operator": "it" }).as_object().unwrap().clone(),
        ..Agent::default()
    }
}

pub(crate) fn result(id: CommandId, queueloc: &str, status: CommandStatus) -> Finished {
    let found = ModuleResult { foundanything: true, success: true, ..ModuleResult::default() };
    Finished { id, queueloc: queueloc.parse().unwrap(), status, results: vec![found] }
}

pub(crate) fn investigator(name: &str, permissions: Permissions) -> NewInvestigator {
    NewInvestigator {
        name: name.into(),
        fingerprint: Some(fingerprint(name)),
        public_key: Some(format!("public key of {name}")),
        private_key: None,
        permissions,
    }
}

/// A fingerprint that follows from a name.
pub(crate) fn fingerprint(name: &str) -> Fingerprint {
    let mut bytes = [0; 20];
    bytes.iter_mut().zip(name.bytes()).for_each(|(slot, byte)| *slot = byte);
    Fingerprint::from_bytes(&bytes)
}

/// Waits until an event arrives; others may come before it.
pub(crate) async fn await_event(events: &mut broadcast::Receiver<StoreEvent>, wanted: StoreEvent) {
    let wait = async {
        loop {
            if events.recv().await.unwrap() == wanted {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no {wanted:?}"));
}

//! A fresh database on the private server of the test run.

use std::sync::Arc;

use mig_store::{PostgresConfig, SslMode, Store};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};

pub(crate) struct Database {
    config: PostgresConfig,
    admin: PgPool,
}

impl Database {
    /// `None`, saying so, without a server.
    pub(crate) async fn create() -> Option<Self> {
        let Ok(url) = std::env::var("MIG_TEST_POSTGRES_URL") else {
            println!("skipped: MIG_TEST_POSTGRES_URL is not set");
            return None;
        };
        let options: PgConnectOptions = url.parse().unwrap();
        let name = mig_runtime::random::alphanumeric(12).to_lowercase();
        let config = PostgresConfig {
            host: options.get_host().to_owned(),
            port: options.get_port(),
            user: options.get_username().to_owned(),
            dbname: format!("mig_scheduler_{name}"),
            sslmode: SslMode::Disable,
            maxconn: 5,
            ..PostgresConfig::default()
        };
        let admin = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let sql = format!("create database {}", config.dbname);
        sqlx::query(AssertSqlSafe(sql)).execute(&admin).await.unwrap();
        Some(Self { config, admin })
    }

    /// Opens it, brought to the current schema.
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        mig_store::migrate_postgres(&self.config).await.unwrap();
        mig_store::open_postgres(&self.config).await.unwrap()
    }

    pub(crate) async fn drop(self) {
        let sql = format!("drop database {} with (force)", self.config.dbname);
        sqlx::query(AssertSqlSafe(sql)).execute(&self.admin).await.unwrap();
        self.admin.close().await;
    }
}

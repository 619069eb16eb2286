//! What callers see while the database is away.

use std::time::{Duration, Instant};

use mig_store::{PostgresConfig, SslMode, StoreError, StoreEvent};
use mig_types::Permissions;

use crate::support::{Database, PATIENCE, Platform, at, await_event, beat, investigator, on_both};

on_both!(a_closed_store_is_unavailable, an_open_store_answers);

async fn a_closed_store_is_unavailable(platform: &Platform) {
    platform.store.close().await;
    let error = platform.store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let beats = [beat("linux.a", 1)];
    let error = platform.store.upsert_heartbeats(&beats, &platform.ids, at(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

async fn an_open_store_answers(platform: &Platform) {
    platform.store.ping().await.unwrap();
    platform.second.ping().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_reported_in_time() {
    // Bound and dropped: nobody listens on the port.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = PostgresConfig {
        host: "127.0.0.1".into(),
        port,
        user: "nobody".into(),
        sslmode: SslMode::Disable,
        ..PostgresConfig::default()
    };
    let start = Instant::now();
    let Err(error) = mig_store::open_postgres(&config).await else { panic!("it opened") };
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_cut_connection_heals() {
    let Some(database) = Database::create("cut").await else { return };
    mig_store::migrate_postgres(&database.config).await.unwrap();
    let store = mig_store::open_postgres(&database.config).await.unwrap();
    let mut events = store.events();
    store.ping().await.unwrap();
    let admin = database.pool();
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .execute(&admin)
    .await
    .unwrap();
    admin.close().await;
    let heal = async {
        for number in 0.. {
            let new = investigator(&format!("i{number}"), Permissions::NONE);
            match store.insert_investigator(&new, at(0)).await {
                Ok(_) | Err(StoreError::Unavailable { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    // Statements work again, and notifications arrive again.
    tokio::select! {
        () = heal => {}
        () = await_event(&mut events, StoreEvent::InvestigatorsChanged) => {}
    }
    let wait = async { while store.ping().await.is_err() {} };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    store.close().await;
    database.drop().await;
}

//! From empty, from earlier versions, and from databases of the original.

use mig_store::{Search, StoreError};
use mig_types::{ActionId, AgentStatus, CommandId, CommandStatus, Timestamp};
use sqlx::AssertSqlSafe;

use crate::support::{ALL, Database, LEASE, at, beat, owner, result};

const SCHEMA_2016: &str = include_str!("../fixtures/schema-2016.sql");
const ROWS_2016: &str = include_str!("../fixtures/rows-2016.sql");
const SQLITE_1: &str = include_str!("../../migrations/sqlite/0001_original.sql");
const SQLITE_2_TO_4: [&str; 3] = [
    include_str!("../../migrations/sqlite/0002_delivery.sql"),
    include_str!("../../migrations/sqlite/0003_duplicates.sql"),
    include_str!("../../migrations/sqlite/0004_pages.sql"),
];

#[tokio::test]
async fn a_database_without_schema_is_refused_until_migrated() {
    let Some(database) = Database::create("empty").await else { return };
    let Err(error) = mig_store::open_postgres(&database.config).await else { panic!("opened") };
    assert!(matches!(error, StoreError::Schema { found: 0, .. }), "{error:?}");
    // Two at once, and again: harmless.
    let (one, two) = tokio::join!(
        mig_store::migrate_postgres(&database.config),
        mig_store::migrate_postgres(&database.config),
    );
    one.unwrap();
    two.unwrap();
    mig_store::migrate_postgres(&database.config).await.unwrap();
    mig_store::open_postgres(&database.config).await.unwrap().close().await;

    let pool = database.pool();
    sqlx::query("insert into mig_schema values (999, 'from the future')")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let Err(error) = mig_store::open_postgres(&database.config).await else { panic!("opened") };
    assert!(matches!(error, StoreError::Schema { found: 999, .. }), "{error:?}");
    let error = mig_store::migrate_postgres(&database.config).await.unwrap_err();
    assert!(matches!(error, StoreError::Schema { found: 999, .. }), "{error:?}");
    database.drop().await;
}

#[tokio::test]
async fn a_postgres_database_of_2016_is_taken_over() {
    let Some(database) = Database::create("old").await else { return };
    let pool = database.pool();
    for script in [SCHEMA_2016, ROWS_2016] {
        sqlx::raw_sql(script).execute(&pool).await.unwrap();
    }
    pool.close().await;
    mig_store::migrate_postgres(&database.config).await.unwrap();
    taken_over(mig_store::open_postgres(&database.config).await.unwrap()).await;
    let pool = database.pool();
    let kind: String = sqlx::query_scalar(
        "select data_type::text from information_schema.columns \
         where table_name = 'commands' and column_name = 'results'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(kind, "json");
    pool.close().await;
    database.drop().await;
}

#[tokio::test]
async fn a_sqlite_file_of_the_previous_version_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let version =
        "create table mig_schema (version bigint not null primary key, name text not null);
        insert into mig_schema values (1, '0001_original');";
    for script in [SQLITE_1, version, ROWS_2016] {
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&pool).await.unwrap();
    }
    taken_over(mig_store::open_sqlite(&path).await.unwrap()).await;
    sqlx::query("insert into mig_schema values (999, 'from the future')")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let Err(error) = mig_store::open_sqlite(&path).await else { panic!("opened") };
    assert!(matches!(error, StoreError::Schema { found: 999, .. }), "{error:?}");
}

#[tokio::test]
async fn what_waited_for_the_relay_before_the_outbox_still_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("4.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let steps = "create table mig_schema (version bigint not null primary key, name text not null);
        insert into mig_schema values (1, ''), (2, ''), (3, ''), (4, '');";
    // The third waits, the fourth is with the relay.
    let commands = "update commands set queueloc = 'linux.old' where id = 3;
        insert into commands (id, actionid, agentid, status, results, starttime, finishtime,
            queueloc, published_at)
        select 4, actionid, 11, status, results, starttime, finishtime, queueloc, starttime
            from commands where id = 3;";
    let [two, three, four] = SQLITE_2_TO_4;
    for script in [SQLITE_1, ROWS_2016, two, three, four, steps, commands] {
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&pool).await.unwrap();
    }
    pool.close().await;
    let store = mig_store::open_sqlite(&path).await.unwrap();
    let now = Timestamp::parse("2016-09-01T12:10:00Z").unwrap();
    let waiting = store.claim_unpublished(&owner("me"), LEASE, 10, now).await.unwrap();
    let ids: Vec<_> = waiting.iter().map(|one| one.command.id.get()).collect();
    assert_eq!(ids, [3]);
}

/// Old rows are readable, doubled agents are settled, results still count.
async fn taken_over(store: std::sync::Arc<dyn mig_store::Store>) {
    let action = ActionId::new(28_059_836_743_699).unwrap();
    let old = store.action(action).await.unwrap().unwrap();
    assert_eq!((old.counters.sent, old.counters.inflight), (3, 1));
    assert_eq!(old.investigators[0].name, "Bob The Investigator");
    assert_eq!(old.pgpsignatures, ["wsDc=="]);
    let (finished, cursor) = store.finished_since(action, 0, 10).await.unwrap();
    assert_eq!((finished.len(), cursor), (2, 2));
    let agents = store.search_agents(&Search::default(), ALL).await.unwrap();
    let live: Vec<_> =
        agents.iter().filter(|agent| agent.status != Some(AgentStatus::Offline)).collect();
    assert_eq!((agents.len(), live.len()), (2, 1));
    assert_eq!(live[0].version, "heard last");
    // A command the old scheduler sent is answered to the new one.
    let pending = CommandId::new(3).unwrap();
    let answer = result(pending, "linux.old", CommandStatus::Success);
    let outcome = store.finish_commands(&[answer], at(0)).await.unwrap();
    assert_eq!(outcome, [mig_store::FinishOutcome::Stored(action)]);
    assert_eq!(store.complete_actions(at(1)).await.unwrap().len(), 1);
    let ids = mig_types::IdGenerator::new(1);
    let outcome = store.upsert_heartbeats(&[beat("linux.old", 7)], &ids, at(2)).await.unwrap();
    assert_eq!(outcome, [mig_store::HeartbeatOutcome::Updated(live[0].id)]);
    store.close().await;
}

#[tokio::test]
async fn the_operators_schema_makes_a_current_database() {
    let Some(database) = Database::create("script").await else { return };
    let pool = database.pool();
    let schema = mig_store::postgres_schema();
    // Twice, as operators do.
    for _ in 0..2 {
        sqlx::raw_sql(AssertSqlSafe(schema.clone())).execute(&pool).await.unwrap();
    }
    pool.close().await;
    mig_store::open_postgres(&database.config).await.unwrap().close().await;
    database.drop().await;
}

//! A past in a private PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test ends where its support fails")]

use mig_store::{Page, PostgresConfig, Search, SslMode};
use mig_swarm::{Past, SeedError, seed};
use mig_testservices::Postgres;
use mig_types::{CommandStatus, Timestamp};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

const PAST: Past = Past { commands: 6000, agents: 200, actions: 60, seed: 7, add: false };

fn now() -> Timestamp {
    Timestamp::parse("2026-06-01T12:00:00Z").unwrap()
}

async fn text(url: &str, sql: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_past_is_whole_repeatable_and_never_mixed_with_rows_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start(folder.path()).unwrap();
    let mut fillings = Vec::new();
    for database in ["one", "two"] {
        text(&postgres.url(), "select version()").await;
        let mut admin = PgConnection::connect(&postgres.url()).await.unwrap();
        let sql = format!("create database {database}");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
        let config = PostgresConfig {
            host: "127.0.0.1".into(),
            port: postgres.port(),
            dbname: database.into(),
            user: "postgres".into(),
            sslmode: SslMode::Disable,
            ..PostgresConfig::default()
        };
        mig_store::migrate_postgres(&config).await.unwrap();
        let url = postgres.database_url(database);
        let guards = "select string_agg(line, E'\\n' order by line) from (select indexdef as line \
            from pg_indexes where tablename = 'commands' union all \
            select conname || pg_get_constraintdef(oid) from pg_constraint \
            where conrelid = 'commands'::regclass) as lines";
        let before = text(&url, guards).await;
        seed(&url, &PAST, now()).await.unwrap();
        assert_eq!(text(&url, guards).await, before);

        let store = mig_store::open_postgres(&config).await.unwrap();
        let page = Page { limit: 10_000, offset: 0 };
        let commands = store.search_commands(&Search::default(), page).await.unwrap();
        assert_eq!(commands.len(), 6000);
        let has = |status| commands.iter().any(|command| command.status == status);
        assert!(has(CommandStatus::Success) && has(CommandStatus::Failed));
        assert!(has(CommandStatus::Sent) && has(CommandStatus::Expired));
        let found = Search { found_anything: Some(true), ..Search::default() };
        let found = store.search_commands(&found, page).await.unwrap().len();
        assert!((1..6000).contains(&found), "{found}");
        let live =
            store.agents_by_target(&"status='online'".parse().unwrap(), now()).await.unwrap();
        assert!((150..200).contains(&live.len()), "{}", live.len());
        let actions = store.search_actions(&Search::default(), page).await.unwrap();
        assert_eq!(actions.iter().map(|action| action.counters.sent).sum::<u64>(), 6000);
        assert!(actions.iter().all(|action| !action.investigators.is_empty()));
        store.close().await;

        let error = seed(&url, &PAST, now()).await.unwrap_err();
        assert!(matches!(error, SeedError::NotEmpty), "{error:?}");
        let rows = "select md5(string_agg(id::text || status || coalesce(results::text, '') || \
            queueloc, '' order by id)) from commands";
        fillings.push(text(&url, rows).await);
    }
    assert_eq!(fillings[0], fillings[1]);

    let url = postgres.database_url("two");
    seed(&url, &Past { commands: 100, add: true, ..PAST }, now()).await.unwrap();
    assert_eq!(text(&url, "select count(*)::text from commands").await, "6100");
}

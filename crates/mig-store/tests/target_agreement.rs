//! The three readings of a target agree: `SQLite`, `PostgreSQL` and the agent's
//! own evaluation select the same agents.
#![cfg(test)]

use std::collections::BTreeSet;

use mig_store::target_sql::{Dialect, render, sqlite_time};
use mig_types::target::{Facts, Truth};
use mig_types::{Agent, AgentMode, Aws, Environment, Target, Timestamp, wire};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use sqlx::postgres::PgArguments;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _, SqliteConnection,
};

const AGENTS: i64 = 60;

fn now() -> Timestamp {
    Timestamp::parse("2016-09-01T12:00:00.123456Z").unwrap()
}

/// One row of each table, chosen by a small generator so that every run and
/// every database holds the same.
struct Fleet {
    agents: Vec<(i64, Agent, &'static str, Option<&'static str>)>,
    commands: Vec<(i64, i64, i64, &'static str, Option<&'static str>)>,
}

const NAMES: &[&str] = &[
    "IT",
    "it",
    "linux",
    "Łódź",
    "łódź",
    "a%b",
    "a_b",
    "",
    "it's",
    "3",
    "-7",
    "3.50",
    "true",
    "NO",
    "web1",
    "WEB12",
    "x\ny",
    "\u{1f600}",
    "a\"b\\c",
    "<&>",
    " 5",
    "99999999999999999999",
];

/// Contents of `commands.results`.
const RESULTS: &[Option<&str>] = &[
    None,
    Some("null"),
    Some("[]"),
    Some(r#"[{"foundanything":true}]"#),
    Some(r#"[{"foundanything":false},{"foundanything":true,"x":[{"y":"z"}]}]"#),
    Some(r#""scalar""#),
    Some(r#"["text",5,null,true]"#),
    Some(r#"{"foundanything":true}"#),
    Some(r#"[{"foundanything":"true"}]"#),
    Some("[[1,2]]"),
];

fn tag_values() -> Vec<Value> {
    vec![
        json!("IT"),
        json!("3"),
        json!("3.5"),
        json!(3),
        json!(3.5),
        json!(true),
        json!(null),
        json!([1, "two", null, 1.5]),
        json!([]),
        json!({"0": "zero", "a": {"b": "<deep>"}}),
        json!("yes"),
        json!("f"),
        json!("Łódź"),
        json!(""),
        json!("a\nb"),
        json!(-12),
        json!(1e300),
    ]
}

fn fleet() -> Fleet {
    let values = tag_values();
    let mut state = 42_u64;
    let mut pick = |size: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % size
    };
    let mut agents = Vec::new();
    for id in 1..=AGENTS {
        let mut tags = serde_json::Map::new();
        for key in ["operator", "level", "list", "7", "it's", "a b"] {
            if pick(3) > 0 {
                tags.insert(key.to_owned(), values[pick(values.len())].clone());
            }
        }
        let environment = Environment {
            os: ["linux", "darwin", "windows", ""][pick(4)].to_owned(),
            ident: NAMES[pick(NAMES.len())].to_owned(),
            isproxied: pick(2) == 0,
            addresses: ["10.0.0.1/24", "::1/128"][..pick(3)]
                .iter()
                .map(|a| (*a).to_owned())
                .collect(),
            aws: Aws { instanceid: ["", "i-1"][pick(2)].to_owned(), ..Aws::default() },
            ..Environment::default()
        };
        let agent = Agent {
            name: NAMES[pick(NAMES.len())].to_owned(),
            queueloc: format!("{}.{id}", ["linux", "Linux", "windows"][pick(3)]),
            mode: [AgentMode::Daemon, AgentMode::Checkin, AgentMode::Unset][pick(3)],
            version: ["20160712", "20150101-abc", "2016"][pick(3)].to_owned(),
            pid: i64::try_from(pick(9)).unwrap() - 2,
            tags,
            environment,
            heartbeatts: now() - std::time::Duration::from_secs(u64::try_from(pick(7200)).unwrap()),
            starttime: [
                Timestamp::ZERO,
                Timestamp::NEVER,
                now(),
                Timestamp::parse("2016-08-01T12:00:00.123456Z").unwrap(),
            ][pick(4)],
            ..Agent::default()
        };
        let loader = [None, Some("loader"), Some("")][pick(3)];
        agents.push((id, agent, ["online", "idle", "offline"][pick(3)], loader));
    }
    let commands = (1..=100)
        .map(|id| {
            let agent = i64::try_from(pick(40)).unwrap() + 1;
            let action = i64::try_from(pick(3)).unwrap() + 1;
            (id, action, agent, ["success", "sent"][pick(2)], RESULTS[pick(RESULTS.len())])
        })
        .collect();
    Fleet { agents, commands }
}

const SQLITE_SCHEMA: &str = "
    CREATE TABLE agents (id INTEGER PRIMARY KEY, name TEXT, queueloc TEXT, mode TEXT, version TEXT,
      pid INTEGER, starttime TEXT, heartbeattime TEXT, refreshtime TEXT, destructiontime TEXT,
      status TEXT, environment TEXT, tags TEXT, loadername TEXT);
    CREATE TABLE commands (id INTEGER PRIMARY KEY, actionid INTEGER, agentid INTEGER, status TEXT,
      results TEXT, starttime TEXT, finishtime TEXT);
    CREATE TABLE actions (id INTEGER PRIMARY KEY, name TEXT, target TEXT, validfrom TEXT,
      expireafter TEXT, starttime TEXT, finishtime TEXT, lastupdatetime TEXT, status TEXT,
      syntaxversion INTEGER);
    CREATE TABLE signatures (actionid INTEGER, investigatorid INTEGER);
    INSERT INTO actions (id, name, status) VALUES (1, 'one', 'completed'), (2, 'two', NULL);
    INSERT INTO signatures VALUES (1, 1), (2, 1), (2, 2);";

/// The collation orders and folds unlike bytes do, as a database's own may.
const POSTGRES_SCHEMA: &str = "
    CREATE TEMP TABLE agents (id numeric PRIMARY KEY,
      name varchar(2048) COLLATE \"en-US-x-icu\", queueloc varchar(2048),
      mode varchar(2048), version varchar(2048), pid integer, starttime timestamptz,
      heartbeattime timestamptz, refreshtime timestamptz, destructiontime timestamptz,
      status varchar(255), environment json, tags json, loadername varchar(2048));
    CREATE TEMP TABLE commands (id numeric PRIMARY KEY, actionid numeric, agentid numeric,
      status varchar(255), results json, starttime timestamptz, finishtime timestamptz);
    CREATE TEMP TABLE actions (id numeric PRIMARY KEY, name varchar(2048), target varchar(2048),
      validfrom timestamptz, expireafter timestamptz, starttime timestamptz, finishtime timestamptz,
      lastupdatetime timestamptz, status varchar(256), syntaxversion integer);
    CREATE TEMP TABLE signatures (actionid numeric, investigatorid numeric);
    INSERT INTO actions (id, name, status) VALUES (1, 'one', 'completed'), (2, 'two', NULL);
    INSERT INTO signatures VALUES (1, 1), (2, 1), (2, 2);
    SET TimeZone = 'UTC';";

const INSERT_AGENT: &str = "INSERT INTO agents (id, name, queueloc, mode, version, pid, starttime,
    heartbeattime, refreshtime, status, environment, tags, loadername) VALUES ";
const INSERT_COMMAND: &str =
    "INSERT INTO commands (id, actionid, agentid, status, results) VALUES ";

async fn sqlite(fleet: &Fleet) -> SqliteConnection {
    let options = SqliteConnectOptions::new().in_memory(true).with_regexp();
    let mut db = options.connect().await.unwrap();
    sqlx::raw_sql(SQLITE_SCHEMA).execute(&mut db).await.unwrap();
    for (id, agent, status, loader) in &fleet.agents {
        sqlx::query(AssertSqlSafe(format!(
            "{INSERT_AGENT} ($1,$2,$3,$4,$5,$6,$7,$8,$8,$9,$10,$11,$12)"
        )))
        .bind(id)
        .bind(&agent.name)
        .bind(&agent.queueloc)
        .bind(agent.mode.as_str())
        .bind(&agent.version)
        .bind(agent.pid)
        .bind(sqlite_time(agent.starttime))
        .bind(sqlite_time(agent.heartbeatts))
        .bind(status)
        .bind(wire::to_string(&agent.environment).unwrap())
        .bind(wire::to_string(&agent.tags).unwrap())
        .bind(loader)
        .execute(&mut db)
        .await
        .unwrap();
    }
    for (id, action, agent, status, results) in &fleet.commands {
        sqlx::query(AssertSqlSafe(format!("{INSERT_COMMAND} ($1,$2,$3,$4,$5)")))
            .bind(id)
            .bind(action)
            .bind(agent)
            .bind(status)
            .bind(results)
            .execute(&mut db)
            .await
            .unwrap();
    }
    db
}

async fn postgres(fleet: &Fleet) -> Option<PgConnection> {
    let Ok(url) = std::env::var("MIG_TEST_POSTGRES_URL") else {
        println!("skipped: PostgreSQL, MIG_TEST_POSTGRES_URL is not set");
        return None;
    };
    let mut db = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(POSTGRES_SCHEMA).execute(&mut db).await.unwrap();
    for (id, agent, status, loader) in &fleet.agents {
        sqlx::query(AssertSqlSafe(format!(
            "{INSERT_AGENT} ($1,$2,$3,$4,$5,$6::int,$7,$8,$8,$9,$10::json,$11::json,$12)"
        )))
        .bind(id)
        .bind(&agent.name)
        .bind(&agent.queueloc)
        .bind(agent.mode.as_str())
        .bind(&agent.version)
        .bind(i32::try_from(agent.pid).unwrap())
        .bind(agent.starttime.datetime())
        .bind(agent.heartbeatts.datetime())
        .bind(status)
        .bind(wire::to_string(&agent.environment).unwrap())
        .bind(wire::to_string(&agent.tags).unwrap())
        .bind(loader)
        .execute(&mut db)
        .await
        .unwrap();
    }
    for (id, action, agent, status, results) in &fleet.commands {
        sqlx::query(AssertSqlSafe(format!("{INSERT_COMMAND} ($1,$2,$3,$4,$5::json)")))
            .bind(id)
            .bind(action)
            .bind(agent)
            .bind(status)
            .bind(results)
            .execute(&mut db)
            .await
            .unwrap();
    }
    Some(db)
}

struct Databases {
    fleet: Fleet,
    sqlite: SqliteConnection,
    postgres: Option<PgConnection>,
}

impl Databases {
    async fn open() -> Self {
        let fleet = fleet();
        let (sqlite, postgres) = (sqlite(&fleet).await, postgres(&fleet).await);
        Self { fleet, sqlite, postgres }
    }

    /// What `SQLite` selects, once the others are found to agree.
    async fn selected(&mut self, text: &str) -> Result<BTreeSet<i64>, String> {
        let target: Target = text.parse().map_err(|error| format!("{text}: {error}"))?;
        let rendered = |dialect| {
            let rendered = render(target.condition(), dialect, now(), 1).unwrap();
            (
                format!("SELECT CAST(agents.id AS bigint) FROM agents WHERE {}", rendered.sql),
                rendered,
            )
        };
        let (sql, parts) = rendered(Dialect::Sqlite);
        let mut arguments = SqliteArguments::default();
        parts.bind_sqlite(&mut arguments).map_err(|error| error.to_string())?;
        let rows = sqlx::query_with(AssertSqlSafe(sql.clone()), arguments)
            .fetch_all(&mut self.sqlite)
            .await
            .map_err(|error| format!("{text}: {sql}: {error}"))?;
        let from_sqlite: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        if let Some(db) = &mut self.postgres {
            let (sql, parts) = rendered(Dialect::Postgres);
            let mut arguments = PgArguments::default();
            parts.bind_postgres(&mut arguments).map_err(|error| error.to_string())?;
            let rows = sqlx::query_with(AssertSqlSafe(sql.clone()), arguments)
                .fetch_all(db)
                .await
                .map_err(|error| format!("{text}: {sql}: {error}"))?;
            let from_postgres: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
            if from_postgres != from_sqlite {
                return Err(format!(
                    "{text}: PostgreSQL {from_postgres:?}, SQLite {from_sqlite:?}"
                ));
            }
        }
        for (id, agent, ..) in &self.fleet.agents {
            let own = target.evaluate(Facts { agent, now: now() });
            let selected = from_sqlite.contains(id);
            if own == Truth::True && !selected || own == Truth::False && selected {
                return Err(format!(
                    "{text}: agent {id} says {own:?}, SQLite {selected}: {agent:?}"
                ));
            }
        }
        Ok(from_sqlite)
    }
}

const TEXTS: &[&str] = &[
    "name",
    "agents.queueloc",
    "mode",
    "version",
    "status",
    "loadername",
    "tags->>'operator'",
    "tags->>'level'",
    "tags->'list'->>0",
    "tags#>>'{list,0}'",
    "tags#>>'{list,-1}'",
    "tags#>>'{7}'",
    "tags->>'it''s'",
    "(tags->'list')->'a'->>'b'",
    "tags->>'list'",
    "tags->>'a b'",
    "tags->>'missing'",
    "environment->>'os'",
    "environment->>'ident'",
    "environment->>'isproxied'",
    "environment#>>'{aws,instanceid}'",
    "environment->'addresses'->>0",
    "environment->'addresses'->> -1",
    "environment->>'addresses'",
    "environment->>'aws'",
    "tags#>>'{list,7,0}'",
    "pid::text",
    "(tags->'list')::text",
    "(tags->>'operator')::bool::text",
];
const WORDS: &[&str] = &[
    "'IT'",
    "'it'",
    "'linux'",
    "'Łódź'",
    "'a%b'",
    "''",
    "'it''s'",
    "'3'",
    "'3.5'",
    "'true'",
    "'web1'",
    "'Z'",
    "'a'",
    "'\u{1f600}'",
    "'20160712'",
    "'online'",
    "'loader'",
    "E'x\\ny'",
    "'[]'",
    "NULL",
];
const PATTERNS: &[&str] = &[
    "%",
    "",
    "_",
    "linux%",
    "%1",
    "I_",
    "ł%",
    "Ł%",
    "a\\%b",
    "a\\_b",
    "%''%",
    "WEB%",
    "%.%.%",
    "__%",
    "x%y",
    "%\u{1f600}",
    "[%",
    "2016%7%",
];
const REGEXES: &[&str] = &[
    "^web[0-9]+$",
    "[a-k]",
    "\\d",
    "\\w$",
    "^$",
    "i.?t",
    "[[:upper:]]",
    "a|b",
    "^(l|L)in(ux)?",
    ".",
    "\\s",
    "[^a-z]",
    "[0-9]{2,3}",
    "ł",
    "Ł",
    "x.y",
    "\\.",
    "^[^0-9]*$",
    "(|a)x",
    "\\D$",
    "[]%]",
    "%",
    "web1{1,2}?$",
];
const INTERVALS: &[&str] =
    &["1 hour", "30 minutes", "1 month", "00:10", "31 days", "-1 day", "2000 years"];

fn text() -> impl Strategy<Value = String> {
    let plain = select(TEXTS).prop_map(str::to_owned);
    plain.prop_flat_map(|text| {
        let forms =
            [text.clone(), text.clone(), format!("lower({text})"), format!("upper({text})")];
        select(forms.to_vec())
    })
}

fn word() -> impl Strategy<Value = String> {
    select(WORDS).prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("pid".to_owned()),
        Just("id".to_owned()),
        text().prop_map(|text| format!("({text})::int")),
        text().prop_map(|text| format!("CAST({text} AS numeric)")),
        text().prop_map(|text| format!("length({text})")),
        text().prop_map(|text| format!("({text})::bool::int")),
        (-5_i64..70).prop_map(|number| number.to_string()),
        select(&["3.5", "'3'", "-1.25", "NULL", "0"][..]).prop_map(str::to_owned),
    ]
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![
        select(&["starttime", "heartbeattime", "refreshtime", "destructiontime", "now()"][..])
            .prop_map(str::to_owned),
        (select(INTERVALS), select(&["+", "-"][..]))
            .prop_map(|(interval, sign)| format!("NOW() {sign} INTERVAL '{interval}'")),
        select(
            &["'2016-09-01'", "'2016-08-01 12:00:00.123456'", "TIMESTAMP '2016-09-01 13:00+01'"][..]
        )
        .prop_map(str::to_owned),
    ]
}

fn operator() -> impl Strategy<Value = &'static str> {
    select(&["=", "<>", "<", "<=", ">", ">="][..])
}

fn not() -> impl Strategy<Value = &'static str> {
    select(&["", "NOT "][..])
}

fn sub_select() -> impl Strategy<Value = String> {
    let element = select(
        &[
            "r#>>'{foundanything}' = 'true'",
            "r->>'foundanything' = 'false'",
            "r->>0 IS NOT NULL",
            "r#>>'{x,0,y}' = 'z'",
            "r->'foundanything' IS NULL",
        ][..],
    );
    let plain = select(
        &[
            "status = 'success'",
            "commands.status LIKE 'S%'",
            "results IS NULL",
            "results->>0 IS NULL",
            "results#>>'{0,foundanything}' = 'true'",
            "finishtime IS NULL",
            "actionid IN (SELECT id FROM actions WHERE name ~ 'w' OR status = 'completed')",
            "actionid NOT IN (SELECT actionid FROM signatures WHERE investigatorid = 2)",
        ][..],
    );
    prop_oneof![
        (1..5, element).prop_map(|(action, test)| format!(
            "select agentid from commands, json_array_elements(commands.results) as r \
             where actionid={action} and {test}"
        )),
        plain.prop_map(|test| format!("SELECT DISTINCT agentid FROM commands WHERE {test}")),
        Just(
            "SELECT agentid FROM commands, actions WHERE commands.actionid = actions.id".to_owned()
        ),
        Just("SELECT investigatorid FROM signatures".to_owned()),
    ]
}

fn leaf() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (text(), operator(), word()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        1 => (text(), operator(), text()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        3 => (text(), not(), select(&["LIKE", "ILIKE"][..]), select(PATTERNS))
            .prop_map(|(a, not, like, pattern)| format!("{a} {not}{like} '{pattern}'")),
        3 => (text(), select(&["~", "~*", "!~", "!~*"][..]), select(REGEXES))
            .prop_map(|(a, op, regex)| format!("{a} {op} '{regex}'")),
        2 => (number(), operator(), number()).prop_filter_map("two literals", |(a, op, b)| {
            (!a.starts_with('\'')).then(|| format!("{a} {op} {b}"))
        }),
        2 => (time(), operator(), time()).prop_filter_map("two literals", |(a, op, b)| {
            (!a.starts_with('\'') || !b.starts_with('\'')).then(|| format!("{a} {op} {b}"))
        }),
        1 => (text(), not(), word(), word()).prop_map(|(a, not, b, c)| format!("{a} {not}BETWEEN {b} AND {c}")),
        1 => (text(), not(), word(), text()).prop_map(|(a, not, b, c)| format!("{a} {not}IN ({b}, {c})")),
        1 => (not(), number(), number())
            .prop_map(|(not, a, b)| format!("pid {not}IN ({a}, {b}, 3)")),
        1 => (text(), not()).prop_map(|(a, not)| format!("{a} IS {not}NULL")),
        1 => (select(&["tags", "tags->'list'", "tags#>'{list,0}'", "environment->'aws'", "id", "destructiontime"][..]), not())
            .prop_map(|(a, not)| format!("{a} IS {not}NULL")),
        1 => text().prop_map(|a| format!("({a})::bool")),
        2 => (not(), sub_select()).prop_map(|(not, select)| format!("id {not}IN ({select})")),
        1 => select(&["TRUE", "FALSE", "NULL"][..]).prop_map(str::to_owned),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    leaf().prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 2..4), select(&[" AND ", " OR "][..]))
                .prop_map(|(members, word)| format!("({})", members.join(word))),
            inner.clone().prop_map(|member| format!("NOT ({member})")),
            (inner, not(), select(&["TRUE", "FALSE", "UNKNOWN"][..]))
                .prop_map(|(member, not, value)| format!("({member}) IS {not}{value}")),
        ]
    })
}

#[test]
fn random_conditions_select_the_same_agents_everywhere() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let databases = std::cell::RefCell::new(runtime.block_on(Databases::open()));
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(800);
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut chosen = 0_usize;
    let counter = std::cell::RefCell::new(&mut chosen);
    TestRunner::new(config)
        .run(&condition(), |text| {
            let found = runtime.block_on(databases.borrow_mut().selected(&text));
            let found = found.map_err(TestCaseError::fail)?;
            **counter.borrow_mut() += usize::from(!found.is_empty() && found.len() < 60);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    // Conditions that choose everything or nothing would prove little.
    assert!(
        chosen > usize::try_from(cases).unwrap() / 5,
        "only {chosen} of {cases} tell agents apart"
    );
}

#[tokio::test]
async fn documented_conditions_select_what_they_say() {
    let mut databases = Databases::open().await;
    for (text, expected) in [
        ("status='online'", "online"),
        ("status='online' OR status='idle'", "online idle"),
        ("status IN ('idle')", "idle"),
        ("queueloc LIKE '%' AND name like '%' AND NOT status = 'offline'", "online idle"),
    ] {
        let wanted: BTreeSet<i64> = databases
            .fleet
            .agents
            .iter()
            .filter(|(.., status, _)| expected.split(' ').any(|word| word == *status))
            .map(|(id, ..)| *id)
            .collect();
        assert_eq!(databases.selected(text).await, Ok(wanted), "{text}");
    }
    let found = "id IN (select agentid from commands, json_array_elements(commands.results) as r \
                 where actionid=1 and r#>>'{foundanything}' = 'true')";
    let wanted: BTreeSet<i64> = databases
        .fleet
        .commands
        .iter()
        .filter(|(_, action, .., results)| {
            let Some(Value::Array(list)) = results.map(|text| serde_json::from_str(text).unwrap())
            else {
                return false;
            };
            let yes = |element: &Value| matches!(&element["foundanything"], v if v == true || v == "true");
            *action == 1 && list.iter().any(yes)
        })
        .map(|(_, _, agent, ..)| *agent)
        .collect();
    assert!(!wanted.is_empty());
    assert_eq!(databases.selected(found).await, Ok(wanted));
}

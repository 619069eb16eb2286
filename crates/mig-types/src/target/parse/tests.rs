use proptest::prelude::*;

use super::super::Target;
use super::*;

fn refusal(text: &str) -> TargetError {
    text.parse::<Target>().expect_err(text)
}

#[test]
fn refuses_with_the_place_and_the_reason() {
    let mut wrong = Vec::new();
    for (text, line, column, reason) in [
        ("", 1, 1, "empty"),
        ("name = 'a'; DROP TABLE agents", 1, 11, "semicolon"),
        ("name = 'a' UNION SELECT 1", 1, 12, "cannot follow"),
        ("name = 'a') OR (1=1", 1, 11, "cannot follow"),
        ("name =\n  nope", 2, 3, "no column nope"),
        ("name = 'a' AND pg_sleep(10) = 1", 1, 16, "now(), lower()"),
        ("lower(DISTINCT name) = 'a'", 1, 1, "now(), lower()"),
        ("lower(name) OVER () = 'a'", 1, 1, "now(), lower()"),
        ("EXISTS (SELECT 1 FROM commands)", 1, 9, "after IN"),
        ("id = (SELECT max(id) FROM commands)", 1, 7, "after IN"),
        ("id IN (SELECT id FROM investigators)", 1, 23, "investigators is not readable"),
        ("id IN (SELECT id FROM pg_catalog.pg_shadow)", 1, 23, "a sub-select reads"),
        ("id IN (SELECT id FROM agents)", 1, 23, "agents is not readable"),
        ("id IN (SELECT agentid FROM commands LIMIT 1)", 1, 8, "a sub-select reads"),
        ("id IN (SELECT agentid FROM commands UNION SELECT 1)", 1, 8, "a sub-select reads"),
        ("id IN (SELECT agentid FROM commands FOR UPDATE)", 1, 8, "a sub-select reads"),
        ("id IN (SELECT agentid, id FROM commands)", 1, 8, "a sub-select reads"),
        ("id IN (SELECT * FROM commands)", 1, 8, "a sub-select reads"),
        ("id IN (SELECT agentid FROM commands c)", 1, 28, "without another name"),
        ("id IN (SELECT agentid FROM commands JOIN actions ON true)", 1, 28, "commas"),
        ("id IN (SELECT agentid FROM commands WHERE agents.id = 1)", 1, 43, "no column"),
        ("id IN (SELECT agentid FROM commands, actions WHERE status = 'x')", 1, 52, "ambiguous"),
        ("id IN (SELECT status FROM commands)", 1, 1, "cannot be compared"),
        ("id IN (WITH x AS (SELECT 1) SELECT agentid FROM commands)", 1, 8, "a sub-select reads"),
        ("tags ? 'operator'", 1, 1, "the operator ? is not supported"),
        ("tags @> '{}'", 1, 1, "the operator @> is not supported"),
        ("name || 'x' = 'ax'", 1, 1, "the operator || is not supported"),
        ("pid = 'abc'", 1, 7, "expected a number"),
        ("name = 5", 1, 8, "cannot be compared"),
        ("environment->'os' = 'linux'", 1, 21, "->>"),
        ("environment = 'linux'", 1, 15, "->>"),
        ("name->>'os' = 'linux'", 1, 1, "environment or tags"),
        ("tags->>'a'->>'b' = 'c'", 1, 14, "last step"),
        ("tags->>name = 'c'", 1, 8, "quoted key"),
        ("tags#>>'operator' = 'IT'", 1, 8, "{key,key}"),
        ("heartbeattime > 'yesterday'", 1, 17, "expected a time"),
        ("heartbeattime > NOW() - INTERVAL 'some time'", 1, 34, "expected an interval"),
        ("NOW() - heartbeattime < INTERVAL '1 day'", 1, 9, "expected an interval"),
        ("heartbeattime + INTERVAL '1 day' > NOW()", 1, 1, "heartbeattime > NOW()"),
        ("name LIKE mode", 1, 11, "in quotes"),
        ("name LIKE 'a\\'", 1, 11, "escape character"),
        ("name LIKE 'a' ESCAPE 'xy'", 1, 22, "one character"),
        ("pid LIKE '1%'", 1, 1, "::text"),
        ("name ~ '(?i)a'", 1, 8, "groups"),
        ("name", 1, 1, "expected a condition"),
        ("1", 1, 1, "expected a condition"),
        ("NULL = NULL AND name", 1, 17, "expected a condition"),
        ("name = 'a' AND", 1, 15, "expected"),
        ("name = 'a", 1, 8, "unterminated"),
        ("name = $1", 1, 8, "single quotes"),
        ("name = \"a\"", 1, 8, "no column"),
        ("CASE WHEN true THEN true END", 1, 1, "not supported"),
        ("name SIMILAR TO 'a'", 1, 1, "not supported"),
        ("name = ANY ('{a}')", 1, 1, "not supported"),
        ("(SELECT true)", 1, 2, "after IN"),
        ("name::oid = 1", 1, 1, "casts are to"),
        ("name = 'a' WHERE 1=1", 1, 12, "WHERE"),
        ("current_user = 'x'", 1, 1, ""),
        ("true < false", 1, 1, "only be compared with = and <>"),
        ("agents.environment.os = 'x'", 1, 1, "a column is written"),
        ("authorized = true", 1, 1, "no column"),
        ("name = E'a\\0'", 1, 1, ""),
        ("name = 1e5", 1, 8, "a number has"),
        ("name IN ()", 1, 1, ""),
    ] {
        let error = refusal(text);
        let placed = reason.is_empty() || (error.line, error.column) == (line, column);
        if !placed || !error.message.contains(reason) {
            wrong.push(format!("{text}: expected {line}:{column} {reason}, got {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refuses_what_is_too_long_or_too_deep() {
    let long = format!("name = '{}'", "ł".repeat(MAX_CHARS));
    assert_eq!(refusal(&long).column, 2049);
    let fits = format!("name = '{}'", "ł".repeat(MAX_CHARS - 9));
    assert!(fits.parse::<Target>().is_ok());
    for text in [
        "(".repeat(1000) + "1=1" + &")".repeat(1000),
        "NOT ".repeat(500) + "true",
        "name".to_owned() + &"::text".repeat(300) + " = 'a'",
        "pid = ".to_owned() + &"- ".repeat(900) + "1",
        "NOW()".to_owned() + &" - INTERVAL '1 s'".repeat(100) + " > starttime",
        "tags".to_owned() + &"->'a'".repeat(300) + " IS NULL",
    ] {
        refusal(&text);
    }
}

#[test]
fn takes_every_documented_condition() {
    for text in [
        "status='online'",
        "status='online' OR status='idle'",
        "queueloc LIKE 'linux.%'",
        "agents.queueloc like 'linux.%'",
        "name like '%'",
        "version='20160712' and heartbeattime > NOW() - interval '1 minute'",
        "tags->>'operator'='IT'",
        "tags#>>'{operator}'='IT'",
        "environment->>'os'='linux'",
        "environment->>'isproxied'='true'",
        "id IN (select agentid from commands, json_array_elements(commands.results) as r where \
         actionid=1 and r#>>'{foundanything}' = 'true') AND status='online'",
        "id IN (select agentid from commands, json_array_elements(commands.results) as r where \
         actionid=123 and r#>>'{foundanything}' = 'false') AND (name LIKE '%mysql%')",
        "mode='checkin' AND status='idle' AND starttime > NOW() - INTERVAL '1 hour'",
        "mode='daemon'",
        "version LIKE '2016%'",
        "starttime < NOW() - INTERVAL '30 days'",
        "id NOT IN (SELECT agentid FROM commands WHERE actionid = 12 AND status = 'success')",
        "id in (select distinct commands.agentid from commands, actions where \
         commands.actionid = actions.id and actions.name like 'x%')",
        "id IN (SELECT agentid FROM commands WHERE actionid IN \
         (SELECT actionid FROM signatures WHERE investigatorid = 3))",
        "id IN (SELECT agentid FROM commands WHERE results->0->>'foundanything' = 'true')",
    ] {
        if let Err(error) = text.parse::<Target>() {
            panic!("{text}: {error}");
        }
    }
}

#[test]
fn takes_what_investigators_write() {
    for text in [
        "(name ILIKE 'WEB%' OR name NOT LIKE '%x\\_y') AND NOT (mode = 'checkin')",
        "name LIKE 'a!%' ESCAPE '!' AND name LIKE '\\' ESCAPE ''",
        "name ~ '^web[0-9]+$' AND name !~* 'TEST' AND name ~* 'a|b' AND name !~ 'x'",
        "environment->'aws'->>'instancetype' IS NOT NULL AND environment#>>'{aws,amiid}' <> ''",
        "environment->'addresses'->>0 LIKE '10.%' AND environment->'addresses'->> -1 IS NULL",
        "environment#>>'{addresses,0}' LIKE '10.%' AND tags->>'it''s' = 'x'",
        "(environment->>'isproxied')::bool AND CAST(tags->>'level' AS integer) >= 3",
        "(tags->>'ratio')::numeric BETWEEN 0.5 AND 1 AND pid NOT BETWEEN 1 AND 10",
        "pid IN (1, 2, '3') AND name NOT IN ('a', 'b') AND id = '42'",
        "lower(name) = 'web1' AND upper(mode) = 'DAEMON' AND length(version) > 3",
        "heartbeattime > '2016-09-01' AND starttime <= TIMESTAMP '2016-09-01 12:00:00'",
        "heartbeattime > now() - '1 hour'::interval AND refreshtime < CURRENT_TIMESTAMP",
        "heartbeattime > NOW() - INTERVAL '5' MINUTE - INTERVAL '1 mon'",
        "starttime > '2016-09-01T00:00:00Z'::timestamptz + interval '1 day'",
        "(name = 'a') IS NOT TRUE AND (mode = 'b' IS UNKNOWN) AND TRUE AND NOT FALSE",
        "\"name\" = 'a' AND AGENTS.Name = E'tab\\t' AND pid > -5 AND 'IT' IN (tags->>'a', 'b')",
        "environment::text LIKE '%linux%' AND pid::text LIKE '1%' AND destructiontime IS NULL",
        "name = NULL OR NULL IS NULL OR NULL -- why not",
    ] {
        if let Err(error) = text.parse::<Target>() {
            panic!("{text}: {error}");
        }
    }
}

#[test]
fn a_chain_of_the_full_length_is_one_level() {
    let text = ["0=0"; 290].join(" OR ");
    let target: Target = text.parse().unwrap();
    assert!(matches!(target.condition(), Condition::Or(members) if members.len() == 290));
    assert_eq!(target.text(), text);
}

/// Words that reach deep into the grammar.
const WORDS: &[&str] = &[
    "name",
    "tags",
    "environment",
    "id",
    "pid",
    "heartbeattime",
    "AND",
    "OR",
    "NOT",
    "(",
    ")",
    "=",
    "<",
    "->",
    "->>",
    "#>>",
    "'{a,0}'",
    "'a'",
    "1",
    "-",
    "+",
    "IN",
    "SELECT",
    "agentid",
    "FROM",
    "commands",
    ",",
    "WHERE",
    "LIKE",
    "~",
    "'['",
    "NOW()",
    "INTERVAL",
    "'1 day'",
    "::",
    "int",
    "IS",
    "NULL",
    "TRUE",
    "BETWEEN",
    "CASE",
    "END",
    "json_array_elements",
    "AS",
    "r",
    ".",
    "*",
    "[",
    "]",
    "CAST",
    "'",
    "\"",
    "--",
    "/*",
    "$$",
    "?",
    "@>",
    ";",
    "\u{1f600}",
    "E'\\",
    "ARRAY",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,300}") {
        let _ = text.parse::<Target>();
    }

    #[test]
    fn any_words_are_read_or_refused(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..60),
        glue in proptest::sample::select(&["", " "][..]),
    ) {
        if let Err(error) = words.join(glue).parse::<Target>() {
            prop_assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty());
        }
    }
}

#[test]
fn hostile_nesting_ends_quickly() {
    let started = std::time::Instant::now();
    for unit in WORDS {
        for glue in ["", " "] {
            let count = MAX_CHARS / (unit.chars().count() + glue.len());
            let _ = vec![*unit; count].join(glue).parse::<Target>();
            let _ = format!("name = {}", vec![*unit; count - 10].join(glue)).parse::<Target>();
        }
    }
    for pair in
        [["(", "NOT "], ["(", "- "], ["CASE ", "WHEN "], ["CAST(", "("], ["a IN (", "SELECT "]]
    {
        let _ = pair.concat().repeat(MAX_CHARS / pair.concat().len()).parse::<Target>();
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

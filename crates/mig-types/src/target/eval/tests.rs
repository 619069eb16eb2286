use serde_json::json;

use super::*;
use crate::agent::{AgentMode, Aws};

fn agent() -> Agent {
    let Json::Object(tags) = json!({
        "operator": "IT", "level": "3", "none": null, "list": [1, "two", {"deep": true}], "7": "seven",
        "flag": "Yes", "bad": "3x"
    }) else {
        unreachable!("an object literal")
    };
    Agent {
        name: "web1.example.net".into(),
        queueloc: "linux.web1.abc".into(),
        mode: AgentMode::Daemon,
        version: "20160712".into(),
        pid: 42,
        tags,
        environment: crate::agent::Environment {
            os: "linux".into(),
            addresses: vec!["10.0.0.1/24".into(), "::1/128".into()],
            aws: Aws { instanceid: "i-1".into(), ..Aws::default() },
            ..Default::default()
        },
        ..Agent::default()
    }
}

fn truth(text: &str) -> Truth {
    let target: Target = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let now = Timestamp::parse("2016-09-01T12:00:00Z").unwrap();
    target.evaluate(Facts { agent: &agent(), now })
}

#[test]
fn what_is_false_or_null_does_not_hold() {
    for text in [
        "name = 'other'",
        "name = NULL",
        "NOT (name = NULL)",
        "NULL",
        "FALSE",
        "queueloc LIKE 'LINUX.%'",
        "tags->>'missing' = 'x'",
        "tags->>'missing' <> 'x'",
        "NOT (tags->>'none' = 'x')",
        "tags->'none' IS NULL",
        "(tags->>'bad')::int > 0",
        "environment->>'init' = ''",
        "name IN ('a', NULL)",
        "name NOT IN ('a', NULL)",
        "status = 'online' AND name = 'other'",
        "status = 'online' AND NULL",
        "NULL AND id IN (SELECT agentid FROM commands)",
        "(tags->>'missing')::bool",
        "NULL IN (SELECT agentid FROM commands)",
        "(status = NULL) IS NOT UNKNOWN",
    ] {
        assert_eq!(truth(text), Truth::False, "{text}");
    }
}

#[test]
fn what_the_agent_knows_is_decided() {
    for text in [
        "name = 'web1.example.net' AND mode = 'daemon' AND version > '2016' AND pid = '42'",
        "queueloc LIKE 'linux.%' AND queueloc ILIKE 'LINUX.%' AND name ~ '^web[0-9]'",
        "tags->>'operator' = 'IT' AND tags#>>'{operator}' = 'IT' AND tags#>>'{7}' = 'seven'",
        "tags->>'missing' IS NULL AND tags->>'none' IS NULL AND tags->'none' IS NOT NULL",
        "tags#>>'{list,0}' = '1' AND tags->'list'->>1 = 'two' AND tags->'list'->> -3 = '1'",
        "tags->'list'->2->>'deep' = 'true' AND tags->>'list' = '[1,\"two\",{\"deep\":true}]'",
        "(tags->>'level')::int = 3 AND (tags->>'flag')::bool AND (tags->>'level')::numeric < 3.5",
        "environment->>'os' = 'linux' AND environment->>'isproxied' = 'false'",
        "environment#>>'{aws,instanceid}' = 'i-1' AND environment->'addresses'->>0 LIKE '10.%'",
        "environment->>'init' IS NULL AND environment->>'modules' IS NULL",
        "length(mode) = 6 AND upper(mode) = 'DAEMON' AND pid::text = '42'",
        "NOW() > '2016-08-31' AND NOW() - INTERVAL '1 day' = '2016-08-31 12:00:00'",
        "status = 'online' OR mode = 'daemon'",
        "NOT (status = 'online' AND mode = 'checkin')",
        "(status = NULL) IS UNKNOWN",
        "(name = 'other') IS NOT TRUE",
        "pid BETWEEN 1 AND 100 AND name NOT IN ('a', 'b')",
    ] {
        assert_eq!(truth(text), Truth::True, "{text}");
    }
}

#[test]
fn what_only_the_database_knows_is_unknown() {
    for text in [
        "status = 'online'",
        "NOT status = 'online'",
        "id = 1",
        "heartbeattime > NOW() - INTERVAL '1 minute' AND name LIKE 'web%'",
        "loadername IS NULL",
        "id IN (SELECT agentid FROM commands)",
        "name = 'other' OR refreshtime < NOW()",
        "NOT (NULL AND status = 'idle')",
        "(status = 'online') IS TRUE",
        "environment::text LIKE '%linux%'",
        "tags IS NULL",
    ] {
        assert_eq!(truth(text), Truth::Unknown, "{text}");
    }
}

#[test]
fn combining_possibilities_is_sound_and_exact() {
    let singles = [Outcomes::TRUE, Outcomes::FALSE, Outcomes::NULL];
    let and = |a: Outcomes, b: Outcomes| {
        if a == Outcomes::FALSE || b == Outcomes::FALSE {
            Outcomes::FALSE
        } else if a == Outcomes::NULL || b == Outcomes::NULL {
            Outcomes::NULL
        } else {
            Outcomes::TRUE
        }
    };
    for left in 1..8 {
        for right in 1..8 {
            let (left, right) = (Outcomes(left), Outcomes(right));
            let (mut all, mut any) = (Outcomes::NONE, Outcomes::NONE);
            for a in singles.into_iter().filter(|a| left.includes(*a)) {
                for b in singles.into_iter().filter(|b| right.includes(*b)) {
                    all = all.with(and(a, b));
                    any = any.with(and(a.not(), b.not()).not());
                }
            }
            assert!(left.and(right) == all && left.or(right) == any);
        }
    }
}

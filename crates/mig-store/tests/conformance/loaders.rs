//! Loaders: keys, reports, and conditions about their entries.

use mig_store::{LoaderReport, LoaderSecret, NewLoader, Search, StoreError};
use mig_types::{Environment, Loader, LoaderId, LoaderTarget};
use serde_json::json;

use crate::support::{ALL, Platform, at, beat, on_both};

on_both!(
    an_entry_starts_disabled_and_its_key_works_once_enabled,
    names_prefixes_and_queuelocs_are_taken_once,
    a_key_is_replaced_and_an_expectation_is_cleared,
    a_condition_is_about_the_entry_asked_for_and_no_other,
    conditions_see_what_was_reported,
    a_report_with_zero_characters_breaks_no_condition,
    only_enabled_loaders_match_a_manifest,
    loaders_are_found_by_every_filter,
    an_agent_carries_the_name_of_its_loader,
    an_entry_that_is_not_there_is_said_to_be_missing,
);

fn secret(text: &str) -> LoaderSecret {
    LoaderSecret { hash: text.as_bytes().to_vec(), salt: vec![0, 255] }
}

fn new(name: &str) -> NewLoader {
    NewLoader {
        name: name.into(),
        prefix: format!("prefix of {name}"),
        secret: secret(name),
        expectenv: String::new(),
    }
}

async fn insert(platform: &Platform, name: &str) -> LoaderId {
    let id = platform.store.insert_loader(&new(name), at(0)).await.unwrap().id;
    assert!(platform.store.enable_loader(id, true).await.unwrap());
    id
}

fn report(name: &str, os: &str) -> LoaderReport {
    LoaderReport {
        name: name.into(),
        environment: Environment { os: os.into(), ..Environment::default() },
        tags: json!({ "operator": "IT" }).as_object().unwrap().clone(),
        queueloc: format!("{os}.{name}"),
    }
}

fn target(text: &str) -> LoaderTarget {
    text.parse().unwrap()
}

async fn fits(platform: &Platform, id: LoaderId, text: &str) -> bool {
    platform.store.loader_fits(id, &target(text), at(0)).await.unwrap()
}

async fn an_entry_starts_disabled_and_its_key_works_once_enabled(platform: &Platform) {
    let store = &platform.store;
    let made = store.insert_loader(&new("one"), at(3)).await.unwrap();
    let wanted = Loader {
        id: made.id,
        name: "one".into(),
        prefix: "prefix of one".into(),
        lastseen: at(3),
        ..Loader::default()
    };
    assert_eq!(made, wanted);
    assert_eq!(store.loader(made.id).await.unwrap(), Some(wanted.clone()));
    assert_eq!(store.loader_by_prefix("prefix of one").await.unwrap(), None);
    assert!(store.enable_loader(made.id, true).await.unwrap());
    let row = platform.second.loader_by_prefix("prefix of one").await.unwrap().unwrap();
    assert_eq!(row.loader, Loader { enabled: true, ..wanted });
    assert_eq!(row.secret, secret("one"));
    assert!(store.enable_loader(made.id, false).await.unwrap());
    assert_eq!(store.loader_by_prefix("prefix of one").await.unwrap(), None);
}

async fn names_prefixes_and_queuelocs_are_taken_once(platform: &Platform) {
    let store = &platform.store;
    let one = insert(platform, "one").await;
    let two = insert(platform, "two").await;
    for doubled in
        [new("one"), NewLoader { name: "three".into(), secret: secret("three"), ..new("one") }]
    {
        let outcome = store.insert_loader(&doubled, at(0)).await;
        assert!(matches!(outcome, Err(StoreError::Conflict { .. })), "{outcome:?}");
    }
    store.report_loader(one, &report("web1", "linux"), at(1)).await.unwrap();
    let outcome = store.report_loader(two, &report("web1", "linux"), at(1)).await;
    assert!(matches!(outcome, Err(StoreError::Conflict { .. })), "{outcome:?}");
    // Agents that never ran have none; any number of them is fine.
    for id in [one, two] {
        let unknown = LoaderReport { queueloc: String::new(), ..report("web1", "linux") };
        store.report_loader(id, &unknown, at(1)).await.unwrap();
    }
}

async fn a_key_is_replaced_and_an_expectation_is_cleared(platform: &Platform) {
    let store = &platform.store;
    let id = insert(platform, "one").await;
    let entry = store.rekey_loader(id, &secret("fresh")).await.unwrap().unwrap();
    assert_eq!((entry.id, entry.key.as_str()), (id, ""));
    let row = store.loader_by_prefix("prefix of one").await.unwrap().unwrap();
    assert_eq!(row.secret, secret("fresh"));
    for text in ["env#>>'{os}'='linux'", ""] {
        assert!(store.expect_of_loader(id, text).await.unwrap());
        assert_eq!(store.loader(id).await.unwrap().unwrap().expectenv, text);
    }
}

async fn a_condition_is_about_the_entry_asked_for_and_no_other(platform: &Platform) {
    let one = insert(platform, "one").await;
    let two = insert(platform, "two").await;
    platform.store.report_loader(one, &report("web1", "linux"), at(1)).await.unwrap();
    platform.store.report_loader(two, &report("desk1", "windows"), at(1)).await.unwrap();
    // Without parentheses around it, the first part would hold for any entry.
    let text = "env#>>'{os}'='plan9' OR env#>>'{os}'='windows'";
    assert!(!fits(platform, one, text).await);
    assert!(fits(platform, two, text).await);
    assert!(!fits(platform, LoaderId::new(404).unwrap(), "1=1").await);
}

async fn conditions_see_what_was_reported(platform: &Platform) {
    let id = insert(platform, "one").await;
    // Nothing was reported yet: null is not true.
    assert!(!fits(platform, id, "env#>>'{os}'='linux'").await);
    assert!(!fits(platform, id, "NOT env#>>'{os}'='linux'").await);
    platform.store.report_loader(id, &report("web1", "linux"), at(1)).await.unwrap();
    for (text, wanted) in [
        ("env#>>'{os}'='linux'", true),
        ("env->>'os' ILIKE 'LIN%' AND loaders.tags->>'operator'='IT'", true),
        ("loadername='one' AND queueloc LIKE 'linux.%'", true),
        ("expectenv IS NULL", true),
        ("tags->>'operator'='HR'", false),
        ("id > 1000000", false),
    ] {
        assert_eq!(fits(platform, id, text).await, wanted, "{text}");
    }
    let seen = platform.store.loader(id).await.unwrap().unwrap();
    assert_eq!((seen.agentname.as_str(), seen.lastseen), ("web1", at(1)));
}

async fn a_report_with_zero_characters_breaks_no_condition(platform: &Platform) {
    let id = insert(platform, "one").await;
    let hostile = LoaderReport {
        name: "a\0b".into(),
        environment: Environment { ident: "\0".into(), ..Environment::default() },
        tags: json!({ "k\0": "\0" }).as_object().unwrap().clone(),
        queueloc: "linux.a\0".into(),
    };
    platform.store.report_loader(id, &hostile, at(1)).await.unwrap();
    assert!(fits(platform, id, "env->>'ident'='NULL' AND tags->>'kNULL'='NULL'").await);
    assert_eq!(platform.store.loader(id).await.unwrap().unwrap().agentname, "aNULLb");
}

async fn only_enabled_loaders_match_a_manifest(platform: &Platform) {
    let store = &platform.store;
    for (name, os) in [("b", "linux"), ("a", "linux"), ("c", "windows"), ("d", "linux")] {
        let id = insert(platform, name).await;
        store.report_loader(id, &report(name, os), at(1)).await.unwrap();
        store.enable_loader(id, name != "d").await.unwrap();
    }
    let linux = target("env#>>'{os}'='linux'");
    let found = store.loaders_by_target(&linux, at(0)).await.unwrap();
    let names: Vec<_> = found.iter().map(|loader| loader.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(store.loaders_by_target(&target("1=2"), at(0)).await.unwrap().is_empty());
}

async fn loaders_are_found_by_every_filter(platform: &Platform) {
    let one = insert(platform, "Web one").await;
    let two = insert(platform, "desk").await;
    platform.store.report_loader(two, &report("host2", "linux"), at(9)).await.unwrap();
    for (search, wanted) in [
        (Search::default(), vec![one, two]),
        (Search { loader_id: Some(two), ..Search::default() }, vec![two]),
        (Search { loader_name: Some("web%".into()), ..Search::default() }, vec![one]),
        (Search { agent_name: Some("HOST_".into()), ..Search::default() }, vec![two]),
        (Search { after: Some(at(5)), ..Search::default() }, vec![two]),
        (Search { before: Some(at(5)), ..Search::default() }, vec![one]),
    ] {
        let found = platform.store.search_loaders(&search, ALL).await.unwrap();
        let mut found: Vec<_> = found.iter().map(|loader| loader.id).collect();
        // Databases order capitals differently.
        found.sort_unstable();
        assert_eq!(found, wanted, "{search:?}");
    }
}

async fn an_agent_carries_the_name_of_its_loader(platform: &Platform) {
    let id = insert(platform, "one").await;
    platform.store.report_loader(id, &report("web1", "linux"), at(1)).await.unwrap();
    let beats = [beat("linux.web1", 7)];
    platform.store.upsert_heartbeats(&beats, &platform.ids, at(2)).await.unwrap();
    let agents = platform.store.search_agents(&Search::default(), ALL).await.unwrap();
    assert_eq!(agents[0].loadername, "one");
}

async fn an_entry_that_is_not_there_is_said_to_be_missing(platform: &Platform) {
    let id = LoaderId::new(404).unwrap();
    let store = &platform.store;
    assert_eq!(store.loader(id).await.unwrap(), None);
    assert!(!store.enable_loader(id, true).await.unwrap());
    assert!(!store.expect_of_loader(id, "").await.unwrap());
    assert_eq!(store.rekey_loader(id, &secret("x")).await.unwrap(), None);
    assert_eq!(store.loader_by_prefix("x").await.unwrap(), None);
}

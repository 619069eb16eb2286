//! Results: stored once, never lost, never skipped by a reader.

use std::collections::BTreeSet;
use std::time::Duration;

use mig_store::FinishOutcome::{AlreadyFinal, Stored, Unknown};
use mig_store::Finished;
use mig_types::CommandStatus::{Cancelled, Expired, Failed, Sent, Success, Timeout};
use mig_types::{CommandId, ModuleResult};
use serde_json::json;

use crate::support::{PATIENCE, Platform, at, beat, on_both, result};

on_both!(
    refuses_results_that_fit_no_command,
    stores_a_result_once,
    one_batch_answers_each_in_order,
    a_late_result_replaces_expired_only,
    results_survive_what_became_of_the_agent,
    a_nul_is_stored_as_text,
    batches_that_cross_each_other_both_commit,
    follows_an_action_in_pages,
    a_reader_never_skips_a_result_that_commits_late,
);

async fn refuses_results_that_fit_no_command(platform: &Platform) {
    let agents = platform.enroll(&["linux.a"], at(0)).await;
    let (_, commands) = platform.launch(1, &agents, at(1)).await;
    let nobody = CommandId::new(404).unwrap();
    assert_eq!(platform.finish(result(nobody, "linux.a", Success), at(2)).await, Unknown);
    assert_eq!(platform.finish(result(commands[0], "linux.b", Success), at(2)).await, Unknown);
    for status in [Sent, Cancelled, Expired] {
        assert_eq!(platform.finish(result(commands[0], "linux.a", status), at(2)).await, Unknown);
    }
    let command = platform.store.command(commands[0]).await.unwrap().unwrap();
    assert_eq!(command.status, Sent);
    assert!(platform.store.finish_commands(&[], at(2)).await.unwrap().is_empty());
}

async fn stores_a_result_once(platform: &Platform) {
    let agents = platform.enroll(&["linux.a"], at(0)).await;
    let (id, commands) = platform.launch(1, &agents, at(1)).await;
    assert_eq!(platform.finish(result(commands[0], "linux.a", Success), at(2)).await, Stored(id));
    let stored = platform.store.command(commands[0]).await.unwrap().unwrap();
    assert_eq!((stored.status, stored.finishtime), (Success, at(2)));
    assert!(stored.results.unwrap()[0].foundanything);
    assert_eq!((stored.action.id, stored.action.counters.success), (id, 1));
    assert_eq!(stored.action.lastupdatetime, at(2));
    for status in [Success, Failed] {
        let again = Finished { results: vec![], ..result(commands[0], "linux.a", status) };
        assert_eq!(platform.finish(again, at(3)).await, AlreadyFinal(id, Success));
    }
    let kept = platform.store.command(commands[0]).await.unwrap().unwrap();
    assert_eq!((kept.results.unwrap().len(), kept.finishtime), (1, at(2)));
}

async fn one_batch_answers_each_in_order(platform: &Platform) {
    let agents = platform.enroll(&["linux.a", "linux.b"], at(0)).await;
    let (first, one) = platform.launch(1, &agents, at(1)).await;
    let (second, two) = platform.launch(2, &agents, at(1)).await;
    let nobody = CommandId::new(404).unwrap();
    let batch = [
        result(two[1], "linux.b", Failed),
        result(one[0], "linux.a", Success),
        result(nobody, "linux.a", Success),
        result(one[0], "linux.a", Failed),
        result(one[1], "linux.a", Success),
        result(one[1], "linux.b", Timeout),
    ];
    let outcomes = platform.store.finish_commands(&batch, at(2)).await.unwrap();
    assert_eq!(
        outcomes,
        [
            Stored(second),
            Stored(first),
            Unknown,
            AlreadyFinal(first, Success),
            Unknown,
            Stored(first),
        ]
    );
    let (finished, cursor) = platform.store.finished_since(first, 0, 10).await.unwrap();
    let order: Vec<_> = finished.iter().map(|command| (command.id, command.status)).collect();
    assert_eq!(order, [(one[0], Success), (one[1], Timeout)]);
    assert_eq!(cursor, 2);
}

async fn a_late_result_replaces_expired_only(platform: &Platform) {
    let agents = platform.enroll(&["linux.a"], at(0)).await;
    let (id, commands) = platform.launch(1, &agents, at(1)).await;
    platform.store.expire_commands(Duration::ZERO, at(3601)).await.unwrap();
    let (_, cursor) = platform.store.finished_since(id, 0, 10).await.unwrap();
    platform.store.complete_actions(at(3601)).await.unwrap();
    assert_eq!(platform.finish(result(commands[0], "linux.a", Failed), at(3602)).await, Stored(id));
    // Whoever follows the action hears of the change.
    let (finished, _) = platform.store.finished_since(id, cursor, 10).await.unwrap();
    assert_eq!(finished.len(), 1);
    assert_eq!(finished[0].status, Failed);
    assert_eq!(
        platform.finish(result(commands[0], "linux.a", Success), at(3603)).await,
        AlreadyFinal(id, Failed)
    );
}

async fn results_survive_what_became_of_the_agent(platform: &Platform) {
    let agents = platform.enroll(&["linux.a", "linux.b", "linux.c"], at(0)).await;
    let (id, commands) = platform.launch(1, &agents, at(1)).await;
    // A new environment: the row is replaced by another.
    let mut refreshed = beat("linux.a", 100);
    refreshed.refreshts = at(100);
    platform.store.upsert_heartbeats(&[refreshed], &platform.ids, at(100)).await.unwrap();
    platform.execute("update agents set status = 'offline' where queueloc = 'linux.b'").await;
    platform.execute("update agents set status = 'destroyed' where queueloc = 'linux.c'").await;
    for (command, queueloc) in commands.iter().zip(["linux.a", "linux.b", "linux.c"]) {
        assert_eq!(platform.finish(result(*command, queueloc, Success), at(101)).await, Stored(id));
    }
}

async fn a_nul_is_stored_as_text(platform: &Platform) {
    let agents = platform.enroll(&["linux.a"], at(0)).await;
    let (id, commands) = platform.launch(1, &agents, at(1)).await;
    let hostile = Finished {
        results: vec![ModuleResult {
            elements: json!({ "na\0me": ["\0", "literal \\u0000", {"x": "a\0b"}] }),
            statistics: json!("\0"),
            errors: Some(vec!["e\0".into()]),
            ..ModuleResult::default()
        }],
        ..result(commands[0], "linux.a", Success)
    };
    assert_eq!(platform.finish(hostile, at(2)).await, Stored(id));
    let stored = platform.store.command(commands[0]).await.unwrap().unwrap();
    let results = stored.results.unwrap();
    assert_eq!(
        results[0].elements,
        json!({ "naNULLme": ["NULL", "literal \\u0000", {"x": "aNULLb"}] })
    );
    assert_eq!(results[0].statistics, json!("NULL"));
    assert_eq!(results[0].errors.as_deref(), Some(&["eNULL".to_owned()][..]));
    // The database can look into it.
    let inside = "select results -> 0 -> 'elements' -> 'naNULLme' ->> 1 from commands";
    assert_eq!(platform.text(inside).await, "literal \\u0000");
}

async fn batches_that_cross_each_other_both_commit(platform: &Platform) {
    let names: Vec<_> = (0..10).map(|number| format!("linux.{number}")).collect();
    let locs: Vec<_> = names.iter().map(String::as_str).collect();
    let agents = platform.enroll(&locs, at(0)).await;
    let (_, one) = platform.launch(1, &agents, at(1)).await;
    let (_, two) = platform.launch(2, &agents, at(1)).await;
    let mut batches = Vec::new();
    for half in 0..2 {
        let picks = (half * 5)..(half * 5 + 5);
        let mut batch: Vec<Finished> = picks
            .flat_map(|pick| {
                [(one[pick], pick), (two[pick], pick)]
                    .map(|(command, pick)| result(command, locs[pick], Success))
            })
            .collect();
        if half == 1 {
            batch.reverse();
        }
        batches.push(batch);
    }
    let (first, second) = tokio::join!(
        platform.store.finish_commands(&batches[0], at(2)),
        platform.second.finish_commands(&batches[1], at(2)),
    );
    let outcomes: Vec<_> = first.unwrap().into_iter().chain(second.unwrap()).collect();
    assert_eq!(outcomes.len(), 20);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Stored(_))), "{outcomes:?}");
    assert_eq!(platform.store.complete_actions(at(3)).await.unwrap().len(), 2);
}

async fn follows_an_action_in_pages(platform: &Platform) {
    let agents = platform.enroll(&["linux.a", "linux.b", "linux.c"], at(0)).await;
    let (id, commands) = platform.launch(1, &agents, at(1)).await;
    assert_eq!(platform.store.finished_since(id, 0, 10).await.unwrap(), (vec![], 0));
    for index in [2, 0, 1] {
        let queueloc = ["linux.a", "linux.b", "linux.c"][index];
        platform.finish(result(commands[index], queueloc, Success), at(2)).await;
    }
    let mut seen = Vec::new();
    let mut cursor = 0;
    for expected in [2, 1, 0] {
        let (page, next) = platform.second.finished_since(id, cursor, 2).await.unwrap();
        assert_eq!(page.len(), expected);
        seen.extend(page.into_iter().map(|command| command.id));
        cursor = next;
    }
    assert_eq!(seen, [commands[2], commands[0], commands[1]]);
}

async fn a_reader_never_skips_a_result_that_commits_late(platform: &Platform) {
    const AGENTS: usize = 120;
    let names: Vec<_> = (0..AGENTS).map(|number| format!("linux.{number}")).collect();
    let locs: Vec<_> = names.iter().map(String::as_str).collect();
    let agents = platform.enroll(&locs, at(0)).await;
    let (id, commands) = platform.launch(1, &agents, at(1)).await;
    let mut tasks = Vec::new();
    for (task, chunk) in commands.chunks(AGENTS / 4).enumerate() {
        let store = if task % 2 == 0 { platform.store.clone() } else { platform.second.clone() };
        let batch: Vec<_> = chunk
            .iter()
            .enumerate()
            .map(|(index, id)| result(*id, &names[task * (AGENTS / 4) + index], Success))
            .collect();
        tasks.push(tokio::spawn(async move {
            for pair in batch.chunks(2) {
                for outcome in store.finish_commands(pair, at(2)).await.unwrap() {
                    assert!(matches!(outcome, Stored(_)), "{outcome:?}");
                }
            }
        }));
    }
    // Reads while they write, and never goes back.
    let follow = async {
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        while seen.len() < AGENTS {
            let (page, next) = platform.store.finished_since(id, cursor, 7).await.unwrap();
            for command in page {
                assert!(seen.insert(command.id), "{} came twice", command.id);
            }
            cursor = next;
        }
        cursor
    };
    let last = tokio::time::timeout(PATIENCE, follow)
        .await
        .unwrap_or_else(|_| panic!("a result was skipped"));
    assert_eq!(last, AGENTS as u64);
    for task in tasks {
        task.await.unwrap();
    }
}

//! Actions: stored exactly, claimed once, dispatched once, always ended.

use std::collections::BTreeSet;
use std::time::Duration;

use mig_store::{FinishOutcome, NewCommand, StoreError};
use mig_types::{
    Action, ActionStatus, CommandStatus, Description, InvestigatorId, Operation, Permissions,
    Threat, Timestamp,
};
use serde_json::json;

use crate::support::{LEASE, Platform, action, action_id, at, on_both, owner, result};

on_both!(
    refuses_what_no_row_can_hold,
    a_taken_id_is_a_conflict_and_changes_nothing,
    an_action_comes_back_to_the_byte,
    null_operations_differ_from_none,
    claims_only_what_may_run_now,
    no_two_schedulers_claim_the_same_action,
    a_lease_that_ran_out_passes_the_action_on,
    prepares_some_commands_while_the_lease_is_renewed,
    dispatches_once_and_only_for_the_owner,
    two_schedulers_that_both_dispatch_create_each_command_once,
    a_taken_command_id_is_a_conflict_and_dispatches_nothing,
    invalidates_until_commands_exist,
    sweeps_what_expired_before_it_started,
    completes_when_no_command_is_in_flight,
    an_action_without_commands_completes_at_once,
    lists_the_actions_started_last,
);

async fn refuses_what_no_row_can_hold(platform: &Platform) {
    let broken = [
        Action { pgpsignatures: vec!["x".repeat(5000)], ..action(1) },
        Action { name: "a\0b".into(), ..action(1) },
        Action { target: "a\0b".into(), ..action(1) },
        Action { name: "x".repeat(2049), ..action(1) },
        Action { target: "x".repeat(2049), ..action(1) },
    ];
    for action in broken {
        let error = platform.store.insert_action(&action, &[]).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    }
    assert_eq!(platform.store.action(action_id(1)).await.unwrap(), None);
}

async fn a_taken_id_is_a_conflict_and_changes_nothing(platform: &Platform) {
    platform.insert(7).await;
    let signer = platform.investigator("mallory", Permissions::DEFAULT).await;
    let other = Action { name: "other".into(), ..action(7) };
    let signers = [(InvestigatorId::new(signer).unwrap(), "sig".to_owned())];
    let error = platform.second.insert_action(&other, &signers).await.unwrap_err();
    assert!(matches!(&error, StoreError::Conflict { what } if what == "action 7"), "{error:?}");
    let kept = platform.store.action(action_id(7)).await.unwrap().unwrap();
    assert_eq!(kept.name, "action 7");
    assert!(kept.investigators.is_empty());
}

async fn an_action_comes_back_to_the_byte(platform: &Platform) {
    let alice = platform.investigator("alice", Permissions::ALL).await;
    let bob = platform.investigator("bob", Permissions::DEFAULT).await;
    let parameters = json!({
        "numbers": [1, -0.0, 1e21, 1e-7, 9_007_199_254_740_993_u64, 2.5, -3],
        "text": "caf\u{e9} <b>&\"x\"\\u0000 \u{2028}\u{7f}\u{7}",
        "Z": null, "a": {"\u{e9}": [], "": {}},
    });
    let stored = Action {
        name: "caf\u{e9} <b> ; % _ ' \" \\ ".into(),
        target: "name like '%' AND pid < 5".into(),
        description: Description {
            author: "A".into(),
            revision: 201_503.5,
            ..Description::default()
        },
        threat: Threat { family: "malware".into(), ..Threat::default() },
        validfrom: Timestamp::parse("2026-03-01T00:00:00.9999996Z").unwrap(),
        expireafter: Timestamp::parse("1969-12-31T23:59:59.9999999Z").unwrap(),
        operations: Some(vec![
            Operation { module: "file".into(), parameters, ..Operation::default() },
            Operation { module: "ping".into(), is_compressed: true, ..Operation::default() },
        ]),
        pgpsignatures: vec!["wsBc/+==".into(), "second".into()],
        ..action(9)
    };
    let id = |id| InvestigatorId::new(id).unwrap();
    let signers = [(id(bob), "second".to_owned()), (id(alice), "wsBc/+==".to_owned())];
    platform.store.insert_action(&stored, &signers).await.unwrap();

    let read = platform.second.action(stored.id).await.unwrap().unwrap();
    assert_eq!(read.validfrom.to_string(), "2026-03-01T00:00:00.999999Z");
    assert_eq!(read.expireafter.to_string(), "1969-12-31T23:59:59.999999Z");
    assert_eq!(read.status, Some(ActionStatus::Pending));
    assert_eq!(read.starttime, Timestamp::NOT_STARTED.truncate_micros());
    assert_eq!(read.finishtime, Timestamp::NEVER);
    let signed: Vec<_> = read.investigators.iter().map(|signer| signer.name.as_str()).collect();
    assert_eq!(signed, ["alice", "bob"]);
    assert_eq!(read.investigators[0].permissions, Permissions::ALL);
    assert!(read.investigators[0].publickey.is_empty());
    let text = |action: &Action| mig_types::wire::to_string(&action.operations).unwrap();
    assert_eq!(text(&read), text(&stored));
    assert_eq!(
        (read.name, read.target, read.description, read.threat, read.pgpsignatures),
        (stored.name, stored.target, stored.description, stored.threat, stored.pgpsignatures)
    );
}

async fn null_operations_differ_from_none(platform: &Platform) {
    for (id, operations) in [(1, None), (2, Some(Vec::new()))] {
        let stored = Action { operations: operations.clone(), ..action(id) };
        platform.store.insert_action(&stored, &[]).await.unwrap();
        let read = platform.store.action(action_id(id)).await.unwrap().unwrap();
        assert_eq!(read.operations, operations);
    }
}

async fn claims_only_what_may_run_now(platform: &Platform) {
    let store = &platform.store;
    platform.insert(1).await;
    let early = Action { validfrom: at(500), ..action(2) };
    let over = Action { expireafter: at(10), ..action(3) };
    let ended = Action { status: Some(ActionStatus::Completed), ..action(4) };
    for other in [&early, &over, &ended] {
        store.insert_action(other, &[]).await.unwrap();
    }
    let claimed = store.claim_actions(&owner("a"), LEASE, 10, at(100)).await.unwrap();
    let ids: Vec<_> = claimed.iter().map(|claimed| claimed.id.get()).collect();
    assert_eq!(ids, [1]);
    assert_eq!(claimed[0].status, Some(ActionStatus::Scheduled));
    assert!(store.claim_actions(&owner("a"), LEASE, 10, at(100)).await.unwrap().is_empty());
    let later = store.claim_actions(&owner("a"), LEASE, 10, at(501)).await.unwrap();
    assert!(later.iter().any(|claimed| claimed.id.get() == 2));
}

async fn no_two_schedulers_claim_the_same_action(platform: &Platform) {
    for id in 1..=60 {
        platform.insert(id).await;
    }
    let mut tasks = Vec::new();
    for task in 0..6 {
        let store = if task % 2 == 0 { platform.store.clone() } else { platform.second.clone() };
        tasks.push(tokio::spawn(async move {
            let me = owner(&format!("scheduler {task}"));
            let mut mine = Vec::new();
            loop {
                let claimed = store.claim_actions(&me, LEASE, 4, at(10)).await.unwrap();
                if claimed.is_empty() {
                    return mine;
                }
                assert!(claimed.len() <= 4);
                mine.extend(claimed.into_iter().map(|action| action.id.get()));
            }
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    // A scheduler may see nothing while others hold the rest; nobody doubles.
    let distinct: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(all.len(), distinct.len());
    let rest = platform.store.claim_actions(&owner("last"), LEASE, 100, at(10)).await.unwrap();
    assert_eq!(distinct.len() + rest.len(), 60);
}

async fn a_lease_that_ran_out_passes_the_action_on(platform: &Platform) {
    let action = platform.insert(1).await.id;
    let (dead, heir) = (owner("dead"), owner("heir"));
    assert_eq!(platform.store.claim_actions(&dead, LEASE, 10, at(0)).await.unwrap().len(), 1);
    assert!(platform.second.claim_actions(&heir, LEASE, 10, at(59)).await.unwrap().is_empty());
    assert_eq!(platform.second.claim_actions(&heir, LEASE, 10, at(61)).await.unwrap().len(), 1);
    assert!(!platform.store.dispatch(action, &dead, &[], at(62)).await.unwrap());
    assert!(platform.second.dispatch(action, &heir, &[], at(62)).await.unwrap());
}

async fn prepares_some_commands_while_the_lease_is_renewed(platform: &Platform) {
    let store = &platform.store;
    let agents = platform.enroll(&["linux.a", "linux.b", "linux.c"], at(0)).await;
    let id = platform.insert(5).await.id;
    let (me, other) = (owner("me"), owner("other"));
    store.claim_actions(&me, LEASE, 1, at(1)).await.unwrap();
    let new = |agent| NewCommand { id: platform.ids.command(at(1)), agent };
    let first = [new(agents[0]), new(agents[1])];
    assert!(!store.prepare_commands(id, &other, &first, LEASE, at(2)).await.unwrap());
    assert!(store.prepare_commands(id, &me, &first, LEASE, at(50)).await.unwrap());
    let preparing = store.action(id).await.unwrap().unwrap();
    assert_eq!(preparing.status, Some(ActionStatus::Preparing));
    assert_eq!((preparing.counters.sent, preparing.counters.inflight), (2, 2));
    // They may be published and answered meanwhile; the action is not over.
    let waiting = store.claim_unpublished(&me, LEASE, 10, at(51)).await.unwrap();
    assert_eq!(waiting.len(), 2);
    for (command, queueloc) in first.iter().zip(["linux.a", "linux.b"]) {
        let stored = platform.finish(result(command.id, queueloc, CommandStatus::Success), at(52));
        assert_eq!(stored.await, FinishOutcome::Stored(id));
    }
    assert!(store.complete_actions(at(53)).await.unwrap().is_empty());
    // The first lease would have been over.
    assert!(platform.second.claim_actions(&other, LEASE, 10, at(100)).await.unwrap().is_empty());
    let all: Vec<NewCommand> = agents.iter().map(|agent| new(*agent)).collect();
    assert!(store.dispatch(id, &me, &all, at(101)).await.unwrap());
    assert!(!store.prepare_commands(id, &me, &all, LEASE, at(102)).await.unwrap());
    let inflight = store.action(id).await.unwrap().unwrap();
    assert_eq!(inflight.status, Some(ActionStatus::Inflight));
    assert_eq!((inflight.counters.sent, inflight.counters.done), (3, 2));
    assert_eq!(store.claim_unpublished(&me, LEASE, 10, at(103)).await.unwrap().len(), 1);
}

async fn dispatches_once_and_only_for_the_owner(platform: &Platform) {
    let agents = platform.enroll(&["linux.a", "linux.b"], at(0)).await;
    let (id, commands) = platform.launch(5, &agents, at(10)).await;
    let launched = platform.store.action(id).await.unwrap().unwrap();
    assert_eq!(launched.status, Some(ActionStatus::Inflight));
    assert_eq!((launched.starttime, launched.lastupdatetime), (at(10), at(10)));
    assert_eq!((launched.counters.sent, launched.counters.inflight), (2, 2));
    let again = [NewCommand { id: platform.ids.command(at(11)), agent: agents[0] }];
    for who in ["scheduler", "other"] {
        assert!(!platform.store.dispatch(id, &owner(who), &again, at(11)).await.unwrap());
    }
    let counters = platform.store.action(id).await.unwrap().unwrap().counters;
    assert_eq!(counters.sent, 2);
    assert_eq!(commands.len(), 2);
}

async fn two_schedulers_that_both_dispatch_create_each_command_once(platform: &Platform) {
    let agents = platform.enroll(&["linux.a", "linux.b", "linux.c"], at(0)).await;
    let action = platform.insert(5).await.id;
    let me = owner("same");
    platform.store.claim_actions(&me, LEASE, 1, at(1)).await.unwrap();
    let draw = || -> Vec<NewCommand> {
        let new = |agent: &_| NewCommand { id: platform.ids.command(at(1)), agent: *agent };
        // The same agent twice in one list, too.
        agents.iter().chain(&agents[..1]).map(new).collect()
    };
    let (first, second) = (draw(), draw());
    let (one, two) = tokio::join!(
        platform.store.dispatch(action, &me, &first, at(2)),
        platform.second.dispatch(action, &me, &second, at(2)),
    );
    assert_ne!(one.unwrap(), two.unwrap());
    assert_eq!(platform.store.action(action).await.unwrap().unwrap().counters.sent, 3);
}

async fn a_taken_command_id_is_a_conflict_and_dispatches_nothing(platform: &Platform) {
    let agents = platform.enroll(&["linux.a", "linux.b"], at(0)).await;
    let (_, taken) = platform.launch(1, &agents[..1], at(1)).await;
    let action = platform.insert(2).await.id;
    let me = owner("me");
    platform.store.claim_actions(&me, LEASE, 1, at(1)).await.unwrap();
    let commands = [
        NewCommand { id: platform.ids.command(at(1)), agent: agents[0] },
        NewCommand { id: taken[0], agent: agents[1] },
    ];
    let error = platform.store.dispatch(action, &me, &commands, at(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    let after = platform.store.action(action).await.unwrap().unwrap();
    assert_eq!((after.status, after.counters.sent), (Some(ActionStatus::Scheduled), 0));
    let fresh = [NewCommand { id: platform.ids.command(at(1)), agent: agents[1] }];
    assert!(platform.store.dispatch(action, &me, &fresh, at(3)).await.unwrap());
}

async fn invalidates_until_commands_exist(platform: &Platform) {
    let store = &platform.store;
    let id = platform.insert(1).await.id;
    store.claim_actions(&owner("me"), LEASE, 1, at(1)).await.unwrap();
    assert!(store.invalidate(id, "no agent matches\0", at(5)).await.unwrap());
    let ended = store.action(id).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.finishtime), (Some(ActionStatus::Invalid), at(5)));
    assert_eq!(store.reason(id).await.unwrap().as_deref(), Some("no agent matchesNULL"));
    assert!(!store.invalidate(id, "again", at(6)).await.unwrap());
    assert!(!store.dispatch(id, &owner("me"), &[], at(6)).await.unwrap());
    let agents = platform.enroll(&["linux.a"], at(0)).await;
    let (running, _) = platform.launch(2, &agents, at(10)).await;
    assert!(!store.invalidate(running, "too late", at(11)).await.unwrap());
    assert_eq!(store.reason(running).await.unwrap(), None);
    assert!(!store.invalidate(action_id(99), "nobody", at(11)).await.unwrap());
}

async fn sweeps_what_expired_before_it_started(platform: &Platform) {
    let store = &platform.store;
    let agents = platform.enroll(&["linux.a"], at(0)).await;
    platform.launch(1, &agents, at(1)).await;
    let stranded = platform.insert(2).await.id;
    store.claim_actions(&owner("dead"), LEASE, 1, at(1)).await.unwrap();
    let pending = platform.insert(3).await.id;
    assert!(store.sweep_expired_actions(at(3599)).await.unwrap().is_empty());
    let swept = store.sweep_expired_actions(at(3601)).await.unwrap();
    assert_eq!(swept, [stranded, pending]);
    let ended = store.action(pending).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.finishtime), (Some(ActionStatus::Invalid), at(3601)));
    let reason = store.reason(pending).await.unwrap();
    assert_eq!(reason.as_deref(), Some("expired before it could start"));
    assert!(store.sweep_expired_actions(at(3602)).await.unwrap().is_empty());
}

async fn completes_when_no_command_is_in_flight(platform: &Platform) {
    use mig_types::CommandStatus::{Failed, Success};
    let store = &platform.store;
    let agents = platform.enroll(&["linux.a", "linux.b"], at(0)).await;
    let (id, commands) = platform.launch(1, &agents, at(1)).await;
    platform.finish(crate::support::result(commands[0], "linux.a", Success), at(2)).await;
    assert!(store.complete_actions(at(3)).await.unwrap().is_empty());
    platform.finish(crate::support::result(commands[1], "linux.b", Failed), at(4)).await;
    let (one, two) = tokio::join!(
        platform.store.complete_actions(at(5)),
        platform.second.complete_actions(at(5))
    );
    let completed: Vec<_> = one.unwrap().into_iter().chain(two.unwrap()).collect();
    assert_eq!(completed.len(), 1);
    let action = &completed[0];
    assert_eq!((action.id, action.status), (id, Some(ActionStatus::Completed)));
    assert_eq!(action.finishtime, at(5));
    let counters = action.counters;
    assert_eq!((counters.sent, counters.done, counters.success, counters.failed), (2, 2, 1, 1));
    assert!(store.complete_actions(at(6)).await.unwrap().is_empty());
}

async fn an_action_without_commands_completes_at_once(platform: &Platform) {
    platform.launch(1, &[], at(1)).await;
    assert_eq!(platform.store.complete_actions(at(2)).await.unwrap().len(), 1);
}

async fn lists_the_actions_started_last(platform: &Platform) {
    for id in 1..=3 {
        platform.launch(id, &[], at(0) + Duration::from_secs(id)).await;
    }
    platform.insert(4).await;
    let last = platform.store.last_actions(3).await.unwrap();
    let ids: Vec<_> = last.iter().map(|action| action.id.get()).collect();
    assert_eq!(ids, [3, 2, 1]);
}

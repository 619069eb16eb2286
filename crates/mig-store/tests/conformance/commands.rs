//! Commands: published as the agents shall see them, and expired in time.

use std::collections::BTreeSet;
use std::time::Duration;

use mig_types::{ActionStatus, CommandId, CommandStatus, Counters, ModuleResult, Timestamp, wire};

use crate::support::{LEASE, Platform, at, on_both, owner, result};

on_both!(
    a_command_goes_out_complete,
    a_claim_is_a_lease_until_the_relay_holds_the_command,
    no_two_schedulers_publish_the_same_command_at_once,
    never_publishes_what_is_over,
    never_publishes_what_an_older_scheduler_sent,
    expires_what_its_action_outlived,
    unknown_commands_are_none,
);

async fn a_command_goes_out_complete(platform: &Platform) {
    let agents = platform.enroll(&["linux.a", "linux.b"], at(0)).await;
    platform
        .execute(
            "insert into loaders (loadername, keyprefix, loaderkey, salt, lastseen, queueloc) \
        values ('ldr', 'p', 'k', 's', '2026-01-01T00:00:00Z', 'linux.a')",
        )
        .await;
    platform.enroll(&["linux.a"], at(5)).await;
    let (_, commands) = platform.launch(3, &agents, at(10)).await;
    let claimed = platform.store.claim_unpublished(&owner("me"), LEASE, 10, at(11)).await.unwrap();
    assert_eq!(claimed.len(), 2);
    let out = &claimed[0];
    assert_eq!(out.command.id, commands[0]);
    assert_eq!(out.queueloc.as_str(), "linux.a");
    let action = &out.command.action;
    assert_eq!(action.status, Some(ActionStatus::Preparing));
    assert_eq!(action.counters, Counters { sent: 2, ..Counters::default() });
    assert_eq!(action.starttime, at(10));
    assert_eq!((action.finishtime, action.lastupdatetime), (Timestamp::ZERO, Timestamp::ZERO));
    assert_eq!(action.pgpsignatures, ["wsBc"]);
    assert_eq!(action.operations, crate::support::action(3).operations);
    let agent = &out.command.agent;
    assert_eq!((agent.id, agent.pid), (agents[0], 100));
    assert_eq!((agent.loadername.as_str(), agent.environment.os.as_str()), ("ldr", "linux"));
    assert_eq!(agent.tags.get("operator"), Some(&"it".into()));
    assert_eq!(agent.destructiontime, Timestamp::NEVER);
    assert_eq!(out.command.status, CommandStatus::Sent);
    assert_eq!(out.command.results, Some(vec![ModuleResult::default()]));
    assert_eq!((out.command.starttime, out.command.finishtime), (at(10), Timestamp::ZERO));
    let text = wire::to_string(&out.command).unwrap();
    assert!(text.contains(r#""counters":{"sent":2},"syntaxversion":2}"#), "{text}");
}

async fn a_claim_is_a_lease_until_the_relay_holds_the_command(platform: &Platform) {
    let agents = platform.enroll(&["linux.a", "linux.b"], at(0)).await;
    let (_, commands) = platform.launch(3, &agents, at(10)).await;
    let claim = async |now| -> Vec<CommandId> {
        let claimed =
            platform.second.claim_unpublished(&owner("me"), LEASE, 10, now).await.unwrap();
        claimed.into_iter().map(|out| out.command.id).collect()
    };
    assert_eq!(claim(at(11)).await, commands);
    assert!(claim(at(12)).await.is_empty());
    platform.store.mark_published(&commands[..1]).await.unwrap();
    assert_eq!(claim(at(72)).await, commands[1..]);
    platform.store.mark_published(&commands).await.unwrap();
    assert!(claim(at(500)).await.is_empty());
    platform.store.mark_published(&[]).await.unwrap();
}

async fn no_two_schedulers_publish_the_same_command_at_once(platform: &Platform) {
    let names: Vec<_> = (0..80).map(|number| format!("linux.{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let agents = platform.enroll(&names, at(0)).await;
    platform.launch(1, &agents, at(1)).await;
    let mut tasks = Vec::new();
    for task in 0..6 {
        let store = if task % 2 == 0 { platform.store.clone() } else { platform.second.clone() };
        tasks.push(tokio::spawn(async move {
            let me = owner(&task.to_string());
            let mut mine = Vec::new();
            loop {
                let claimed = store.claim_unpublished(&me, LEASE, 7, at(2)).await.unwrap();
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed.into_iter().map(|out| out.command.id));
            }
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    let distinct: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(all.len(), distinct.len());
    let rest = platform.store.claim_unpublished(&owner("l"), LEASE, 100, at(2)).await.unwrap();
    assert_eq!(distinct.len() + rest.len(), 80);
}

async fn never_publishes_what_is_over(platform: &Platform) {
    let agents = platform.enroll(&["linux.a", "linux.b"], at(0)).await;
    let (_, commands) = platform.launch(3, &agents, at(10)).await;
    platform.finish(result(commands[0], "linux.a", CommandStatus::Success), at(11)).await;
    let me = owner("me");
    assert!(platform.store.claim_unpublished(&me, LEASE, 10, at(3600)).await.unwrap().is_empty());
    let left = platform.store.claim_unpublished(&me, LEASE, 10, at(3599)).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].command.id, commands[1]);
}

async fn never_publishes_what_an_older_scheduler_sent(platform: &Platform) {
    let agents = platform.enroll(&["linux.a"], at(0)).await;
    platform.launch(3, &[], at(10)).await;
    platform
        .execute(&format!(
            "insert into commands (id, actionid, agentid, status, results, starttime) \
             values (77, 3, {}, 'sent', '[]', '2026-03-01T00:00:10Z')",
            agents[0]
        ))
        .await;
    let claimed = platform.store.claim_unpublished(&owner("me"), LEASE, 10, at(11)).await.unwrap();
    assert!(claimed.is_empty());
    // Its result is taken all the same.
    let id = CommandId::new(77).unwrap();
    let outcome = platform.finish(result(id, "linux.a", CommandStatus::Success), at(12)).await;
    assert!(matches!(outcome, mig_store::FinishOutcome::Stored(_)), "{outcome:?}");
}

async fn expires_what_its_action_outlived(platform: &Platform) {
    let store = &platform.store;
    let grace = Duration::from_secs(5);
    let agents = platform.enroll(&["linux.a", "linux.b", "linux.c"], at(0)).await;
    let (first, commands) = platform.launch(1, &agents, at(1)).await;
    let (second, _) = platform.launch(2, &agents[..1], at(1)).await;
    platform.finish(result(commands[0], "linux.a", CommandStatus::Timeout), at(2)).await;
    // Status and life of the agents' rows do not matter.
    platform.execute("update agents set status = 'offline'").await;
    assert!(store.expire_commands(grace, at(3604)).await.unwrap().is_empty());
    let (one, two) = tokio::join!(
        platform.store.expire_commands(grace, at(3606)),
        platform.second.expire_commands(grace, at(3606)),
    );
    let mut expired: Vec<_> = one.unwrap().into_iter().chain(two.unwrap()).collect();
    expired.sort_unstable();
    assert_eq!(expired, [(first, 2), (second, 1)]);
    let counters = store.action(first).await.unwrap().unwrap().counters;
    assert_eq!((counters.expired, counters.timeout, counters.done), (2, 1, 3));
    let command = store.command(commands[1]).await.unwrap().unwrap();
    assert_eq!((command.status, command.finishtime), (CommandStatus::Expired, at(3606)));
    assert_eq!(store.complete_actions(at(3607)).await.unwrap().len(), 2);
    let (finished, cursor) = store.finished_since(first, 0, 10).await.unwrap();
    assert_eq!((finished.len(), cursor), (3, 3));
}

async fn unknown_commands_are_none(platform: &Platform) {
    let nobody = CommandId::new(404).unwrap();
    assert_eq!(platform.store.command(nobody).await.unwrap(), None);
}

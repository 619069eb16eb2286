//! Events reach whoever waits, after the commit and not without it.

use mig_store::StoreEvent::{ActionCreated, CommandsReady, InvestigatorsChanged, Progress};
use mig_types::{CommandStatus, Permissions};
use tokio::sync::broadcast::error::TryRecvError;

use crate::support::{Platform, action, at, await_event, on_both, result};

on_both!(every_change_tells, what_changes_nothing_tells_nothing);

async fn every_change_tells(platform: &Platform) {
    // On PostgreSQL the other process hears it too.
    let listener = if platform.is_postgres() { &platform.second } else { &platform.store };
    let mut events = listener.events();
    if platform.is_postgres() {
        // Its connection may still be on the way: speak until it is heard.
        let speak = async {
            for number in 0.. {
                platform.investigator(&format!("i{number}"), Permissions::NONE).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = speak => {}
            () = await_event(&mut events, InvestigatorsChanged) => {}
        }
        events = listener.events();
    }
    platform.investigator("alice", Permissions::NONE).await;
    await_event(&mut events, InvestigatorsChanged).await;
    let agents = platform.enroll(&["linux.a"], at(0)).await;
    let (id, commands) = platform.launch(1, &agents, at(1)).await;
    await_event(&mut events, ActionCreated(id)).await;
    await_event(&mut events, CommandsReady(id)).await;
    platform.finish(result(commands[0], "linux.a", CommandStatus::Success), at(2)).await;
    await_event(&mut events, Progress(id)).await;
    platform.store.complete_actions(at(3)).await.unwrap();
    await_event(&mut events, Progress(id)).await;
    let dead = platform.insert(2).await.id;
    platform.store.invalidate(dead, "no reason", at(4)).await.unwrap();
    await_event(&mut events, Progress(dead)).await;
}

async fn what_changes_nothing_tells_nothing(platform: &Platform) {
    platform.insert(1).await;
    let mut events = platform.store.events();
    while events.try_recv().is_ok() {}
    platform.store.insert_action(&action(1), &[]).await.unwrap_err();
    let nobody = mig_types::CommandId::new(404).unwrap();
    platform.finish(result(nobody, "linux.a", CommandStatus::Success), at(2)).await;
    platform.store.complete_actions(at(3)).await.unwrap();
    platform.store.sweep_expired_actions(at(3)).await.unwrap();
    if !platform.is_postgres() {
        // In-process events are there as soon as the call returns.
        assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
    }
    // On PostgreSQL a late notification would come before this one.
    let (id, _) = platform.launch(9, &[], at(1)).await;
    let deadline = async {
        loop {
            match events.recv().await.unwrap() {
                ActionCreated(first) if first.get() == 1 => {}
                event => return event,
            }
        }
    };
    let first = tokio::time::timeout(crate::support::PATIENCE, deadline).await;
    if let Ok(event) = first {
        assert!(event == ActionCreated(id) || event == CommandsReady(id), "{event:?}");
    } else {
        panic!("no event at all");
    }
}

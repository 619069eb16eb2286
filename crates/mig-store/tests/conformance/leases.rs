//! Jobs that one of several schedulers does for all.

use mig_store::{Job, Sign};

use crate::support::{LEASE, Platform, at, on_both, owner};

on_both!(
    a_job_has_one_owner_until_its_lease_runs_out,
    a_released_job_is_free_and_the_others_are_kept,
    of_many_at_once_one_gets_the_job,
    the_longest_promise_to_work_counts_and_outlives_who_made_it,
);

async fn a_job_has_one_owner_until_its_lease_runs_out(platform: &Platform) {
    let (one, two) = (owner("one"), owner("two"));
    let (first, second) = (&platform.store, &platform.second);
    assert!(first.lease(Job::Statistics, &one, LEASE, at(0)).await.unwrap());
    assert!(!second.lease(Job::Statistics, &two, LEASE, at(59)).await.unwrap());
    // Its owner extends it; other jobs are free.
    assert!(first.lease(Job::Statistics, &one, LEASE, at(59)).await.unwrap());
    assert!(second.lease(Job::Duplicates, &two, LEASE, at(59)).await.unwrap());
    assert!(!second.lease(Job::Statistics, &two, LEASE, at(118)).await.unwrap());
    assert!(second.lease(Job::Statistics, &two, LEASE, at(119)).await.unwrap());
    assert!(!first.lease(Job::Statistics, &one, LEASE, at(120)).await.unwrap());
}

async fn a_released_job_is_free_and_the_others_are_kept(platform: &Platform) {
    let (one, two) = (owner("one"), owner("two"));
    assert!(platform.store.lease(Job::Statistics, &one, LEASE, at(0)).await.unwrap());
    assert!(platform.store.lease(Job::QueueCleanup, &one, LEASE, at(0)).await.unwrap());
    assert!(platform.second.lease(Job::Duplicates, &two, LEASE, at(0)).await.unwrap());
    platform.store.release(&one).await.unwrap();
    assert!(platform.second.lease(Job::Statistics, &two, LEASE, at(1)).await.unwrap());
    assert!(platform.second.lease(Job::QueueCleanup, &two, LEASE, at(1)).await.unwrap());
    assert!(!platform.store.lease(Job::Duplicates, &one, LEASE, at(1)).await.unwrap());
}

async fn of_many_at_once_one_gets_the_job(platform: &Platform) {
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = if number % 2 == 0 { platform.store.clone() } else { platform.second.clone() };
        tries.spawn(async move {
            let owner = owner(&format!("scheduler {number}"));
            store.lease(Job::QueueCleanup, &owner, LEASE, at(0)).await.unwrap()
        });
    }
    let outcomes = tries.join_all().await;
    assert_eq!(outcomes.iter().filter(|taken| **taken).count(), 1, "{outcomes:?}");
}

async fn the_longest_promise_to_work_counts_and_outlives_who_made_it(platform: &Platform) {
    let (first, second) = (&platform.store, &platform.second);
    assert_eq!(second.told(Sign::Scheduler).await.unwrap(), None);
    first.tell(Sign::Scheduler, at(20)).await.unwrap();
    second.tell(Sign::Scheduler, at(12)).await.unwrap();
    assert_eq!(second.told(Sign::Scheduler).await.unwrap(), Some(at(20)));
    assert_eq!(second.told(Sign::Relay).await.unwrap(), None);
    first.tell(Sign::Relay, at(7)).await.unwrap();
    first.release(&owner("one")).await.unwrap();
    assert_eq!(first.told(Sign::Relay).await.unwrap(), Some(at(7)));
}

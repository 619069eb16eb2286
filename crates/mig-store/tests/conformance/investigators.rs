//! Investigators: rights that cannot be lost by accident, one identity for all
//! schedulers.

use mig_store::{ApiKeyRow, InvestigatorChange, NewInvestigator, StoreError};
use mig_types::{InvestigatorId, InvestigatorStatus, Permissions};

use crate::support::{Platform, at, fingerprint, investigator, on_both};

on_both!(
    a_taken_fingerprint_is_a_conflict,
    investigators_come_back_whole,
    changes_only_what_is_asked,
    the_last_administrator_keeps_the_right,
    two_administrators_cannot_both_leave_at_once,
    the_keyring_holds_active_investigators_with_a_key,
    api_keys_come_and_go,
    schedulers_that_start_at_once_share_one_identity,
    an_identity_needs_a_private_key,
);

fn id(number: u64) -> InvestigatorId {
    InvestigatorId::new(number).unwrap()
}

fn permissions(permissions: Permissions) -> InvestigatorChange {
    InvestigatorChange { permissions: Some(permissions), ..InvestigatorChange::default() }
}

fn status(status: InvestigatorStatus) -> InvestigatorChange {
    InvestigatorChange { status: Some(status), ..InvestigatorChange::default() }
}

async fn a_taken_fingerprint_is_a_conflict(platform: &Platform) {
    platform.investigator("alice", Permissions::DEFAULT).await;
    let twin = NewInvestigator { name: "twin".into(), ..investigator("alice", Permissions::NONE) };
    let error = platform.second.insert_investigator(&twin, at(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    // Any number of investigators may have no key.
    for name in ["bob", "carol"] {
        let keyless = NewInvestigator {
            fingerprint: None,
            public_key: None,
            ..investigator(name, Permissions::NONE)
        };
        platform.store.insert_investigator(&keyless, at(1)).await.unwrap();
    }
}

async fn investigators_come_back_whole(platform: &Platform) {
    let new = investigator("alice", Permissions::DEFAULT);
    let inserted = platform.store.insert_investigator(&new, at(3)).await.unwrap();
    assert_eq!(inserted.name, "alice");
    assert_eq!(inserted.public_key.as_deref(), Some("public key of alice"));
    assert_eq!((inserted.created_at, inserted.last_modified), (at(3), at(3)));
    assert_eq!(inserted.status, InvestigatorStatus::Active);
    let read = platform.second.investigator(inserted.id).await.unwrap();
    assert_eq!(read.as_ref(), Some(&inserted));
    let found = platform.store.investigator_by_fingerprint(&fingerprint("alice")).await.unwrap();
    assert_eq!(found, Some(inserted));
    assert_eq!(platform.store.investigator(id(404)).await.unwrap(), None);
    let nobody = platform.store.investigator_by_fingerprint(&fingerprint("x")).await.unwrap();
    assert_eq!(nobody, None);
}

async fn changes_only_what_is_asked(platform: &Platform) {
    let alice = id(platform.investigator("alice", Permissions::DEFAULT).await);
    let change = permissions(Permissions::LOADER);
    let changed = platform.store.change_investigator(alice, &change, at(9)).await.unwrap().unwrap();
    assert_eq!((changed.permissions, changed.last_modified), (Permissions::LOADER, at(9)));
    assert_eq!((changed.status, changed.created_at), (InvestigatorStatus::Active, at(0)));
    let change = status(InvestigatorStatus::Disabled);
    let changed =
        platform.store.change_investigator(alice, &change, at(10)).await.unwrap().unwrap();
    assert_eq!(changed.permissions, Permissions::LOADER);
    assert_eq!(changed.status, InvestigatorStatus::Disabled);
    assert_eq!(platform.store.change_investigator(id(404), &change, at(10)).await.unwrap(), None);
}

async fn the_last_administrator_keeps_the_right(platform: &Platform) {
    let admin = id(platform.investigator("admin", Permissions::ADMIN).await);
    let disabled = id(platform.investigator("disabled", Permissions::ADMIN).await);
    let off = status(InvestigatorStatus::Disabled);
    platform.store.change_investigator(disabled, &off, at(1)).await.unwrap().unwrap();
    // One of the two bits makes no administrator.
    platform.investigator("half", Permissions::INVESTIGATOR).await;
    for change in [
        permissions(Permissions::DEFAULT),
        permissions(Permissions::INVESTIGATOR),
        permissions(Permissions::INVESTIGATOR_UPDATE),
        off.clone(),
    ] {
        let outcome = platform.store.change_investigator(admin, &change, at(2)).await;
        assert!(matches!(outcome, Err(StoreError::LastAdmin)), "{change:?}: {outcome:?}");
    }
    let kept = platform.store.investigator(admin).await.unwrap().unwrap();
    assert_eq!((kept.permissions, kept.last_modified), (Permissions::ADMIN, at(0)));
    // More rights, or an active heir, are fine.
    platform.store.change_investigator(admin, &permissions(Permissions::ALL), at(3)).await.unwrap();
    let on = status(InvestigatorStatus::Active);
    platform.store.change_investigator(disabled, &on, at(4)).await.unwrap();
    platform.store.change_investigator(admin, &off, at(5)).await.unwrap().unwrap();
}

async fn two_administrators_cannot_both_leave_at_once(platform: &Platform) {
    let one = id(platform.investigator("one", Permissions::ADMIN).await);
    let two = id(platform.investigator("two", Permissions::ADMIN).await);
    let change = permissions(Permissions::NONE);
    let (first, second) = tokio::join!(
        platform.store.change_investigator(one, &change, at(1)),
        platform.second.change_investigator(two, &change, at(1)),
    );
    let refused = [&first, &second]
        .into_iter()
        .filter(|outcome| matches!(outcome, Err(StoreError::LastAdmin)))
        .count();
    assert_eq!(refused, 1, "{first:?} {second:?}");
}

async fn the_keyring_holds_active_investigators_with_a_key(platform: &Platform) {
    let gone = id(platform.investigator("gone", Permissions::NONE).await);
    platform.investigator("alice", Permissions::NONE).await;
    let keyless = NewInvestigator {
        fingerprint: None,
        public_key: None,
        ..investigator("keyless", Permissions::NONE)
    };
    platform.store.insert_investigator(&keyless, at(0)).await.unwrap();
    let off = status(InvestigatorStatus::Disabled);
    platform.store.change_investigator(gone, &off, at(1)).await.unwrap();
    let ring = platform.store.active_investigators().await.unwrap();
    let names: Vec<_> = ring.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["alice"]);
    let found = platform.store.investigator_by_fingerprint(&fingerprint("gone")).await.unwrap();
    assert_eq!(found.unwrap().status, InvestigatorStatus::Disabled);
}

async fn api_keys_come_and_go(platform: &Platform) {
    let alice = id(platform.investigator("alice", Permissions::NONE).await);
    let key = |key| InvestigatorChange { api_key: Some(key), ..InvestigatorChange::default() };
    let set = key(Some((vec![0, 1, 255], vec![7])));
    let changed = platform.store.change_investigator(alice, &set, at(1)).await.unwrap().unwrap();
    assert!(changed.has_api_key);
    let stored = ApiKeyRow { investigator: alice, hash: vec![0, 1, 255], salt: vec![7] };
    assert_eq!(platform.second.api_keys().await.unwrap(), [stored]);
    // Another change leaves it alone; a disabled investigator's is not listed.
    let off = status(InvestigatorStatus::Disabled);
    let changed = platform.store.change_investigator(alice, &off, at(2)).await.unwrap().unwrap();
    assert!(changed.has_api_key);
    assert!(platform.store.api_keys().await.unwrap().is_empty());
    let changed = platform.store.change_investigator(alice, &key(None), at(3)).await.unwrap();
    assert!(!changed.unwrap().has_api_key);
    let on = status(InvestigatorStatus::Active);
    platform.store.change_investigator(alice, &on, at(4)).await.unwrap();
    assert!(platform.store.api_keys().await.unwrap().is_empty());
}

fn identity(number: u64) -> NewInvestigator {
    NewInvestigator {
        name: "whatever".into(),
        private_key: Some(format!("private key {number}")),
        ..investigator(&format!("key {number}"), Permissions::NONE)
    }
}

async fn schedulers_that_start_at_once_share_one_identity(platform: &Platform) {
    // Somebody took the name without a private key.
    let squatter = investigator("migscheduler", Permissions::NONE);
    platform.store.insert_investigator(&squatter, at(0)).await.unwrap();
    let mut tasks = Vec::new();
    for task in 0..6 {
        let store = if task % 2 == 0 { platform.store.clone() } else { platform.second.clone() };
        tasks.push(tokio::spawn(async move {
            store.scheduler_identity(&identity(task), at(task)).await.unwrap()
        }));
    }
    let mut identities = Vec::new();
    for task in tasks {
        identities.push(task.await.unwrap());
    }
    assert!(identities.windows(2).all(|pair| pair[0] == pair[1]), "{identities:?}");
    let (row, key) = &identities[0];
    assert_eq!(row.name, "migscheduler");
    assert!(key.starts_with("private key "));
    assert_eq!(row.fingerprint, Some(fingerprint(&key.replace("private key", "key"))));
    let restarted = platform.store.scheduler_identity(&identity(9), at(100)).await.unwrap();
    assert_eq!(restarted, identities[0]);
}

async fn an_identity_needs_a_private_key(platform: &Platform) {
    let keyless = NewInvestigator { private_key: None, ..identity(1) };
    let error = platform.store.scheduler_identity(&keyless, at(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
}

//! Manifests: signatures, statuses and the order in which loaders see them.

use mig_store::{NewManifest, Search, SignOutcome, StoreError};
use mig_types::{InvestigatorId, ManifestId, ManifestStatus};

use crate::support::{ALL, Platform, at, on_both};

on_both!(
    a_manifest_is_active_once_enough_investigators_signed,
    nobody_signs_twice_and_signers_at_once_are_all_counted,
    staging_again_drops_signatures_and_disabled_is_final,
    active_manifests_come_newest_first,
    manifests_are_found_by_every_filter,
    a_manifest_that_is_not_there_is_said_to_be_missing,
);

fn signer(id: u64) -> InvestigatorId {
    InvestigatorId::new(id).unwrap()
}

fn new(name: &str) -> NewManifest {
    NewManifest {
        name: name.into(),
        content: format!("content of {name}"),
        target: "env#>>'{os}' = 'linux'".into(),
    }
}

async fn insert(platform: &Platform, name: &str, second: u64) -> ManifestId {
    platform.store.insert_manifest(&new(name), at(second)).await.unwrap()
}

async fn a_manifest_is_active_once_enough_investigators_signed(platform: &Platform) {
    let store = &platform.store;
    let id = insert(platform, "one", 1).await;
    let row = store.manifest(id).await.unwrap().unwrap();
    assert_eq!((row.name.as_str(), row.status), ("one", ManifestStatus::Staged));
    assert_eq!((row.timestamp, row.target), (at(1), new("one").target));
    assert_eq!(store.manifest_content(id).await.unwrap().unwrap(), "content of one");
    // Investigator zero signs when authentication is off.
    let outcome = store.sign_manifest(id, signer(0), "zero", 2).await.unwrap();
    assert_eq!(outcome, SignOutcome::Stored(ManifestStatus::Staged));
    let outcome = store.sign_manifest(id, signer(7), "seven", 2).await.unwrap();
    assert_eq!(outcome, SignOutcome::Stored(ManifestStatus::Active));
    let row = platform.second.manifest(id).await.unwrap().unwrap();
    assert_eq!(row.status, ManifestStatus::Active);
    let signatures = store.manifest_signatures(id).await.unwrap();
    assert_eq!(signatures, [(signer(0), "zero".to_owned()), (signer(7), "seven".to_owned())]);
}

async fn nobody_signs_twice_and_signers_at_once_are_all_counted(platform: &Platform) {
    let id = insert(platform, "one", 1).await;
    let (first, second) = tokio::join!(
        platform.store.sign_manifest(id, signer(1), "a", 2),
        platform.second.sign_manifest(id, signer(2), "b", 2),
    );
    // Whoever came second saw the first one's signature.
    let outcomes = [first.unwrap(), second.unwrap()];
    assert!(outcomes.contains(&SignOutcome::Stored(ManifestStatus::Active)), "{outcomes:?}");
    let again = platform.store.sign_manifest(id, signer(1), "c", 2).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
    assert_eq!(platform.store.manifest_signatures(id).await.unwrap().len(), 2);
}

async fn staging_again_drops_signatures_and_disabled_is_final(platform: &Platform) {
    let store = &platform.store;
    let id = insert(platform, "one", 1).await;
    store.sign_manifest(id, signer(1), "a", 1).await.unwrap();
    let staged = store.change_manifest(id, ManifestStatus::Staged).await.unwrap();
    assert_eq!(staged, Some(ManifestStatus::Staged));
    assert!(store.manifest_signatures(id).await.unwrap().is_empty());
    store.sign_manifest(id, signer(1), "a", 1).await.unwrap();
    let disabled = store.change_manifest(id, ManifestStatus::Disabled).await.unwrap();
    assert_eq!(disabled, Some(ManifestStatus::Disabled));
    let still = store.change_manifest(id, ManifestStatus::Staged).await.unwrap();
    assert_eq!(still, Some(ManifestStatus::Disabled));
    assert_eq!(store.manifest_signatures(id).await.unwrap().len(), 1);
    let refused = store.sign_manifest(id, signer(2), "b", 1).await.unwrap();
    assert_eq!(refused, SignOutcome::Disabled);
}

async fn active_manifests_come_newest_first(platform: &Platform) {
    for (name, second) in [("old", 1), ("new", 3), ("middle", 2)] {
        let id = insert(platform, name, second).await;
        platform.store.sign_manifest(id, signer(1), "a", 1).await.unwrap();
    }
    insert(platform, "staged", 9).await;
    let rows = platform.store.active_manifests(10).await.unwrap();
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["new", "middle", "old"]);
    assert_eq!(platform.store.active_manifests(2).await.unwrap().len(), 2);
}

async fn manifests_are_found_by_every_filter(platform: &Platform) {
    let one = insert(platform, "Linux base", 1).await;
    let two = insert(platform, "windows", 5).await;
    platform.store.change_manifest(two, ManifestStatus::Disabled).await.unwrap();
    for (search, wanted) in [
        (Search::default(), vec![two, one]),
        (Search { manifest_id: Some(one), ..Search::default() }, vec![one]),
        (Search { manifest_name: Some("linux%".into()), ..Search::default() }, vec![one]),
        (Search { status: Some("disabled".into()), ..Search::default() }, vec![two]),
        (Search { after: Some(at(2)), ..Search::default() }, vec![two]),
        (Search { before: Some(at(2)), ..Search::default() }, vec![one]),
        (Search { manifest_name: Some("linux".into()), ..Search::default() }, vec![]),
    ] {
        let rows = platform.store.search_manifests(&search, ALL).await.unwrap();
        let found: Vec<_> = rows.iter().map(|row| row.id).collect();
        assert_eq!(found, wanted, "{search:?}");
    }
}

async fn a_manifest_that_is_not_there_is_said_to_be_missing(platform: &Platform) {
    let id = ManifestId::new(404).unwrap();
    let store = &platform.store;
    assert_eq!(store.manifest(id).await.unwrap(), None);
    assert_eq!(store.manifest_content(id).await.unwrap(), None);
    assert_eq!(store.change_manifest(id, ManifestStatus::Disabled).await.unwrap(), None);
    let outcome = store.sign_manifest(id, signer(1), "a", 1).await.unwrap();
    assert_eq!(outcome, SignOutcome::Unknown);
}

//! What operators see: the spool and the scheduler's own identity.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::platform::{Platform, sign, start_time, wait_for};
use mig_scheduler::{SchedulerError, dispatch, intake, spool};
use mig_sign::sign::SecretKey;
use mig_types::investigator::SCHEDULER_NAME;
use mig_types::{Action, ActionId, ActionStatus, InvestigatorStatus, wire};

const LINUX: &str = "queueloc LIKE 'linux.%'";

fn drop_in(spool: &Path, name: &str, action: &Action) {
    fs::write(spool.join(spool::NEW).join(name), wire::to_vec(action).unwrap()).unwrap();
}

fn names(spool: &Path, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(spool.join(directory)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn with_spool() -> (Platform, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut platform = Platform::start().await;
    platform.settings.spool = Some(dir.path().to_owned());
    platform.scheduler().prepare().await.unwrap();
    (platform, dir)
}

#[tokio::test]
async fn a_signed_file_in_the_spool_becomes_an_action() {
    let (platform, dir) = with_spool().await;
    platform.enroll(&["linux.web1"]).await;
    let scheduler = platform.scheduler();
    let mut action = platform.action("from a file", LINUX);
    // What the file says about its own progress does not count.
    action.status = Some(ActionStatus::Completed);
    action.counters.sent = 9;
    drop_in(dir.path(), "mine.json", &action);
    assert_eq!(intake::run(&scheduler).await.unwrap(), 1);
    assert!(names(dir.path(), spool::NEW).is_empty());
    let stored = platform.stored(action.id).await;
    assert_eq!((stored.status, stored.counters.sent), (Some(ActionStatus::Pending), 0));
    assert_eq!(stored.investigators.len(), 1);
    assert_eq!(stored.investigators[0].name, "Ada");

    dispatch::run(&scheduler).await.unwrap();
    assert_eq!(platform.status(action.id).await, ActionStatus::Inflight);
    // A pass that died before it could delete the file.
    drop_in(dir.path(), "mine.json", &action);
    intake::run(&platform.scheduler()).await.unwrap();
    assert!(
        names(dir.path(), spool::NEW).is_empty() && names(dir.path(), spool::INVALID).is_empty()
    );
    assert_eq!(platform.status(action.id).await, ActionStatus::Inflight);
    assert_eq!(platform.counters(action.id).await.sent, 1);
}

#[tokio::test]
async fn a_file_without_an_id_is_given_one_in_its_name() {
    let (platform, dir) = with_spool().await;
    let scheduler = platform.scheduler();
    let mut action = platform.action("no id", LINUX);
    action.id = ActionId::default();
    drop_in(dir.path(), "noid.json", &action);
    assert_eq!(intake::run(&scheduler).await.unwrap(), 0);
    let [name] = <[String; 1]>::try_from(names(dir.path(), spool::NEW)).unwrap();
    let id: ActionId = name.strip_suffix(".json").unwrap().parse().unwrap();
    assert_eq!(intake::run(&platform.scheduler()).await.unwrap(), 1);
    assert_eq!(platform.status(id).await, ActionStatus::Pending);
}

#[tokio::test]
async fn refused_files_have_their_reason_beside_them() {
    let (platform, dir) = with_spool().await;
    let scheduler = platform.scheduler();
    let stranger = SecretKey::generate_ed25519("Eve <eve@example.net>", start_time()).unwrap();
    let good = platform.action("good", LINUX);
    let mut stolen = platform.action("by a stranger", LINUX);
    sign(&mut stolen, &stranger);
    let mut changed = platform.action("changed", LINUX);
    changed.name.push('!');
    let mut unsigned = platform.action("unsigned", LINUX);
    unsigned.pgpsignatures.clear();
    let nonsense = platform.action("nonsense", "queueloc = 'x'; DROP TABLE agents");
    let mut taken = platform.action("taken", LINUX);
    taken.id = good.id;
    let mut expired = platform.action("expired", LINUX);
    expired.expireafter = start_time() + Duration::from_secs(1);
    sign(&mut expired, &platform.key);

    for (name, action) in [
        ("a-good.json", &good),
        ("b-stolen.json", &stolen),
        ("c-changed.json", &changed),
        ("d-unsigned.json", &unsigned),
        ("e-nonsense.json", &nonsense),
        ("f-taken.json", &taken),
        ("g-expired.json", &expired),
    ] {
        drop_in(dir.path(), name, action);
    }
    fs::write(dir.path().join(spool::NEW).join("h-torn.json"), b"{\"name\":").unwrap();
    intake::run(&scheduler).await.unwrap();
    // It could still be being written.
    assert_eq!(names(dir.path(), spool::NEW), ["h-torn.json"]);
    wait_for(async || {
        intake::run(&scheduler).await.unwrap();
        names(dir.path(), spool::NEW).is_empty()
    })
    .await;

    let invalid = names(dir.path(), spool::INVALID);
    assert_eq!(invalid.len(), 14, "{invalid:?}");
    for (name, reason) in [
        ("b-stolen.json", "signatures do not hold"),
        ("c-changed.json", "signatures do not hold"),
        ("d-unsigned.json", "not signed"),
        ("e-nonsense.json", "target does not parse"),
        ("f-taken.json", "another action has the id"),
        ("g-expired.json", "expireafter is in the past"),
        ("h-torn.json", "cannot read JSON"),
    ] {
        assert!(invalid.contains(&name.to_owned()));
        let path = dir.path().join(spool::INVALID).join(format!("{name}.reason"));
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(reason), "{name}: {text}");
    }
    assert_eq!(platform.status(good.id).await, ActionStatus::Pending);
}

#[tokio::test]
async fn the_first_start_makes_the_schedulers_key_and_later_ones_use_it() {
    let store = mig_store::open_sqlite_memory().await.unwrap();
    let platform = Platform::start().await;
    let first = platform.scheduler_over(store.clone()).prepare().await.unwrap();
    let rows = store.active_investigators().await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].id.get(), rows[0].name.as_str()), (1, SCHEDULER_NAME));
    assert_eq!(rows[0].status, InvestigatorStatus::Active);
    assert_eq!(rows[0].fingerprint.as_ref(), Some(&first));
    let info = mig_sign::keyring::inspect(rows[0].public_key.as_ref().unwrap()).unwrap();
    assert!(info.go_loadable && info.user_id.contains("<scheduler@mig>"), "{}", info.user_id);

    let second = platform.scheduler_over(store.clone()).prepare().await.unwrap();
    assert_eq!(first, second);
    assert_eq!(store.active_investigators().await.unwrap(), rows);
}

#[tokio::test]
async fn the_schedulers_name_is_reserved() {
    let platform = Platform::start().await;
    let usurper = SecretKey::generate_ed25519("x <x@example.net>", start_time()).unwrap();
    platform.investigator(SCHEDULER_NAME, &usurper).await;
    let before = platform.store.active_investigators().await.unwrap();
    let error = platform.scheduler().prepare().await.unwrap_err();
    assert!(matches!(error, SchedulerError::ReservedName), "{error:?}");
    assert_eq!(platform.store.active_investigators().await.unwrap(), before);
}

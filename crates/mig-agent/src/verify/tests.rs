use std::time::Duration;

use mig_sign::keyring::Keyring;
use mig_sign::sign::SecretKey;
use mig_types::{Acl, AclEntry, AclInvestigator, AgentMode, Operation};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const OWN: &str = "linux.web1.example.net.x1";

type Change = fn(&mut Action);

fn now() -> Timestamp {
    Timestamp::parse("2026-01-10T12:00:00Z").unwrap()
}

fn minutes(count: u64) -> Duration {
    Duration::from_mins(count)
}

fn own() -> Agent {
    let mut agent = Agent {
        name: "web1.example.net".into(),
        queueloc: OWN.into(),
        mode: AgentMode::Daemon,
        version: "1".into(),
        pid: 42,
        ..Agent::default()
    };
    agent.environment.os = "linux".into();
    agent
}

/// Two investigators; `file` takes both, everything else one.
struct Stage {
    alice: SecretKey,
    bob: SecretKey,
    policy: Policy,
}

fn stage() -> Stage {
    let key = |name: &str| SecretKey::generate_ed25519(name, now() - minutes(60)).unwrap();
    let (alice, bob) = (key("alice <a@example.net>"), key("bob <b@example.net>"));
    let mut keyring = Keyring::default();
    for key in [&alice, &bob] {
        keyring.add_armored(&key.public_armored().unwrap()).unwrap();
    }
    let people = || {
        [("alice", &alice), ("bob", &bob)].map(|(name, key)| {
            (name.to_owned(), AclInvestigator { fingerprint: key.fingerprint().clone(), weight: 1 })
        })
    };
    let entry =
        |minimumweight| AclEntry { minimumweight, investigators: people().into_iter().collect() };
    let mut acl = Acl::default();
    acl.insert("default", entry(1));
    acl.insert("file", entry(2));
    let policy = Policy {
        trust: Trust { keyring, acl },
        queueloc: OWN.parse().unwrap(),
        onlyverifypubkey: false,
        unverifiabletargets: Unverifiable::Allow,
    };
    Stage { alice, bob, policy }
}

fn operation(module: &str) -> Operation {
    Operation { module: module.into(), parameters: json!({"a": "b"}), ..Operation::default() }
}

fn unsigned() -> Action {
    Action {
        name: "who listens".into(),
        target: "environment->>'os' = 'linux'".into(),
        validfrom: now() - minutes(5),
        expireafter: now() + minutes(60),
        operations: Some(vec![operation("netstat")]),
        syntaxversion: 2,
        ..Action::default()
    }
}

fn signed(mut action: Action, keys: &[&SecretKey]) -> Action {
    let text = canonical::action_string(&action).unwrap();
    action.pgpsignatures =
        keys.iter().map(|key| key.sign(&text, now() - minutes(1)).unwrap()).collect();
    action
}

fn command(action: Action) -> Command {
    let mut command = Command { action, ..Command::default() };
    command.agent.queueloc = OWN.into();
    command
}

/// What the investigator reads, or `accepted`.
fn verdict(policy: &Policy, action: Action) -> String {
    match policy.verify(&command(action), &own(), now()) {
        Ok(_) => "accepted".to_owned(),
        Err(refusal) => refusal.text(),
    }
}

#[test]
fn accepts_what_is_signed_for_this_agent() {
    let stage = stage();
    let accepted =
        stage.policy.verify(&command(signed(unsigned(), &[&stage.alice])), &own(), now()).unwrap();
    assert_eq!(accepted.signers, [stage.alice.fingerprint().clone()]);
    let two = Action { operations: Some(vec![operation("file")]), ..unsigned() };
    assert_eq!(verdict(&stage.policy, signed(two, &[&stage.bob, &stage.alice])), "accepted");
}

#[test]
fn refuses_every_change_of_a_signed_field() {
    let stage = stage();
    let changes: [(&str, Change); 9] = [
        ("name", |action| action.name.push('x')),
        ("target", |action| action.target.push_str(" OR true")),
        ("target wider", |action| action.target = "true".into()),
        ("validfrom", |action| action.validfrom = action.validfrom - minutes(1)),
        ("expireafter", |action| action.expireafter = action.expireafter + minutes(1)),
        ("module", |action| action.operations = Some(vec![operation("ping")])),
        ("parameters", |action| {
            action.operations.as_mut().unwrap()[0].parameters = json!({"a": "c"});
        }),
        ("one operation more", |action| {
            action.operations.as_mut().unwrap().push(operation("netstat"));
        }),
        ("compressed", |action| action.operations.as_mut().unwrap()[0].is_compressed = true),
    ];
    for (what, change) in changes {
        let mut action = signed(unsigned(), &[&stage.alice]);
        change(&mut action);
        let text = verdict(&stage.policy, action);
        assert!(text.starts_with("action signature verification failed: "), "{what}: {text}");
    }
}

#[test]
fn refuses_names_that_swap_fields() {
    let stage = stage();
    // Signed as one thing, split as another: same text, other fields.
    let mut action = unsigned();
    action.name = "x;target=true".into();
    let signed_as_name = signed(action.clone(), &[&stage.alice]);
    let text = verdict(&stage.policy, signed_as_name.clone());
    assert!(text.contains("ambiguous"), "{text}");
    let mut swapped = signed_as_name;
    swapped.name = "x".into();
    swapped.target = format!("true;target={}", action.target);
    assert_eq!(
        canonical::action_string(&swapped).unwrap(),
        canonical::action_string(&action).unwrap(),
        "the attack is real"
    );
    let text = verdict(&stage.policy, swapped);
    assert!(text.contains("ambiguous"), "{text}");
}

#[test]
fn refuses_what_is_unsigned_foreign_or_not_enough() {
    let stage = stage();
    let (alice, bob) = (&stage.alice, &stage.bob);
    let stranger = SecretKey::generate_ed25519("eve <e@example.net>", now() - minutes(9)).unwrap();
    let file = Action { operations: Some(vec![operation("file")]), ..unsigned() };
    let second =
        Action { operations: Some(vec![operation("netstat"), operation("file")]), ..unsigned() };
    let mut doubled = signed(file.clone(), &[alice]);
    doubled.pgpsignatures.push(doubled.pgpsignatures[0].clone());
    let mut garbage = signed(unsigned(), &[alice]);
    garbage.pgpsignatures.push("garbage".into());
    let mut reused = signed(unsigned(), &[alice]);
    reused.pgpsignatures = signed(file.clone(), &[bob]).pgpsignatures;
    for (what, action, part) in [
        ("unsigned", unsigned(), "action is not signed"),
        ("stranger", signed(unsigned(), &[&stranger]), "signature made by unknown entity"),
        ("one stranger", signed(unsigned(), &[alice, &stranger]), "made by unknown entity"),
        ("garbage", garbage, "action signature verification failed"),
        ("too light", signed(file.clone(), &[alice]), "needs weight 2, signers give 1"),
        ("second operation", signed(second, &[alice]), "needs weight 2, signers give 1"),
        ("doubled", doubled, "more than once"),
        ("resigned", signed(file, &[alice, alice]), "more than once"),
        ("reused", reused, "action signature verification failed"),
    ] {
        let text = verdict(&stage.policy, action);
        assert!(text.contains(part), "{what}: {text}");
    }
}

#[test]
fn refuses_keys_that_are_revoked_or_were_expired() {
    let mut stage = stage();
    for (name, public, secret, part) in [
        (
            "revoked",
            include_str!("../../tests/data/revoked.pub.asc"),
            include_str!("../../tests/data/revoked.sec.asc"),
            "is revoked",
        ),
        (
            "expired",
            include_str!("../../tests/data/expired.pub.asc"),
            include_str!("../../tests/data/expired.sec.asc"),
            "had expired when it signed",
        ),
    ] {
        let fingerprint = stage.policy.trust.keyring.add_armored(public).unwrap();
        stage.policy.onlyverifypubkey = true;
        let key = SecretKey::from_armored(secret).unwrap();
        assert_eq!(*key.fingerprint(), fingerprint);
        let text = verdict(&stage.policy, signed(unsigned(), &[&key]));
        assert!(text.contains(part), "{name}: {text}");
    }
}

#[test]
fn refuses_outside_its_time_and_beyond_its_limits() {
    let stage = stage();
    let cases: [(&str, Change, &str); 8] = [
        ("future", |a| a.validfrom = now() + minutes(1), "is not valid before"),
        ("past", |a| a.expireafter = now() - minutes(1), "is in the past"),
        ("backwards", |a| a.expireafter = a.validfrom - minutes(9), "is before validfrom"),
        ("no operations", |a| a.operations = Some(vec![]), "has no operations"),
        ("null operations", |a| a.operations = None, "has no operations"),
        ("syntax", |a| a.syntaxversion = 1, "wrong syntax version"),
        ("too many", |a| a.operations = Some(vec![operation("x"); 1001]), "at most 1000"),
        ("long name", |a| a.name = "n".repeat(2049), "longer than 2048"),
    ];
    for (what, change, part) in cases {
        let mut action = unsigned();
        change(&mut action);
        let text = verdict(&stage.policy, signed(action, &[&stage.alice]));
        assert!(text.contains(part), "{what}: {text}");
    }
    let mut many = signed(unsigned(), &[&stage.alice]);
    many.pgpsignatures = vec![many.pgpsignatures[0].clone(); 33];
    assert!(verdict(&stage.policy, many).contains("at most 32"));
    let mut long = signed(unsigned(), &[&stage.alice]);
    long.pgpsignatures.push("A".repeat(MAX_SIGNATURE_BYTES + 1));
    assert!(verdict(&stage.policy, long).contains("signature 1 is longer"));
}

#[test]
fn refuses_an_action_for_somebody_else() {
    let mut stage = stage();
    let action = signed(unsigned(), &[&stage.alice]);
    // Addressed to another agent, delivered here.
    for queueloc in ["", "linux.db1.y", "LINUX.web1.example.net.x1"] {
        let mut command = command(action.clone());
        command.agent.queueloc = queueloc.into();
        let refusal = stage.policy.verify(&command, &own(), now()).unwrap_err();
        assert_eq!(refusal.text(), "command is addressed to another agent");
    }
    // Addressed here by a server that ignores the signed target.
    for (target, allow, deny) in [
        ("environment->>'os' = 'windows'", "does not match", "does not match"),
        ("queueloc = 'linux.db1.y'", "does not match", "does not match"),
        ("name = 'db1' AND status = 'online'", "does not match", "does not match"),
        ("status = 'online'", "accepted", "cannot be verified"),
        ("id = 7", "accepted", "cannot be verified"),
        ("name = 'web1.example.net' OR id = 7", "accepted", "accepted"),
        ("this is no target", "cannot be read", "cannot be read"),
    ] {
        let action = signed(Action { target: target.into(), ..unsigned() }, &[&stage.alice]);
        for (setting, wanted) in [(Unverifiable::Allow, allow), (Unverifiable::Deny, deny)] {
            stage.policy.unverifiabletargets = setting;
            let text = verdict(&stage.policy, action.clone());
            assert!(text.contains(wanted), "{target} {setting:?}: {text}");
        }
    }
}

#[test]
fn onlyverifypubkey_drops_weights_and_nothing_else() {
    let mut stage = stage();
    stage.policy.onlyverifypubkey = true;
    let file = Action { operations: Some(vec![operation("file")]), ..unsigned() };
    assert_eq!(verdict(&stage.policy, signed(file.clone(), &[&stage.alice])), "accepted");
    let stranger = SecretKey::generate_ed25519("eve <e@example.net>", now() - minutes(9)).unwrap();
    assert!(verdict(&stage.policy, signed(file, &[&stranger])).contains("unknown entity"));
}

#[test]
fn fields_outside_the_signature_do_not_make_another_action() {
    let stage = stage();
    let action = signed(unsigned(), &[&stage.alice]);
    let digest =
        |action: Action| stage.policy.verify(&command(action), &own(), now()).unwrap().digest;
    let first = digest(action.clone());
    let mut changed = action.clone();
    changed.id = mig_types::ActionId::new(99).unwrap();
    changed.description.author = "somebody".into();
    changed.pgpsignatures = signed(unsigned(), &[&stage.bob, &stage.alice]).pgpsignatures;
    changed.validfrom = changed.validfrom + Duration::from_millis(500);
    assert_eq!(digest(changed), first, "a replay in other clothes is the same action");
    let other = signed(Action { name: "other".into(), ..unsigned() }, &[&stage.alice]);
    assert_ne!(digest(other), first);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_unsigned_is_accepted_and_nothing_panics(
        name in ".{0,40}", target in ".{0,60}", module in "[a-z]{0,8}",
        signatures in proptest::collection::vec(".{0,80}", 0..4),
    ) {
        let stage = stage();
        let action = Action {
            name, target, operations: Some(vec![operation(&module)]), pgpsignatures: signatures,
            ..unsigned()
        };
        prop_assert_ne!(verdict(&stage.policy, action), "accepted");
    }
}

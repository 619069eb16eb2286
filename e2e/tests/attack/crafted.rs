//! Actions nobody signed in this form.

use std::time::Duration;

use mig_e2e::attacker::{Attacker, executed, reasons, sign};
use mig_testkit::TestInvestigator;
use mig_types::{Command, CommandStatus, Operation, Timestamp, wire};
use serde_json::{Value, json};

use crate::Score;

type Craft = fn(&Attacker, &TestInvestigator) -> anyhow::Result<Command>;

/// One attack: what is sent, and what the refusal must say.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) craft: Craft,
}

fn case(name: &'static str, reason: &'static str, craft: Craft) -> Case {
    Case { name, reason, craft }
}

/// The netstat operation, which takes two investigators.
fn ports() -> Operation {
    Operation {
        module: "netstat".to_owned(),
        parameters: json!({ "listeningport": ["22"] }),
        ..Operation::default()
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = signatures();
    all.extend(fields());
    all.extend(weights());
    all.extend(addressing());
    all.extend(shapes());
    all
}

fn signatures() -> Vec<Case> {
    vec![
        case("unsigned", "not signed", |a, _| Ok(a.command(a.question()))),
        case("signed by a stranger", "signature made by unknown entity", |a, outsider| {
            let mut action = a.question();
            sign(&mut action, &outsider.key, a.now())?;
            Ok(a.command(action))
        }),
        case(
            "a good and a strange signature",
            "signature made by unknown entity",
            |a, outsider| {
                let mut action = a.signed()?;
                sign(&mut action, &outsider.key, a.now())?;
                Ok(a.command(action))
            },
        ),
        case("the signature of another action", "signature", |a, _| {
            let mut action = a.question();
            action.pgpsignatures = a.signed()?.pgpsignatures;
            Ok(a.command(action))
        }),
        case("a signature over an API token", "signature", |a, _| {
            let mut action = a.question();
            let text = mig_sign::token::text(a.now(), 7);
            action.pgpsignatures = vec![a.alice.key.sign(text.as_bytes(), a.now())?];
            Ok(a.command(action))
        }),
        case("a signature cut short", "signature", |a, _| {
            let mut action = a.signed()?;
            for signature in &mut action.pgpsignatures {
                signature.truncate(signature.len() / 2);
            }
            Ok(a.command(action))
        }),
        case("an empty signature", "signature", |a, _| {
            let mut action = a.question();
            action.pgpsignatures = vec![String::new()];
            Ok(a.command(action))
        }),
        case("a signature from the future", "signature", |a, _| {
            let mut action = a.question();
            sign(&mut action, &a.alice.key, a.now() + Duration::from_hours(24))?;
            Ok(a.command(action))
        }),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        case("another name", "signature", |a, _| {
            let mut action = a.signed()?;
            action.name.push('x');
            Ok(a.command(action))
        }),
        case("another target", "signature", |a, _| {
            let mut action = a.signed()?;
            "name like '%'".clone_into(&mut action.target);
            Ok(a.command(action))
        }),
        case("an earlier start", "signature", |a, _| {
            let mut action = a.signed()?;
            action.validfrom = action.validfrom - Duration::from_secs(1);
            Ok(a.command(action))
        }),
        case("a longer validity", "signature", |a, _| {
            let mut action = a.signed()?;
            action.expireafter = action.expireafter + Duration::from_secs(1);
            Ok(a.command(action))
        }),
        case("other parameters", "signature", |a, _| {
            let mut action = a.signed()?;
            for operation in action.operations.iter_mut().flatten() {
                operation.parameters["searches"]["s1"]["names"] = json!(["^shadow$"]);
            }
            Ok(a.command(action))
        }),
        case("another module", "signature", |a, _| {
            let mut action = a.signed()?;
            for operation in action.operations.iter_mut().flatten() {
                "netstat".clone_into(&mut operation.module);
            }
            Ok(a.command(action))
        }),
        case("one more operation", "signature", |a, _| {
            let mut action = a.signed()?;
            action.operations.get_or_insert_default().push(a.search());
            Ok(a.command(action))
        }),
        case("one operation less", "signature", |a, _| {
            let mut action = a.question();
            action.operations = Some(vec![a.search(), ports()]);
            sign(&mut action, &a.alice.key, a.now())?;
            action.operations = Some(vec![a.search()]);
            Ok(a.command(action))
        }),
        case("operations in another order", "signature", |a, _| {
            let mut action = a.question();
            let mut second = a.search();
            second.parameters["searches"]["s1"]["names"] = json!(["^other$"]);
            action.operations = Some(vec![a.search(), second]);
            sign(&mut action, &a.alice.key, a.now())?;
            action.operations.get_or_insert_default().reverse();
            Ok(a.command(action))
        }),
        case("parameters declared compressed", "signature", |a, _| {
            let mut action = a.signed()?;
            for operation in action.operations.iter_mut().flatten() {
                operation.is_compressed = true;
            }
            Ok(a.command(action))
        }),
        case("fields split anew at a separator", "ambiguous", |a, _| {
            let mut action = a.question();
            let rest = format!("{};target=name like '%'", action.name);
            action.name = rest;
            sign(&mut action, &a.alice.key, a.now())?;
            Ok(a.command(action))
        }),
        case("a name that swallows the signed target", "signature", |a, _| {
            let mut action = a.signed()?;
            action.name = format!("{};target", action.name);
            Ok(a.command(action))
        }),
    ]
}

fn weights() -> Vec<Case> {
    vec![
        case("one signature where two are needed", "needs weight 2", |a, _| {
            let mut action = a.question();
            action.operations = Some(vec![ports()]);
            sign(&mut action, &a.alice.key, a.now())?;
            Ok(a.command(action))
        }),
        case("the same signature twice", "more than once", |a, _| {
            let mut action = a.question();
            action.operations = Some(vec![ports()]);
            sign(&mut action, &a.alice.key, a.now())?;
            let again = action.pgpsignatures.clone();
            action.pgpsignatures.extend(again);
            Ok(a.command(action))
        }),
        case("two signatures by one key", "more than once", |a, _| {
            let mut action = a.question();
            action.operations = Some(vec![ports()]);
            sign(&mut action, &a.alice.key, a.now())?;
            sign(&mut action, &a.alice.key, a.now() - Duration::from_secs(9))?;
            Ok(a.command(action))
        }),
        case("the weighty operation in second place", "needs weight 2", |a, _| {
            let mut action = a.question();
            action.operations = Some(vec![a.search(), ports()]);
            sign(&mut action, &a.alice.key, a.now())?;
            Ok(a.command(action))
        }),
    ]
}

fn addressing() -> Vec<Case> {
    vec![
        case("signed for another host", "target", |a, _| retarget(a, "name='somebody-else'")),
        case("signed for another queue", "target", |a, _| retarget(a, "queueloc like 'windows.%'")),
        case("signed for another tag", "target", |a, _| retarget(a, "tags->>'operator'='it'")),
        case("signed for a system this is not", "target", |a, _| {
            retarget(a, "environment->>'os'='plan9' and status='online'")
        }),
        case("a target that is no condition", "target", |a, _| retarget(a, "1; drop table agents")),
        case("a command for another agent", "another agent", |a, _| {
            let mut command = a.command(a.signed()?);
            "linux.somebody.else".clone_into(&mut command.agent.queueloc);
            Ok(command)
        }),
    ]
}

fn retarget(attacker: &Attacker, target: &str) -> anyhow::Result<Command> {
    let mut action = attacker.question();
    target.clone_into(&mut action.target);
    sign(&mut action, &attacker.alice.key, attacker.now())?;
    Ok(attacker.command(action))
}

fn shapes() -> Vec<Case> {
    vec![
        case("expired", "past", |a, _| {
            let mut action = a.question();
            action.validfrom = a.now() - Duration::from_hours(2);
            action.expireafter = a.now() - Duration::from_hours(1);
            sign(&mut action, &a.alice.key, a.now())?;
            Ok(a.command(action))
        }),
        case("not valid yet", "not valid before", |a, _| {
            let mut action = a.question();
            action.validfrom = a.now() + Duration::from_mins(8);
            sign(&mut action, &a.alice.key, a.now())?;
            Ok(a.command(action))
        }),
        case("an end before its start", "before validfrom", |a, _| {
            let mut action = a.question();
            action.expireafter = action.validfrom - Duration::from_secs(1);
            sign(&mut action, &a.alice.key, a.now())?;
            Ok(a.command(action))
        }),
        case("an older syntax version", "syntax version", |a, _| {
            let mut action = a.signed()?;
            action.syntaxversion = 1;
            Ok(a.command(action))
        }),
        case("no name", "name is empty", |a, _| {
            let mut action = a.question();
            action.name.clear();
            sign(&mut action, &a.alice.key, a.now())?;
            Ok(a.command(action))
        }),
        case("no target", "target is empty", |a, _| retarget(a, "")),
        case("no operations", "no operations", |a, _| operations(a, Vec::new())),
        case("more operations than are looked at", "at most 1000 are accepted", |a, _| {
            operations(a, vec![a.search(); 1001])
        }),
        case("more signatures than are looked at", "at most 32 are accepted", |a, _| {
            let mut action = a.signed()?;
            let signature = action.pgpsignatures.concat();
            action.pgpsignatures = vec![signature; 33];
            Ok(a.command(action))
        }),
        case("a signature that does not end", "longer than 16384 bytes", |a, _| {
            let mut action = a.signed()?;
            action.pgpsignatures.push("A".repeat(1 << 20));
            Ok(a.command(action))
        }),
        case("a target of brackets", "target", |a, _| {
            retarget(a, &format!("{}status='online'{}", "(".repeat(1000), ")".repeat(1000)))
        }),
        case("a target that does not end", "target is longer than", |a, _| {
            retarget(a, &format!("name='{}'", "x".repeat(1 << 16)))
        }),
        case(
            "an action of more bytes than are looked at",
            "at most 4194304 are accepted",
            |a, _| {
                let mut action = a.signed()?;
                action.description.author = "x".repeat(5 << 20);
                Ok(a.command(action))
            },
        ),
        case("a module spelt otherwise", "not available", |a, _| module(a, "FILE")),
        case("a module that is a path", "not available", |a, _| module(a, "../../bin/sh")),
        case("the ACL's default as a module", "not available", |a, _| module(a, "default")),
        case("a module that is an option", "not available", |a, _| module(a, "-V")),
    ]
}

fn operations(attacker: &Attacker, operations: Vec<Operation>) -> anyhow::Result<Command> {
    let mut action = attacker.question();
    action.operations = Some(operations);
    sign(&mut action, &attacker.alice.key, attacker.now())?;
    Ok(attacker.command(action))
}

fn module(attacker: &Attacker, name: &str) -> anyhow::Result<Command> {
    let mut action = attacker.question();
    for operation in action.operations.iter_mut().flatten() {
        name.clone_into(&mut operation.module);
    }
    sign(&mut action, &attacker.alice.key, attacker.now())?;
    Ok(attacker.command(action))
}

/// Bytes that are no command at all, and bombs. Nobody is answered; the agent
/// must live on and run nothing.
pub(crate) async fn floods(attacker: &mut Attacker, score: &mut Score) -> anyhow::Result<()> {
    let proper = wire::to_vec(&attacker.command(attacker.signed()?))?;
    let half = proper[..proper.len() / 2].to_vec();
    let garbage: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("not JSON", b"hello".to_vec()),
        ("half a command", half),
        ("deep nesting", "[".repeat(200_000).into_bytes()),
        ("a list", b"[1,2,3]".to_vec()),
        ("bad UTF-8", vec![0xff; 4096]),
        ("eight megabytes of blanks", vec![b' '; 8 << 20]),
        ("a huge number", br#"{"id":1e400}"#.to_vec()),
        ("a command without id", br#"{"action":{},"agent":{}}"#.to_vec()),
    ];
    for (name, bytes) in garbage {
        attacker.inject(bytes).await?;
        // In order: when this is answered, the garbage was looked at.
        attacker.control().await?;
        score.note(name, !attacker.agent.process.is_running(), "", "");
    }
    named(attacker, score).await?;
    bomb(attacker, score).await?;
    duplicates(attacker, score).await
}

/// What is no command but has a command's id is answered: whoever waits for that
/// command learns why nothing came of it.
async fn named(attacker: &mut Attacker, score: &mut Score) -> anyhow::Result<()> {
    for (name, rest) in [
        ("an action that is a number", r#""action":7"#),
        ("operations that are a text", r#""action":{"operations":"file"}"#),
        ("signatures that are an object", r#""action":{"pgpsignatures":{"0":""}}"#),
        ("a date that is none", r#""action":{"validfrom":"yesterday"}"#),
    ] {
        let id = attacker.command(attacker.question()).id;
        attacker.inject(format!(r#"{{"id":{id},{rest}}}"#).into_bytes()).await?;
        let answer = attacker.answer(id).await?;
        score.note(name, executed(&answer), &reasons(&answer), "command cannot be read");
    }
    Ok(())
}

/// Signed, but not what it says: parameters that do not inflate. The module
/// says so; the agent is unharmed.
async fn bomb(attacker: &mut Attacker, score: &mut Score) -> anyhow::Result<()> {
    let mut action = attacker.question();
    for operation in action.operations.iter_mut().flatten() {
        operation.parameters = Value::from("H4sIAAAAAAAA/w==");
        operation.is_compressed = true;
        operation.want_compressed = true;
    }
    sign(&mut action, &attacker.alice.key, attacker.now())?;
    let answer = attacker.ask(&attacker.command(action)).await?;
    let found = answer.results.iter().flatten().any(|result| result.success);
    let harmed = !attacker.agent.process.is_running();
    let wanted = "cannot decompress parameters";
    score.note("parameters that do not inflate", found || harmed, &reasons(&answer), wanted);
    Ok(())
}

/// One document, two readings: a key given twice or in two spellings.
async fn duplicates(attacker: &mut Attacker, score: &mut Score) -> anyhow::Result<()> {
    for (name, extra) in [
        ("two targets", r#""target":"name like '%'","#),
        ("a target in capitals", r#""TARGET":"name='x'","#),
        ("two lists of operations", r#""operations":[],"#),
    ] {
        let command = attacker.command(attacker.signed()?);
        let text = String::from_utf8(wire::to_vec(&command)?)?;
        // Before the proper key and after it: whatever is read is what is
        // verified, so either the signed action runs or nothing does.
        let before = text.replacen(r#""action":{"#, &format!(r#""action":{{{extra}"#), 1);
        attacker.inject(before.into_bytes()).await?;
        let answer = attacker.answer(command.id).await?;
        let harmless = answer.status != CommandStatus::Success
            || answer.action == signed_part(&command, &answer);
        score.note(name, !harmless, "", "");
    }
    Ok(())
}

/// The action as sent, with what the agent may echo differently left out.
fn signed_part(command: &Command, answer: &Command) -> mig_types::Action {
    let mut action = command.action.clone();
    action.lastupdatetime = answer.action.lastupdatetime;
    action.starttime = answer.action.starttime;
    if action.finishtime == Timestamp::ZERO {
        action.finishtime = answer.action.finishtime;
    }
    action
}

//! Action files on their way from one investigator to the next.

use mig_client::launch;
use mig_client::signatures::{self, Keys, Verdict};
use mig_module::args::{Flag, Kind};
use mig_terminal::failure::{Failure, code};
use mig_terminal::format::Format;
use mig_terminal::output::Output;
use mig_terminal::signatures::{all_good, line};
use mig_terminal::{files, text};
use mig_types::action::SYNTAX_VERSION;
use mig_types::{Acl, Action, Fingerprint, duration, wire};

use super::{open, words};
use crate::launch::{read, refused, squeeze};

pub(super) const SIGN: &str = "\
usage: mig sign <action file> [-o <file>] [-e <duration>] [--check] [--acl <acl.cfg>]

Adds your signature to an action, in JSON or YAML, and prints it; - reads standard
input. Tells whose signatures it has, and with an agent's access list what is missing.

    -o <file>       write the action there; it may be the same file [default: -, standard
                    output]
    -e <duration>   validity of an action that has none yet [default: 300s]
    --check         only tell: exit 0 when all signatures are good, and suffice
    --acl <file>    an agent's access list: weights and what each module needs";

const SIGN_FLAGS: [Flag; 4] =
    [("o", Kind::Text), ("e", Kind::Text), ("check", Kind::Bool), ("acl", Kind::Text)];

pub(super) async fn sign(args: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(words) = words(args, &SIGN_FLAGS, SIGN, &Format::ONLY_TEXT, output)? else {
        return Ok(0);
    };
    let path = words
        .subject
        .ok_or_else(|| Failure::usage(format!("the action file is missing\n{SIGN}")))?;
    let acl = words.options.text("acl").map(access_list).transpose()?;
    let mut action = read(path)?;
    let session = open(&words.options, output).await?;
    let now = session.clock.now();
    let api = session.api_with_any_key("cmd")?;
    let keys = Keys { gnupg: Some(&session.config), api: Some(&api), ..Keys::default() };
    let mut verdicts = signatures::judge(&action, &keys, now).await;
    let only_tell = words.options.boolean("check", false);
    if !only_tell {
        if let Some(bad) = verdicts.iter().position(is_broken) {
            tell(&verdicts, output);
            let message = format!("signature {} is not good: adding one is pointless", bad + 1);
            return Err(Failure::new(code::SIGNING, message)
                .hint("the action was changed after it was signed: ask for it again"));
        }
        let signer = session.signer()?;
        let mine = signer.fingerprint().await?;
        if good(&verdicts).any(|one| *one == mine) {
            output.say(&format!("[notice] the action carries a signature of {mine} already"));
        } else {
            let validity = words.options.text("e").unwrap_or("300s");
            let validity = duration::parse_period(validity)
                .map_err(|error| Failure::usage(format!("-e: {error}")))?;
            launch::set_missing_times(&mut action, now, validity);
            squeeze(&mut action)?;
            launch::sign_action(&mut action, signer.as_ref(), now).await.map_err(refused)?;
            let last = action.pgpsignatures.last().cloned().into_iter().collect();
            let own = Action { pgpsignatures: last, ..action.clone() };
            verdicts.extend(signatures::judge(&own, &keys, now).await);
        }
    }
    tell(&verdicts, output);
    let enough = acl.is_none_or(|acl| weigh(&action, &acl, &verdicts, output));
    if only_tell {
        return Ok(u8::from(!(all_good(&verdicts) && enough)));
    }
    let json = text::pretty(&action, "    ")
        .map_err(|error| Failure::other(format!("cannot write the action: {error}")))?;
    files::replace(words.options.text("o").unwrap_or("-"), (json + "\n").as_bytes(), output)?;
    Ok(0)
}

/// Not merely by somebody unknown here.
fn is_broken(verdict: &Verdict) -> bool {
    use mig_sign::verify::VerifyError;
    !matches!(verdict.result, Ok(_) | Err(VerifyError::UnknownKey { .. }))
}

fn good(verdicts: &[Verdict]) -> impl Iterator<Item = &Fingerprint> {
    verdicts.iter().filter_map(|verdict| verdict.result.as_ref().ok()).map(|one| &one.fingerprint)
}

fn tell(verdicts: &[Verdict], output: &mut Output) {
    if verdicts.is_empty() {
        output.say("the action is not signed");
    }
    for (index, verdict) in verdicts.iter().enumerate() {
        output.say(&line(index + 1, verdict));
    }
}

fn access_list(path: &str) -> Result<Acl, Failure> {
    const MAX_FILE: u64 = 4 * 1024 * 1024;
    let bytes = files::read(path, MAX_FILE, code::USAGE)?;
    wire::from_slice(&bytes).map_err(|error| {
        let reason = mig_terminal::failure::sentence(&error);
        Failure::usage(format!("{} holds no access list: {reason}", files::name(path)))
    })
}

/// What each module needs, what the signers bring, and who could add the rest.
fn weigh(action: &Action, acl: &Acl, verdicts: &[Verdict], output: &mut Output) -> bool {
    let signers: Vec<&Fingerprint> = good(verdicts).collect();
    let mut enough = true;
    for operation in action.operations() {
        let module = mig_module::text::printable(&operation.module);
        let Some(entry) = acl.entry(&operation.module) else {
            output.say(&format!("{module}: the access list has no entry for it: refused"));
            enough = false;
            continue;
        };
        let need = entry.minimumweight;
        let have: i64 = signers.iter().map(|signer| entry.weight(signer)).sum();
        if need >= 1 && have >= need {
            output.say(&format!("{module}: needs weight {need}, signers give {have}: allowed"));
            continue;
        }
        enough = false;
        let missing = need.max(1) - have;
        output
            .say(&format!("{module}: needs weight {need}, signers give {have}: {missing} missing"));
        let mut others: Vec<String> = entry
            .investigators
            .iter()
            .filter(|(_, other)| other.weight > 0 && !signers.contains(&&other.fingerprint))
            .map(|(name, other)| {
                format!("{} ({})", mig_module::text::printable(name), other.weight)
            })
            .collect();
        others.sort();
        if !others.is_empty() {
            output.say(&format!("{module}: could sign: {}", others.join(", ")));
        }
    }
    enough
}

pub(super) const VERIFY: &str = "\
usage: mig verify <action file> [-keyring <file>] [-c <file>]

Says whether each signature is good, and whose it is. Exit 1 when one is not. - reads
standard input.";

pub(super) async fn verify(args: &[String], output: &mut Output) -> Result<u8, Failure> {
    let flags = [("keyring", Kind::Text)];
    let Some(words) = words(args, &flags, VERIFY, &Format::ONLY_TEXT, output)? else {
        return Ok(0);
    };
    let path = words
        .subject
        .ok_or_else(|| Failure::usage(format!("the action file is missing\n{VERIFY}")))?;
    let mut action = read(path)?;
    action.syntaxversion = SYNTAX_VERSION;
    let session = open(&words.options, output).await?;
    let mut keys = Keys { gnupg: Some(&session.config), ..Keys::default() };
    if let Some(path) = words.options.text("keyring") {
        let bytes = files::read(path, signatures::MAX_KEYS, code::USAGE)?;
        keys.given = signatures::keys_in(&bytes);
        keys.gnupg = None;
    }
    let verdicts = signatures::judge(&action, &keys, session.clock.now()).await;
    let valid = all_good(&verdicts);
    output.line(if valid { "Valid signature" } else { "[error] not every signature is good" })?;
    for (index, verdict) in verdicts.iter().enumerate() {
        output.line(&line(index + 1, verdict))?;
    }
    Ok(u8::from(!valid))
}

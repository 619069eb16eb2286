//! Whether everything an investigation needs is in place.

use mig_client::{ClientError, GpgSigner};
use mig_sign::keyring;
use mig_terminal::Session;
use mig_terminal::failure::{Failure, chain};
use mig_terminal::output::Output;
use mig_types::{Target, duration};

use super::{open, words};

const USAGE: &str = "\
usage: mig doctor [-c <file>]

Checks configuration, key, clock and platform. Exit 1 when something is broken.";

/// Clocks may differ this much before tokens are refused, in seconds.
const MAX_SKEW: u64 = 600;

/// What a check found.
enum Finding {
    Good(String),
    Odd(String),
    /// And what to do.
    Broken(String, Option<String>),
}

pub(super) async fn run(line: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(words) = words(line, &[], USAGE, output)? else { return Ok(0) };
    let session = match open(&words.options, output) {
        Ok(session) => session,
        Err(failure) => {
            report("configuration", Finding::Broken(failure.message, failure.hint), output)?;
            return Ok(1);
        }
    };
    let path = session.path.display().to_string();
    let mut good = report("configuration", Finding::Good(path), output)?;
    for finding in file(&session) {
        good &= report("configuration", finding, output)?;
    }
    for finding in key(&session).await {
        good &= report("key", finding, output)?;
    }
    for finding in platform(&session).await {
        good &= report("platform", finding, output)?;
    }
    output.line(if good { "everything is in place" } else { "something is broken" })?;
    Ok(u8::from(!good))
}

/// Prints a finding; whether it is no harm.
fn report(topic: &str, finding: Finding, output: &mut Output) -> Result<bool, Failure> {
    let (word, text, hint) = match finding {
        Finding::Good(text) => ("ok", text, None),
        Finding::Odd(text) => ("note", text, None),
        Finding::Broken(text, hint) => ("BROKEN", text, hint),
    };
    let text = mig_module::text::printable(&text);
    output.line(&format!("{word:<7} {topic}: {text}"))?;
    if let Some(hint) = hint {
        output.line(&format!("        hint: {hint}"))?;
    }
    Ok(word != "BROKEN")
}

fn file(session: &Session) -> Vec<Finding> {
    let config = &session.config;
    let mut findings = Vec::new();
    for (name, body) in config.macros.iter() {
        if let Err(error) = body.parse::<Target>() {
            findings.push(Finding::Odd(format!("macro {name} is no target: {error}")));
        }
    }
    if config.skipverifycert {
        let text = "certificates of the API are not verified (api.skipverifycert)";
        findings.push(Finding::Odd(text.to_owned()));
    }
    if config.url.scheme() == "http" {
        let text = "the API is reached without TLS: anybody on the way reads along";
        findings.push(Finding::Odd(text.to_owned()));
    }
    #[cfg(unix)]
    if config.apikey.is_some()
        && let Ok(metadata) = std::fs::metadata(&session.path)
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            let text = "holds an API key and is readable by others";
            let hint = format!("chmod 600 {}", session.path.display());
            findings.push(Finding::Broken(text.to_owned(), Some(hint)));
        }
    }
    findings
}

async fn key(session: &Session) -> Vec<Finding> {
    let config = &session.config;
    let broken = |failure: Failure| vec![Finding::Broken(failure.message, failure.hint)];
    let signer = match session.signer() {
        Ok(signer) => signer,
        Err(failure) if config.apikey.is_some() => {
            let text = format!("{}: an API key reads, but launches nothing", failure.message);
            return vec![Finding::Odd(text)];
        }
        Err(failure) => return broken(failure),
    };
    let mut findings = Vec::new();
    if config.signing_key.is_none() {
        match GpgSigner::version(config).await {
            Ok(version) => findings.push(Finding::Good(version)),
            Err(error) => return broken(error.into()),
        }
    }
    let fingerprint = match signer.fingerprint().await {
        Ok(fingerprint) => fingerprint,
        Err(error) => {
            findings.extend(broken(error.into()));
            return findings;
        }
    };
    findings.push(Finding::Good(format!("signs as {fingerprint}")));
    if config.signing_key.is_some() {
        return findings;
    }
    match GpgSigner::export(config, fingerprint.as_str()).await {
        Ok(armored) => findings.extend(public(&armored, session)),
        Err(error) => findings.push(Finding::Odd(chain(&error))),
    }
    findings
}

fn public(armored: &str, session: &Session) -> Vec<Finding> {
    let info = match keyring::inspect(armored) {
        Ok(info) => info,
        Err(error) => return vec![Finding::Broken(chain(&error), None)],
    };
    let mut findings = Vec::new();
    if info.revoked {
        findings.push(Finding::Broken("it is revoked".to_owned(), None));
    }
    match info.expires {
        Some(expires) if expires <= session.clock.now() => {
            let hint = "gpg --quick-set-expire <fingerprint> 2y, and give agents the new copy";
            findings
                .push(Finding::Broken(format!("it expired at {expires}"), Some(hint.to_owned())));
        }
        Some(expires) => findings.push(Finding::Good(format!("it is good until {expires}"))),
        None => {}
    }
    if info.go_loadable {
        findings.push(Finding::Good(format!("{}, which every peer can verify", info.algorithm)));
    } else {
        let text = format!("{}: agents and servers written in Go cannot verify it", info.algorithm);
        findings.push(Finding::Odd(text));
    }
    findings
}

async fn platform(session: &Session) -> Vec<Finding> {
    let config = &session.config;
    let failed = |error: ClientError| {
        let failure: Failure = error.into();
        Finding::Broken(failure.message, failure.hint)
    };
    let nobody = match session.api("cmd", None) {
        Ok(api) => api,
        Err(failure) => return vec![Finding::Broken(failure.message, failure.hint)],
    };
    let mut findings = Vec::new();
    match nobody.server_time().await {
        Ok(time) => {
            findings.push(Finding::Good(format!("an API answers at {}", config.url)));
            let skew = time.map(|time| session.clock.now().signed_nanos_since(time));
            match skew {
                Some(skew) if skew.unsigned_abs() / 1_000_000_000 > MAX_SKEW => {
                    let text = format!("its clock differs by {}", duration::format_signed(skew));
                    let hint = "tokens carry a time: set the clock of this machine";
                    findings.push(Finding::Broken(text, Some(hint.to_owned())));
                }
                // The header has whole seconds.
                Some(skew) if skew.unsigned_abs() / 1_000_000_000 > 5 => findings.push(
                    Finding::Odd(format!("its clock differs by {}", duration::format_signed(skew))),
                ),
                Some(_) => findings.push(Finding::Good("its clock agrees with ours".to_owned())),
                None => {}
            }
        }
        Err(error) => {
            findings.push(failed(error));
            return findings;
        }
    }
    match session.api_with_any_key("cmd") {
        Ok(api) => match api.dashboard().await {
            Ok(_) => findings.push(Finding::Good("it lets you in".to_owned())),
            Err(error) => findings.push(failed(error)),
        },
        Err(failure) => findings.push(Finding::Broken(failure.message, failure.hint)),
    }
    findings
}

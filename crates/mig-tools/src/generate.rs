//! `mig-action-generator`: signs an action file and posts it.

use std::time::Duration;

use mig_client::ClientError;
use mig_client::launch::{self, LaunchError};
use mig_module::args::{Flag, Kind, Options};
use mig_module::compress;
use mig_terminal::failure::{Failure, code};
use mig_terminal::output::Output;
use mig_terminal::text::{compact, pretty};
use mig_types::{Action, Target, Timestamp, duration};

use crate::{finish, input, open, options};

const FLAGS: [Flag; 9] = [
    ("i", Kind::Text),
    ("c", Kind::Text),
    ("t", Kind::Text),
    ("validfrom", Kind::Text),
    ("expireafter", Kind::Text),
    ("p", Kind::Bool),
    ("urlencode", Kind::Bool),
    ("nolaunch", Kind::Bool),
    ("V", Kind::Bool),
];

const USAGE: &str = "\
usage: mig-action-generator -i <action file> [options]

Signs an action and posts it: neither counts down nor waits for answers.

    -i <file>             the action; - reads standard input
    -t <target>           replaces the target of the file; the name of a macro, too
    -validfrom <date>     RFC 3339, or now [default: now, which is a minute ago]
    -expireafter <period> how long the action is valid [default: 30m]
    -p                    print the signed action
    -nolaunch             print it, and do not post it
    -urlencode            print it form-encoded as well
    -c <file>             configuration [default: ~/.migrc]
    -v                    tell what is asked of the API, and what is behind an error
    -vv                   and what goes there and comes back, without keys
    -V                    print the version

exit status: 0 posted, 1 failed, 2 misused, 3 not signed or not let in, 4 API away";

/// Validity when nobody says how long.
const DEFAULT_VALIDITY: &str = "30m";

/// Runs one command line; the exit code travels in the error.
pub async fn run(args: &[String]) -> anyhow::Result<()> {
    let mut output = Output::new();
    let outcome = generate(args, &mut output).await;
    finish(outcome, &mut output)
}

async fn generate(args: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(given) = options(("mig-action-generator", &FLAGS), args, USAGE, output)? else {
        return Ok(0);
    };
    let Some(path) = given.text("i") else {
        let message = format!("Missing action file\n{USAGE}");
        return Err(Failure::usage(message));
    };
    let mut action: Action = input::read(path, "action")?;
    let session = open(given.text("c"), output).await?;
    let now = session.clock.now();
    if let Some(target) = given.text("t") {
        action.target = session.config.macros.expand(target);
    }
    action.target.parse::<Target>().map_err(|error| {
        Failure::other(format!("the target is refused at {error}: {}", action.target))
    })?;
    (action.validfrom, action.expireafter) = times(&given, now)?;
    let dropped = std::mem::take(&mut action.pgpsignatures).len();
    if dropped > 0 {
        output.say(&format!(
            "[notice] {dropped} signatures of the file were dropped: its times have changed"
        ));
    }
    for operation in action.operations.iter_mut().flatten() {
        if operation.want_compressed && !operation.is_compressed {
            compress::compress_parameters(operation)
                .map_err(|error| Failure::of(code::OTHER, &error))?;
        }
    }
    let signer = session.signer()?;
    launch::sign_action(&mut action, signer.as_ref(), now).await.map_err(|error| match error {
        LaunchError::Signer(error) => error.into(),
        other => Failure::of(code::OTHER, &other),
    })?;
    print(&action, &given, output)?;
    if given.boolean("nolaunch", false) {
        return Ok(0);
    }
    let api = session.api("generator", Some(signer))?;
    let posted = api.post_action(&action).await.map_err(|error| match error {
        ClientError::Api { status: 400, message } => {
            Failure::other(format!("the API refused the action: {message}"))
        }
        other => other.into(),
    })?;
    output.line(&format!("Successfully launched action {}", posted.id))?;
    Ok(0)
}

fn times(given: &Options, now: Timestamp) -> Result<(Timestamp, Timestamp), Failure> {
    let from = match given.text("validfrom") {
        None | Some("now") => {
            Timestamp::from_unix(now.unix(), 0).unwrap_or(now) - Duration::from_mins(1)
        }
        Some(date) => Timestamp::parse(date).map_err(|_| {
            Failure::usage(format!("-validfrom {date:?} is neither now nor an RFC 3339 date"))
        })?,
    };
    let period = given.text("expireafter").unwrap_or(DEFAULT_VALIDITY);
    let lasts = duration::parse_period(period.strip_prefix('+').unwrap_or(period))
        .map_err(|error| Failure::usage(format!("-expireafter: {error}")))?;
    Ok((from, from + lasts))
}

fn print(action: &Action, given: &Options, output: &mut Output) -> Result<(), Failure> {
    let asked = |name| given.boolean(name, false);
    if !asked("p") && !asked("nolaunch") && !asked("urlencode") {
        return Ok(());
    }
    let unwritable =
        |error: serde_json::Error| Failure::other(format!("cannot write the action: {error}"));
    output.line(&pretty(action, "\t").map_err(unwritable)?)?;
    if asked("urlencode") {
        let json = compact(action).map_err(unwritable)?;
        let encoded: String = form_urlencoded::byte_serialize(json.as_bytes()).collect();
        output.line(&encoded)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mig_module::args::{self, Outcome};

    fn given(line: &str) -> Options {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match args::parse_or_empty(&FLAGS, &words).unwrap() {
            Outcome::Options(options) => options,
            Outcome::Help => panic!("{line}"),
        }
    }

    #[test]
    fn times_are_from_a_minute_ago_and_not_a_minute_longer() {
        let now = Timestamp::parse("2026-06-01T12:00:00.5Z").unwrap();
        for (line, from, until) in [
            ("", "2026-06-01T11:59:00Z", "2026-06-01T12:29:00Z"),
            ("-validfrom now -expireafter +1h", "2026-06-01T11:59:00Z", "2026-06-01T12:59:00Z"),
            (
                "-validfrom 2026-07-01T00:00:00Z -expireafter 2d",
                "2026-07-01T00:00:00Z",
                "2026-07-03T00:00:00Z",
            ),
        ] {
            let (begins, ends) = times(&given(line), now).unwrap();
            assert_eq!((begins.to_string().as_str(), ends.to_string().as_str()), (from, until));
        }
        for line in ["-validfrom tomorrow", "-expireafter 5"] {
            assert_eq!(times(&given(line), now).unwrap_err().code, 2, "{line}");
        }
    }
}

//! What stands between a slip and a whole fleet.

use std::io::IsTerminal as _;
use std::time::Duration;

use mig_runtime::Shutdown;
use mig_terminal::ask::ask;
use mig_terminal::failure::{Failure, code};
use mig_terminal::output::{Output, Paint};
use mig_terminal::settings::environment;
use mig_types::{Action, Operation, duration};
use serde_json::Value;

/// More agents than this are not asked before a person has typed their number.
const MANY: usize = 1000;
/// An answer of the API to who is meant that is older than this is told to be.
const FRESH: Duration = Duration::from_secs(30);
/// Searches that go no deeper than this are cheap wherever they begin.
const SHALLOW: f64 = 3.0;
/// Targets without whitespace that mean everybody who can be asked.
const EVERYBODY: [&str; 3] =
    ["status='online'", "status='online'orstatus='idle'", "status='idle'orstatus='online'"];

pub(crate) fn cancelled() -> Failure {
    Failure::new(code::INTERRUPTED, "cancelled, nothing was sent")
}

/// What is said before every agent looks through all of its machine.
pub(crate) fn breadth(action: &Action) -> Option<String> {
    let target: String = action.target.split_whitespace().collect();
    let everybody = EVERYBODY.contains(&target.to_lowercase().as_str());
    let whole = action.operations().iter().find(|operation| is_whole(operation))?;
    everybody.then(|| {
        format!(
            "[warning] {} begins at the root of the file system on every agent: a directory, \
             -maxdepth or a target (-t) would ask for less",
            whole.module
        )
    })
}

/// Whether an operation walks whole file systems.
fn is_whole(operation: &Operation) -> bool {
    let searches = operation.parameters.get("searches").and_then(Value::as_object);
    let mut searches = searches.into_iter().flat_map(serde_json::Map::values);
    searches.any(goes_everywhere) || goes_everywhere(&operation.parameters)
}

fn goes_everywhere(search: &Value) -> bool {
    let depth = search.get("options").unwrap_or(search).get("maxdepth").and_then(Value::as_f64);
    let paths = search.get("paths").and_then(Value::as_array).into_iter().flatten();
    let is_root = |path: &str| {
        let path = path.trim_end_matches(['/', '\\']);
        path.is_empty() || (path.len() == 2 && path.ends_with(':'))
    };
    let mut paths = paths.filter_map(Value::as_str).filter(|path| !path.is_empty());
    paths.any(is_root) && depth.is_none_or(|depth| depth <= 0.0 || depth > SHALLOW)
}

/// How long ago it was asked who is meant, if that is worth a word: a passphrase or a
/// number may have been typed since.
pub(crate) fn age(since: Duration) -> Option<String> {
    let seconds = duration::format(Duration::from_secs(since.as_secs()));
    (since > FRESH).then(|| {
        format!("[notice] the target was evaluated {seconds} ago: other agents may match by now")
    })
}

/// A slip of the target must not reach a whole fleet.
pub(crate) async fn confirm(agents: usize, output: &mut Output) -> Result<(), Failure> {
    let limit = match environment("MIG_CONFIRM_ABOVE") {
        Some(text) => text.parse().map_err(|_| {
            Failure::usage(format!("MIG_CONFIRM_ABOVE must be a number, not {text:?}"))
        })?,
        None => MANY,
    };
    if agents <= limit || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    output.say(&format!("{agents} agents will be targeted, which is more than {limit}."));
    let answer = ask("type their number to go on>", "--yes", output).await?;
    if answer == agents.to_string() { Ok(()) } else { Err(cancelled()) }
}

/// Time to think again.
pub(crate) async fn countdown(
    agents: usize,
    seconds: u32,
    output: &mut Output,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    let text = format!("{agents} agents will be targeted. ctrl+c to cancel. launching in ");
    output.murmur(Paint::Yellow, &text);
    for left in (1..=seconds).rev() {
        tokio::select! {
            () = shutdown.requested() => {
                output.say("");
                return Err(cancelled());
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        output.murmur(Paint::Yellow, &left.to_string());
        output.murmur(Paint::Yellow, " ");
    }
    output.paint(Paint::Yellow, "GO");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_wide_in_both_ways_is_warned_of() {
        let file = |paths: &[&str], maxdepth: u32| {
            json!({ "searches": { "s1": { "paths": ["/etc"] }, "s2": {
                "paths": paths, "options": { "maxdepth": maxdepth } } } })
        };
        for (target, parameters, warned) in [
            ("status='online'", file(&["/"], 1000), true),
            ("Status = 'online' OR status='idle'", file(&["/etc", "//"], 1000), true),
            ("status='online'", file(&["C:\\"], 1000), true),
            ("status='online'", json!({ "paths": ["/"], "maxdepth": 0 }), true),
            ("status='online'", json!({ "paths": ["/"] }), true),
            ("name='web1'", file(&["/"], 1000), false),
            ("status='online'", file(&["/"], 2), false),
            ("status='online'", file(&["/etc", ""], 1000), false),
            ("status='online'", json!({ "paths": 7, "searches": [1] }), false),
            ("status='online'", Value::Null, false),
        ] {
            let operation =
                Operation { module: "file".to_owned(), parameters, ..Operation::default() };
            let action = Action {
                target: target.to_owned(),
                operations: Some(vec![operation.clone()]),
                ..Action::default()
            };
            let warning = breadth(&action);
            assert_eq!(warning.is_some(), warned, "{target} {operation:?}: {warning:?}");
        }
    }

    #[test]
    fn an_evaluation_that_has_grown_old_is_told() {
        assert_eq!(age(Duration::from_secs(30)), None);
        let told = age(Duration::from_millis(95_400)).unwrap();
        assert!(told.contains("the target was evaluated 1m35s ago"), "{told}");
    }
}

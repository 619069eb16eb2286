//! `mig-agent-search`: agents, one a line.

use mig_client::search::{Kind as What, Search};
use mig_client::{ClientError, Found};
use mig_module::args::{Flag, Kind};
use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_terminal::format::{self, Format, Layout};
use mig_terminal::output::Output;
use mig_terminal::text::{compact, seconds};
use mig_terminal::{grid, listing};
use mig_types::{Agent, AgentStatus};

use crate::{finish, open, options};

const FLAGS: [Flag; 4] =
    [("p", Kind::Text), ("t", Kind::Text), ("c", Kind::Text), ("V", Kind::Bool)];

const USAGE: &str = "\
usage: mig-agent-search -p \"<conditions>\" | -t \"<target>\" [options]

Prints agents, one a line.

    -p <conditions>  as the console's search takes them, agents of any status:
                     name agentname agentid agentversion version status before
                     after limit offset
    -t <target>      a condition on agents, or the name of a macro; online and idle
                     agents only
    -c <file>        configuration [default: ~/.migrc]
    -o, --output <format>
                     text: fields between `; `; table, json, ndjson, csv; name: one
                     name a line [default: MIG_OUTPUT, else text]
    --json, --ndjson, --csv
                     the same as -o
    --columns <a,b>  columns of table and csv, of these: name id status version mode
                     os arch pid starttime heartbeattime tags environment queueloc
                     ident publicip
    --sort <column>  in this order; with - before the column from the end
    --no-header      no line with the names of the fields
    --wide           cut nothing that a terminal has no room for
    --csv-safe       no cell of csv begins like the formula of a spreadsheet
    -v               tell what is asked of the API, and what is behind an error
    -vv              and what goes there and comes back, without keys
    -V               print the version

examples:
    mig-agent-search -p \"name=web* and status=online\"
    mig-agent-search -t \"environment->>'os'='linux'\"

exit status: 0 done, 1 failed, 2 misused, 3 not let in, 4 API away";

const HEADER: &str = "name; id; status; version; mode; os; arch; pid; starttime; heartbeattime; \
                      tags; environment";

/// Runs one command line; the exit code travels in the error.
pub async fn run(args: &[String]) -> anyhow::Result<()> {
    let mut output = Output::new();
    let outcome = search(args, &mut output).await;
    finish(outcome, &mut output)
}

async fn search(args: &[String], output: &mut Output) -> Result<u8, Failure> {
    let flags: Vec<Flag> = FLAGS.into_iter().chain(format::FLAGS).collect();
    let Some(given) = options(("mig-agent-search", &flags), args, USAGE, output)? else {
        return Ok(0);
    };
    let form = Layout::read(&given, true)?.form(&Format::ALL, output)?;
    grid::check::<Agent>(&form)?;
    // An empty value counts as none.
    let filled = |name| given.text(name).filter(|text| !text.is_empty());
    let (conditions, target) = (filled("p"), filled("t"));
    if conditions.is_none() && target.is_none() {
        return Err(Failure::usage("must specify -p or -t, see help"));
    }
    let session = open(given.text("c"), output).await?;
    let api = session.api_with_any_key("agent-search")?;
    let mut agents = match (conditions, target) {
        (Some(conditions), _) => {
            let search = Search::conditions(What::Agent, conditions, session.clock.now())
                .map_err(|error| Failure::usage(error.to_string()))?;
            match api.find(&search).await? {
                Found::Agents(agents) => agents,
                _ => Vec::new(),
            }
        }
        (None, target) => {
            let target = session.config.macros.expand(target.unwrap_or_default());
            api.evaluate_target(&target).await.map_err(|error| match error {
                ClientError::Api { status: 400, message } => {
                    Failure::other(format!("the API rejected the target: {message}"))
                }
                other => other.into(),
            })?
        }
    };
    let unwritable =
        |error: serde_json::Error| Failure::other(format!("cannot write an agent: {error}"));
    grid::sort(&mut agents, &form)?;
    if form.format != Format::Text {
        listing::print(&agents, &form, output)?;
        return Ok(0);
    }
    if form.header {
        output.line(HEADER)?;
    }
    for agent in &agents {
        output.line(&line(agent).map_err(unwritable)?)?;
    }
    Ok(0)
}

fn line(agent: &Agent) -> Result<String, serde_json::Error> {
    let tags = if agent.tags.is_empty() { "null".to_owned() } else { compact(&agent.tags)? };
    let environment = &agent.environment;
    Ok(printable(
        &[
            agent.name.as_str(),
            &agent.id.to_string(),
            agent.status.map_or("", AgentStatus::as_str),
            &agent.version,
            agent.mode.as_str(),
            &environment.os,
            &environment.arch,
            &agent.pid.to_string(),
            &seconds(agent.starttime),
            &seconds(agent.heartbeatts),
            &tags,
            &compact(environment)?,
        ]
        .join("; "),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_cut_where_they_always_were() {
        let agent: Agent = mig_types::wire::from_slice(
            br#"{"id":6884999362561,"name":"web1.example.net","queueloc":"linux.x","mode":"daemon",
                "version":"20160827-0.3c1fe7a.prod","pid":2993,"starttime":"2016-08-27T10:43:30.87Z",
                "heartbeatts":"2016-08-29T15:41:02Z","status":"online","tags":{"operator":"IT"},
                "environment":{"init":"systemd","os":"linux","arch":"amd64","aws":{}}}"#,
        )
        .unwrap();
        assert_eq!(
            line(&agent).unwrap(),
            "web1.example.net; 6884999362561; online; 20160827-0.3c1fe7a.prod; daemon; linux; \
             amd64; 2993; 2016-08-27T10:43:30Z; 2016-08-29T15:41:02Z; {\"operator\":\"IT\"}; \
             {\"init\":\"systemd\",\"os\":\"linux\",\"arch\":\"amd64\",\"isproxied\":false,\
             \"aws\":{}}"
        );
        assert_eq!(
            HEADER.split("; ").count(),
            line(&Agent::default()).unwrap().split("; ").count()
        );
        assert!(line(&Agent::default()).unwrap().contains("; null; "));
    }
}

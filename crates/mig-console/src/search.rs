//! `search`.

use mig_client::Found;
use mig_client::search::{Kind, Search, SearchError};
use mig_terminal::failure::Failure;

use crate::console::Console;
use crate::order::Order;
use mig_terminal::output::room;
use mig_terminal::tables;

const HELP: &str = "\
usage: search <action|agent|command|investigator|loader|manifest> where <key>=<value> [and <key>=<value>...]

Example:
mig> search command where agentname=web* and investigatorname=%ada% and after=2016-08-29T00:00:00Z

The following search parameters are available, per search type:
* action:
    - name=<str>              search actions by name <str>
    - before=<date>           search actions that expired before <date>
    - after=<date>            search actions that were valid after <date>
    - commandid=<id>          search the action that spawned a given command
    - agentid=<id>            search actions that ran on a given agent
    - agentname=<str>         search actions that ran on an agent named <str>
    - investigatorid=<id>     search actions signed by a given investigator
    - investigatorname=<str>  search actions signed by an investigator named <str>
    - threatfamily=<str>      search actions about threats of that family
    - status=<str>            pending, scheduled, preparing, invalid, inflight, completed
* command:
    - name=<str>              search commands by action name <str>
    - before, after=<date>    search commands that started before or after <date>
    - actionid=<id>           search commands spawned by action <id>
    - agentname, agentid, investigatorname, investigatorid
    - foundanything=<bool>    search commands that found something, or nothing
    - status=<str>            prepared, sent, success, timeout, cancelled, expired, failed
* agent:
    - name=<str>              search agents by hostname
    - before, after=<date>    search agents that sent a heartbeat before or after <date>
    - actionid, actionname, commandid, investigatorid, investigatorname
    - version=<str>           search agents by version <str>
    - target=<condition>      search online and idle agents by a target
    - status=<str>            online, upgraded, destroyed, offline, idle
* investigator:
    - name=<str>              search investigators by name
    - before, after=<date>    search investigators created or modified before or after <date>
    - actionid, actionname, commandid, agentid, agentname
    - status=<str>            active, disabled
* manifest:
    - name=<str>, id=<id>     search manifests by name or id
    - status=<str>            active, staged, disabled
* loader:
    - name=<str>, id=<id>     search loaders by name or id
    - agentname=<str>         search loaders for associated agent names

All searches accept limit=<num>, 100 by default, and offset=<num>.
A <str> may hold the wildcards * and %, and _ for one character (ex: name=jul%veh%);
without one it is the whole name. A <date> is 2016-08-29T14:14:16Z, 2016-08-29, or an
age such as 2h or 7d. Values with blanks are quoted: 'name=my host'.";

pub(crate) async fn run(console: &mut Console, order: &Order) -> Result<(), Failure> {
    if matches!(order.rest()[..], [] | ["help"]) {
        console.say(HELP);
        return Ok(());
    }
    let now = console.now();
    let text = order.line.split_once(char::is_whitespace).map_or("", |(_, rest)| rest);
    let search = Search::parse(text, now).map_err(|error| explain(&error))?;
    console.say(&format!(
        "Searching {} after {} and before {}, limited to {} results",
        search.kind.as_str(),
        search.after,
        search.before,
        search.limit
    ));
    let found = console.call(console.api.find(&search)).await?;
    if found.is_empty() {
        console.say("no result");
        return Ok(());
    }
    for line in tables::lines(&found, room()) {
        console.say(&line);
    }
    remember(console, &found);
    Ok(())
}

fn explain(error: &SearchError) -> Failure {
    Failure::usage(error.to_string()).hint("`search help` lists what can be searched")
}

fn remember(console: &mut Console, found: &Found) {
    // The first row last: it is what Tab offers first.
    match found {
        Found::Actions(all) => all.iter().rev().for_each(|one| console.saw(Kind::Action, &one.id)),
        Found::Commands(all) => {
            all.iter().rev().for_each(|one| console.saw(Kind::Command, &one.id));
        }
        Found::Agents(all) => all.iter().rev().for_each(|one| console.saw(Kind::Agent, &one.id)),
        Found::Investigators(all) => {
            all.iter().rev().for_each(|one| console.saw(Kind::Investigator, &one.id));
        }
        Found::Manifests(all) => {
            all.iter().rev().for_each(|one| console.saw(Kind::Manifest, &one.id));
        }
        Found::Loaders(all) => all.iter().rev().for_each(|one| console.saw(Kind::Loader, &one.id)),
    }
}

//! What the console says of itself: its options, and the orders of each mode. The
//! console prints them, and they are its manual page.

use crate::manual::Page;

/// What `mig-console --help` prints.
pub const USAGE: &str = "\
usage: mig-console [options]

Browses what was asked and answered, builds actions by hand, manages investigators,
manifests and loaders.

    -c <file>          configuration [default: ~/.migrc]
    --context <name>   configuration ~/.migrc-<name>
    -q                 no banner, no status, and prompts on terminals only
    -v                 tell what is asked of the API and what is behind an error, on
                       standard error
    -vv                and what goes to the API and comes back, without keys
    --color <when>     auto, always or never [default: auto]
    -V                 print the version

Orders are read from the terminal, or from a pipe. `help` lists them.";

/// `help` where the console begins.
pub const TOP: &str = "\
The following orders are available:
action <id>             enter interactive action reader mode for action <id>
agent <id>              enter interactive agent reader mode for agent <id>
command <id>            enter command reader mode for command <id>
create action           create a new action
create investigator     create a new investigator, will prompt for name and public key
create loader           create a new loader entry
create manifest         create a new manifest
exit                    leave
help                    show this help
history <count>         print last <count> entries in history. count=10 by default.
investigator <id>       enter interactive investigator management mode for investigator <id>
loader <id>             enter loader management mode for loader <id>
manifest <id>           enter manifest management mode for manifest <id>
query <uri>             send a raw query string, without the base url, to the api
search <search>         perform a search. see \"search help\" for more information.
showcfg                 display running configuration
status                  display platform status: connected agents, latest actions, ...";

/// `help` in the mode of `action <id>`.
pub const ACTION: &str = "\
The following orders are available:
command <id>    jump to command reader mode for command <id>
copy            enter action launcher mode using current action as template
counters        display the counters of the action
details         display the details of the action, including status & times
exit            exit this mode (also works with ctrl+d)
help            show this help
investigators   print the list of investigators that signed the action
json            show the json of the action
list <show>     returns the list of commands with their status
                <show>: all (default), found for positive results, notfound for negative ones
                list can be followed by filters: list | grep server1.(dom1|dom2) | grep -v example.net
r               refresh the action (get latest version from upstream)
results <show>  display results of all commands, <show> as above
times           show the various timestamps of the action";

/// `help` in the mode of `command <id>`.
pub const COMMAND: &str = "\
The following orders are available:
exit            exit this mode
help            show this help
json            show the json of the command
r               refresh the command (get latest version from upstream)
results <found> print the results. if \"found\" is set, only print results that have at least one found";

/// `help` in the mode of `agent <id>`.
pub const AGENT: &str = "\
The following orders are available:
details                 print the details of the agent
exit                    exit this mode
help                    show this help
json <pretty>           show the json of the agent registration
r                       refresh the agent (get latest version from upstream)
lastactions <limit>     print the last actions that ran on the agent. limit=10 by default.";

/// `help` in the mode of `create action`.
pub const LAUNCHER: &str = "\
The following orders are available:
addoperation <module>     append a new operation of type <module> to the action
check                     tell whether the platform would take the action, without sending it
compress <true|false>     request parameter compression in the action
deloperation <opnum>      remove operation numbered <opnum> from operations array, count starts at zero
details                   display the action details
edit                      open the action in your editor ($VISUAL or $EDITOR)
exit                      exit this mode
help                      show this help
json <pack>               show the json of the action, on one line with pack
launch <nofollow>         launch the action. to return before completion, add \"nofollow\"
listagents                list agents targetted by an action
load <path>               load an action from a file at <path>
save <path>               write the action to a file at <path>
setdescription <key> <v>  set author, email, url or revision
setname <name>            set the name of the action
settarget <target>        set the target of the action, a condition or the name of a macro
setthreat <key> <value>   set type, level, family or ref
settimes <start> <stop>   set the validity and expiration dates, such as 2026-06-30T12:00:00Z
settimes now <duration>   set validity from now and for <duration>, such as +30m
sign                      add a PGP signature to the action
times                     show the various timestamps of the action";

/// `help` in the mode of `investigator <id>`.
pub const INVESTIGATOR: &str = "\
The following orders are available:
apikey <status>           enable or disable X-MIGAPIKEY access for investigator (can be 'active' or 'disabled')
details                   print the details of the investigator
exit                      exit this mode
help                      show this help
lastactions <limit>       print the last actions ran by the investigator. limit=10 by default.
pubkey                    show the armored public key of the investigator
r                         refresh the investigator (get latest version from upstream)
setadmin <true|false>     grant or take the permissions of an administrator
setperms [permissions...] set permissions for investigator, no arguments to apply default
showperms                 display possible permission values
setstatus <status>        changes the status of the investigator to <status> (can be 'active' or 'disabled')";

/// `help` in the mode of `manifest <id>`.
pub const MANIFEST: &str = "\
The following orders are available:
disable         disables the manifest and prevent any future use
entry           show the manifest for this record as would be sent to a loader
exit            exit this mode
fetch <path>    save the contents of the manifest to <path>
help            show this help
json            show the json of the manifest record in the database
loaders         show known loader entries that will match this manifest
r               refresh the manifest (get latest version from upstream)
reset           reset manifest status (marks manifest as staged, removes signatures)
shasum          show the names and hashes of the files it installs
sign            add a signature to the manifest record";

/// `help` in the mode of `loader <id>`.
pub const LOADER: &str = "\
The following orders are available:
disable                 disable loader entry
enable                  enable loader entry
exit                    exit this mode
expectenv [condition]   set expected environment for loader, no arguments to remove it
help                    show this help
json                    show json of loader entry stored in database
key                     change loader key
r                       refresh the loader entry (get latest version from upstream)";

/// `help` of `search`.
pub const SEARCH: &str = "\
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

/// The modes, each with the order that enters it.
const MODES: [(&str, &str); 9] = [
    ("where it begins", TOP),
    ("search", SEARCH),
    ("action <id>", ACTION),
    ("command <id>", COMMAND),
    ("agent <id>", AGENT),
    ("create action", LAUNCHER),
    ("investigator <id>", INVESTIGATOR),
    ("manifest <id>", MANIFEST),
    ("loader <id>", LOADER),
];

/// The manual page of that version.
pub fn page(version: &str) -> String {
    let about = "browse what was asked and answered, and ask by hand";
    let mut page = Page::new("mig-console", 1, version, about).section("DESCRIPTION", USAGE);
    for (title, help) in MODES {
        let title = if help == TOP { "ORDERS".to_owned() } else { format!("ORDERS OF {title}") };
        page = page.section(&title.to_uppercase(), &laid_out(help));
    }
    page.see_also(&["mig(1)", "migrc(5)", "mig-targets(7)"])
}

/// Orders as options are written: indented below a heading.
fn laid_out(help: &str) -> String {
    let Some((heading, orders)) = help.split_once(":\n").filter(|_| help != SEARCH) else {
        return help.to_owned();
    };
    let lines: Vec<String> = orders.lines().map(|line| format!("    {line}")).collect();
    format!("{heading}:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_order_of_every_mode() {
        let page = page("1.0");
        for (title, help) in MODES {
            for line in help.lines().skip(1).filter(|line| line.starts_with(char::is_alphabetic)) {
                if help == SEARCH || line.starts_with("help ") {
                    continue;
                }
                let order = line.split_whitespace().next().unwrap_or_default();
                assert!(
                    page.contains(&format!("\"{order}")) || page.contains(order),
                    "{title}: {order}"
                );
            }
        }
        assert!(page.contains(".B \"\\-q\"\n"), "{page}");
        assert!(page.contains(".SH \"ORDERS OF CREATE ACTION\"\n"), "{page}");
    }
}

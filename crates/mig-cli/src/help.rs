//! The usage text.

use mig_module::Registry;

use crate::tasks::WORDS;

pub(crate) fn usage(registry: &Registry) -> String {
    let modules: Vec<String> = registry
        .iter()
        .map(|module| format!("    {:<10} {}", module.name(), module.summary()))
        .collect();
    let words: Vec<String> =
        WORDS.iter().map(|word| format!("    {:<11} {}", word.name, word.about)).collect();
    let (modules, words) = (modules.join("\n"), words.join("\n"));
    format!(
        "{HEAD}\n{modules}\n\nwords beside modules (mig <word> -h says more):\n{words}\n\n{OPTIONS}"
    )
}

const HEAD: &str = "\
mig asks endpoints a question and prints their answers.

usage: mig <module> <global options> <module parameters>
       mig -i <action file, JSON or YAML> <global options>
       mig <word> ...
       mig help [<module> | <word> | targets | migrc | output] | version

examples:
    mig file -path /etc -name \"^passwd$\" -content \"^root\"
    mig file -t \"tags->>'operator'='lab'\" -path /usr/bin -name \"^ssh\" -returnsha256
    mig netstat -t \"queueloc like 'linux.%'\" -lp 22
    mig -o table file -path /etc -name \"^shadow$\"

modules (mig help <module> lists the parameters):";

const OPTIONS: &str = "\
global options, before the module or right after it; long names anywhere:
    -t <target>           which agents: a condition, a macro of .migrc, or `local`
                          [default: status='online']
    -e <duration>         how long agents may take [default: 300s]
    -n <name>             name of the action [default: the command line]
    -show <which>         found, notfound or all [default: found]
    -target-found <id>    only agents that found something in that action
    -target-notfound <id> only agents that found nothing in that action
    --search <label: parameters>
                          file, memory: one of several searches, each with its label and
                          its parameters as on a line of its own
    -z                    compress the parameters
    -c <file>             configuration [default: ~/.migrc]
    --context <name>      configuration ~/.migrc-<name>
    --key <file>          sign with this unprotected key instead of gpg
    -v                    tell what is asked of the API, and what is behind an error
    -vv                   and what goes there and comes back, without tokens and keys

without launching:
    -p                    print the unsigned action
    -s                    print the signed action, for a second investigator
    --dry-run             list the agents that would be asked
    --explain             say in words what will run where, and go on

launching and following:
    -y, --yes             no countdown, and no question when agents are many
    --save <file>         keep the action as it was signed and sent; -, with --no-follow:
                          on standard output, and nothing else there
    --countdown <n>       seconds to count down [default: 5]
    --no-follow           print the action's id and leave
    --timeout <duration>  stop following after this time
    -render map|geojson   where agents with results are: a page in a file, or points
                          on standard output; needs MIG_GEOIP_DB (mig help migrc)
    --open                show the map in a browser
    --strict              exit 6 unless every agent succeeded
    --fail-on found|none  exit 7 when something, or nothing, was found

printing (mig help output):
    -o, --output <format> text, table, json, ndjson, csv or name [default: text]
    --json, --ndjson, --csv
                          the same as -o json, -o ndjson, -o csv
    --columns <a,b>       columns of table and csv
    --sort <column>       in this order, at the end; -<column> from the end
    --no-header           no line with the names of the columns
    --wide                cut nothing that the terminal has no room for
    --csv-safe            no cell of csv begins like the formula of a spreadsheet
    --quiet               no notes on standard error; errors stay
    --progress <how>      auto, plain or none [default: auto]
    --color <when>        auto, always or never [default: auto]

network:
    --connect-timeout <duration>
                          how long a connection may take to be made [default: 30s]
    --retry <n>           ask so often again what is only read, when the API is away
                          or busy [default: 0]

targets are conditions on agents (mig help targets):
    name like 'web%'
    tags->>'operator'='it' and environment->>'os'='linux'

exit status: 0 done, 1 failed, 2 misused, 3 not signed or not let in, 4 API away,
5 no agent matches, 6 --strict, 7 --fail-on, 130 interrupted before the launch.";

/// What a word of `mig help` is about that is neither module nor word.
pub(crate) fn topic(name: &str) -> Option<&'static str> {
    match name {
        "targets" => Some(TARGETS),
        "migrc" => Some(MIGRC),
        "output" => Some(OUTPUT),
        _ => None,
    }
}

pub(crate) const TARGETS: &str = "\
A target says which agents an action is for: a condition on the table of agents, in
the words of SQL. Agents check it again themselves before they run anything.

examples:
    name='web1.example.net'
    name like 'web%' or name ilike '%.LAB.example.net'
    tags->>'operator'='it'
    environment->>'os'='linux' and environment->>'arch'='amd64'
    status='online' and version like '2026%'
    queueloc like 'linux.%'
    heartbeattime > NOW() - INTERVAL '1 hour'

columns:
    name           the agent's host name
    queueloc       its address on the relay: <os>.<host name>.<random>
    status         online, idle or offline; only the first two are ever asked
    mode           daemon or checkin
    version        of the agent's program
    pid            of the agent's process
    starttime      when it started
    heartbeattime  when it was heard of last
    environment    what it found on its machine: os, arch, ident, init, isproxied,
                   addresses, publicip
    tags           what its configuration calls it

Without -t an action is for all that are online. The name of a macro in .migrc stands
for its condition, and @name inside an expression, too. -t local runs a module on this
machine and asks nobody. -target-found <id> and -target-notfound <id> narrow a target
to agents that found something, or nothing, in an earlier action.

mig agents -t <target> tells which agents a target means, and mig <module> --dry-run
which would be asked.";

pub(crate) const OUTPUT: &str = "\
Whatever prints data prints it in the form that -o asks for: results of modules,
mig results, follow, and the words that list or show something. Standard output is
data, standard error is talk.

formats:
    text    for people, in the layout of the original
    table   columns as wide as the terminal has room for; what does not fit is cut, or
            left out unless --columns names it
    json    one document: a list has all its things in one array
    ndjson  one document a line
    csv     rows with the quoting of RFC 4180, lines that end with a line feed
    name    one name or id a line, for pipes: agents by name, the rest by id; of
            results the agents that have some

results in json and ndjson are all there are, whatever -show says:
    {\"type\":\"result\",\"action\":6884999430150,\"command\":6884999495681,
     \"agent\":{\"id\":6884999362561,\"name\":\"web1.example.net\"},\"status\":\"success\",
     \"operation\":0,\"module\":\"file\",\"found\":true,\"elements\":{...},\"statistics\":{...},
     \"errors\":[]}
    {\"type\":\"summary\",\"schema\":1,\"action\":6884999430150,\"status\":\"completed\",
     \"counters\":{\"sent\":3,\"done\":3,\"success\":2,\"timeout\":1},\"results\":3,\"found\":1,
     \"notfound\":1,\"unsuccessful\":{\"timeout\":[\"db4.example.net\"]},\"complete\":true}
    ndjson  a result as soon as it is there, one for each operation of each agent; the
            summary is the last line
    json    {\"results\":[...],\"summary\":{...}} with the same objects
    An agent without any answer (it expired, was cancelled, ran out of time) has one
    result in which operation and module are null. found, notfound and the agents of
    unsuccessful are all agents told of; results counts the lines before the summary.
    complete is false when something is missing: following was stopped, or broke off,
    or the action still runs.

options:
    -o, --output <format>  MIG_OUTPUT when it is missing, else text. What MIG_OUTPUT asks
                           for and a word does not have is the nearest it has (text, or
                           json for ndjson and the reverse), and a note says so; with -o
                           it is an error
    --json, --ndjson, --csv
                           the same as -o; two that disagree are an error
    --columns <a,b>        columns of table and csv, in this order; table, unless -o says
                           csv. An unknown one is an error that lists those there are
    --sort <column>        by this column; -<column> from the end. Results are printed at
                           the end then, as they are in a table and in json
    --no-header            no line with the names of the columns
    --wide                 cut nothing that the terminal has no room for
    --csv-safe             a ' in front of cells that begin with = + - @, which a
                           spreadsheet would take for a formula

columns of results:
    agent status module found line, and on demand command finishtime

columns of agents:
    name id status version mode os arch pid starttime heartbeattime tags environment, and
    on demand queueloc ident publicip

columns of actions:
    id name target status investigators sent done success failed timeout expired cancelled
    inflight validfrom expireafter starttime finishtime lastupdatetime, and on demand
    modules

columns of commands:
    id actionid action agentid agent status starttime finishtime

columns of investigators:
    id name status permissions pgpfingerprint createdat lastmodified

columns of manifests and loaders:
    id name status target timestamp, and on demand signatures;
    id name agentname enabled lastseen expectenv, and on demand prefix

examples:
    mig -o name agents \"status=idle\" | xargs -n 1 echo
    mig agents -o csv --columns name,os,publicip --sort name
    mig results 6884999430150 -o table --sort agent
    mig file --quiet -o name -path /etc -name \"^shadow$\"

Control characters are shown as escapes in every format but json and ndjson, which
have their own. Fields and columns may be added; none is ever renamed.";

pub(crate) const MIGRC: &str = "\
The clients read ~/.migrc: another file with -c or MIG_CONFIG, or ~/.migrc-<name> with
--context <name> or MIG_CONTEXT. mig config init writes one, mig config check says
what is wrong with it, mig doctor tries it.

example:
    [api]
        url = \"https://api.mig.example.net/api/v1/\"
    [gpg]
        home = \"/home/ada/.gnupg/\"
        keyid = \"E60892BB9BD89A69F759A1A0A3D652173B763E8F\"
    [targets]
        macro = allonline:status='online'
        macro = \"it:tags#>>'{operator}'='it'\"

section [api]:
    url            base address of the API; a missing final slash is added
    skipverifycert accept any certificate [default: off]

section [gpg]:
    home           directory of GnuPG [default: what gpg uses]
    keyid          fingerprint of your key, or whatever gpg takes for a user
    keyserver      key server for create investigator in mig-console
                   [default: https://keys.openpgp.org]
    useapikeyauth  an API key: it reads, and launches nothing

section [targets]:
    macro          name:target, as often as wanted; quoted if it holds # or ;

settings of every run, in mig/config.toml of $XDG_CONFIG_HOME, else of ~/.config:
    ca_file = \"~/ca.pem\"           as MIG_CA_FILE
    color = \"never\"                as --color
    confirm_above = 200            as MIG_CONFIRM_ABOVE
    connect_timeout = \"5s\"         as --connect-timeout
    context = \"lab\"                as --context
    geoip_db = \"~/city.mmdb\"       as MIG_GEOIP_DB
    gpg = \"gpg2\"                   as MIG_GPG
    output = \"table\"               as -o, where a format can be chosen
    progress = \"plain\"             as --progress
    retry = 3                      as --retry
    web_url = \"https://mig.example.net/ui/actions/{id}\"
                                   where ids of actions lead to, on terminals that have
                                   links
    An option comes before a variable, a variable before this file. Another key, or a
    value that is of no use, is an error with file and line. mig config show tells what
    is in force.

environment:
    MIG_CONFIG         the file, instead of ~/.migrc
    MIG_CONTEXT        like --context
    MIG_CA_FILE        PEM file with the only authority to trust
    MIG_GPG            the gpg program
    MIG_SIGNING_KEY    armored secret key without passphrase, instead of gpg
    MIG_API_KEY        like useapikeyauth
    MIG_GEOIP_DB       MaxMind DB file for -render map
    MIG_YES            1: like --yes
    MIG_OUTPUT         like -o, where a format can be chosen
    MIG_CONFIRM_ABOVE  ask before more agents than this are asked [default: 1000]
    MIG_CONNECT_TIMEOUT, MIG_RETRY, MIG_PROGRESS
                       like --connect-timeout, --retry, --progress
    MIG_WEB_URL        like web_url above
    FORCE_HYPERLINK    1: the terminal has links; 0: it has none
    XDG_CONFIG_HOME    where mig/config.toml is
    XDG_CACHE_HOME     where ids of actions are kept for shell completion
    MIGPGPPASSPHRASE   passphrase of the key, or PIN of its card, for automation
    MIGPGPPASSPHRASE_FILE  file whose first line is the passphrase
    HTTPS_PROXY        and HTTP_PROXY, NO_PROXY: the usual ones
    NO_COLOR           no colours; CLICOLOR_FORCE=1: always; CLICOLOR=0: none on
                       terminals either; --color comes before them

The file is shared with the original's clients, which refuse keys they do not know:
there are no others. A line ends at # or ; outside of double quotes.";

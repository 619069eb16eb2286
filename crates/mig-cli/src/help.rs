//! The usage text.

use mig_module::Registry;

use crate::tasks::WORDS;

pub(crate) fn usage(registry: &Registry) -> String {
    let modules: Vec<String> = registry
        .iter()
        .map(|module| format!("    {:<10} {}", module.name(), module.summary()))
        .collect();
    let words: Vec<String> =
        WORDS.iter().map(|(word, about)| format!("    {word:<11} {about}")).collect();
    let (modules, words) = (modules.join("\n"), words.join("\n"));
    format!(
        "{HEAD}\n{modules}\n\nwords beside modules (mig <word> -h says more):\n{words}\n\n{OPTIONS}"
    )
}

const HEAD: &str = "\
mig asks endpoints a question and prints their answers.

usage: mig <module> <global options> <module parameters>
       mig -i <action file> <global options>
       mig <word> ...
       mig help [<module>] | version

examples:
    mig file -path /etc -name \"^passwd$\" -content \"^root\"
    mig file -t \"tags->>'operator'='lab'\" -path /usr/bin -name \"^ssh\" -returnsha256
    mig netstat -t \"queueloc like 'linux.%'\" -lp 22

modules (mig help <module> lists the parameters):";

const OPTIONS: &str = "\
global options, right after the module; long names anywhere:
    -t <target>           which agents: a condition, a macro of .migrc, or `local`
                          [default: status='online']
    -e <duration>         how long agents may take [default: 300s]
    -n <name>             name of the action [default: the command line]
    -show <which>         found, notfound or all [default: found]
    -target-found <id>    only agents that found something in that action
    -target-notfound <id> only agents that found nothing in that action
    -z                    compress the parameters
    -c <file>             configuration [default: ~/.migrc]
    --context <name>      configuration ~/.migrc-<name>
    --key <file>          sign with this unprotected key instead of gpg
    -v                    say more

without launching:
    -p                    print the unsigned action
    -s                    print the signed action, for a second investigator
    --dry-run             list the agents that would be asked

launching and following:
    -y, --yes             no countdown
    --countdown <n>       seconds to count down [default: 5]
    --no-follow           print the action's id and leave
    --timeout <duration>  stop following after this time
    --json, --ndjson      results as one document, or one command a line
    --csv                 results as rows: agent, status, module, found, line
    --strict              exit 6 unless every agent succeeded
    --fail-on found|none  exit 7 when something, or nothing, was found
    --color <when>        auto, always or never [default: auto]

targets are conditions on agents:
    name like 'web%'            environment->>'os'='linux'
    tags->>'operator'='it'      status='online' and version='1.2'
    queueloc like 'linux.%'     heartbeattime > NOW() - interval '1 hour'

exit status: 0 done, 1 failed, 2 misused, 3 not signed or not let in, 4 API away,
5 no agent matches, 6 --strict, 7 --fail-on, 130 interrupted before the launch.";

//! Completion for shells, and the manual page: from the texts of `--help`.

use std::fmt::Write as _;

use mig_module::Registry;
use mig_terminal::failure::Failure;
use mig_terminal::manual::{Page, options};
use mig_terminal::orders;
use mig_terminal::output::Output;
use mig_terminal::recent;

use super::{WORDS, asks_for_help, candidates};
use crate::globals::names;
use crate::help;

pub(super) const USAGE: &str = "\
usage: mig completions bash|zsh|fish|powershell|elvish|ids

    bash   mig completions bash > ~/.local/share/bash-completion/completions/mig
    zsh    mig completions zsh > \"${fpath[1]}/_mig\"
    fish   mig completions fish > ~/.config/fish/completions/mig.fish
    powershell   mig completions powershell >> $PROFILE
    elvish       mig completions elvish >> ~/.config/elvish/rc.elv

They complete modules and words, the options of each, macros after -t, contexts, and the
ids of actions that were launched or shown lately on this machine: completing asks no
API and no key. mig completions ids lists them.";

pub(super) const MAN: &str = "\
usage: mig man [mig | mig-console | targets | migrc]

Prints a manual page: mig(1), mig-console(1), mig-targets(7) or migrc(5).

    mig man | man -l -";

/// Values of options that take one of a few.
pub(super) const VALUES: [(&str, &str); 9] = [
    ("show", "found notfound all"),
    ("render", "text map geojson"),
    ("color", "auto always never"),
    ("output", FORMATS),
    ("progress", "auto plain none"),
    ("fail-on", "found none"),
    ("t", "$(mig config macros 2>/dev/null)"),
    ("target-found", IDS),
    ("target-notfound", IDS),
];

/// What `-o` takes, except after words to which it means a file.
pub(super) const FORMATS: &str = "text table json ndjson csv name";

/// Lists actions seen lately.
const IDS: &str = "$(mig completions ids 2>/dev/null)";

/// First words after a word.
const SUBJECTS: [(&str, &str); 14] = [
    ("action", "list show results follow export launch $(mig completions ids 2>/dev/null)"),
    ("results", IDS),
    ("follow", IDS),
    ("agent", "list show actions"),
    ("command", "list show"),
    ("search", "action command agent investigator manifest loader"),
    ("target", "check"),
    ("investigator", "list show pubkey create set"),
    ("manifest", "list show entry shasum loaders create sign reset disable fetch"),
    ("loader", "list show create enable disable key expectenv"),
    ("config", "init check show contexts macros"),
    ("completions", "bash zsh fish powershell elvish ids"),
    ("man", "mig mig-console targets migrc"),
    ("doctor", ""),
];

pub(super) fn scripts(
    registry: &Registry,
    line: &[String],
    output: &mut Output,
) -> Result<u8, Failure> {
    if let Some(("for", words)) = line.split_first().map(|(verb, rest)| (verb.as_str(), rest)) {
        let plain = |word: &String| word.strip_prefix('=').unwrap_or(word).to_owned();
        let words: Vec<String> = words.iter().map(plain).collect();
        let candidates = candidates::of(registry, &words);
        return candidates.iter().try_for_each(|word| output.line(word)).map(|()| 0);
    }
    if asks_for_help(line) {
        output.line(USAGE)?;
        return Ok(0);
    }
    if line == ["ids"] {
        return recent::recent().iter().rev().try_for_each(|(id, _)| output.line(id)).map(|()| 0);
    }
    let script = match line {
        [shell] if shell == "bash" => bash(registry),
        [shell] if shell == "zsh" => {
            format!("#compdef mig\nautoload -U +X bashcompinit && bashcompinit\n{}", bash(registry))
        }
        [shell] if shell == "fish" => fish(registry),
        [shell] if shell == "powershell" => candidates::POWERSHELL.to_owned(),
        [shell] if shell == "elvish" => candidates::ELVISH.to_owned(),
        _ => return Err(Failure::usage(format!("completions needs a shell it knows\n{USAGE}"))),
    };
    output.line(script.trim_end())?;
    Ok(0)
}

/// First words: modules, and the words beside them.
pub(super) fn firsts(registry: &Registry) -> Vec<&'static str> {
    let mut all = registry.names();
    all.extend(WORDS.iter().map(|word| word.name));
    all.extend(["run", "help", "version", "-i"]);
    all
}

/// Each module and word with what may follow it.
pub(super) fn followers(registry: &Registry) -> Vec<(&'static str, Vec<String>)> {
    let mut all: Vec<(&'static str, Vec<String>)> =
        registry.iter().map(|module| (module.name(), options(&module.help()))).collect();
    for word in &WORDS {
        let subjects = SUBJECTS.iter().find(|(name, _)| *name == word.name);
        let mut words: Vec<String> = subjects.iter().flat_map(|(_, all)| split(all)).collect();
        words.extend(options(word.usage));
        all.push((word.name, words));
    }
    all
}

/// Words, and what a shell runs for more of them, which stays in one piece.
pub(super) fn split(words: &str) -> Vec<String> {
    let (plain, run) = words.split_once("$(").unwrap_or((words, ""));
    let mut all: Vec<String> = plain.split_whitespace().map(str::to_owned).collect();
    if !run.is_empty() {
        all.push(format!("$({run}"));
    }
    all
}

fn bash(registry: &Registry) -> String {
    let globals: Vec<String> = names().map(|name| format!("-{name}")).collect();
    let firsts = firsts(registry).join(" ");
    let mut script = format!(
        "_mig() {{\n    local words globals=\"{}\"\n    local current=\"${{COMP_WORDS[COMP_CWORD]}}\"\n    \
         local before=\"${{COMP_WORDS[COMP_CWORD-1]}}\"\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        \
         words=\"{firsts}\"\n    else\n        case \"${{COMP_WORDS[1]}}\" in\n",
        globals.join(" "),
    );
    for (name, own) in followers(registry) {
        let is_word = WORDS.iter().any(|word| word.name == name);
        let globals = if is_word { "" } else { "$globals " };
        let _ = writeln!(script, "        {name}) words=\"{globals}{}\" ;;", own.join(" "));
    }
    let _ = write!(
        script,
        "        help) words=\"{firsts} targets migrc output\" ;;\n        -*) words=\"$globals \
         {firsts}\" ;;\n        *) words=\"$globals\" ;;\n        \
         esac\n    fi\n    case \"$before\" in\n"
    );
    for (name, values) in VALUES {
        let _ = writeln!(script, "    -{name}|--{name}) words=\"{values}\" ;;");
    }
    let _ = writeln!(
        script,
        "    -o) [ \"${{COMP_WORDS[1]}}\" = sign ] && words=\"\" || words=\"{FORMATS}\" ;;"
    );
    script.push_str(
        "    -context|--context) words=\"$(mig config contexts 2>/dev/null)\" ;;\n    \
         -c|--c|-key|--key) words=\"\" ;;\n    esac\n    \
         COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n}\n\
         complete -o default -F _mig mig\n",
    );
    script
}

fn fish(registry: &Registry) -> String {
    let mut lines = vec!["complete -c mig -n __fish_use_subcommand -f".to_owned()];
    let quoted = |text: &str| text.replace('\'', "\\'");
    let modules = registry.iter().map(|module| (module.name(), module.summary()));
    for (name, about) in modules.chain(WORDS.iter().map(|word| (word.name, word.about))) {
        let about = quoted(about);
        lines.push(format!("complete -c mig -n __fish_use_subcommand -a {name} -d '{about}'"));
    }
    for (name, followers) in followers(registry) {
        let condition = format!("complete -c mig -n '__fish_seen_subcommand_from {name}'");
        for follower in followers {
            let long = follower.strip_prefix("--").map(|long| format!("-l {long}"));
            let old = || follower.strip_prefix('-').map(|old| format!("-o {old}"));
            let word = || format!("-f -a '{}'", follower.replace("$(", "("));
            lines.push(format!("{condition} {}", long.or_else(old).unwrap_or_else(word)));
        }
    }
    for (name, values) in VALUES {
        let values = values.replace("$(", "(");
        lines.push(format!("complete -c mig -o {name} -x -a '{values}'"));
    }
    lines.push(format!(
        "complete -c mig -n 'not __fish_seen_subcommand_from sign' -s o -x -a '{FORMATS}'"
    ));
    lines.push("complete -c mig -l context -x -a '(mig config contexts 2>/dev/null)'".to_owned());
    lines.join("\n")
}

/// The manual page, from what `mig help` and `mig help <module>` print.
pub(super) fn manual(
    registry: &Registry,
    line: &[String],
    output: &mut Output,
) -> Result<u8, Failure> {
    let page = match line {
        _ if asks_for_help(line) => MAN.to_owned(),
        [] => of_mig(registry),
        [name] => match name.as_str() {
            "mig" => of_mig(registry),
            "console" | "mig-console" => orders::page(VERSION),
            "targets" | "mig-targets" => {
                let page = Page::new("mig-targets", 7, VERSION, "which agents an action is for");
                page.section("DESCRIPTION", help::TARGETS).see_also(&["mig(1)"])
            }
            "migrc" => {
                let page = Page::new("migrc", 5, VERSION, "configuration of the clients of MIG");
                page.section("DESCRIPTION", help::MIGRC).see_also(&["mig(1)", "gpg(1)"])
            }
            _ => return Err(Failure::usage(format!("there is no such page\n{MAN}"))),
        },
        _ => return Err(Failure::usage(format!("there is no such page\n{MAN}"))),
    };
    output.line(page.trim_end())?;
    Ok(0)
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn of_mig(registry: &Registry) -> String {
    let mut page = Page::new("mig", 1, VERSION, "ask endpoints a question")
        .section("DESCRIPTION", &help::usage(registry));
    for word in &WORDS {
        page = page.section(&format!("MIG {}", word.name.to_uppercase()), word.usage);
    }
    for module in registry.iter() {
        page = page.section(&format!("MODULE {}", module.name().to_uppercase()), &module.help());
    }
    page.see_also(&["mig-console(1)", "migrc(5)", "mig-targets(7)", "gpg(1)"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_options_are_those_of_its_help() {
        let registry = mig_modules::registry();
        let file = options(&registry.get("file").unwrap().help());
        for option in ["-path", "-name", "-content", "-matchany", "-returnsha256"] {
            assert!(file.iter().any(|known| known == option), "{option}: {file:?}");
        }
        let script = bash(&registry);
        assert!(script.contains("        file) words=\"$globals -"), "{script}");
        assert!(script.contains("        doctor) words=\"--timeout -c -o\""), "{script}");
        assert!(fish(&registry).contains("-a netstat -d '"));
    }

    #[test]
    fn the_page_has_every_module_and_every_word() {
        let registry = mig_modules::registry();
        let page = of_mig(&registry);
        for module in registry.names() {
            let title = format!(".SH \"MODULE {}\"\n", module.to_uppercase());
            assert!(page.contains(&title), "{title}");
        }
        for word in &WORDS {
            assert!(word.usage.starts_with("usage: mig "), "{}", word.name);
            let title = format!(".SH \"MIG {}\"\n", word.name.to_uppercase());
            assert!(page.contains(&title), "{title}");
        }
    }
}

//! Completion for shells, and the manual page: from the texts of `--help`.

use mig_module::Registry;
use mig_terminal::failure::Failure;
use mig_terminal::output::Output;

use super::WORDS;
use crate::globals::names;
use crate::help;

const USAGE: &str = "\
usage: mig completions bash|zsh|fish

    bash   mig completions bash > ~/.local/share/bash-completion/completions/mig
    zsh    mig completions zsh > \"${fpath[1]}/_mig\"
    fish   mig completions fish > ~/.config/fish/completions/mig.fish";

pub(super) fn scripts(
    registry: &Registry,
    line: &[String],
    output: &mut Output,
) -> Result<u8, Failure> {
    let script = match line {
        [shell] if shell == "bash" => bash(registry),
        [shell] if shell == "zsh" => {
            format!("#compdef mig\nautoload -U +X bashcompinit && bashcompinit\n{}", bash(registry))
        }
        [shell] if shell == "fish" => fish(registry),
        _ => return Err(Failure::usage(USAGE)),
    };
    output.line(script.trim_end())?;
    Ok(0)
}

/// First words: modules, and the words beside them.
fn firsts(registry: &Registry) -> Vec<&'static str> {
    let mut all = registry.names();
    all.extend(WORDS.map(|(word, _)| word));
    all.extend(["run", "help", "version", "-i"]);
    all
}

/// Options of a module, as its help lists them: first on their line.
fn options(help: &str) -> Vec<String> {
    let named = help.lines().filter_map(|line| {
        let word = line.split_whitespace().next()?;
        let name = word.strip_prefix('-')?.trim_end_matches([',', ':', '=']);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (!name.is_empty() && name.chars().all(plain)).then(|| format!("-{name}"))
    });
    let mut all: Vec<String> = named.collect();
    all.sort();
    all.dedup();
    all
}

fn bash(registry: &Registry) -> String {
    let mut cases = String::new();
    for module in registry.iter() {
        let own = options(&module.help()).join(" ");
        let name = module.name();
        cases.extend(["        ", name, ") words=\"$globals ", &own, "\" ;;\n"]);
    }
    let globals: Vec<String> = names().map(|name| format!("-{name}")).collect();
    format!(
        "_mig() {{\n    local words globals=\"{}\"\n    local current=\"${{COMP_WORDS[COMP_CWORD]}}\"\n    \
         if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words=\"{}\"\n    else\n        case \
         \"${{COMP_WORDS[1]}}\" in\n{cases}        config) words=\"init check show contexts\" ;;\n        \
         completions) words=\"bash zsh fish\" ;;\n        *) words=\"$globals\" ;;\n        esac\n    fi\n    \
         COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n}}\ncomplete -o default -F _mig mig\n",
        globals.join(" "),
        firsts(registry).join(" ")
    )
}

fn fish(registry: &Registry) -> String {
    let mut lines = vec!["complete -c mig -n __fish_use_subcommand -f".to_owned()];
    let quoted = |text: &str| text.replace('\'', "\\'");
    for module in registry.iter() {
        let (name, summary) = (module.name(), quoted(module.summary()));
        lines.push(format!("complete -c mig -n __fish_use_subcommand -a {name} -d '{summary}'"));
        for option in options(&module.help()) {
            let option = option.trim_start_matches('-').to_owned();
            lines.push(format!(
                "complete -c mig -n '__fish_seen_subcommand_from {name}' -o {option}"
            ));
        }
    }
    for (word, about) in WORDS {
        let about = quoted(about);
        lines.push(format!("complete -c mig -n __fish_use_subcommand -a {word} -d '{about}'"));
    }
    lines.join("\n")
}

/// The manual page, from what `mig help` and `mig help <module>` print.
pub(super) fn manual(registry: &Registry, output: &mut Output) -> Result<u8, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(
        ".TH MIG 1 \"\" \"mig {version}\" \"Mozilla InvestiGator\"\n.SH NAME\nmig \\- ask endpoints \
         a question\n.SH SYNOPSIS\n.nf\nmig <module> <global options> <module parameters>\nmig -i \
         <action file> <global options>\nmig <word> ...\n.fi\n"
    );
    section(&mut page, "DESCRIPTION", &help::usage(registry));
    for module in registry.iter() {
        section(&mut page, &format!("MODULE {}", module.name()), &module.help());
    }
    page.push_str(".SH SEE ALSO\nmig-console(1), gpg(1)\n");
    output.line(page.trim_end())?;
    Ok(0)
}

fn section(page: &mut String, title: &str, text: &str) {
    page.extend([".SH \"", &title.to_uppercase(), "\"\n.nf\n"]);
    for line in text.trim_end().lines() {
        // A dot or quote in front is an order to the formatter.
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        page.extend([guard, &line, "\n"]);
    }
    page.push_str(".fi\n");
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
        assert!(fish(&registry).contains("-a netstat -d '"));
    }

    #[test]
    fn no_line_of_the_manual_is_an_order_by_accident() {
        let mut page = String::new();
        section(&mut page, "x", "plain\n.hidden\n'quoted\nback\\slash -t");
        let expected = ".SH \"X\"\n.nf\nplain\n\\&.hidden\n\\&'quoted\nback\\eslash \\-t\n.fi\n";
        assert_eq!(page, expected);
    }
}

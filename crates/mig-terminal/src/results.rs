//! The results of one command as lines.

use mig_module::Registry;
use mig_module::text::printable;
use mig_types::{Command, wire};

/// One line about a command, without its agent's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// What was found, for standard output.
    Data(String),
    /// What went wrong, for standard error.
    Talk(String),
}

/// All results of a successful command: findings only, or everything a module
/// has to say.
pub fn lines(registry: &Registry, command: &Command, found_only: bool) -> Vec<Line> {
    let results = command.results.as_deref().unwrap_or_default();
    let mut lines = Vec::new();
    for (index, operation) in command.action.operations().iter().enumerate() {
        let Some(result) = results.get(index) else {
            if !found_only {
                lines.push(talk(format!("operation {index} did not return results")));
            }
            continue;
        };
        let Some(module) = registry.get(&operation.module) else {
            // A hit must never be invisible because this build is older.
            if !found_only || result.foundanything {
                let text = wire::to_string(&result.elements).unwrap_or_default();
                lines.push(Line::Data(printable(&text)));
            }
            continue;
        };
        match module.print(result, found_only) {
            Ok(found) => lines.extend(found.into_iter().map(Line::Data)),
            // One odd answer must not hide the others.
            Err(error) => lines.push(talk(error.one_line())),
        }
    }
    if !found_only {
        lines.push(Line::Data("command success".to_owned()));
    }
    lines
}

fn talk(text: impl std::fmt::Display) -> Line {
    Line::Talk(format!("[error] {text}"))
}

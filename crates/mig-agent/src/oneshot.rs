//! `-i`: the operations of an action file, run here and now.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use mig_types::{Action, wire};

use crate::agent::own_program;
use crate::config::AgentConfig;
use crate::execute::{Cages, Executor, Programs};
use crate::report::Ending;

/// Largest action file.
const MAX_FILE: u64 = 16 << 20;

/// Runs an action file's operations one after the other; the text to print.
///
/// Signatures are not looked at: whoever can start this can start the modules
/// as well.
///
/// # Errors
///
/// When the file is no action.
pub(crate) async fn run(config: &AgentConfig, file: &Path, print: bool) -> anyhow::Result<String> {
    let size =
        std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
    anyhow::ensure!(size.len() <= MAX_FILE, "{} is too large for an action", file.display());
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let action: Action =
        wire::from_slice(&text).with_context(|| format!("{} is not an action", file.display()))?;
    let executor = Executor {
        programs: Programs::of_this_build(own_program()?, config.moduledir.as_deref()),
        budgets: config.budgets,
        privacy: config.extraprivacymode,
        // Another process keeps them, if anyone does.
        switchboard: crate::persist::Switchboard::of_this_program(),
        // An agent of the same run directory may be at work.
        cages: Cages::default(),
    };
    let registry = crate::modules::registry();
    let mut results = Vec::new();
    let mut lines = Vec::new();
    for operation in action.operations() {
        let ending = executor.run_one(operation, Duration::MAX, usize::MAX).await;
        let answered = matches!(ending, Ending::Answered(_));
        let (_, result) = ending.settle();
        match registry.get(&operation.module) {
            Some(module) if print && answered => {
                lines.extend(module.print(&result, false).context("cannot print the result")?);
            }
            _ => lines.extend(result.errors.clone().unwrap_or_default()),
        }
        results.push(result);
    }
    if print {
        return Ok(lines.into_iter().map(|line| line + "\n").collect());
    }
    Ok(serde_json::to_string_pretty(&results)? + "\n")
}

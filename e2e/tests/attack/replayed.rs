//! Actions that were signed, and done, once.

use mig_e2e::attacker::{Attacker, executed, reasons, sign};
use mig_types::{Command, CommandStatus, Operation};
use serde_json::json;

use crate::Score;

pub(crate) async fn suite(attacker: &mut Attacker, score: &mut Score) -> anyhow::Result<()> {
    let original = attacker.command(attacker.signed()?);
    let first = attacker.ask(&original).await?;
    anyhow::ensure!(executed(&first), "the action to replay does not run");

    // From here on a run would find nothing: an answer that found the marker
    // comes from memory, not from the disk.
    std::fs::remove_file(attacker.marker())?;

    let again = attacker.ask(&original).await?;
    score.note("the same command again", ran_again(&first, &again), &reasons(&again), "");

    let other = Command { id: attacker.command(original.action.clone()).id, ..original.clone() };
    let again = attacker.ask(&other).await?;
    score.note("the action under another command", ran_again(&first, &again), "", "");

    let mut renumbered = attacker.command(original.action.clone());
    renumbered.action.id = attacker.question().id;
    "mallory".clone_into(&mut renumbered.action.description.author);
    let again = attacker.ask(&renumbered).await?;
    score.note("the action under another id", ran_again(&first, &again), "", "");

    let mut rewritten = attacker.command(original.action.clone());
    sign(&mut rewritten.action, &attacker.bob.key, attacker.now())?;
    let again = attacker.ask(&rewritten).await?;
    score.note("the action with one more signature", ran_again(&first, &again), "", "");

    attacker.agent.restart()?;
    let again = attacker.ask(&attacker.command(original.action.clone())).await?;
    score.note("the action after a restart", ran_again(&first, &again), &reasons(&again), "");

    std::fs::write(attacker.marker(), "root was here\n")?;
    refused_once_accepted_later(attacker, score).await
}

/// Whether the second answer is a run of its own: anything but the first
/// answer's results.
fn ran_again(first: &Command, again: &Command) -> bool {
    again.results != first.results
}

/// A refusal is not remembered: the second investigator's signature makes the
/// same action good, once.
async fn refused_once_accepted_later(
    attacker: &mut Attacker,
    score: &mut Score,
) -> anyhow::Result<()> {
    let mut action = attacker.question();
    action.operations = Some(vec![Operation {
        module: "netstat".to_owned(),
        parameters: json!({ "listeningport": ["65535"] }),
        ..Operation::default()
    }]);
    sign(&mut action, &attacker.alice.key, attacker.now())?;
    let refused = attacker.ask(&attacker.command(action.clone())).await?;
    score.note("half a signature set", executed(&refused), &reasons(&refused), "needs weight 2");
    sign(&mut action, &attacker.bob.key, attacker.now())?;
    let accepted = attacker.ask(&attacker.command(action)).await?;
    anyhow::ensure!(
        accepted.status == CommandStatus::Success,
        "two signatures are enough: {}",
        reasons(&accepted)
    );
    Ok(())
}

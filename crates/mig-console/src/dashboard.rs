//! The platform at a glance.

use mig_client::search::Kind;
use mig_terminal::dashboard::{block, linked};
use mig_terminal::failure::Failure;
use mig_terminal::output::room;

use crate::console::Console;

/// Fetches and shows it.
pub(crate) async fn show(console: &mut Console) -> Result<(), Failure> {
    let answer = console.call(console.api.dashboard()).await?;
    let (lines, actions) = block(&answer, room(), |paint, text| console.screen.paint(paint, text));
    let pages = console.screen.links();
    for line in lines {
        console.say(&linked(line, &actions, &pages));
    }
    for action in actions.iter().rev() {
        console.saw(Kind::Action, &action.id);
    }
    Ok(())
}

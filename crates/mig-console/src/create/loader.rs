//! `create loader`.

use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_types::Loader;
use mig_types::loader::{KEY_LEN, PREFIX_LEN};

use super::ask_name;
use crate::completion::Scope;
use crate::console::Console;
use crate::reader::loader::key_line;
use crate::top::json;

pub(crate) async fn run(console: &mut Console) -> Result<(), Failure> {
    console.say("Entering loader creation mode.\nPlease provide the name of the new entry");
    let Some(name) = ask_name(console).await? else { return Ok(()) };
    console.say(&format!("Name: '{}'", printable(&name)));
    console.say("Enter environment the loader must report, as a condition, or nothing.");
    let Some(expectenv) = console.ask("expectenv>", Scope::Nothing).await? else {
        return Ok(());
    };
    let mut loader = Loader { name, expectenv, ..Loader::default() };
    console.say(&json(&loader)?);
    console.say("Server will assign prefix and key on creation");
    if !console.confirm("create loader entry?").await? {
        console.say("abort");
        return Ok(());
    }
    // Platforms of 2016 take what the client draws, later ones draw anew.
    loader.prefix = mig_runtime::random::alphanumeric(PREFIX_LEN);
    loader.key = mig_runtime::random::alphanumeric(KEY_LEN);
    let created = console.call(console.api.create_loader(&loader)).await?;
    console.say(&key_line(&created));
    if created.id.is_unset() {
        console.say("New entry successfully created but is disabled");
    } else {
        console.say(&format!("New entry successfully created (id {}) but is disabled", created.id));
        console.saw(mig_client::search::Kind::Loader, &created.id);
    }
    Ok(())
}

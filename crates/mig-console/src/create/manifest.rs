//! `create manifest`.

use mig_client::Found;
use mig_client::search::{Kind, Search};
use mig_module::text::printable;
use mig_terminal::failure::{Failure, code};
use mig_terminal::files;
use mig_terminal::manifest::{MAX_ARCHIVE, archive, shown};
use mig_types::ManifestRecord;
use mig_types::manifest::ManifestStatus;

use super::ask_name;
use crate::completion::Scope;
use crate::console::Console;
use crate::top::json;

pub(crate) async fn run(console: &mut Console) -> Result<(), Failure> {
    console.say("Entering manifest creation mode.\nPlease provide the name of the new manifest");
    let Some(name) = ask_name(console).await? else { return Ok(()) };
    console.say(&format!("Name: '{}'", printable(&name)));
    console.say("Please provide loader targeting string for manifest.");
    let Some(target) = console.ask("target>", Scope::Nothing).await? else { return Ok(()) };
    console.say(&format!("Target: '{}'", printable(&target)));
    console.say("Please enter path to new manifest archive content (a tar.gz).");
    let Some(path) = console.ask("contentpath>", Scope::File).await? else { return Ok(()) };
    let content = archive(&files::read_named(&path, MAX_ARCHIVE, code::OTHER)?)?;
    let record = ManifestRecord {
        name,
        content,
        timestamp: console.now(),
        status: Some(ManifestStatus::Staged),
        target,
        ..ManifestRecord::default()
    };
    console.say(&json(&shown(&record))?);
    if !console.confirm("create manifest?").await? {
        console.say("abort");
        return Ok(());
    }
    console.call(console.api.create_manifest(&record)).await?;
    console.say("Manifest successfully created");
    // The answer does not tell the identifier.
    let quoted = format!("'name={}'", record.name.replace(['\'', '%', '_'], "_"));
    let search = Search::conditions(Kind::Manifest, &quoted, console.now())
        .map_err(|error| Failure::other(error.to_string()))?;
    if let Found::Manifests(found) = console.call(console.api.find(&search)).await?
        && let Some(newest) = found.iter().max_by_key(|manifest| manifest.id)
    {
        console.say(&format!("its id is {}; sign it in 'manifest {}'", newest.id, newest.id));
        console.saw(Kind::Manifest, &newest.id);
    }
    Ok(())
}

//! `create manifest`.

use mig_client::Found;
use mig_client::provision;
use mig_client::search::{Kind, Search};
use mig_module::text::printable;
use mig_terminal::failure::{Failure, chain};
use mig_types::ManifestRecord;
use mig_types::manifest::ManifestStatus;

use super::ask_name;
use crate::completion::Scope;
use crate::console::Console;
use crate::reader::manifest::shown;
use crate::top::json;

/// Largest archive read, in bytes: more does not fit a request.
const MAX_ARCHIVE: u64 = 16 * 1024 * 1024;

pub(crate) async fn run(console: &mut Console) -> Result<(), Failure> {
    console.say("Entering manifest creation mode.\nPlease provide the name of the new manifest");
    let Some(name) = ask_name(console).await? else { return Ok(()) };
    console.say(&format!("Name: '{}'", printable(&name)));
    console.say("Please provide loader targeting string for manifest.");
    let Some(target) = console.ask("target>", Scope::Nothing).await? else { return Ok(()) };
    console.say(&format!("Target: '{}'", printable(&target)));
    console.say("Please enter path to new manifest archive content (a tar.gz).");
    let Some(path) = console.ask("contentpath>", Scope::File).await? else { return Ok(()) };
    let content = read(&path)?;
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

fn read(path: &str) -> Result<String, Failure> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| Failure::other(format!("cannot read {path}: {error}"));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_ARCHIVE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_ARCHIVE {
        return Err(Failure::other(format!("{path} is larger than {MAX_ARCHIVE} bytes")));
    }
    provision::content(&bytes).map_err(|error| Failure::other(chain(&error)))
}

//! `mig manifest`.

use mig_client::provision;
use mig_client::search::{Kind as What, Search};
use mig_client::{ApiClient, ClientError, Found};
use mig_module::args::{Flag, Kind};
use mig_module::text::printable;
use mig_terminal::Session;
use mig_terminal::failure::{Failure, code};
use mig_terminal::format::{Form, Format};
use mig_terminal::manifest::{MAX_ARCHIVE, archive, never_granted, shown, unreadable};
use mig_terminal::output::Output;
use mig_terminal::{files, listing, text};
use mig_types::manifest::ManifestStatus;
use mig_types::{ManifestId, ManifestRecord};

use crate::tasks::open;
use crate::tasks::order::{Order, of_lists_and_things};

pub(in crate::tasks) const USAGE: &str = "\
usage: mig manifest list [\"<conditions>\"] [-o <format>]
       mig manifest show | entry | shasum | loaders <id> [-o <format>]
       mig manifest create -name <name> -target <condition> -content <tar.gz>
       mig manifest sign | reset | disable <id>
       mig manifest fetch <id> -to <file>

What loaders install. A new manifest is staged; it is active once enough investigators
have signed it. show is its record, entry what a loader would get, shasum the files in
it, loaders who would install it. reset stages it again without its signatures; one
that is disabled stays so. - is standard input for -content, and standard output for -to.

    mig manifest create -name linux-1 -target \"env#>>'{os}'='linux'\" -content linux.tar.gz
    mig manifest sign 2";

const FLAGS: [Flag; 4] =
    [("name", Kind::Text), ("target", Kind::Text), ("content", Kind::Text), ("to", Kind::Text)];

pub(in crate::tasks) async fn run(line: &[String], output: &mut Output) -> Result<u8, Failure> {
    let Some(order) = Order::read(line, &FLAGS, USAGE, formats, output)? else { return Ok(0) };
    match order.verb() {
        "list" => {
            let session = open(&order.options, output).await?;
            order.list(What::Manifest, &session, output).await
        }
        "create" => create(&order, output).await,
        "show" | "entry" | "shasum" | "loaders" | "sign" | "reset" | "disable" | "fetch" => {
            let id: ManifestId = order.id("a manifest")?;
            let session = open(&order.options, output).await?;
            one(&order, id, &session, output).await
        }
        _ => Err(order.unknown()),
    }
}

fn formats(verb: &str) -> &'static [Format] {
    if verb == "entry" { &Format::DOCUMENT } else { of_lists_and_things(verb) }
}

async fn create(order: &Order, output: &mut Output) -> Result<u8, Failure> {
    order.at_most(0)?;
    let (name, target) = (order.needed("name")?, order.needed("target")?);
    let content = archive(&files::read(order.needed("content")?, MAX_ARCHIVE, code::OTHER)?)?;
    let session = open(&order.options, output).await?;
    let record = ManifestRecord {
        name: name.to_owned(),
        content,
        timestamp: session.clock.now(),
        status: Some(ManifestStatus::Staged),
        target: target.to_owned(),
        ..ManifestRecord::default()
    };
    let api = session.api_with_any_key("cmd")?;
    api.create_manifest(&record).await?;
    // The answer does not tell the identifier.
    let quoted = format!("'name={}'", record.name.replace(['\'', '%', '_'], "_"));
    let search = Search::conditions(What::Manifest, &quoted, session.clock.now())
        .map_err(|error| Failure::other(error.to_string()))?;
    output.say("Manifest successfully created");
    if let Found::Manifests(found) = api.find(&search).await?
        && let Some(newest) = found.iter().map(|manifest| manifest.id).max()
    {
        output.say(&format!("sign it with mig manifest sign {newest}"));
        output.line(&newest.to_string())?;
    }
    Ok(0)
}

async fn one(
    order: &Order,
    id: ManifestId,
    session: &Session,
    output: &mut Output,
) -> Result<u8, Failure> {
    let api = session.api_with_any_key("cmd")?;
    match order.verb() {
        "reset" | "disable" => {
            let disable = order.verb() == "disable";
            let status = if disable { ManifestStatus::Disabled } else { ManifestStatus::Staged };
            let done = api.set_manifest_status(id, status).await;
            done.map_err(|error| never_granted(error.into()))?;
            let word = if disable { "disabled" } else { "reset" };
            output.say(&format!("Manifest record has been {word}"));
        }
        "loaders" => {
            listing::check(What::Loader, &order.form)?;
            let loaders = loaders(&api, id).await?;
            // As they always were: one document a line.
            let form = match order.form.format {
                Format::Text => Form { format: Format::NdJson, ..order.form.clone() },
                _ => order.form.clone(),
            };
            listing::found(Found::Loaders(loaders), &form, output)?;
        }
        verb => {
            let record = api.manifest(id).await?;
            match verb {
                "entry" => {
                    listing::document(&provision::document(&record).map_err(unreadable)?, output)?;
                }
                "shasum" => shasum(&record, output)?,
                "sign" => {
                    let signer = session.signer()?;
                    let signature = provision::sign(&record, signer.as_ref()).await;
                    api.sign_manifest(id, &signature.map_err(unreadable)?).await?;
                    output.say("Manifest signature has been accepted");
                }
                "fetch" => fetch(order, &record, output)?,
                _ => {
                    let record = shown(&record);
                    let text = || text::compact(&record).map_err(|e| Failure::other(e.to_string()));
                    order.print(&record, text, output)?;
                }
            }
        }
    }
    Ok(0)
}

async fn loaders(api: &ApiClient, id: ManifestId) -> Result<Vec<mig_types::Loader>, Failure> {
    match api.manifest_loaders(id).await {
        // The original's way to say that there are none.
        Err(ClientError::Api { message, .. }) if message.contains("No matching loaders") => {
            Ok(Vec::new())
        }
        other => Ok(other?),
    }
}

fn shasum(record: &ManifestRecord, output: &mut Output) -> Result<(), Failure> {
    let document = provision::document(record).map_err(unreadable)?;
    let mut entries = document.entries.unwrap_or_default();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut lines = entries.iter();
    lines
        .try_for_each(|entry| output.line(&format!("{}  {}", entry.sha256, printable(&entry.name))))
}

fn fetch(order: &Order, record: &ManifestRecord, output: &mut Output) -> Result<(), Failure> {
    let path = order.needed("to")?;
    let bytes = provision::archive(record)
        .map_err(|error| Failure::other(format!("the manifest's content is broken: {error}")))?;
    // What is there stays: nobody was asked.
    files::create(path, &bytes, output)?;
    if path != files::STANDARD {
        output.say(&format!("{} bytes written to {}", bytes.len(), printable(path)));
    }
    Ok(())
}

//! A manifest: what loaders install.

use std::io::Write as _;

use mig_client::provision;
use mig_client::search::Kind;
use mig_module::text::printable;
use mig_terminal::failure::Failure;
use mig_terminal::manifest::{never_granted, shown, unreadable};
use mig_terminal::orders;
use mig_terminal::output::Paint;
use mig_terminal::text::compact;
use mig_types::manifest::ManifestStatus;
use mig_types::{ManifestId, ManifestRecord};

use crate::completion::Scope;
use crate::console::{Console, Mode, Next, settle};
use crate::order::Order;
use crate::top::json;

const NAME: &str = "manifest reader";

pub(crate) async fn run(console: &mut Console, id: ManifestId) -> Result<(), Failure> {
    let mut record = console.call(console.api.manifest(id)).await?;
    console.saw(Kind::Manifest, &id);
    console.enter(NAME);
    console.say(&format!("Manifest: '{}'.", printable(&record.name)));
    console.say(&format!("Status '{}'.", record.status.map_or("unknown", ManifestStatus::as_str)));
    let prompt = format!("manifest {}>", id.get() % 1000);
    let mode = Mode { prompt: &prompt, paint: Paint::BoldRed, scope: Scope::Manifest };
    while let Some(order) = console.order(mode).await? {
        let outcome = obey(console, &order, &mut record).await;
        if settle(outcome)? == Next::Leave {
            break;
        }
    }
    Ok(())
}

async fn obey(
    console: &mut Console,
    order: &Order,
    record: &mut ManifestRecord,
) -> Result<Next, Failure> {
    match order.verb() {
        "disable" | "reset" => {
            let disable = order.verb() == "disable";
            let status = if disable { ManifestStatus::Disabled } else { ManifestStatus::Staged };
            console
                .call(console.api.set_manifest_status(record.id, status))
                .await
                .map_err(never_granted)?;
            let word = if disable { "disabled" } else { "reset" };
            console.say(&format!("Manifest record has been {word}"));
            reload(console, record).await?;
        }
        "entry" => console.say(&json(&provision::document(record).map_err(unreadable)?)?),
        "fetch" => fetch(console, order, record).await?,
        "json" => console.say(&json(&shown(record))?),
        "loaders" => loaders(console, record).await?,
        "r" => {
            reload(console, record).await?;
            console.say("reloaded");
        }
        "shasum" => {
            let document = provision::document(record).map_err(unreadable)?;
            let mut entries = document.entries.unwrap_or_default();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            for entry in entries {
                console.say(&format!("{}  {}", entry.sha256, printable(&entry.name)));
            }
        }
        "sign" => {
            let signer = console.signer()?;
            let signature = console
                .unless_interrupted(async {
                    provision::sign(record, signer.as_ref()).await.map_err(unreadable)
                })
                .await?;
            console.call(console.api.sign_manifest(record.id, &signature)).await?;
            console.say("Manifest signature has been accepted");
            reload(console, record).await?;
        }
        "help" => console.say(orders::MANIFEST),
        _ => return Ok(console.unknown(order, NAME)),
    }
    Ok(Next::Stay)
}

async fn reload(console: &Console, record: &mut ManifestRecord) -> Result<(), Failure> {
    *record = console.call(console.api.manifest(record.id)).await?;
    Ok(())
}

async fn loaders(console: &mut Console, record: &ManifestRecord) -> Result<(), Failure> {
    let loaders = match console.call(console.api.manifest_loaders(record.id)).await {
        Ok(loaders) => loaders,
        Err(failure) if failure.message.contains("No matching loaders") => Vec::new(),
        Err(failure) => return Err(failure),
    };
    if loaders.is_empty() {
        console.say("no loader matches");
    }
    for loader in loaders {
        let text = compact(&loader)
            .map_err(|error| Failure::other(format!("cannot write JSON: {error}")))?;
        console.say(&text);
        console.saw(Kind::Loader, &loader.id);
    }
    Ok(())
}

async fn fetch(
    console: &mut Console,
    order: &Order,
    record: &ManifestRecord,
) -> Result<(), Failure> {
    let path = order
        .only()
        .ok_or_else(|| Failure::usage("must be 'fetch <path>'. try 'help'"))?
        .to_owned();
    let bytes = provision::archive(record)
        .map_err(|error| Failure::other(format!("the manifest's content is broken: {error}")))?;
    let unwritten = |error: std::io::Error| Failure::other(format!("cannot write {path}: {error}"));
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    let mut file = match options.open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            if !console.confirm(&format!("{path} exists. overwrite?")).await? {
                console.say("abort");
                return Ok(());
            }
            std::fs::File::create(&path).map_err(unwritten)?
        }
        other => other.map_err(unwritten)?,
    };
    file.write_all(&bytes).map_err(unwritten)?;
    console.say(&format!("{} bytes written to {path}", bytes.len()));
    Ok(())
}

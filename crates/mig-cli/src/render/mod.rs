//! `-render`: results as a map instead of lines.

mod map;
mod places;
mod world;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use mig_client::ApiClient;
use mig_module::Registry;
use mig_terminal::failure::{Failure, sentence};
use mig_terminal::output::Output;
use mig_terminal::results::{self, Line};
use mig_types::{Action, Command};
use serde_json::json;

use crate::globals::{Globals, Show};
use places::Place;

/// In which form results are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Render {
    #[default]
    Text,
    /// A page with a map, in a file.
    Map,
    /// A document for other maps, on standard output.
    GeoJson,
}

/// Shows where the agents of `commands` are; as lines when nothing tells.
pub(crate) async fn results(
    registry: &Registry,
    api: &ApiClient,
    action: &Action,
    commands: &[Command],
    globals: &Globals,
    output: &mut Output,
) -> Result<(), Failure> {
    let found = places::of(api, action, commands, globals.show, output).await?;
    let Some((places, missing)) = found else {
        output.say("[notice] no GeoIP database: set MIG_GEOIP_DB; results are printed as text");
        return lines(registry, commands, globals.show, output);
    };
    if missing > 0 {
        output
            .say(&format!("[notice] {missing} agents are not on the map: their place is unknown"));
    }
    if globals.render == Render::GeoJson {
        return output.line(&geojson(&places).to_string());
    }
    let show = globals.show.as_str();
    let title =
        format!("Geolocation of {show} results for action ID {} {}", action.id, action.name);
    let path = write(&map::page(&title, &places))
        .map_err(|error| Failure::other(format!("cannot write the map: {error}")))?;
    output.say(&format!("map written to {}", path.display()));
    if globals.open {
        open(&path, output);
    }
    Ok(())
}

fn lines(
    registry: &Registry,
    commands: &[Command],
    show: Show,
    output: &mut Output,
) -> Result<(), Failure> {
    for command in commands {
        let agent = mig_module::text::printable(&command.agent.name);
        for line in results::lines(registry, command, show == Show::Found) {
            match line {
                Line::Data(text) => output.line(&format!("{agent} {text}"))?,
                Line::Talk(text) => output.warn(&format!("{agent} {text}")),
            }
        }
    }
    Ok(())
}

fn geojson(places: &[Place]) -> serde_json::Value {
    let features: Vec<_> = places
        .iter()
        .map(|place| {
            json!({
                "type": "Feature",
                "geometry": {
                    "type": "Point",
                    "coordinates": [place.longitude, place.latitude],
                },
                "properties": {
                    "endpoint": place.endpoint,
                    "foundanything": place.foundanything,
                    "city": place.city,
                    "country": place.country,
                },
            })
        })
        .collect();
    json!({ "type": "FeatureCollection", "features": features })
}

/// Writes a page where only its owner reads it: it names machines.
fn write(page: &str) -> std::io::Result<PathBuf> {
    let name = format!("migmap_{}.html", mig_runtime::random::alphanumeric(10));
    let path = std::env::temp_dir().join(name);
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(&path)?.write_all(page.as_bytes())?;
    Ok(path)
}

/// Shows a page in the user's browser.
#[expect(clippy::disallowed_methods, reason = "the browser the user asked for with --open")]
fn open(path: &Path, output: &mut Output) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if let Err(error) = std::process::Command::new(program).arg(path).spawn() {
        output.say(&format!("[notice] cannot start {program}: {}", sentence(&error)));
    }
}

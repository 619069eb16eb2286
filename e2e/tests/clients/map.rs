//! `-render map`: where agents are, from a file on the investigator's machine or
//! from an API that knows.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mig_testkit::{Outcome, until};
use serde_json::{Value, json};

use super::Lab;
use super::crooked;

/// A database in the `MaxMind` DB format that knows one network: 127.0.0.0/8.
fn database() -> Vec<u8> {
    // The bits of 127: eight nodes, whose other side leads nowhere.
    let nodes: u8 = 8;
    let mut bytes = Vec::new();
    for depth in 0..nodes {
        // The tree's end stands for the record at offset 0 of the data, 16 bytes on.
        let deeper = if depth + 1 == nodes { nodes + 16 } else { depth + 1 };
        let bit = (127_u8 >> (7 - depth)) & 1;
        let sides = if bit == 0 { [deeper, nodes] } else { [nodes, deeper] };
        bytes.extend(sides.iter().flat_map(|side| [0, 0, *side]));
    }
    bytes.extend([0; 16]);
    let english = |name: &str| map(&[("names", map(&[("en", text(name))]))]);
    bytes.extend(map(&[
        ("city", english("Reykjavik")),
        ("country", map(&[("iso_code", text("IS"))])),
        ("location", map(&[("latitude", double(64.1)), ("longitude", double(-21.9))])),
    ]));
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    bytes.extend(map(&[
        ("binary_format_major_version", vec![0xa1, 2]),
        ("binary_format_minor_version", vec![0xa0]),
        // An array, an extended type, of nothing; a number of 64 bits, too.
        ("languages", vec![0x00, 0x04]),
        ("build_epoch", vec![0x01, 0x02, 1]),
        ("database_type", text("GeoLite2-City")),
        ("description", map(&[])),
        ("ip_version", vec![0xa1, 4]),
        ("node_count", vec![0xc1, nodes]),
        ("record_size", vec![0xa1, 24]),
    ]));
    bytes
}

fn sized(kind: u8, length: usize) -> u8 {
    assert!(length < 29, "longer values have another form");
    (kind << 5) | u8::try_from(length).unwrap_or(u8::MAX)
}

fn text(value: &str) -> Vec<u8> {
    [&[sized(2, value.len())], value.as_bytes()].concat()
}

fn double(value: f64) -> Vec<u8> {
    [&[sized(3, 8)][..], &value.to_be_bytes()].concat()
}

fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![sized(7, pairs.len())];
    for (name, value) in pairs {
        bytes.extend(text(name));
        bytes.extend(value);
    }
    bytes
}

fn ask(lab: &Lab, args: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Outcome> {
    let mut command = lab.command("alice", "mig", args)?;
    command.env("TMPDIR", lab.platform.directory()).env_remove("MIG_GEOIP_DB");
    Ok(command.envs(environment.iter().copied()).output()?.into())
}

/// The page that a run says it wrote.
fn page(outcome: &Outcome) -> anyhow::Result<String> {
    let path = outcome.stderr.lines().find_map(|line| line.strip_prefix("map written to "));
    let path = Path::new(path.with_context(|| format!("{outcome:#?}"))?);
    ensure!(path.metadata()?.permissions().mode() & 0o777 == 0o600, "others may read the map");
    Ok(fs::read_to_string(path)?)
}

/// Everything about maps, with an action that found something on `web1`.
pub(super) fn drawn(lab: &Lab, id: &str) -> anyhow::Result<()> {
    // Without a database: a word about it, and lines.
    let plain = ask(lab, &["results", id, "-render", "map"], &[])?;
    ensure!(plain.code == Some(0) && plain.stdout.starts_with("web1 "), "{plain:#?}");
    ensure!(plain.stderr.contains("no GeoIP database: set MIG_GEOIP_DB"), "{plain:#?}");

    let file = lab.platform.directory().join("city.mmdb");
    fs::write(&file, database())?;
    let file = file.display().to_string();
    let known = [("MIG_GEOIP_DB", file.as_str())];
    // An agent learns its public address in its own time.
    let points = until("a place on the map", Duration::from_mins(1), || {
        let outcome = ask(lab, &["results", id, "-render", "geojson"], &known).ok()?;
        let points: Value = serde_json::from_str(&outcome.stdout).ok()?;
        (points["features"].as_array()?.len() == 1).then_some(points)
    })?;
    let point = json!({
        "type": "Feature",
        "geometry": { "type": "Point", "coordinates": [-21.9, 64.1] },
        "properties": {
            "endpoint": "web1", "foundanything": true, "city": "Reykjavik", "country": "IS",
        },
    });
    ensure!(points == json!({ "type": "FeatureCollection", "features": [point] }), "{points}");

    let at = lab.platform.directory().join("evidence").display().to_string();
    let question = ["file", "-render", "map", "-path", &at, "-name", "^a"];
    let drawn = ask(lab, &question, &known)?;
    ensure!(drawn.code == Some(0) && drawn.stdout.is_empty(), "{drawn:#?}");
    ensure!(drawn.stderr.contains("1 agent has found results"), "{drawn:#?}");
    let page = page(&drawn)?;
    for text in [
        "<title>Geolocation of found results for action ID ",
        "<title>web1 (Reykjavik, IS)</title></circle>",
        "<li>web1: found=true (Reykjavik, IS)</li>",
    ] {
        ensure!(page.contains(text), "{text}: {page}");
    }
    ensure!(!page.contains("://"), "the page names an address: {page}");

    for (file, word) in [("/nonexistent.mmdb", "cannot read"), ("/dev/null", "is no MaxMind")] {
        let refused = ask(lab, &["results", id, "-render", "map"], &[("MIG_GEOIP_DB", file)])?;
        ensure!(refused.code == Some(2) && refused.stderr.contains(word), "{refused:#?}");
    }
    of_2016(lab, id)
}

/// An API that has the places itself needs no database here.
fn of_2016(lab: &Lab, id: &str) -> anyhow::Result<()> {
    let api = crooked::of_2016(lab.api_address()?)?;
    let path = lab.platform.investigator("alice")?.home().join("of2016.migrc");
    fs::write(&path, format!("[api]\nurl = \"http://{api}/api/v1/\"\n"))?;
    let path = path.display().to_string();
    let drawn = ask(lab, &["results", id, "-render", "map", "-c", &path], &[])?;
    ensure!(drawn.code == Some(0) && drawn.stdout.is_empty(), "{drawn:#?}");
    let page = page(&drawn)?;
    ensure!(page.contains("<li>web1: found=true (Oslo, Norway)</li>"), "{page}");
    Ok(())
}

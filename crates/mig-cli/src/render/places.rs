//! Where agents are: what the API knows, or a file on this machine. Addresses of
//! agents go to nobody else.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read as _;
use std::net::IpAddr;

use maxminddb::{Reader, geoip2};
use mig_client::{ApiClient, ClientError};
use mig_terminal::failure::{Failure, sentence};
use mig_terminal::output::Output;
use mig_terminal::settings::environment;
use mig_types::{Action, AgentId, Command};
use serde::Deserialize;

use crate::globals::Show;

/// The largest database read, in bytes: those of cities have some 100 MB.
const MAX_DATABASE: u64 = 1024 * 1024 * 1024;
/// Geolocations asked for at once.
const PAGE: usize = 500;
/// Most pages of them.
const MAX_PAGES: usize = 2000;

/// An agent on the map. The names are those of the API of 2016.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Place {
    pub(super) endpoint: String,
    pub(super) foundanything: bool,
    pub(super) latitude: f64,
    pub(super) longitude: f64,
    pub(super) city: String,
    pub(super) country: String,
}

impl Place {
    /// A map has no place for anything else.
    fn is_on_earth(&self) -> bool {
        self.latitude.abs() <= 90.0 && self.longitude.abs() <= 180.0
    }
}

/// The places of `commands`, and how many have none that is known; `None` when
/// nothing tells any place.
pub(super) async fn of(
    api: &ApiClient,
    action: &Action,
    commands: &[Command],
    show: Show,
    output: &mut Output,
) -> Result<Option<(Vec<Place>, usize)>, Failure> {
    if let Some(path) = environment("MIG_GEOIP_DB") {
        return by_database(&path, api, action, commands).await.map(Some);
    }
    let places = by_api(api, action, show, output).await?;
    Ok(places.map(|places| (places, 0)))
}

/// What an API of 2016 with a database of its own tells.
async fn by_api(
    api: &ApiClient,
    action: &Action,
    show: Show,
    output: &mut Output,
) -> Result<Option<Vec<Place>>, Failure> {
    let id = action.id.to_string();
    let mut places: Vec<Place> = Vec::new();
    for page in 0..MAX_PAGES {
        // One first: other APIs answer with whole commands.
        let (offset, limit) = match page {
            0 => (0, 1),
            page => (1 + (page - 1) * PAGE, PAGE),
        };
        let (offset, limit) = (offset.to_string(), limit.to_string());
        let mut query = vec![
            ("type", "command"),
            ("report", "geolocations"),
            ("actionid", id.as_str()),
            ("limit", limit.as_str()),
            ("offset", offset.as_str()),
        ];
        match show {
            Show::Found => query.push(("foundanything", "true")),
            Show::NotFound => query.push(("foundanything", "false")),
            Show::All => {}
        }
        let found: Vec<Place> = match api.search("geolocation", &query).await {
            Ok(found) => found,
            Err(ClientError::Api { message, .. }) if page == 0 => {
                if message.contains("maxmind") {
                    output.say("[notice] Maxmind not configured in the API");
                }
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        if found.is_empty() {
            return Ok(Some(places).filter(|places| !places.is_empty()));
        }
        places.extend(found.into_iter().filter(Place::is_on_earth));
    }
    Ok(Some(places))
}

async fn by_database(
    path: &str,
    api: &ApiClient,
    action: &Action,
    commands: &[Command],
) -> Result<(Vec<Place>, usize), Failure> {
    let database = open(path)?;
    let addresses = addresses(api, action, commands).await?;
    let mut places = Vec::new();
    for command in commands {
        let address = addresses.get(&command.agent.id).and_then(|text| text.parse().ok());
        let Some(mut place) = address.and_then(|address| look_up(&database, address)) else {
            continue;
        };
        place.endpoint.clone_from(&command.agent.name);
        place.foundanything = command.results.iter().flatten().any(|result| result.foundanything);
        places.push(place);
    }
    let missing = commands.len() - places.len();
    Ok((places, missing))
}

fn open(path: &str) -> Result<Reader<Vec<u8>>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("cannot read MIG_GEOIP_DB {path}: {error}"))
            .hint("it names a file in the MaxMind DB format, such as GeoLite2-City.mmdb")
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_DATABASE).read_to_end(&mut bytes).map_err(unreadable)?;
    Reader::from_source(bytes).map_err(|error| {
        let reason = sentence(&error);
        Failure::usage(format!("MIG_GEOIP_DB {path} is no MaxMind database: {reason}"))
            .hint("it names a file in the MaxMind DB format, such as GeoLite2-City.mmdb")
    })
}

/// What the database says of an address; nothing when it does not know it, or
/// is damaged there.
fn look_up(database: &Reader<Vec<u8>>, address: IpAddr) -> Option<Place> {
    let city: geoip2::City<'_> = database.lookup(address).ok()?.decode().ok()??;
    let place = Place {
        latitude: city.location.latitude?,
        longitude: city.location.longitude?,
        city: city.city.names.english.unwrap_or_default().to_owned(),
        country: city.country.iso_code.unwrap_or_default().to_owned(),
        ..Place::default()
    };
    place.is_on_earth().then_some(place)
}

/// Public addresses of the agents, by their ids: of all that the target chooses
/// now at once, of others one by one.
async fn addresses(
    api: &ApiClient,
    action: &Action,
    commands: &[Command],
) -> Result<HashMap<AgentId, String>, ClientError> {
    let mut known: HashMap<AgentId, String> = HashMap::new();
    for command in commands {
        let address = &command.agent.environment.publicip;
        if !address.is_empty() {
            known.insert(command.agent.id, address.clone());
        }
    }
    let all_known = commands.iter().all(|command| known.contains_key(&command.agent.id));
    if !all_known {
        // A target may not be evaluated any more; then each is asked for.
        for agent in api.evaluate_target(&action.target).await.unwrap_or_default() {
            known.insert(agent.id, agent.environment.publicip);
        }
    }
    for command in commands {
        if let Entry::Vacant(unknown) = known.entry(command.agent.id) {
            let address = match api.agent(command.agent.id).await {
                Ok(agent) => agent.environment.publicip,
                Err(error) if error.is_not_found() => String::new(),
                Err(error) => return Err(error),
            };
            unknown.insert(address);
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> Vec<u8> {
        [&[0x40 | u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
    }

    fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let pieces = pairs.iter().map(|(name, value)| [text(name), value.clone()].concat());
        let head = vec![0xe0 | u8::try_from(pairs.len()).unwrap()];
        std::iter::once(head).chain(pieces).collect::<Vec<_>>().concat()
    }

    fn degrees(value: f64) -> Vec<u8> {
        [&[0x68][..], &value.to_be_bytes()].concat()
    }

    /// A database whose upper half of all IPv4 addresses has this record.
    fn database(record: &[u8]) -> Vec<u8> {
        // One node: nothing below 128.0.0.0, the first record from there on.
        let mut bytes = vec![0, 0, 1, 0, 0, 17];
        bytes.extend([0; 16]);
        bytes.extend(record);
        bytes.extend(b"\xab\xcd\xefMaxMind.com");
        bytes.extend(map(&[
            ("binary_format_major_version", vec![0xa1, 2]),
            ("binary_format_minor_version", vec![0xa0]),
            // Extended types: an array of nothing, a number of 64 bits.
            ("languages", vec![0x00, 0x04]),
            ("build_epoch", vec![0x01, 0x02, 1]),
            ("database_type", text("City")),
            ("description", map(&[])),
            ("ip_version", vec![0xa1, 4]),
            ("node_count", vec![0xc1, 1]),
            ("record_size", vec![0xa1, 24]),
        ]));
        bytes
    }

    fn city(more: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let english = |name: &str| map(&[("names", map(&[("en", text(name))]))]);
        let known = [
            ("city", english("Reykjavik")),
            ("country", map(&[("iso_code", text("IS"))])),
            ("location", map(&[("latitude", degrees(64.1)), ("longitude", degrees(-21.9))])),
        ];
        map(&[&known[..], more].concat())
    }

    /// What a database says of an address, if it is one.
    fn place(bytes: Vec<u8>, address: IpAddr) -> Option<Place> {
        look_up(&Reader::from_source(bytes).ok()?, address)
    }

    const KNOWN: &str = "192.0.2.7";

    #[test]
    fn a_place_is_read_from_a_whole_database() {
        let found = place(database(&city(&[])), KNOWN.parse().unwrap()).unwrap();
        assert_eq!((found.city.as_str(), found.country.as_str()), ("Reykjavik", "IS"));
        assert_eq!((found.latitude, found.longitude), (64.1, -21.9));
        for elsewhere in ["10.0.0.1", "2001:db8::1"] {
            assert_eq!(place(database(&city(&[])), elsewhere.parse().unwrap()), None);
        }
    }

    #[test]
    fn a_record_that_has_no_end_is_no_place() {
        let nested = |depth: usize| [0x01, 0x04].repeat(depth);
        let pointer = |to: usize| {
            let [high, low] = u16::try_from(to).unwrap().to_be_bytes();
            vec![0x20 | high, low]
        };
        let known = KNOWN.parse().unwrap();
        let itself = [nested(500), pointer(0)].concat();
        for endless in [nested(100_000), pointer(0), itself] {
            for name in ["more", "subdivisions", "city"] {
                let record = city(&[(name, endless.clone())]);
                assert!(place(database(&record), known).is_none_or(|place| place.is_on_earth()));
            }
        }
        // Each is an array of two pointers to the one before: no memory holds them all.
        for name in ["more", "subdivisions"] {
            let start = city(&[(name, pointer(0))]).len();
            let mut doubled = vec![0x00, 0x04];
            let mut last = start;
            for _ in 0..60 {
                let at = start + doubled.len();
                doubled.extend([vec![0x02, 0x04], pointer(last), pointer(last)].concat());
                last = at;
            }
            let record = [city(&[(name, pointer(last))]), doubled].concat();
            assert!(place(database(&record), known).is_none_or(|place| place.is_on_earth()));
        }
    }

    fn survives(bytes: &[u8], address: IpAddr) {
        let length = bytes.len();
        if let Some(place) = place(bytes.to_vec(), address) {
            assert!(place.is_on_earth(), "{place:?}");
            assert!(place.city.len() + place.country.len() <= length, "{place:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_file_holds_there_is_a_place_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            address in any::<IpAddr>(),
        ) {
            survives(&bytes, address);
            // Behind a beginning and an end that are right, too.
            survives(&database(&bytes), KNOWN.parse().unwrap());
        }

        #[test]
        fn a_damaged_database_gives_a_place_or_none(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
            length in any::<proptest::sample::Index>(),
            is_cut in any::<bool>(),
            address in any::<IpAddr>(),
        ) {
            let mut bytes = database(&city(&[]));
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if is_cut {
                bytes.truncate(length.index(bytes.len()));
            }
            survives(&bytes, address);
            survives(&bytes, KNOWN.parse().unwrap());
        }
    }
}

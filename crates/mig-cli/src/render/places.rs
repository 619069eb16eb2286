//! Where agents are: what the API knows, or a file on this machine. Addresses of
//! agents go to nobody else.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read as _;
use std::net::IpAddr;

use maxminddb::{Reader, geoip2};
use mig_client::{ApiClient, ClientError};
use mig_terminal::failure::{Failure, chain};
use mig_terminal::output::Output;
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
    if let Some(path) = std::env::var_os("MIG_GEOIP_DB").filter(|path| !path.is_empty()) {
        let path = path.to_string_lossy().into_owned();
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
        let reason = chain(&error);
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

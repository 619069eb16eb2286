//! Every route there is.

use mig_types::Permissions as P;

use super::route::{Guard, Kind, Route, Shape};
use super::{
    actions, agents, commands, dashboard, follow, health, heartbeat, investigators, loaders,
    manifests, provision, public, search,
};

const TYPES: &[&str] = &["action", "command", "agent", "investigator", "manifest", "loader"];
const ACTIVITY: &[&str] = &["active", "disabled"];
const BOOLEAN: &[&str] = &["true", "false"];

const COLLECTION: Shape = Shape::CollectionJson;

pub(crate) fn table() -> Vec<Route> {
    let mut table = open();
    table.extend(reading());
    table.extend(acting());
    table.extend(provisioning());
    table
}

/// What anybody may ask.
fn open() -> Vec<Route> {
    let anybody = Guard::Anybody;
    vec![
        Route::get("/", anybody, public::home)
            .about("Where to go from here: links and queries.")
            .answers(COLLECTION, &[200]),
        Route::get("/heartbeat", anybody, heartbeat::alive)
            .about("Whether the API is there.")
            .answers(COLLECTION, &[200]),
        Route::post("/heartbeat", anybody, heartbeat::receive)
            .about("Takes the heartbeat of an agent that sends them over HTTP.")
            .json_body()
            .answers(Shape::Json, &[200, 400, 401, 413, 429, 500, 503]),
        Route::get("/ip", anybody, public::ip)
            .about("The caller's address, as bare text.")
            .answers(Shape::Text, &[200]),
        Route::get("/publickey/{fingerprint}", anybody, public::public_key)
            .about("The armored public key of an investigator, active or not.")
            .needs("fingerprint", Kind::Text, "40 hexadecimal digits in any case")
            .answers(Shape::Text, &[200, 404, 500, 503]),
        Route::get("/healthz", anybody, health::healthz)
            .at_root()
            .about("Whether the process runs.")
            .answers(Shape::Text, &[200]),
        Route::get("/readyz", anybody, health::readyz)
            .at_root()
            .about("Whether the API can serve: its database answers and it is not stopping.")
            .answers(Shape::Text, &[200, 503]),
    ]
}

/// What investigators read.
fn reading() -> Vec<Route> {
    let may = Guard::Investigator;
    vec![
        Route::get("/dashboard", may(P::DASHBOARD), dashboard::dashboard)
            .about("Counters of agents, and the actions started last.")
            .answers(COLLECTION, &[200]),
        search_route(),
        Route::get("/action", may(P::ACTION), actions::action)
            .about("One action with its counters and signers.")
            .needs("actionid", Kind::Number, "identifier of the action")
            .answers(COLLECTION, &[200, 400, 404]),
        Route::get("/actions/{id}/follow", may(P::ACTION.with(P::COMMAND)), follow::follow)
            .about("Streams an action and its finished commands until it is over.")
            .needs("id", Kind::Number, "identifier of the action")
            .takes("cursor", Kind::Number, "the last cursor seen, to resume there")
            .answers(Shape::JsonLines, &[200, 400, 404]),
        Route::get("/command", may(P::COMMAND), commands::command)
            .about("One command with its results.")
            .needs("commandid", Kind::Number, "identifier of the command")
            .answers(COLLECTION, &[200, 400, 404]),
        Route::get("/agent", may(P::AGENT), agents::agent)
            .about("One agent.")
            .needs("agentid", Kind::Number, "identifier of the agent")
            .answers(COLLECTION, &[200, 400, 404]),
        Route::get("/investigator", may(P::INVESTIGATOR), investigators::investigator)
            .about("One investigator with the public key.")
            .needs("investigatorid", Kind::Number, "identifier of the investigator")
            .answers(COLLECTION, &[200, 400, 404]),
        Route::get("/manifest", may(P::MANIFEST_READ), manifests::manifest)
            .about("One manifest with its archive and signatures.")
            .needs("manifestid", Kind::Number, "identifier of the manifest")
            .answers(COLLECTION, &[200, 400, 404]),
        Route::get("/manifest/loaders/", may(P::MANIFEST_LOADERS), manifests::loaders)
            .about("Enabled loaders that a manifest is for.")
            .needs("manifestid", Kind::Number, "identifier of the manifest")
            .answers(COLLECTION, &[200, 400, 404]),
        Route::get("/loader", may(P::LOADER_READ), loaders::loader)
            .about("One loader's entry, without the key.")
            .needs("loaderid", Kind::Number, "identifier of the loader")
            .answers(COLLECTION, &[200, 400, 404]),
    ]
}

fn search_route() -> Route {
    let pattern = "an ILIKE pattern; % matches everything";
    let mut route = Route::get("/search", Guard::Investigator(P::SEARCH), search::search)
        .about("Objects of one type by filters that all have to hold.")
        .takes("type", Kind::Words(TYPES), "what to look for; action by default")
        .takes("target", Kind::Text, "agents only: a target, which replaces all other filters")
        .takes("after", Kind::Time, "RFC 3339; 39,600 hours ago by default")
        .takes("before", Kind::Time, "RFC 3339; in 39,600 hours by default")
        .takes("foundanything", Kind::Words(BOOLEAN), "commands only: what some result says")
        .takes("limit", Kind::Number, "most objects to return; 100 by default")
        .takes("offset", Kind::Number, "objects to skip")
        .takes("report", Kind::Text, "reports of 2016, which are not made any more");
    for name in ["actionid", "commandid", "agentid", "investigatorid", "manifestid", "loaderid"] {
        route = route.takes(name, Kind::Number, "an identifier");
    }
    for name in [
        "actionname",
        "agentname",
        "agentversion",
        "investigatorname",
        "manifestname",
        "loadername",
        "threatfamily",
        "status",
    ] {
        route = route.takes(name, Kind::Text, pattern);
    }
    route.answers(COLLECTION, &[200, 400, 404])
}

/// What investigators create and change.
fn acting() -> Vec<Route> {
    let may = Guard::Investigator;
    vec![
        Route::post("/action/create/", may(P::ACTION_CREATE), actions::create)
            .about("Stores a signed action.")
            .needs("action", Kind::Json, "the action with its signatures")
            .answers(COLLECTION, &[202]),
        Route::post("/investigator/create/", may(P::INVESTIGATOR_CREATE), investigators::create)
            .about("Creates an investigator.")
            .needs("name", Kind::Text, "how the person is called")
            .takes("publickey", Kind::File, "armored public key, exactly one")
            .takes("permissions", Kind::Json, "an object of booleans")
            .takes("isadmin", Kind::Words(BOOLEAN), "the form of 2016, instead of permissions")
            .answers(COLLECTION, &[201, 409]),
        Route::post("/investigator/update/", may(P::INVESTIGATOR_UPDATE), investigators::update)
            .about("Changes status, permissions or API key of an investigator.")
            .needs("id", Kind::Number, "identifier of the investigator")
            .takes("status", Kind::Words(ACTIVITY), "a disabled one is out at once")
            .takes("permissions", Kind::Json, "an object of booleans, which replaces the whole set")
            .takes("apikey", Kind::Words(ACTIVITY), "active makes a new key and shows it once")
            .takes("isadmin", Kind::Words(BOOLEAN), "the form of 2016, instead of permissions")
            .answers(COLLECTION, &[200, 404]),
        Route::post("/manifest/new/", may(P::MANIFEST_NEW), manifests::create)
            .about("Stores a manifest as staged.")
            .needs("manifest", Kind::Json, "name, target, and content: base64 of a tar.gz")
            .answers(COLLECTION, &[201]),
        Route::post("/manifest/sign/", may(P::MANIFEST_SIGN), manifests::sign)
            .about("Adds the caller's signature; enough of them make a manifest active.")
            .needs("manifestid", Kind::Number, "identifier of the manifest")
            .needs("signature", Kind::Text, "over the manifest's document, on one line")
            .answers(COLLECTION, &[200, 404, 409]),
        Route::post("/manifest/status/", may(P::MANIFEST_STATUS), manifests::status)
            .about("Stages a manifest again, which drops its signatures, or disables it for good.")
            .needs("manifestid", Kind::Number, "identifier of the manifest")
            .needs("status", Kind::Words(&["staged", "disabled"]), "the new status")
            .answers(COLLECTION, &[200, 404]),
        Route::post("/loader/new/", may(P::LOADER_NEW), loaders::create)
            .about("Creates a loader's entry, disabled; shows its key once.")
            .needs("loader", Kind::Json, "name, and expectenv if wanted")
            .answers(COLLECTION, &[201, 409]),
        Route::post("/loader/status/", may(P::LOADER_STATUS), loaders::status)
            .about("Enables or disables a loader.")
            .needs("loaderid", Kind::Number, "identifier of the loader")
            .needs("status", Kind::Words(&["enabled", "disabled"]), "the new status")
            .answers(COLLECTION, &[200, 404]),
        Route::post("/loader/expect/", may(P::LOADER_EXPECT), loaders::expect)
            .about("Sets a condition that the loader's report must satisfy.")
            .needs("loaderid", Kind::Number, "identifier of the loader")
            .takes("expectenv", Kind::Text, "the condition; empty means anything")
            .answers(COLLECTION, &[200, 404]),
        Route::post("/loader/key/", may(P::LOADER_KEY), loaders::key)
            .about("Replaces a loader's key; shows the new one once.")
            .needs("loaderid", Kind::Number, "identifier of the loader")
            .takes("loaderkey", Kind::Text, "32 letters and digits; drawn when missing")
            .answers(COLLECTION, &[200, 404]),
    ]
}

/// What loaders ask for.
fn provisioning() -> Vec<Route> {
    let parameters = "the agent's record and, for a file, the object's name";
    vec![
        Route::post("/manifest/agent/", Guard::Loader, provision::manifest)
            .about("The newest active manifest for the calling loader.")
            .needs("parameters", Kind::Json, parameters)
            .answers(COLLECTION, &[200]),
        Route::post("/manifest/fetch/", Guard::Loader, provision::fetch)
            .about("One file of that manifest: base64 of its gzip stream.")
            .needs("parameters", Kind::Json, parameters)
            .answers(COLLECTION, &[200]),
    ]
}

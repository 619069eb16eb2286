//! `GET …/search`: objects of every type by filter.

use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use mig_store::{Page, Search};
use mig_types::{Loader, Permissions, Target, Timestamp};
use serde_json::{Value, json};

use super::actions::value;
use super::investigators::shown;
use super::manifests::listed;
use crate::access::RequestInfo;
use crate::auth::Caller;
use crate::collection::{Collection, Item, Payload};
use crate::form::{Form, shorten};
use crate::problem::Problem;
use crate::state::ApiState;

/// Half the window searched when no time is given: 39,600 hours.
const WINDOW: Duration = Duration::from_hours(39_600);

/// A bound this close to the default is no filter: clients compute the
/// default on their own clocks and send it.
const TOLERANCE: Duration = Duration::from_hours(1);

const DEFAULT_LIMIT: u32 = 100;

/// What clients page on until they see it, to the letter.
const NO_RESULT: &str = "no results found";

/// Most objects of one answer; clients ask for a million.
const MAX_LIMIT: u32 = 1_000_000;

/// The parameters as they were understood.
struct Parameters {
    kind: String,
    after: Timestamp,
    before: Timestamp,
    target: String,
    page: Page,
    filters: Search,
    form: Form,
    /// The first one that was not understood.
    fault: Option<Problem>,
}

pub(crate) async fn search(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut parameters = Parameters::read(query.as_deref(), state.now());
    let echo = Item::new(info.href.clone()).datum("search parameters", parameters.echo());
    if let Some(fault) = parameters.fault.take() {
        return Err(fault.with_item(echo));
    }
    let found = find(&state, &caller, &parameters).await;
    let items = found.map_err(|problem| problem.with_item(echo.clone()))?;
    if items.is_empty() {
        return Err(Problem::not_found(NO_RESULT).with_item(echo));
    }
    let mut collection = Collection::new(info.href.clone()).items(items);
    if parameters.page.offset > 0 {
        let next = json!({
            "limit": parameters.page.limit,
            "offset": parameters.page.offset,
            "next": parameters.next(&state.base()),
        });
        collection = collection.item(Item::new(info.href.clone()).datum("pagination", next));
    }
    Ok(collection.item(echo).respond(StatusCode::OK))
}

async fn find(
    state: &ApiState,
    caller: &Caller,
    parameters: &Parameters,
) -> Result<Vec<Item>, Problem> {
    let (store, page, filters) = (state.store(), parameters.page, &parameters.filters);
    let needed = match parameters.kind.as_str() {
        "action" => Permissions::ACTION,
        "command" => Permissions::COMMAND,
        "agent" => Permissions::AGENT,
        "investigator" => Permissions::INVESTIGATOR,
        "manifest" => Permissions::MANIFEST_READ,
        "loader" => Permissions::LOADER_READ,
        _ => return Err(Problem::bad_request("search type is invalid")),
    };
    if state.settings().strict_search && !caller.may(needed) {
        return Err(Problem::unauthorized("Insufficient permissions to access endpoint"));
    }
    let mut items = Vec::new();
    match parameters.kind.as_str() {
        "action" => {
            for action in store.search_actions(filters, page).await? {
                items.push(item(state, "action", action.id.get(), action));
            }
        }
        "command" => {
            for command in store.search_commands(filters, page).await? {
                items.push(item(state, "command", command.id.get(), command));
            }
        }
        "agent" if !parameters.target.is_empty() => {
            let target: Target = parameters
                .target
                .parse()
                .map_err(|error| Problem::bad_request(format!("target is refused at {error}")))?;
            for agent in store.page_by_target(&target, page, state.now()).await? {
                items.push(item(state, "agent", agent.id.get(), agent));
            }
        }
        "agent" => {
            for agent in store.search_agents(filters, page).await? {
                items.push(item(state, "agent", agent.id.get(), agent));
            }
        }
        "investigator" => {
            for row in store.search_investigators(filters, page).await? {
                items.push(item(state, "investigator", row.id.get(), value(&shown(&row, false))?));
            }
        }
        "manifest" => {
            for row in store.search_manifests(filters, page).await? {
                items.push(item(state, "manifest", row.id.get(), value(&listed(&row))?));
            }
        }
        _ => {
            for loader in store.search_loaders(filters, page).await? {
                let id = loader.id.get();
                items.push(item(state, "loader", id, value(&in_listing(loader))?));
            }
        }
    }
    Ok(items)
}

/// What listings keep to themselves about a loader.
fn in_listing(mut loader: Loader) -> Loader {
    loader.prefix.clear();
    loader.expectenv.clear();
    if loader.agentname.is_empty() {
        "unset".clone_into(&mut loader.agentname);
    }
    loader
}

fn item(state: &ApiState, kind: &str, id: u64, object: impl Into<Payload>) -> Item {
    Item::new(state.link(kind, id)).datum(kind, object)
}

/// Remembers the first fault and goes on without the value.
fn note<T>(fault: &mut Option<Problem>, outcome: Result<Option<T>, Problem>) -> Option<T> {
    match outcome {
        Ok(value) => value,
        Err(problem) => {
            fault.get_or_insert(problem);
            None
        }
    }
}

impl Parameters {
    /// Understands what it can: an answer that refuses a parameter still shows
    /// all others.
    fn read(query: Option<&str>, now: Timestamp) -> Self {
        let form = Form::from_query(query);
        let mut fault = None;
        let (first, last) = (now - WINDOW, now + WINDOW);
        let after = note(&mut fault, time(&form, "after")).unwrap_or(first);
        let before = note(&mut fault, time(&form, "before")).unwrap_or(last);
        let limit = note(&mut fault, number(&form, "limit"));
        let offset = note(&mut fault, number(&form, "offset"));
        let filters = Search {
            after: (!near(after, first)).then_some(after),
            before: (!near(before, last)).then_some(before),
            action_id: note(&mut fault, id(&form, "actionid")),
            action_name: pattern(&form, "actionname"),
            command_id: note(&mut fault, id(&form, "commandid")),
            agent_id: note(&mut fault, id(&form, "agentid")),
            agent_name: pattern(&form, "agentname"),
            agent_version: pattern(&form, "agentversion"),
            investigator_id: note(&mut fault, id(&form, "investigatorid")),
            investigator_name: pattern(&form, "investigatorname"),
            threat_family: pattern(&form, "threatfamily"),
            status: pattern(&form, "status"),
            found_anything: note(&mut fault, truth(&form, "foundanything")),
            manifest_id: note(&mut fault, id(&form, "manifestid")),
            manifest_name: pattern(&form, "manifestname"),
            loader_id: note(&mut fault, id(&form, "loaderid")),
            loader_name: pattern(&form, "loadername"),
        };
        if form.get("report") == Some("geolocations") {
            // Clients of 2016 know these words and go on without a map.
            fault.get_or_insert(Problem::bad_request("maxmind database not initialized"));
        }
        Self {
            kind: form.filled("type").unwrap_or("action").to_owned(),
            after,
            before,
            target: form.get("target").unwrap_or_default().to_owned(),
            page: Page {
                limit: limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
                offset: offset.unwrap_or(0),
            },
            filters,
            form,
            fault,
        }
    }

    /// All parameters, defaults included; part of every answer.
    fn echo(&self) -> Value {
        let text = |name| self.form.filled(name).unwrap_or("%");
        let id = |name| self.form.filled(name).unwrap_or("\u{221e}");
        json!({
            "actionid": id("actionid"),
            "actionname": text("actionname"),
            "after": self.after,
            "agentid": id("agentid"),
            "agentname": text("agentname"),
            "agentversion": text("agentversion"),
            "before": self.before,
            "commandid": id("commandid"),
            "foundanything": self.filters.found_anything.unwrap_or(false),
            "investigatorid": id("investigatorid"),
            "investigatorname": text("investigatorname"),
            "limit": self.page.limit,
            "loaderid": id("loaderid"),
            "loadername": text("loadername"),
            "manifestid": id("manifestid"),
            "manifestname": text("manifestname"),
            "offset": self.page.offset,
            "report": self.form.get("report").unwrap_or_default(),
            "status": text("status"),
            "target": self.target,
            "threatfamily": text("threatfamily"),
            "type": self.kind,
        })
    }

    /// The address of the next page.
    fn next(&self, base: &str) -> String {
        let escape = |text: &str| text.replace(['%', '*', '+'], "%25");
        // Whole seconds, and no sign that would need escaping.
        let (after, before) = (whole(self.after), whole(self.before));
        let mut next = format!("{base}/search?type={}&after={after}&before={before}", self.kind);
        for name in [
            "actionid",
            "actionname",
            "agentid",
            "agentname",
            "agentversion",
            "commandid",
            "foundanything",
            "investigatorid",
            "investigatorname",
            "loaderid",
            "loadername",
            "manifestid",
            "manifestname",
            "status",
            "target",
            "threatfamily",
        ] {
            if let Some(given) = self.form.filled(name).filter(|given| *given != "%") {
                next.extend(["&", name, "=", &escape(given)]);
            }
        }
        let offset = self.page.offset.saturating_add(self.page.limit);
        format!("{next}&limit={}&offset={offset}", self.page.limit)
    }
}

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_unix(time.unix(), 0).unwrap_or(time)
}

fn truth(form: &Form, name: &str) -> Result<Option<bool>, Problem> {
    match form.filled(name) {
        None => Ok(None),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(_) => Err(Problem::bad_request(format!("{name} parameter must be true or false"))),
    }
}

/// Whether two times are within the tolerance of clients' clocks.
fn near(a: Timestamp, b: Timestamp) -> bool {
    a.since(b) < TOLERANCE && b.since(a) < TOLERANCE
}

fn time(form: &Form, name: &str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = form.filled(name) else { return Ok(None) };
    Timestamp::parse(text).map(Some).map_err(|_| {
        let shown = shorten(text);
        Problem::bad_request(format!("{name} date '{shown}' is not in RFC 3339 format"))
    })
}

fn number(form: &Form, name: &str) -> Result<Option<u32>, Problem> {
    let Some(text) = form.filled(name) else { return Ok(None) };
    text.parse::<u64>()
        .ok()
        .or_else(|| text.parse::<f64>().ok().and_then(mig_types::wire::integer_of))
        .map(|number| Some(u32::try_from(number).unwrap_or(u32::MAX)))
        .ok_or_else(|| {
            Problem::bad_request(format!("invalid {name} parameter '{}'", shorten(text)))
        })
}

fn id<T: std::str::FromStr>(form: &Form, name: &str) -> Result<Option<T>, Problem> {
    match form.filled(name) {
        // How clients print "unset".
        None | Some("\u{221e}" | "+Inf") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            Problem::bad_request(format!("invalid {name} parameter '{}'", shorten(text)))
        }),
    }
}

/// An `ILIKE` pattern; the bare `%` matches everything and is no filter.
fn pattern(form: &Form, name: &str) -> Option<String> {
    form.filled(name).filter(|text| *text != "%").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Parameters {
        Parameters::read(Some(query), Timestamp::parse("2026-01-01T00:00:00Z").unwrap())
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for query in [
            "limit=abc",
            "offset=-1",
            "before=yesterday",
            "foundanything=perhaps",
            "actionid=x",
            "agentid=-3",
            "loaderid=1.5",
            "manifestid=x",
            "report=geolocations",
        ] {
            let parameters = read(&format!("{query}&type=agent"));
            assert_eq!(parameters.fault.as_ref().unwrap().status, StatusCode::BAD_REQUEST);
            assert_eq!(parameters.echo()["type"], "agent", "{query}");
        }
    }

    #[test]
    fn a_bound_near_the_default_is_no_filter() {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let nearly = now - WINDOW + Duration::from_mins(59);
        assert!(read(&format!("after={nearly}")).filters.after.is_none());
        let other = now - WINDOW + Duration::from_hours(2);
        assert_eq!(read(&format!("after={other}")).filters.after, Some(other));
    }

    #[test]
    fn the_bare_percent_and_infinity_are_no_filters() {
        let parameters = read("actionname=%25&agentid=%E2%88%9E&status=sent");
        assert!(parameters.filters.action_name.is_none());
        assert!(parameters.filters.agent_id.is_none());
        assert_eq!(parameters.filters.status.as_deref(), Some("sent"));
        assert_eq!(parameters.echo()["agentid"], "\u{221e}");
    }

    #[test]
    fn the_next_page_keeps_the_filters() {
        let parameters = read("type=agent&agentname=web%25&limit=5&offset=10");
        let next = parameters.next("http://h/api/v1");
        assert!(next.starts_with("http://h/api/v1/search?type=agent&after="), "{next}");
        assert!(next.ends_with("&agentname=web%25&limit=5&offset=15"), "{next}");
    }
}

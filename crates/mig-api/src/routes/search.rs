//! `GET …/search`: actions, commands, agents and investigators by filter.

use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use mig_store::{Page, Search};
use mig_types::{Target, Timestamp};
use serde_json::{Value, json};

use super::actions::value;
use super::investigators::shown;
use crate::access::RequestInfo;
use crate::collection::{Collection, Item};
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

/// The parameters as they were understood.
struct Parameters {
    kind: String,
    after: Timestamp,
    before: Timestamp,
    target: String,
    page: Page,
    filters: Search,
    form: Form,
}

pub(crate) async fn search(
    State(state): State<ApiState>,
    Extension(info): Extension<RequestInfo>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), state.now())?;
    let echo = Item::new(info.href.clone()).datum("search parameters", parameters.echo());
    let items = find(&state, &parameters).await.map_err(|p| p.with_item(echo.clone()))?;
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

async fn find(state: &ApiState, parameters: &Parameters) -> Result<Vec<Item>, Problem> {
    let (store, page, filters) = (state.store(), parameters.page, &parameters.filters);
    let mut items = Vec::new();
    match parameters.kind.as_str() {
        "action" => {
            for action in store.search_actions(filters, page).await? {
                items.push(item(state, "action", action.id.get(), &action)?);
            }
        }
        "command" => {
            for command in store.search_commands(filters, page).await? {
                items.push(item(state, "command", command.id.get(), &command)?);
            }
        }
        "agent" if !parameters.target.is_empty() => {
            let target: Target = parameters
                .target
                .parse()
                .map_err(|error| Problem::bad_request(format!("target is refused at {error}")))?;
            let agents = store.agents_by_target(&target, state.now()).await?;
            let (skip, take) = (page.offset as usize, page.limit as usize);
            for agent in agents.iter().skip(skip).take(take) {
                items.push(item(state, "agent", agent.id.get(), agent)?);
            }
        }
        "agent" => {
            for agent in store.search_agents(filters, page).await? {
                items.push(item(state, "agent", agent.id.get(), &agent)?);
            }
        }
        "investigator" => {
            for row in store.search_investigators(filters, page).await? {
                items.push(item(state, "investigator", row.id.get(), &shown(&row, false))?);
            }
        }
        // No manifest or loader can exist before their endpoints do.
        "manifest" | "loader" => {}
        _ => return Err(Problem::bad_request("search type is invalid")),
    }
    Ok(items)
}

fn item<T: serde::Serialize>(
    state: &ApiState,
    kind: &str,
    id: u64,
    object: &T,
) -> Result<Item, Problem> {
    Ok(Item::new(state.link(kind, id)).datum(kind, value(object)?))
}

impl Parameters {
    fn read(query: Option<&str>, now: Timestamp) -> Result<Self, Problem> {
        let form = Form::from_query(query);
        let (after, before) = (now - WINDOW, now + WINDOW);
        let after = time(&form, "after")?.unwrap_or(after);
        let before = time(&form, "before")?.unwrap_or(before);
        let page = Page {
            limit: number(&form, "limit")?.unwrap_or(DEFAULT_LIMIT),
            offset: number(&form, "offset")?.unwrap_or(0),
        };
        let found_anything = match form.filled("foundanything") {
            None => None,
            Some(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Some(_) => {
                let message = "foundanything parameter must be true or false";
                return Err(Problem::bad_request(message));
            }
        };
        let filters = Search {
            after: (!near(after, now - WINDOW)).then_some(after),
            before: (!near(before, now + WINDOW)).then_some(before),
            action_id: id(&form, "actionid")?,
            action_name: pattern(&form, "actionname"),
            command_id: id(&form, "commandid")?,
            agent_id: id(&form, "agentid")?,
            agent_name: pattern(&form, "agentname"),
            agent_version: pattern(&form, "agentversion"),
            investigator_id: id(&form, "investigatorid")?,
            investigator_name: pattern(&form, "investigatorname"),
            threat_family: pattern(&form, "threatfamily"),
            status: pattern(&form, "status"),
            found_anything,
            manifest_id: id(&form, "manifestid")?,
            manifest_name: pattern(&form, "manifestname"),
            loader_id: id(&form, "loaderid")?,
            loader_name: pattern(&form, "loadername"),
        };
        Ok(Self {
            kind: form.filled("type").unwrap_or("action").to_owned(),
            after,
            before,
            target: form.get("target").unwrap_or_default().to_owned(),
            page,
            filters,
            form,
        })
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
        let mut next =
            format!("{base}/search?type={}&after={}&before={}", self.kind, self.after, self.before);
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

    fn read(query: &str) -> Result<Parameters, Problem> {
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
        ] {
            let problem = read(query).err().unwrap();
            assert_eq!(problem.status, StatusCode::BAD_REQUEST, "{query}");
        }
    }

    #[test]
    fn a_bound_near_the_default_is_no_filter() {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let nearly = now - WINDOW + Duration::from_mins(59);
        assert!(read(&format!("after={nearly}")).unwrap().filters.after.is_none());
        let other = now - WINDOW + Duration::from_hours(2);
        assert_eq!(read(&format!("after={other}")).unwrap().filters.after, Some(other));
    }

    #[test]
    fn the_bare_percent_and_infinity_are_no_filters() {
        let parameters = read("actionname=%25&agentid=%E2%88%9E&status=sent").unwrap();
        assert!(parameters.filters.action_name.is_none());
        assert!(parameters.filters.agent_id.is_none());
        assert_eq!(parameters.filters.status.as_deref(), Some("sent"));
        assert_eq!(parameters.echo()["agentid"], "\u{221e}");
    }

    #[test]
    fn the_next_page_keeps_the_filters() {
        let parameters = read("type=agent&agentname=web%25&limit=5&offset=10").unwrap();
        let next = parameters.next("http://h/api/v1");
        assert!(next.starts_with("http://h/api/v1/search?type=agent&after="), "{next}");
        assert!(next.ends_with("&agentname=web%25&limit=5&offset=15"), "{next}");
    }
}

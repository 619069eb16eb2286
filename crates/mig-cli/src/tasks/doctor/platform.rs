//! What is between this machine and the agents, as far as the API tells.

use std::future::Future;
use std::time::Duration;

use mig_client::search::{Kind as What, Search};
use mig_client::{ApiClient, ClientError, Collection, Found, Generation, Unreached};
use mig_terminal::Session;
use mig_terminal::failure::{Failure, of_client};
use mig_types::{Agent, Timestamp, duration};

use super::{Findings, Hop};

/// Clocks may differ this much before tokens are refused.
const MAX_SKEW: Duration = Duration::from_mins(10);
/// The header with the time has whole seconds.
const ROUNDING: Duration = Duration::from_secs(5);

pub(super) async fn check(session: &Session, patience: Duration, findings: &mut Findings) {
    let Some(nobody) = reach(session, patience, findings).await else { return };
    generation(&nobody, patience, findings).await;
    database(&nobody, patience, findings).await;
    if findings.is_broken(Hop::Database) {
        return;
    }
    // Without a key there is no token; a wrong clock spoils it for certain.
    let away = [Hop::Key, Hop::Gpg, Hop::Clock].into_iter().any(|hop| findings.is_broken(hop));
    let Some(api) = session.api_with_any_key("cmd").ok().filter(|_| !away) else { return };
    let Some(dashboard) = enter(session, &api, patience, findings).await else { return };
    permissions(&api, patience, findings).await;
    if let Some(dashboard) = dashboard {
        broker(&dashboard, findings);
    }
    agents(session, &api, patience, findings).await;
}

/// A question's answer, unless it takes too long.
async fn within<T>(
    patience: Duration,
    question: impl Future<Output = Result<T, ClientError>>,
) -> Option<Result<T, ClientError>> {
    tokio::time::timeout(patience, question).await.ok()
}

/// Network, TLS and clock: a client that says nothing about who it is.
async fn reach(
    session: &Session,
    patience: Duration,
    findings: &mut Findings,
) -> Option<ApiClient> {
    let config = &session.config;
    let client = match session.api("cmd", None) {
        Ok(client) => client,
        Err(failure) => {
            let hint = "MIG_CA_FILE must name a PEM file with the API's authority; unset it to \
                        trust the system's";
            findings.failure(Hop::Tls, failure, hint);
            return None;
        }
    };
    match within(patience, client.server_time()).await {
        None => {
            let text = format!("{} did not answer within {}", config.url, span(patience));
            findings.broken(Hop::Network, text, way(session));
            None
        }
        Some(Err(error)) => {
            unreachable(session, &error, findings);
            None
        }
        Some(Ok(time)) => {
            findings.ok(Hop::Network, format!("an API answers at {}", config.url));
            tls(session, findings);
            clock(session, time, findings);
            Some(client)
        }
    }
}

fn span(duration: Duration) -> String {
    duration::format(duration)
}

/// The way to the API, for hints.
fn way(session: &Session) -> String {
    let proxy = match session.config.url.scheme() {
        "https" => ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        _ => ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    };
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match proxy.iter().find(|name| set(name)) {
        Some(name) => format!("{name} is set: the proxy it names must be there and reach the API"),
        None => "check api.url, that the API runs there, and firewalls between".to_owned(),
    }
}

/// An API that was not reached, or something else in its place.
fn unreachable(session: &Session, error: &ClientError, findings: &mut Findings) {
    let url = &session.config.url;
    let (hop, hint) = match (error.unreached(), error) {
        (Some(step), _) => step_of(session, step),
        (None, ClientError::Api { status: 404, .. }) => {
            let hint = "the path of api.url is not the API's: it usually ends in /api/v1/";
            (Hop::Network, hint.to_owned())
        }
        (None, ClientError::Api { status: 300..=399, .. }) => {
            let hint = "something redirects to another address: write that one as api.url";
            (Hop::Network, hint.to_owned())
        }
        (None, ClientError::Api { status: 502..=504, .. }) => {
            let hint = "a proxy in front of the API answers, the API behind it does not: start it";
            (Hop::Network, hint.to_owned())
        }
        (None, ClientError::Refused(_) | ClientError::Api { status: 407, .. }) => {
            let hint = "a proxy in front of the API wants something of its own; ask who runs it";
            (Hop::Network, hint.to_owned())
        }
        _ => (Hop::Network, format!("no MIG API answers at {url}: correct api.url")),
    };
    findings.broken(hop, of_client(error), hint);
}

fn step_of(session: &Session, step: Unreached) -> (Hop, String) {
    let host = session.config.url.host_str().unwrap_or_default();
    match step {
        Unreached::Name => {
            (Hop::Network, format!("the name {host} has no address: correct api.url, or your DNS"))
        }
        Unreached::NotHttp if session.config.url.scheme() == "http" => {
            (Hop::Tls, "the API may want TLS: write https:// in api.url".to_owned())
        }
        Unreached::NotTls => (
            Hop::Tls,
            "the API speaks no TLS there: write http://, or the port that does".to_owned(),
        ),
        Unreached::Issuer => {
            let hint = "if it is your own authority, set MIG_CA_FILE to its certificate";
            (Hop::Tls, hint.to_owned())
        }
        Unreached::Host => {
            let hint = format!("the certificate is not for {host}: use the name that it is for");
            (Hop::Tls, hint)
        }
        Unreached::Dates => {
            let hint = "the API needs a new certificate, or the clock of this machine is wrong";
            (Hop::Tls, hint.to_owned())
        }
        Unreached::Tls => {
            let hint = "the API must speak TLS 1.2 or 1.3 with a certificate that can be verified";
            (Hop::Tls, hint.to_owned())
        }
        _ => (Hop::Network, way(session)),
    }
}

fn tls(session: &Session, findings: &mut Findings) {
    let config = &session.config;
    if config.url.scheme() == "http" {
        findings.note(Hop::Tls, "there is none: anybody on the way reads along");
    } else if config.skipverifycert {
        let text = "the API's certificate is not verified (api.skipverifycert)";
        findings.note(Hop::Tls, text);
    } else {
        findings.ok(Hop::Tls, "the API's certificate is good");
    }
}

fn clock(session: &Session, time: Option<Timestamp>, findings: &mut Findings) {
    let Some(time) = time else {
        return findings.note(Hop::Clock, "the API does not tell its time");
    };
    let skew = session.clock.now().signed_nanos_since(time);
    let size = Duration::from_nanos(skew.unsigned_abs());
    let text =
        format!("the clock here differs from the API's by {}", duration::format_signed(skew));
    if size > MAX_SKEW {
        let hint = "tokens carry a time and are refused: set the clock that is wrong";
        findings.broken(Hop::Clock, text, hint);
    } else if size > ROUNDING {
        findings.note(Hop::Clock, text);
    } else {
        findings.ok(Hop::Clock, "the API's clock agrees with ours");
    }
}

/// Which program answers there, as people meet several while they migrate.
async fn generation(nobody: &ApiClient, patience: Duration, findings: &mut Findings) {
    let said = within(patience, nobody.generation()).await;
    match said.and_then(Result::ok).flatten() {
        Some(Generation::Own) => findings.ok(Hop::Network, "the API is of this generation"),
        Some(Generation::Go2019) => findings.note(
            Hop::Network,
            "the API is the original of 2019: it does not tell of scheduler and relay, and \
             results are asked for again and again",
        ),
        Some(Generation::Go2016) => findings.note(
            Hop::Network,
            "the API is the original of 2016: it gives no public keys, and knows \
             administrators in place of permissions",
        ),
        _ => findings.note(Hop::Network, "the API does not tell of which generation it is"),
    }
}

const DATABASE_AWAY: &str =
    "start PostgreSQL, and check section [postgres] of the API's configuration; its log has more";

async fn database(nobody: &ApiClient, patience: Duration, findings: &mut Findings) {
    match within(patience, nobody.lacks()).await {
        Some(Ok(Some(lack))) if lack.is_empty() => {
            findings.ok(Hop::Database, "the API reaches its database");
        }
        Some(Ok(Some(lack))) if lack.contains("database") => {
            findings.broken(Hop::Database, format!("the API says: {lack}"), DATABASE_AWAY);
        }
        Some(Ok(Some(lack))) => {
            let hint = "wait until it is started again";
            findings.broken(Hop::Network, format!("the API says: {lack}"), hint);
        }
        // Other APIs do not tell, and proxies do not let it through.
        Some(Ok(None) | Err(_)) => {}
        None => {
            let text = format!("the API waits for its database longer than {}", span(patience));
            findings.broken(Hop::Database, text, DATABASE_AWAY);
        }
    }
}

/// Whether the token, or the API key, opens the door. `None` when it does not;
/// the dashboard unless it is out of bounds.
async fn enter(
    session: &Session,
    api: &ApiClient,
    patience: Duration,
    findings: &mut Findings,
) -> Option<Option<Collection>> {
    let error = match within(patience, api.dashboard()).await {
        None => {
            let text = format!("the API did not show its dashboard within {}", span(patience));
            findings.broken(Hop::Database, text, DATABASE_AWAY);
            return None;
        }
        Some(Ok(dashboard)) => {
            findings.ok(Hop::Token, "the API knows you");
            findings.ok(Hop::Permission, "dashboard");
            return Some(Some(dashboard));
        }
        Some(Err(error)) => error,
    };
    match &error {
        error if lacks_permission(error) => {
            findings.ok(Hop::Token, "the API knows you");
            missing("dashboard", findings);
            Some(None)
        }
        ClientError::Refused(refusal) => {
            findings.broken(Hop::Token, refusal.to_string(), door(session, &refusal.message));
            None
        }
        ClientError::Api { status: 429, message } => {
            let text = format!("the API does not let you in: {message}");
            findings.broken(Hop::Token, text, door(session, message));
            None
        }
        ClientError::Api { status: 500.., .. } => {
            findings.broken(Hop::Database, of_client(&error), DATABASE_AWAY);
            None
        }
        ClientError::Token(_) => {
            findings.failure(Hop::Key, error.into(), "see the key above");
            None
        }
        _ => {
            findings.failure(Hop::Network, error.into(), "try again");
            None
        }
    }
}

/// What to do about a refusal, by the API's words.
fn door(session: &Session, message: &str) -> &'static str {
    let says = |word: &str| message.contains(word);
    if session.config.apikey.is_some() {
        "the API key is wrong or withdrawn: an administrator makes a new one in mig-console"
    } else if says("unknown entity") || says("unknown key") || says("not found in") {
        "the API does not know your key, or you are disabled: an administrator adds it with \
         create investigator, or enables you with setstatus active"
    } else if says("not active") {
        "you are disabled: an administrator enables you with setstatus in mig-console"
    } else if says("expired or its time") {
        "the clocks of this machine and of the API differ: set the one that is wrong"
    } else if says("has expired") {
        "the API's copy of your key has expired: an administrator replaces it"
    } else if says("header not found") {
        "a proxy on the way takes the header X-PGPAUTHORIZATION away: ask who runs it"
    } else {
        "your key must be that of an active investigator of this platform"
    }
}

fn lacks_permission(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(refusal) if refusal.is_lack())
}

fn missing(permission: &str, findings: &mut Findings) {
    let text = format!("you lack the permission {permission:?}");
    findings.broken(Hop::Permission, text, "an administrator gives it with setperms");
}

/// What an investigation needs besides the dashboard.
async fn permissions(api: &ApiClient, patience: Duration, findings: &mut Findings) {
    match within(patience, api.may_launch()).await {
        Some(Ok(true)) => findings.ok(Hop::Permission, "action_create"),
        Some(Ok(false)) => missing("action_create", findings),
        Some(Err(error)) => findings.note(Hop::Permission, of_client(&error)),
        None => findings.note(Hop::Permission, "the API did not say in time"),
    }
}

fn broker(dashboard: &Collection, findings: &mut Findings) {
    let told = |name: &str| {
        let mut data = dashboard.items.iter().flat_map(|item| &item.data);
        data.find(|datum| datum.name == name).and_then(|datum| datum.value.as_bool())
    };
    match (told("scheduler works"), told("relay reached")) {
        (Some(false), _) => {
            let hint = "start mig-scheduler: actions wait in the database until it works";
            findings.broken(Hop::Broker, "no scheduler works", hint);
        }
        (Some(true), Some(true)) => {
            findings.ok(Hop::Broker, "a scheduler works and reaches the relay");
        }
        (Some(true), _) => {
            let hint = "start RabbitMQ, and check section [mq] of the scheduler's configuration; \
                        its log has more";
            findings.broken(Hop::Broker, "the scheduler does not reach the relay", hint);
        }
        (None, _) => findings.note(Hop::Broker, "the platform does not tell"),
    }
}

/// What a search for agents came to.
enum Looked {
    Found(Vec<Agent>),
    Forbidden,
    Failed(Failure),
}

async fn look(session: &Session, api: &ApiClient, patience: Duration, conditions: &str) -> Looked {
    let search = match Search::conditions(What::Agent, conditions, session.clock.now()) {
        Ok(search) => search,
        Err(error) => return Looked::Failed(Failure::other(error.to_string())),
    };
    match within(patience, api.find(&search)).await {
        Some(Ok(Found::Agents(agents))) => Looked::Found(agents),
        Some(Ok(_)) => Looked::Found(Vec::new()),
        Some(Err(error)) if lacks_permission(&error) => Looked::Forbidden,
        Some(Err(error)) => Looked::Failed(error.into()),
        None => Looked::Failed(Failure::other(format!("no answer within {}", span(patience)))),
    }
}

async fn agents(session: &Session, api: &ApiClient, patience: Duration, findings: &mut Findings) {
    let online = look(session, api, patience, "status=online limit=1").await;
    let looked = match online {
        Looked::Found(agents) if !agents.is_empty() => {
            return findings.ok(Hop::Agents, "agents are online");
        }
        Looked::Found(_) => look(session, api, patience, "limit=100").await,
        other => other,
    };
    match looked {
        Looked::Found(known) => nobody_online(&known, findings),
        Looked::Forbidden => missing("search", findings),
        Looked::Failed(failure) => findings.failure(Hop::Database, failure, DATABASE_AWAY),
    }
}

fn nobody_online(known: &[Agent], findings: &mut Findings) {
    let last = known.iter().max_by_key(|agent| agent.heartbeatts);
    if let Some(agent) = last {
        let text = format!(
            "no agent is online; {} was heard of last, at {}",
            agent.name, agent.heartbeatts
        );
        let hint = "see the agent's log: its relay, its account there, and whether it runs";
        findings.broken(Hop::Agents, text, hint);
    } else {
        let hint = "install one; if there are some, see the scheduler's whitelist and log";
        findings.broken(Hop::Agents, "no agent has ever been heard of", hint);
    }
}

//! The calls of the API, typed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mig_types::wire;
use mig_types::{
    Action, ActionId, Agent, AgentId, Command, CommandId, Fingerprint, Investigator,
    InvestigatorId, InvestigatorStatus, Permissions, Timestamp,
};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{ApiClient, Body, ClientError, refusal};
use crate::collection::Collection;
use crate::items::Items;

/// What an API says, with 404, when a search finds nothing.
const NO_RESULTS: &str = "no results found";

/// The public key of an investigator, armored: the API carries bytes as base64.
pub fn armored_key(investigator: &Investigator) -> String {
    let stored = &investigator.publickey;
    let decoded = STANDARD.decode(stored).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.unwrap_or_else(|| stored.clone())
}

/// An investigator to create.
#[derive(Debug, Clone)]
pub struct NewInvestigator<'a> {
    pub name: &'a str,
    pub permissions: Permissions,
    /// Armored, exactly one key; none for an investigator with an API key only.
    pub publickey: Option<&'a str>,
}

/// What to change about an investigator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvestigatorChange {
    Status(InvestigatorStatus),
    /// Replaces the whole set.
    Permissions(Permissions),
    /// Makes a new API key (`true`), returned once, or removes it.
    ApiKey(bool),
}

/// Which program an API is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Generation {
    /// The one of this workspace.
    Own,
    /// The original of 2019.
    Go2019,
    /// The original of 2016: it gives no public keys.
    Go2016,
}

impl ApiClient {
    /// Agents a target chooses now; empty when none matches.
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`] with the API's reason when it refuses the target.
    pub async fn evaluate_target(&self, target: &str) -> Result<Vec<Agent>, ClientError> {
        self.agents_of_target(target).await?.all().await
    }

    /// [`ApiClient::evaluate_target`], one agent after the other: there may be
    /// more than should be held.
    ///
    /// # Errors
    ///
    /// As [`ApiClient::evaluate_target`].
    pub async fn agents_of_target(&self, target: &str) -> Result<Items<Agent>, ClientError> {
        let query = [("type", "agent"), ("limit", "1000000"), ("target", target)];
        self.search_items("agent", &query).await
    }

    /// Launches a signed action and returns it as the API stored it, with its
    /// id.
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`] with the API's reason when it refuses.
    pub async fn post_action(&self, action: &Action) -> Result<Action, ClientError> {
        let json = wire::to_string(action).map_err(ClientError::Encode)?;
        first(self.post("action/create/", &[("action", &json)], StatusCode::ACCEPTED).await?)
    }

    /// An action with its counters and investigators.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; see [`ClientError::is_not_found`].
    pub async fn action(&self, id: ActionId) -> Result<Action, ClientError> {
        first(self.get("action", &[("actionid", &id.to_string())]).await?)
    }

    /// A command with its results.
    ///
    /// # Errors
    ///
    /// As [`ApiClient::action`].
    pub async fn command(&self, id: CommandId) -> Result<Command, ClientError> {
        first(self.get("command", &[("commandid", &id.to_string())]).await?)
    }

    /// An agent.
    ///
    /// # Errors
    ///
    /// As [`ApiClient::action`].
    pub async fn agent(&self, id: AgentId) -> Result<Agent, ClientError> {
        first(self.get("agent", &[("agentid", &id.to_string())]).await?)
    }

    /// An investigator with the public key.
    ///
    /// # Errors
    ///
    /// As [`ApiClient::action`].
    pub async fn investigator(&self, id: InvestigatorId) -> Result<Investigator, ClientError> {
        first(self.get("investigator", &[("investigatorid", &id.to_string())]).await?)
    }

    /// All investigators, without key material.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn investigators(&self) -> Result<Vec<Investigator>, ClientError> {
        // Go APIs fail on a search without any filter, and take a single `%`
        // for none.
        let query = [("type", "investigator"), ("investigatorname", "%%"), ("limit", "100000")];
        self.search("investigator", &query).await
    }

    /// The dashboard as it is: statistics first, then recent actions.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn dashboard(&self) -> Result<Collection, ClientError> {
        self.get("dashboard", &[]).await
    }

    /// Any search; `name` is what the wanted values are called, the same as
    /// the query's `type`. Empty when nothing is found.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn search<T: DeserializeOwned>(
        &self,
        name: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, ClientError> {
        self.search_items(name, query).await?.all().await
    }

    /// [`ApiClient::search`], one value after the other.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; more may come with the values.
    pub async fn search_items<T: DeserializeOwned>(
        &self,
        name: &str,
        query: &[(&str, &str)],
    ) -> Result<Items<T>, ClientError> {
        let response = self.read("search", query, &mut 0).await?;
        let status = response.status();
        if status == StatusCode::OK {
            let telling = self.teller().await.begin();
            return Ok(Items::new(response, name, self.max_answer, telling));
        }
        match refusal(status, &self.body(response).await?) {
            ClientError::Api { status: 404, message } if message == NO_RESULTS => Ok(Items::none()),
            error => Err(error),
        }
    }

    /// Creates an investigator and returns it with its id.
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`] with the API's reason, such as a known fingerprint.
    pub async fn create_investigator(
        &self,
        new: &NewInvestigator<'_>,
    ) -> Result<Investigator, ClientError> {
        let permissions = wire::to_string(&new.permissions).map_err(ClientError::Encode)?;
        let build = || {
            let form = Form::new()
                .text("name", new.name.to_owned())
                .text("permissions", permissions.clone())
                // The form of the middle of 2016; others ignore it.
                .text("isadmin", new.permissions.is_admin().to_string());
            match new.publickey {
                Some(key) => {
                    let part = Part::text(key.to_owned()).file_name(format!("{}.asc", new.name));
                    form.part("publickey", part)
                }
                None => form,
            }
        };
        let fields = [("name", new.name), ("permissions", permissions.as_str())];
        let fields: Vec<_> =
            fields.into_iter().chain(new.publickey.map(|key| ("publickey", key))).collect();
        let body = Body::Multipart(&build, &fields);
        let response = self.send(Method::POST, "investigator/create/", &[], &body).await?;
        first(self.collection(response, StatusCode::CREATED).await?)
    }

    /// Changes an investigator and returns what the API says of it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`] with the API's reason.
    pub async fn update_investigator(
        &self,
        id: InvestigatorId,
        change: InvestigatorChange,
    ) -> Result<Investigator, ClientError> {
        let key_state = |active| if active { "active" } else { "disabled" };
        let (name, value) = match change {
            InvestigatorChange::Status(status) => ("status", status.as_str().to_owned()),
            InvestigatorChange::Permissions(permissions) => {
                ("permissions", wire::to_string(&permissions).map_err(ClientError::Encode)?)
            }
            InvestigatorChange::ApiKey(active) => ("apikey", key_state(active).to_owned()),
        };
        let id = id.to_string();
        let form = [("id", id.as_str()), (name, value.as_str())];
        first(self.post("investigator/update/", &form, StatusCode::OK).await?)
    }

    /// An investigator's armored public key; needs no permission.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn public_key(&self, key: &Fingerprint) -> Result<String, ClientError> {
        let path = format!("publickey/{key}");
        let (status, body) = self.read_whole(&path, &[]).await?;
        if status != StatusCode::OK {
            return Err(refusal(status, &body));
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// What the platform's clock says, if an API answers there and tells.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn server_time(&self) -> Result<Option<Timestamp>, ClientError> {
        let response = self.send(Method::GET, "heartbeat", &[], &Body::None).await?;
        let header = response.headers().get("date").and_then(|date| date.to_str().ok());
        let time = header.and_then(Timestamp::parse_http);
        self.collection(response, StatusCode::OK).await?;
        Ok(time)
    }

    /// Whether the caller may launch actions. One without content is refused in
    /// any case; how, tells.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when the API does not answer.
    pub async fn may_launch(&self) -> Result<bool, ClientError> {
        match self.post("action/create/", &[("action", "")], StatusCode::ACCEPTED).await {
            Err(ClientError::Refused(_)) => Ok(false),
            Err(ClientError::Api { .. }) => Ok(true),
            other => other.map(|_| true),
        }
    }

    /// Whether the API says that it can serve: `None` when it has no such
    /// answer, as the original does not, else what it lacks, empty when nothing.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when it does not answer at all.
    pub async fn lacks(&self) -> Result<Option<String>, ClientError> {
        let response = self.send(Method::GET, "/readyz", &[], &Body::None).await?;
        let status = response.status();
        let body = self.body(response).await?;
        Ok(match status {
            StatusCode::OK => Some(String::new()),
            StatusCode::SERVICE_UNAVAILABLE => match refusal(status, &body) {
                ClientError::Api { message, .. } => Some(message),
                _ => None,
            },
            _ => None,
        })
    }

    /// Which program the API is, by what it gives to everybody: public keys came
    /// after 2016, and none of the originals with them has a page of its own.
    /// `None` when its answers are nobody's.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when it does not answer.
    pub async fn generation(&self) -> Result<Option<Generation>, ClientError> {
        let nobody = format!("publickey/{}", "0".repeat(40));
        let (status, body) = self.read_whole(&nobody, &[]).await?;
        let words = String::from_utf8_lossy(&body);
        if status != StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if words.starts_with("404 page not found") {
            return Ok(Some(Generation::Go2016));
        }
        if !words.contains("No PublicKey found") {
            return Ok(None);
        }
        let (status, body) = self.read_whole("", &[]).await?;
        let is_page = status == StatusCode::OK && Collection::from_slice(&body).is_ok();
        Ok(match status {
            _ if is_page => Some(Generation::Own),
            StatusCode::NOT_FOUND => Some(Generation::Go2019),
            _ => None,
        })
    }

    /// Whether an API answers there: its heartbeat, which needs no permission.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn heartbeat(&self) -> Result<Value, ClientError> {
        first(self.get("heartbeat", &[]).await?)
    }
}

pub(crate) fn first<T: DeserializeOwned>(answer: Collection) -> Result<T, ClientError> {
    answer.first().map_err(ClientError::Answer)
}

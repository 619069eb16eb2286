//! Requests to the API: who we are, one retry, bounded answers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mig_runtime::clock::Clock;
use mig_runtime::{Secret, tls};
use mig_sign::token;
use mig_types::wire::WireError;
use mig_types::{Timestamp, duration};
use reqwest::header::HeaderValue;
use reqwest::multipart::Form;
use reqwest::{Certificate, Client, Method, Response, StatusCode, redirect};
use tokio::sync::Mutex;
use tracing::debug;
use url::Url;

use crate::collection::Collection;
use crate::config::ClientConfig;
use crate::refusal::{self, Caller, Refusal};
use crate::retry::{Passing, Retry};
use crate::signer::{Signer, SignerError};
use crate::tell::Teller;

/// Largest answer read, unless set otherwise. A search may return every agent.
pub const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// Most the API reads of a form.
pub const MAX_REQUEST: usize = 10 * 1024 * 1024;

/// A token is used this long, well below the API's ten minutes: each costs a
/// signature, and perhaps a touch of a card.
const TOKEN_LIFE: Duration = Duration::from_mins(8);

/// Clocks that differ by more explain why a token was refused.
const MAX_SKEW: Duration = Duration::from_mins(2);

/// How long a connection may take to be made, unless the configuration says.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest silence of the API within an answer.
const READ_TIMEOUT: Duration = Duration::from_mins(2);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("cannot set up HTTP")]
    Setup(#[source] reqwest::Error),
    #[error("cannot read CA file {path}")]
    CaFile { path: String, source: std::io::Error },
    #[error("cannot make an address of {path:?}")]
    Address { path: String, source: url::ParseError },
    #[error("cannot reach the API at {url}")]
    Transport { url: String, source: reqwest::Error },
    /// The API said no; `message` is its own.
    #[error("the API answered {status}: {message}")]
    Api { status: u16, message: String },
    /// The API said 401 or 403: it does not know the caller, or they may not.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The API said 401, and its clock and ours are far apart: tokens are only
    /// good for some minutes around the time they name.
    #[error("401 from {url}: our clock is {skew} its own: {message}")]
    Clock { url: String, message: String, skew: String },
    #[error("the API's answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the request is larger than the {limit} bytes the API reads")]
    RequestTooLarge { limit: usize },
    #[error("{address} is not an address of the API")]
    Elsewhere { address: String },
    #[error("the API's answer cannot be read")]
    Answer(#[source] WireError),
    #[error("cannot write the request")]
    Encode(#[source] WireError),
    #[error("cannot sign a token")]
    Token(#[source] SignerError),
    #[error("the key's name or the API key cannot be sent in a header")]
    Header,
    #[error("the API ended its answer too early")]
    Interrupted,
    #[error("the action could not be read {failures} times; its launch may have failed")]
    Follow { failures: u32, source: Box<ClientError> },
}

impl ClientError {
    /// Whether the API says that there is no such thing.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { status: 404, .. })
    }

    /// Whether trying again later may help.
    pub(crate) const fn is_passing(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Answer(_) | Self::Interrupted => true,
            Self::Api { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}

/// How requests name their sender.
enum Credentials {
    None,
    Tokens(Arc<dyn Signer>),
    ApiKey(Secret<String>),
}

/// A client of one API. Cheap to share behind an [`Arc`].
pub struct ApiClient {
    http: Client,
    base: Url,
    credentials: Credentials,
    pub(crate) clock: Arc<dyn Clock>,
    token: Mutex<Option<(Timestamp, HeaderValue)>>,
    nonce: AtomicU64,
    pub(crate) max_answer: usize,
    retry: Retry,
    /// Whether bodies are told of.
    tells: bool,
}

/// A request that can be sent twice.
pub(crate) enum Body<'a> {
    None,
    Form(&'a [(&'a str, &'a str)]),
    /// Built anew for each attempt; and its fields, to be told.
    Multipart(&'a (dyn Fn() -> Form + Send + Sync), &'a [(&'a str, &'a str)]),
}

impl ApiClient {
    /// A client for the API of `config`. `name` and `version` go into the
    /// `User-Agent`: `MIG Client cmd-1.0`. With an API key in `config` that
    /// names the caller, else tokens made by `signer`, else nothing does.
    ///
    /// Proxies come from the usual environment variables.
    ///
    /// # Errors
    ///
    /// When the CA file cannot be used.
    pub fn new(
        config: &ClientConfig,
        name: &str,
        version: &str,
        signer: Option<Arc<dyn Signer>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        tls::install_provider();
        let mut builder = Client::builder()
            .user_agent(format!("MIG Client {name}-{version}"))
            .connect_timeout(config.connect_timeout.unwrap_or(CONNECT_TIMEOUT))
            .read_timeout(READ_TIMEOUT)
            .redirect(same_server_only());
        if let Some(path) = &config.ca_file {
            builder = builder.tls_certs_only(certificates(path)?);
        }
        if config.skipverifycert {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        let credentials = match (&config.apikey, signer) {
            (Some(key), _) => Credentials::ApiKey(key.clone()),
            (None, Some(signer)) => Credentials::Tokens(signer),
            (None, None) => Credentials::None,
        };
        Ok(Self {
            http: builder.build().map_err(ClientError::Setup)?,
            base: config.url.clone(),
            credentials,
            clock,
            token: Mutex::new(None),
            // 48 bits: every peer reads the nonce as a number.
            nonce: AtomicU64::new(mig_runtime::random::u64() >> 16),
            max_answer: MAX_ANSWER,
            retry: Retry::default(),
            tells: false,
        })
    }

    /// Logs what goes to the API and comes back: the beginning of each body,
    /// without tokens, API keys and loader keys.
    #[must_use]
    pub const fn with_bodies(mut self, told: bool) -> Self {
        self.tells = told;
        self
    }

    /// Sets the largest answer read, in bytes.
    #[must_use]
    pub const fn with_max_answer(mut self, bytes: usize) -> Self {
        self.max_answer = bytes;
        self
    }

    /// Sets how often GETs are repeated after a passing failure; following an
    /// action has its own patience.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The base of all requests.
    pub const fn base(&self) -> &Url {
        &self.base
    }

    /// GETs a path below the base, such as `dashboard`, with a query.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; [`ClientError::Api`] unless the API answers 200.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Collection, ClientError> {
        let (status, body) = self.read_whole(path, query).await?;
        if status == StatusCode::OK {
            return Collection::from_slice(&body).map_err(ClientError::Answer);
        }
        Err(refusal(status, &body))
    }

    /// GETs an address below the base as text: a path such as
    /// `search?type=agent`, or the whole address.
    ///
    /// # Errors
    ///
    /// [`ClientError::Elsewhere`] for an address that is not below the base:
    /// tokens are for nobody else. Otherwise as [`ApiClient::get`].
    pub async fn get_text(&self, address: &str) -> Result<String, ClientError> {
        let elsewhere = || ClientError::Elsewhere { address: address.to_owned() };
        let path = address.strip_prefix(self.base.as_str()).unwrap_or(address);
        let url = self.base.join(path).map_err(|_| elsewhere())?;
        if !url.as_str().starts_with(self.base.as_str()) {
            return Err(elsewhere());
        }
        let (status, body) = self.read_whole(path, &[]).await?;
        if !status.is_success() {
            return Err(refusal(status, &body));
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// GETs what can wait: asked again after a passing failure. The answer's
    /// body is still to come.
    pub(crate) async fn read(
        &self,
        path: &str,
        query: &[(&str, &str)],
        done: &mut u32,
    ) -> Result<Response, ClientError> {
        loop {
            let result = self.send(Method::GET, path, query, &Body::None).await;
            let passing = match &result {
                Ok(response) => Passing::of_response(response, self.clock.now()),
                Err(error) => Passing::of_error(error),
            };
            match passing {
                Some(why) if self.retry.again(done, &why).await => {}
                _ => return result,
            }
        }
    }

    /// [`ApiClient::read`] to the end of the body.
    pub(crate) async fn read_whole(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let mut done = 0;
        loop {
            let response = self.read(path, query, &mut done).await?;
            let status = response.status();
            let result = self.body(response).await;
            match result.as_ref().err().and_then(Passing::of_error) {
                Some(why) if self.retry.again(&mut done, &why).await => {}
                _ => return Ok((status, result?)),
            }
        }
    }

    /// POSTs a form to a path below the base and expects `expected`.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; [`ClientError::Api`] when the API answers otherwise.
    pub async fn post(
        &self,
        path: &str,
        form: &[(&str, &str)],
        expected: StatusCode,
    ) -> Result<Collection, ClientError> {
        self.post_up_to(MAX_REQUEST, path, form, expected).await
    }

    /// [`ApiClient::post`] where the API reads more, or less, than usual.
    pub(crate) async fn post_up_to(
        &self,
        limit: usize,
        path: &str,
        form: &[(&str, &str)],
        expected: StatusCode,
    ) -> Result<Collection, ClientError> {
        let encoded = |text: &str| -> usize {
            form_urlencoded::byte_serialize(text.as_bytes()).map(str::len).sum()
        };
        let length: usize =
            form.iter().map(|(name, value)| encoded(name) + encoded(value) + 2).sum();
        if length > limit {
            return Err(ClientError::RequestTooLarge { limit });
        }
        let response = self.send(Method::POST, path, &[], &Body::Form(form)).await?;
        self.collection(response, expected).await
    }

    /// Sends a request, with a new token once more if the API answers 401.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: &Body<'_>,
    ) -> Result<Response, ClientError> {
        let response = self.send_once(&method, path, query, body).await?;
        // The token may have grown old in our hands or by the API's clock. An
        // API key does not improve by repetition.
        let retry = matches!(self.credentials, Credentials::Tokens(_));
        if response.status() != StatusCode::UNAUTHORIZED || !retry {
            return self.admitted(path, response).await;
        }
        *self.token.lock().await = None;
        let response = self.send_once(&method, path, query, body).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(skew) = self.skew(&response)
        {
            let url = address(response.url());
            let message = words(StatusCode::UNAUTHORIZED, &self.body(response).await?);
            return Err(ClientError::Clock { url, message, skew });
        }
        self.admitted(path, response).await
    }

    /// An answer that lets the caller in.
    async fn admitted(&self, path: &str, response: Response) -> Result<Response, ClientError> {
        let status = response.status();
        if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN {
            return Ok(response);
        }
        let url = address(response.url());
        let message = words(status, &self.body(response).await?);
        let caller = match &self.credentials {
            Credentials::None => Caller::Nobody,
            Credentials::ApiKey(_) => Caller::ApiKey,
            Credentials::Tokens(signer) => Caller::Key(signer.fingerprint().await.ok()),
        };
        let permission = refusal::permission(path);
        let status = status.as_u16();
        let refusal = Refusal { status, url, caller, permission, message };
        Err(ClientError::Refused(Box::new(refusal)))
    }

    /// How far our clock is from that of the answer, if that is much: `2h0m0s
    /// ahead of`.
    fn skew(&self, response: &Response) -> Option<String> {
        let date = response.headers().get("date")?.to_str().ok()?;
        let (theirs, ours) = (Timestamp::parse_http(date)?, self.clock.now());
        let (apart, way) = if ours > theirs {
            (ours.since(theirs), "ahead of")
        } else {
            (theirs.since(ours), "behind")
        };
        let apart = Duration::from_secs(apart.as_secs());
        (apart > MAX_SKEW).then(|| format!("{} {way}", duration::format(apart)))
    }

    async fn send_once(
        &self,
        method: &Method,
        path: &str,
        query: &[(&str, &str)],
        body: &Body<'_>,
    ) -> Result<Response, ClientError> {
        let mut url = self
            .base
            .join(path)
            .map_err(|source| ClientError::Address { path: path.to_owned(), source })?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method.clone(), url.clone());
        let credential = match &self.credentials {
            Credentials::None => None,
            Credentials::ApiKey(key) => Some(("X-MIGAPIKEY", secret_header(key.expose())?)),
            Credentials::Tokens(signer) => {
                Some(("X-PGPAUTHORIZATION", self.token(signer.as_ref()).await?))
            }
        };
        let teller = self.teller().await;
        if self.tells {
            debug!("{method} {}?{}", url.path(), url.query().unwrap_or_default());
        }
        if let Some((name, value)) = credential {
            let is_token = matches!(self.credentials, Credentials::Tokens(_));
            teller.credential(name, value.to_str().ok().filter(|_| is_token));
            request = request.header(name, value);
        }
        request = match body {
            Body::None => request,
            Body::Form(form) => {
                teller.form(form);
                request.form(form)
            }
            Body::Multipart(build, fields) => {
                teller.form(fields);
                request.multipart(build())
            }
        };
        let result = request.send().await;
        let result = result.map_err(|error| transport(error, &url));
        // Neither headers nor bodies: tokens, keys and results are in them.
        let status = result.as_ref().map_or(0, |response| response.status().as_u16());
        debug!("{method} {}?{}: {status}", url.path(), url.query().unwrap_or_default());
        result
    }

    /// Who tells of bodies, and what of them never.
    pub(crate) async fn teller(&self) -> Teller {
        if !self.tells {
            return Teller::default();
        }
        let mut secrets = Vec::new();
        if let Credentials::ApiKey(key) = &self.credentials {
            secrets.push(key.expose().clone());
        }
        if let Some((_, header)) = self.token.lock().await.as_ref()
            && let Ok(header) = header.to_str()
        {
            secrets.extend(header.splitn(4, ';').nth(3).map(str::to_owned));
        }
        Teller::new(secrets)
    }

    async fn token(&self, signer: &dyn Signer) -> Result<HeaderValue, ClientError> {
        // Held while signing, so that parallel requests ask for one PIN.
        let mut cached = self.token.lock().await;
        let now = self.clock.now();
        if let Some((made, header)) = cached.as_ref()
            && now >= *made
            && now.since(*made) < TOKEN_LIFE
        {
            return Ok(header.clone());
        }
        let text = token::text(now, self.nonce.fetch_add(1, Ordering::Relaxed));
        let signature = signer.sign(text.as_bytes()).await.map_err(ClientError::Token)?;
        let header = secret_header(&token::assemble(&text, &signature))?;
        *cached = Some((now, header.clone()));
        Ok(header)
    }

    /// Reads an answer; anything but `expected` becomes [`ClientError::Api`].
    pub(crate) async fn collection(
        &self,
        response: Response,
        expected: StatusCode,
    ) -> Result<Collection, ClientError> {
        let status = response.status();
        let body = self.body(response).await?;
        if status == expected {
            return Collection::from_slice(&body).map_err(ClientError::Answer);
        }
        Err(refusal(status, &body))
    }

    /// The whole body, bounded.
    pub(crate) async fn body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let limit = self.max_answer;
        let url = response.url().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| transport(error, &url))? {
            if body.len() + chunk.len() > limit {
                return Err(ClientError::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        self.teller().await.answer(&body);
        Ok(body)
    }
}

/// The error an unexpected answer stands for, in the API's own words.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    ClientError::Api { status: status.as_u16(), message: words(status, body) }
}

/// What the API says of an answer without success.
fn words(status: StatusCode, body: &[u8]) -> String {
    let words = Collection::from_slice(body).map(|collection| collection.error.message);
    let message = words.ok().filter(|message| !message.is_empty()).unwrap_or_else(|| {
        // A proxy or an old API answers in its own way.
        let text = String::from_utf8_lossy(body);
        let line = text.lines().next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('<') {
            status.canonical_reason().unwrap_or("no reason given").to_owned()
        } else {
            line.to_owned()
        }
    });
    message.chars().take(4096).collect()
}

/// An address without its query, which is long: the path says what was asked.
fn address(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

pub(crate) fn transport(error: reqwest::Error, url: &Url) -> ClientError {
    ClientError::Transport { url: address(url), source: error.without_url() }
}

fn secret_header(text: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ClientError::Header)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Tokens and API keys are in headers of our own, which the HTTP library would
/// carry along to whatever server a redirection names.
fn same_server_only() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let same = attempt.previous().first().is_some_and(|first| {
            first.origin() == attempt.url().origin() && attempt.previous().len() <= 5
        });
        if same { attempt.follow() } else { attempt.stop() }
    })
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let name = path.display().to_string();
    let unusable = |source| ClientError::CaFile { path: name.clone(), source };
    let pem = std::fs::read(path).map_err(unusable)?;
    let found = Certificate::from_pem_bundle(&pem).map_err(ClientError::Setup)?;
    if found.is_empty() {
        // Nothing would be trusted, which looks like a fault of the server.
        return Err(unusable(std::io::Error::other("it holds no certificate")));
    }
    Ok(found)
}

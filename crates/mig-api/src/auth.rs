//! Who is calling, and whether they may.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use mig_sign::token::{self, TokenError};
use mig_store::InvestigatorRow;
use mig_types::loader::{KEY_LEN, PREFIX_LEN};
use mig_types::{Fingerprint, InvestigatorId, InvestigatorStatus, Loader, Permissions};

use crate::problem::{Problem, chain};
use crate::secrets::{self, Sealed};
use crate::state::ApiState;

pub(crate) const TOKEN_HEADER: &str = "x-pgpauthorization";
pub(crate) const API_KEY_HEADER: &str = "x-migapikey";

pub(crate) const LOADER_KEY_HEADER: &str = "x-loaderkey";

/// Characters of an API key.
pub(crate) const API_KEY_LEN: usize = 32;

/// Who is calling.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) id: InvestigatorId,
    pub(crate) name: String,
    /// Of their key; none for holders of nothing but an API key, and while
    /// authentication is switched off.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Whether nobody was asked who they are.
    pub(crate) anyone: bool,
    permissions: Permissions,
}

impl Caller {
    pub(crate) const fn may(&self, needed: Permissions) -> bool {
        self.permissions.contains(needed)
    }

    /// Everybody, while authentication is switched off.
    fn anyone() -> Self {
        Self {
            id: InvestigatorId::default(),
            name: "authdisabled".to_owned(),
            fingerprint: None,
            anyone: true,
            permissions: Permissions::ALL,
        }
    }
}

/// Lets a request pass when its caller holds `needed`.
pub(crate) async fn require(
    State((state, needed)): State<(ApiState, Permissions)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = authenticate(&state, request.headers(), source(&request)).await?;
    if !caller.may(needed) {
        let mut problem = Problem::unauthorized("Insufficient permissions to access endpoint");
        problem.detail = Some(format!("investigator {} {}", caller.id, caller.name));
        return Err(problem);
    }
    request.extensions_mut().insert(caller.clone());
    let mut response = next.run(request).await;
    // The access log reads it from the answer.
    response.extensions_mut().insert(caller);
    Ok(response)
}

async fn authenticate(
    state: &ApiState,
    headers: &HeaderMap,
    from: IpAddr,
) -> Result<Caller, Problem> {
    if !state.settings().authenticate {
        return Ok(Caller::anyone());
    }
    let header = |name| {
        headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
    };
    let row = if let Some(token) = header(TOKEN_HEADER) {
        by_token(state, token, from).await?
    } else if let Some(key) = header(API_KEY_HEADER) {
        by_api_key(state, key, from).await?
    } else {
        return Err(Problem::unauthorized("Valid authentication header not found"));
    };
    if row.status != InvestigatorStatus::Active {
        return Err(Problem::unauthorized("investigator is not active"));
    }
    Ok(Caller {
        id: row.id,
        name: row.name,
        fingerprint: row.fingerprint,
        anyone: false,
        permissions: row.permissions,
    })
}

async fn by_token(state: &ApiState, token: &str, from: IpAddr) -> Result<InvestigatorRow, Problem> {
    let fingerprint = match verify_token(state, token, false).await? {
        Ok(fingerprint) => fingerprint,
        // The key may have been added a moment ago by another process.
        Err(_) => verify_token(state, token, true).await?.map_err(|error| {
            let reason = chain(&error);
            Problem::unauthorized(format!(
                "Authorization verification failed with error 'verifySignedToken() -> {reason}'"
            ))
        })?,
    };
    if let Some(before) = state.tokens().note(token, from) {
        tracing::warn!("a token of {fingerprint} was used from {before} and now from {from}");
    }
    // Status and permissions are read for every request: a disabled
    // investigator is out at once.
    state
        .store()
        .investigator_by_fingerprint(&fingerprint)
        .await?
        .ok_or_else(|| Problem::unauthorized("investigator not found"))
}

async fn verify_token(
    state: &ApiState,
    token: &str,
    fresh: bool,
) -> Result<Result<Fingerprint, TokenError>, Problem> {
    let keyring = state.keys().get(state.store(), fresh).await?;
    Ok(token::verify(&keyring, token, state.now(), state.settings().token_tolerance))
}

async fn by_api_key(state: &ApiState, key: &str, from: IpAddr) -> Result<InvestigatorRow, Problem> {
    let refused = || {
        let reason = "API key authentication failed";
        Problem::unauthorized(format!("Authorization verification failed with error '{reason}'"))
    };
    if !secrets::is_key(key, API_KEY_LEN) {
        return Err(refused());
    }
    let rows = state.store().api_keys().await?;
    let sealed: Vec<Sealed> =
        rows.iter().map(|row| Sealed { hash: row.hash.clone(), salt: row.salt.clone() }).collect();
    let index = check_key(state, key, sealed, from).await?.ok_or_else(refused)?;
    let found = rows.get(index).ok_or_else(refused)?.investigator;
    state.store().investigator(found).await?.ok_or_else(refused)
}

/// Finds the stored form a key belongs to. Whoever fails often has to wait:
/// each wrong key costs a slow hash for every stored one.
async fn check_key(
    state: &ApiState,
    key: &str,
    rows: Vec<Sealed>,
    from: IpAddr,
) -> Result<Option<usize>, Problem> {
    if let Some(index) = state.key_checker().recognise(key, &rows) {
        return Ok(Some(index));
    }
    if !state.failures().allows(&from, Instant::now()) {
        return Err(too_many("too many wrong keys, try again later"));
    }
    let found = state.key_checker().find(key, rows).await;
    if found.is_none() {
        state.failures().take(from, Instant::now());
    }
    Ok(found)
}

pub(crate) fn too_many(message: &str) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, message)
}

/// Lets a loader pass that shows its key.
pub(crate) async fn require_loader(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = request
        .headers()
        .get(LOADER_KEY_HEADER)
        .and_then(|value| value.to_str().ok())
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Problem::unauthorized("X-LOADERKEY header not found"))?;
    let from = source(&request);
    let loader = by_loader_key(&state, key, from).await?;
    if !state.loader_requests().take(loader.id, Instant::now()) {
        return Err(too_many("too many requests by this loader, try again later"));
    }
    let caller = LoaderCaller(loader);
    request.extensions_mut().insert(caller.clone());
    let mut response = next.run(request).await;
    // The access log reads it from the answer.
    response.extensions_mut().insert(caller);
    Ok(response)
}

/// The loader that is calling.
#[derive(Debug, Clone)]
pub(crate) struct LoaderCaller(pub(crate) Loader);

async fn by_loader_key(state: &ApiState, key: &str, from: IpAddr) -> Result<Loader, Problem> {
    let refused = || Problem::unauthorized("Loader authorization failed");
    if !secrets::is_key(key, PREFIX_LEN + KEY_LEN) {
        return Err(refused());
    }
    let (prefix, secret) = key.split_at(PREFIX_LEN);
    let row = state.store().loader_by_prefix(prefix).await?;
    // An unknown prefix takes as long as a wrong key.
    let sealed = row.as_ref().map_or_else(
        || Sealed { hash: Vec::new(), salt: vec![0; 16] },
        |row| Sealed { hash: row.secret.hash.clone(), salt: row.secret.salt.clone() },
    );
    check_key(state, secret, vec![sealed], from).await?.ok_or_else(refused)?;
    row.map(|row| row.loader).ok_or_else(refused)
}

/// The caller's address as the outermost layer found it.
fn source(request: &Request) -> IpAddr {
    request.extensions().get().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// Whether an answer says that the caller was not let in.
pub(crate) fn is_refusal(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED
}

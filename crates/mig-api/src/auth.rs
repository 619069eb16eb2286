//! Who is calling, and whether they may.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use mig_sign::token::{self, TokenError};
use mig_store::{ApiKeyRow, InvestigatorRow};
use mig_types::{Fingerprint, InvestigatorId, InvestigatorStatus, Permissions};
use pbkdf2::pbkdf2_hmac;
use sha2::Sha256;

use crate::problem::{Problem, chain};
use crate::state::ApiState;

pub(crate) const TOKEN_HEADER: &str = "x-pgpauthorization";
pub(crate) const API_KEY_HEADER: &str = "x-migapikey";

/// Iterations of the hash of API keys, fixed by existing databases.
const API_KEY_ITERATIONS: u32 = 4096;

/// Who is calling.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) id: InvestigatorId,
    pub(crate) name: String,
    permissions: Permissions,
}

impl Caller {
    /// Everybody, while authentication is switched off.
    fn anyone() -> Self {
        Self {
            id: InvestigatorId::default(),
            name: "authdisabled".to_owned(),
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
    let caller = authenticate(&state, request.headers()).await?;
    if !caller.permissions.contains(needed) {
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

async fn authenticate(state: &ApiState, headers: &HeaderMap) -> Result<Caller, Problem> {
    if !state.settings().authenticate {
        return Ok(Caller::anyone());
    }
    let header = |name| {
        headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
    };
    let row = if let Some(token) = header(TOKEN_HEADER) {
        by_token(state, token).await?
    } else if let Some(key) = header(API_KEY_HEADER) {
        by_api_key(state, key).await?
    } else {
        return Err(Problem::unauthorized("Valid authentication header not found"));
    };
    if row.status != InvestigatorStatus::Active {
        return Err(Problem::unauthorized("investigator is not active"));
    }
    Ok(Caller { id: row.id, name: row.name, permissions: row.permissions })
}

async fn by_token(state: &ApiState, token: &str) -> Result<InvestigatorRow, Problem> {
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

async fn by_api_key(state: &ApiState, key: &str) -> Result<InvestigatorRow, Problem> {
    let refused = || Problem::unauthorized("API key authentication failed");
    if key.len() != 32 || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(refused());
    }
    let rows = state.store().api_keys().await?;
    let key = key.to_owned();
    // Many slow hashes: not on a thread that serves other requests.
    let found = tokio::task::spawn_blocking(move || {
        rows.into_iter().find(|row| matches(row, &key)).map(|row| row.investigator)
    })
    .await
    .map_err(|error| Problem::internal(&error))?
    .ok_or_else(refused)?;
    state.store().investigator(found).await?.ok_or_else(refused)
}

fn matches(row: &ApiKeyRow, key: &str) -> bool {
    let computed = hash_api_key(key, &row.salt);
    // Compares all bytes whatever the first difference.
    row.hash.len() == computed.len()
        && row.hash.iter().zip(computed).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

/// The stored form of an API key: PBKDF2-HMAC-SHA256, 32 bytes.
pub(crate) fn hash_api_key(key: &str, salt: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    pbkdf2_hmac::<Sha256>(key.as_bytes(), salt, API_KEY_ITERATIONS, &mut hash);
    hash
}

/// Whether an answer says that the caller was not let in.
pub(crate) fn is_refusal(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_api_keys_as_existing_databases_do() {
        let salt = hex::decode("000102030405060708090a0b0c0d0e0f").unwrap();
        let hash = hash_api_key("0123456789abcdefghijABCDEFHIJKLM", &salt);
        assert_eq!(
            hex::encode(hash),
            "7c88796afa55ab9c22c897aea8ffbea61b37d49c25663605f25516d6abf323c3"
        );
        let row = ApiKeyRow { investigator: InvestigatorId::default(), hash: hash.into(), salt };
        assert!(matches(&row, "0123456789abcdefghijABCDEFHIJKLM"));
        assert!(!matches(&row, "0123456789abcdefghijABCDEFHIJKLX"));
    }
}

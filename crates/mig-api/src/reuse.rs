//! Tokens that turn up at several addresses.
//!
//! Clients may use a token again, and two started in the same second send the
//! same one; so it is accepted, and said aloud.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// Tokens remembered; beyond it all are forgotten.
const MAX_TOKENS: usize = 10_000;

/// Where tokens were seen first.
#[derive(Default)]
pub(crate) struct TokenUse {
    seen: Mutex<HashMap<[u8; 32], IpAddr>>,
}

impl TokenUse {
    /// Notes an accepted token; the address it was last seen at, if that is
    /// another one.
    pub(crate) fn note(&self, token: &str, from: IpAddr) -> Option<IpAddr> {
        let digest = Sha256::digest(token.as_bytes()).into();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_TOKENS {
            seen.clear();
        }
        seen.insert(digest, from).filter(|before| *before != from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_at_another_address_is_noticed_and_memory_is_bounded() {
        let tokens = TokenUse::default();
        let (one, two) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        assert_eq!(tokens.note("token", one), None);
        assert_eq!(tokens.note("token", one), None);
        assert_eq!(tokens.note("token", two), Some(one));
        assert_eq!(tokens.note("other", one), None);
        for number in 0..=MAX_TOKENS * 2 {
            tokens.note(&number.to_string(), one);
        }
        assert!(tokens.seen.lock().unwrap().len() <= MAX_TOKENS);
    }
}

//! Keys of callers: how they are stored, compared and made.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use pbkdf2::pbkdf2_hmac;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

/// Iterations of the hash of keys, fixed by existing databases.
const ITERATIONS: u32 = 4096;
/// Keys recognised without the slow hash; beyond it they are forgotten.
const MAX_KNOWN: usize = 20_000;
/// Slow hashes computed at once, whatever the number of callers.
const AT_ONCE: usize = 2;

/// The stored form of a key: PBKDF2-HMAC-SHA256, 32 bytes.
pub(crate) fn hash(key: &str, salt: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    pbkdf2_hmac::<Sha256>(key.as_bytes(), salt, ITERATIONS, &mut hash);
    hash
}

/// A fresh salt and what a key is stored as under it.
pub(crate) fn seal(key: &str) -> (Vec<u8>, Vec<u8>) {
    let salt = mig_runtime::random::bytes::<16>();
    (hash(key, &salt).to_vec(), salt.to_vec())
}

/// Whether a text is `len` letters and digits.
pub(crate) fn is_key(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A hash and the salt it was made with.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) hash: Vec<u8>,
    pub(crate) salt: Vec<u8>,
}

/// Checks keys against their stored forms.
///
/// A key that matched once is recognised by a fast digest over key, hash and
/// salt; keys are random, so the digest tells nobody anything. A key that was
/// replaced has another hash and matches no more.
pub(crate) struct KeyChecker {
    known: Mutex<HashSet<[u8; 32]>>,
    permits: Semaphore,
}

impl KeyChecker {
    pub(crate) fn new() -> Self {
        Self { known: Mutex::default(), permits: Semaphore::new(AT_ONCE) }
    }

    /// Whether the key matched one of these before; its position.
    pub(crate) fn recognise(&self, key: &str, rows: &[Sealed]) -> Option<usize> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().position(|row| known.contains(&digest(key, row)))
    }

    /// The position of the row the key belongs to: slow, and equally slow for
    /// every wrong key.
    pub(crate) async fn find(&self, key: &str, rows: Vec<Sealed>) -> Option<usize> {
        let _permit = self.permits.acquire().await.ok()?;
        let owned = key.to_owned();
        // Many slow hashes: not on a thread that serves other requests.
        let (found, rows) = tokio::task::spawn_blocking(move || {
            let mut found = None;
            for (index, row) in rows.iter().enumerate() {
                if same(&row.hash, &hash(&owned, &row.salt)) {
                    found = Some(index);
                }
            }
            (found, rows)
        })
        .await
        .ok()?;
        let index = found?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(digest(key, rows.get(index)?));
        Some(index)
    }
}

fn digest(key: &str, row: &Sealed) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [key.as_bytes(), &row.hash, &row.salt] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// Compares all bytes whatever the first difference.
fn same(stored: &[u8], computed: &[u8]) -> bool {
    stored.len() == computed.len()
        && stored.iter().zip(computed).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdefghijABCDEFHIJKLM";

    fn sealed(key: &str, salt: &[u8]) -> Sealed {
        Sealed { hash: hash(key, salt).to_vec(), salt: salt.to_vec() }
    }

    #[test]
    fn hashes_keys_as_existing_databases_do() {
        let salt = hex::decode("000102030405060708090a0b0c0d0e0f").unwrap();
        assert_eq!(
            hex::encode(hash(KEY, &salt)),
            "7c88796afa55ab9c22c897aea8ffbea61b37d49c25663605f25516d6abf323c3"
        );
    }

    #[test]
    fn a_key_is_letters_and_digits_of_one_length() {
        assert!(is_key(KEY, 32));
        for text in
            ["", &KEY[1..], "0123456789abcdefghijABCDEFHIJKL-", "ą0123456789abcdefghijABCDEFHIJK"]
        {
            assert!(!is_key(text, 32), "{text}");
        }
    }

    #[tokio::test]
    async fn a_key_is_found_recognised_and_forgotten_once_replaced() {
        let checker = KeyChecker::new();
        let rows = vec![sealed("other", b"a"), sealed(KEY, b"b"), sealed("third", b"c")];
        assert_eq!(checker.recognise(KEY, &rows), None);
        assert_eq!(checker.find("wrong", rows.clone()).await, None);
        assert_eq!(checker.find(KEY, rows.clone()).await, Some(1));
        assert_eq!(checker.recognise(KEY, &rows), Some(1));
        assert_eq!(checker.recognise("wrong", &rows), None);
        let replaced = [sealed("fresh", b"b")];
        assert_eq!(checker.recognise(KEY, &replaced), None);
        // A truncated hash is no match.
        let short = Sealed { hash: Vec::new(), salt: b"b".to_vec() };
        assert_eq!(checker.find(KEY, vec![short]).await, None);
    }
}

//! What a file says about keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use md5::{Digest as _, Md5};
use sha2::Sha256;

mod blob;
mod der;
mod line;
mod private;

/// Largest file that is looked at, in bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// What kind of entry a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Private { encrypted: bool },
    Public,
    AuthorizedKeys,
}

/// A key in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub kind: Kind,
    /// Of the public half, where it can be told.
    pub fingerprints: Option<Fingerprints>,
}

/// Two digests of a public key in its binary form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprints {
    /// Sixteen pairs of hexadecimal digits with colons.
    pub md5: String,
    /// `SHA256:` and base64 without padding.
    pub sha256: String,
}

impl Fingerprints {
    fn of(blob: &[u8]) -> Self {
        let pairs: Vec<String> = Md5::digest(blob).iter().map(|b| format!("{b:02x}")).collect();
        let sha256 = STANDARD_NO_PAD.encode(Sha256::digest(blob));
        Self { md5: pairs.join(":"), sha256: format!("SHA256:{sha256}") }
    }
}

/// The keys of one file, and whether it has lines that should be keys and are
/// none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub found: Vec<Found>,
    pub has_garbage: bool,
}

/// Finds the keys in a file called `name` with this content: the private key in
/// it, or else all lines of an `authorized_keys` file, or else the first public
/// key.
///
/// Never panics: the bytes come from a host that may be hostile.
pub fn classify(name: &str, content: &[u8]) -> Keys {
    let mut keys = Keys::default();
    if !line::is_candidate(content) {
        return keys;
    }
    if let Some(private) = private::first(content) {
        keys.found.push(Found {
            kind: Kind::Private { encrypted: private.encrypted },
            fingerprints: private.public.as_deref().map(Fingerprints::of),
        });
        return keys;
    }
    let entry = |kind, blob: &[u8]| Found { kind, fingerprints: Some(Fingerprints::of(blob)) };
    if name == "authorized_keys" || name == "authorized_keys2" {
        for line in line::lines(content) {
            match line::key(line) {
                Some(blob) => keys.found.push(entry(Kind::AuthorizedKeys, &blob)),
                None => keys.has_garbage = true,
            }
        }
        return keys;
    }
    if let Some(blob) = line::lines(content).find_map(line::key) {
        keys.found.push(entry(Kind::Public, &blob));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digests_are_those_of_ssh_keygen() {
        // ssh-keygen -l of an all-zero Ed25519 key.
        let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
        blob.extend([0; 32]);
        let prints = Fingerprints::of(&blob);
        assert_eq!(prints.md5.len(), 47);
        assert_eq!(prints.sha256.len(), 50);
        assert!(!prints.sha256.ends_with('='));
    }

    proptest! {
        #[test]
        fn any_file_has_keys_or_none(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            text in "(-----BEGIN (RSA |EC |OPENSSH )?PRIVATE KEY-----\n|ssh-rsa |AAAA[A-Za-z0-9+/]{0,40}|=|\n| |#|\"|,|no-pty){0,12}",
        ) {
            for content in [bytes.as_slice(), text.as_bytes()] {
                for name in ["authorized_keys", "id_rsa"] {
                    let keys = classify(name, content);
                    prop_assert!(keys.found.len() <= content.len());
                }
            }
        }

        /// Whole blocks around bytes that are nearly right.
        #[test]
        fn any_block_is_a_key_or_none(
            label in "(RSA |DSA |EC |OPENSSH |ENCRYPTED )?",
            start in prop::sample::select(vec![
                &b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none\0\0\0\0\0\0\0\x01"[..],
                b"\x30\x82\x01\x00\x02\x01\x00\x02\x03\x00\x81\x01", b"\x30\x0c\x02\x01\x01\x04\x01\x01\xa0",
                b"",
            ]),
            rest in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let body = STANDARD_NO_PAD.encode([start, &rest].concat());
            let text = format!("-----BEGIN {label}PRIVATE KEY-----\n{body}\n-----END {label}PRIVATE KEY-----\n");
            prop_assert!(classify("id", text.as_bytes()).found.len() <= 1);
        }
    }
}

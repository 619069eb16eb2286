//! The public key of somebody who shall become an investigator.

use mig_client::{ClientConfig, GpgSigner, SignerError, keyserver};
use mig_module::text::printable;
use mig_sign::keyring::{self, PublicKeyInfo};
use mig_types::{Fingerprint, Timestamp};

use crate::failure::{Failure, code, sentence};
use crate::files;

/// Largest key file read, in bytes.
const MAX_KEY: u64 = 1024 * 1024;

/// Exactly one public key, and what is known of it.
#[derive(Debug, Clone)]
pub struct PublicKey {
    pub armored: String,
    pub info: PublicKeyInfo,
}

/// A public key that can be given to a platform: that of an armored file, of the
/// own key ring, or of the key server. `say` tells where it is looked for.
///
/// # Errors
///
/// [`Failure`] when there is none, or it cannot sign now, or is a secret one.
pub async fn read(
    config: &ClientConfig,
    answer: &str,
    now: Timestamp,
    mut say: impl FnMut(&str),
) -> Result<PublicKey, Failure> {
    let is_file = std::path::Path::new(answer).is_file();
    let wanted = answer.parse::<Fingerprint>().ok().filter(|_| !is_file);
    let armored = if is_file || (wanted.is_none() && !answer.contains('@')) {
        say(&format!("retrieving public key from {}", printable(answer)));
        from_file(answer)?
    } else {
        say("retrieving public key from your GnuPG key ring");
        let user = wanted.as_ref().map_or(answer, Fingerprint::as_str);
        match (GpgSigner::export(config, user).await, &wanted) {
            (Err(SignerError::NoPublicKey { .. }), Some(wanted)) => {
                from_server(config, wanted, &mut say).await?
            }
            (exported, _) => exported?,
        }
    };
    usable(&armored, wanted.as_ref(), now)
}

/// [`read`] of an armored key that stands on standard input.
///
/// # Errors
///
/// As [`read`].
pub fn from_input(now: Timestamp) -> Result<PublicKey, Failure> {
    let bytes = files::read(files::STANDARD, MAX_KEY, code::OTHER)?;
    usable(&String::from_utf8_lossy(&bytes), None, now)
}

fn usable(
    armored: &str,
    wanted: Option<&Fingerprint>,
    now: Timestamp,
) -> Result<PublicKey, Failure> {
    let info = check(armored, wanted, now)?;
    // Only what was understood leaves this machine.
    let armored = keyring::reencode(armored).map_err(|error| Failure::of(code::OTHER, &error))?;
    Ok(PublicKey { armored, info })
}

async fn from_server(
    config: &ClientConfig,
    key: &Fingerprint,
    say: &mut impl FnMut(&str),
) -> Result<String, Failure> {
    let server = config.keyserver.as_deref().unwrap_or(keyserver::DEFAULT);
    say(&format!("it is not there; retrieving public key from {}", printable(server)));
    keyserver::fetch(config, key).await.map_err(|error| {
        Failure::other(format!("no public key {key} in the GnuPG key ring: {}", sentence(&error)))
            .because(&error)
            .hint("give the path of an armored file, or set gpg.keyserver in .migrc")
    })
}

fn from_file(path: &str) -> Result<String, Failure> {
    let bytes = files::read_named(path, MAX_KEY, code::OTHER)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Exactly one public key that can sign now, and the one that was asked for.
fn check(
    armored: &str,
    wanted: Option<&Fingerprint>,
    now: Timestamp,
) -> Result<PublicKeyInfo, Failure> {
    if armored.contains("PRIVATE KEY BLOCK") {
        return Err(Failure::other("that is a secret key: it must not leave your machine")
            .hint("export the public one: gpg --export -a <address>"));
    }
    let info = keyring::inspect(armored).map_err(|error| {
        Failure::of(code::OTHER, &error).hint("export it with gpg --export -a <address>")
    })?;
    if wanted.is_some_and(|wanted| *wanted != info.fingerprint) {
        let message = format!("the key found is {}, not the one asked for", info.fingerprint);
        return Err(Failure::other(message));
    }
    if info.revoked {
        return Err(Failure::other(format!("key {} is revoked", info.fingerprint)));
    }
    if info.expires.is_some_and(|expires| expires <= now) {
        return Err(Failure::other(format!("key {} has expired", info.fingerprint)));
    }
    Ok(info)
}

/// `  RSA 4096  9F2C 03D1 …  Grace Field <grace@example.net>`.
pub fn describe(info: &PublicKeyInfo) -> String {
    let digits = info.fingerprint.as_str().as_bytes();
    let groups: Vec<String> =
        digits.chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    let (first, second) = groups.split_at(groups.len() / 2);
    format!(
        "  {}  {}  {}  {}",
        info.algorithm,
        first.join(" "),
        second.join(" "),
        printable(&info.user_id)
    )
}

/// What a platform with programs written in Go could not do with a key.
pub fn warning(info: &PublicKeyInfo) -> Option<String> {
    (!info.go_loadable).then(|| {
        format!("  note: agents and servers written in Go cannot use {} keys", info.algorithm)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_usable_public_key_is_refused() {
        let secret = "-----BEGIN PGP PRIVATE KEY BLOCK-----";
        assert!(check(secret, None, Timestamp::ZERO).unwrap_err().message.contains("secret key"));
        assert!(check("", None, Timestamp::ZERO).is_err());
        assert!(check("-----BEGIN PGP PUBLIC KEY BLOCK-----", None, Timestamp::ZERO).is_err());
    }

    #[test]
    fn a_key_is_shown_as_gnupg_shows_it() {
        let info = PublicKeyInfo {
            fingerprint: "9F2C03D177AA4E5B8D106C2E51B7F3A904DD7E66".parse().unwrap(),
            user_id: "Grace Field <grace@example.net>".into(),
            algorithm: "RSA 4096".into(),
            go_loadable: true,
            expires: None,
            revoked: false,
        };
        let shown = "  RSA 4096  9F2C 03D1 77AA 4E5B 8D10  6C2E 51B7 F3A9 04DD 7E66  \
                     Grace Field <grace@example.net>";
        assert_eq!(describe(&info), shown);
        assert!(warning(&info).is_none());
    }
}

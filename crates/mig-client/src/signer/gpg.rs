//! The user's own `gpg`: agent, pinentry, smartcards and forwarded agents work
//! because it does the work. Data goes through a pipe and never to a file.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use async_trait::async_trait;
use mig_runtime::Secret;
use mig_sign::oneline;
use mig_types::Fingerprint;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::{Signer, SignerError};
use crate::config::ClientConfig;

/// Longest complaint of gpg that is passed on, in characters.
const MAX_COMPLAINT: usize = 2000;

/// Signs by running `gpg`.
pub struct GpgSigner {
    program: String,
    /// `--homedir`; `None` leaves the choice to gpg, whose agent then serves
    /// the user's other programs too.
    home: Option<PathBuf>,
    keyid: String,
    passphrase: Option<Secret<String>>,
    key: OnceCell<Key>,
}

/// What gpg knows about the key.
#[derive(Debug, Clone)]
struct Key {
    primary: Fingerprint,
    /// The value of `--local-user`.
    user: String,
    /// Whether its secret part is on a card.
    on_card: bool,
}

impl GpgSigner {
    /// A signer for the key `keyid`: a fingerprint or any user id gpg accepts.
    pub fn new(
        program: impl Into<String>,
        home: Option<PathBuf>,
        keyid: impl Into<String>,
    ) -> Self {
        Self {
            program: program.into(),
            home,
            keyid: keyid.into(),
            passphrase: None,
            key: OnceCell::new(),
        }
    }

    /// Answers for the user when gpg asks. For automation.
    #[must_use]
    pub fn with_passphrase(mut self, passphrase: Secret<String>) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// # Errors
    ///
    /// [`SignerError::NotConfigured`] without `gpg.keyid`.
    pub fn from_config(config: &ClientConfig) -> Result<Self, SignerError> {
        let keyid = config.keyid.clone().ok_or(SignerError::NotConfigured)?;
        Ok(Self::of_config(config, keyid))
    }

    /// The armored public key of `user` in the key ring of `config`: without
    /// signatures by others, and with signing subkeys only, because peers
    /// refuse keys with subkeys they do not understand.
    ///
    /// # Errors
    ///
    /// [`SignerError::NoPublicKey`] when gpg knows no such key.
    pub async fn export(config: &ClientConfig, user: &str) -> Result<String, SignerError> {
        let filter =
            ["--export-options", "export-minimal", "--export-filter", "drop-subkey=usage!~s"];
        Self::export_with(config, user, &filter).await
    }

    /// The armored public key of `user`, as it is.
    ///
    /// # Errors
    ///
    /// [`SignerError::NoPublicKey`] when gpg knows no such key.
    pub async fn export_whole(config: &ClientConfig, user: &str) -> Result<String, SignerError> {
        Self::export_with(config, user, &[]).await
    }

    async fn export_with(
        config: &ClientConfig,
        user: &str,
        options: &[&str],
    ) -> Result<String, SignerError> {
        let arguments = [options, &["--armor", "--export", "--", user]].concat();
        let output = Self::of_config(config, user.to_owned()).run(&arguments, b"").await?;
        let armored = String::from_utf8_lossy(&output.stdout).into_owned();
        if armored.trim().is_empty() {
            return Err(SignerError::NoPublicKey { user: user.to_owned() });
        }
        Ok(armored)
    }

    /// Fingerprint and main user id of each secret key that may be used.
    ///
    /// # Errors
    ///
    /// [`SignerError::Start`] when gpg is not installed.
    pub async fn secret_keys(
        program: &str,
        home: Option<PathBuf>,
    ) -> Result<Vec<(String, String)>, SignerError> {
        let gpg = Self::new(program, home, "");
        let output = gpg.run(&["--with-colons", "--list-secret-keys"], b"").await?;
        Ok(read_keys(&String::from_utf8_lossy(&output.stdout)))
    }

    /// What `gpg --version` says first.
    ///
    /// # Errors
    ///
    /// [`SignerError::Start`] when it is not installed.
    pub async fn version(config: &ClientConfig) -> Result<String, SignerError> {
        let output = Self::of_config(config, String::new()).run(&["--version"], b"").await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    fn of_config(config: &ClientConfig, keyid: String) -> Self {
        let usual = std::env::var_os("GNUPGHOME").map(PathBuf::from);
        let usual = usual.or_else(|| config.home.as_ref().map(|home| home.join(".gnupg")));
        // A home that is spelled out gets an agent of its own, even if it is
        // the usual one; then the user's unlocked keys would be out of reach.
        let home = config
            .gpg_home
            .clone()
            .filter(|home| usual.as_deref().is_none_or(|usual| !same_directory(home, usual)));
        let signer = Self::new(config.gpg_program.clone(), home, keyid);
        match config.passphrase.clone() {
            Some(passphrase) => signer.with_passphrase(passphrase),
            None => signer,
        }
    }

    async fn key(&self) -> Result<&Key, SignerError> {
        self.key.get_or_try_init(|| self.find_key()).await
    }

    async fn find_key(&self) -> Result<Key, SignerError> {
        let arguments = ["--with-colons", "--list-secret-keys", "--", &self.keyid];
        let output = self.run(&arguments, b"").await?;
        let listing = String::from_utf8_lossy(&output.stdout);
        read_listing(&listing).ok_or_else(|| SignerError::NoSecretKey { keyid: self.keyid.clone() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Ctrl-C during a pinentry must end gpg with us.
        command.kill_on_drop(true);
        if let Some(home) = &self.home {
            command.arg("--homedir").arg(home);
        }
        // Batch mode asks no questions on the terminal; pinentry still asks.
        command.args(["--batch", "--no-tty", "--quiet", "--status-fd", "2"]);
        // Not through the environment to gpg, its agent and the pinentry.
        command.env_remove("MIGPGPPASSPHRASE");
        if let Some(terminal) = terminal_name() {
            command.env("GPG_TTY", terminal);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Output, SignerError> {
        let start = |source| SignerError::Start { program: self.program.clone(), source };
        let mut child = self.command().args(arguments).spawn().map_err(start)?;
        let stdin = child.stdin.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                // gpg may stop reading when it fails; its status tells why.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
        };
        // Both at once: gpg may write before it has read everything.
        let ((), output) = tokio::join!(write, child.wait_with_output());
        output.map_err(start)
    }
}

#[async_trait]
impl Signer for GpgSigner {
    async fn fingerprint(&self) -> Result<Fingerprint, SignerError> {
        Ok(self.key().await?.primary.clone())
    }

    async fn is_on_card(&self) -> bool {
        self.key().await.is_ok_and(|key| key.on_card)
    }

    async fn sign(&self, data: &[u8]) -> Result<String, SignerError> {
        let key = self.key().await?;
        // Preferences instead of a fixed hash: the large curves refuse SHA-256.
        let mut arguments = vec![
            "--no-armor",
            "--no-textmode",
            "--personal-digest-preferences",
            "SHA256 SHA384 SHA512",
            "--local-user",
            &key.user,
        ];
        let with_passphrase = self.passphrase.as_ref().map(|passphrase| {
            // gpg takes the first line as passphrase and signs the rest.
            let mut input = Vec::with_capacity(data.len() + 128);
            input.extend_from_slice(passphrase.expose().as_bytes());
            input.push(b'\n');
            input.extend_from_slice(data);
            Secret::new(input)
        });
        if with_passphrase.is_some() {
            arguments.extend(["--pinentry-mode", "loopback", "--passphrase-fd", "0"]);
        }
        arguments.extend(["--detach-sign", "--output", "-"]);
        let input = with_passphrase.as_ref().map_or(data, |input| input.expose().as_slice());
        let output = self.run(&arguments, input).await?;
        check_status(&output)?;
        let line = oneline::from_binary(&output.stdout);
        oneline::to_binary(&line).map_err(SignerError::Output)?;
        Ok(line)
    }
}

/// The primary key and which of its parts signs, from `--with-colons` output.
fn read_listing(listing: &str) -> Option<Key> {
    let mut lines = listing.lines().skip_while(|line| !line.starts_with("sec"));
    let secret: Vec<&str> = lines.next()?.split(':').collect();
    let fingerprint = lines.find(|line| line.starts_with("fpr:"))?.split(':').nth(9)?;
    let primary: Fingerprint = fingerprint.parse().ok()?;
    // Lower-case letters are what this very key may do; `#` says that its
    // secret part is elsewhere.
    let signs = secret.get(11).is_some_and(|capabilities| capabilities.contains('s'));
    let token = secret.get(14).copied().unwrap_or_default();
    let here = token != "#";
    // A card's serial number; `+` is a key on disk.
    let on_card = !matches!(token, "" | "#" | "+");
    // gpg prefers a signing subkey, which agents may not know: their copies of
    // the public key are as old as their installation.
    let user = if signs && here { format!("{primary}!") } else { primary.to_string() };
    Some(Key { primary, user, on_card })
}

/// Keys of a `--with-colons` listing that are neither revoked nor expired.
fn read_keys(listing: &str) -> Vec<(String, String)> {
    let mut keys: Vec<(String, String)> = Vec::new();
    let mut wanted = false;
    for line in listing.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or_default();
        match field(0) {
            "sec" => {
                wanted = !matches!(field(1), "r" | "e" | "d" | "i");
                if wanted {
                    keys.push((String::new(), String::new()));
                }
            }
            "ssb" => wanted = false,
            kind @ ("fpr" | "uid") if wanted => {
                let Some((fingerprint, user)) = keys.last_mut() else { continue };
                let place = if kind == "fpr" { fingerprint } else { user };
                // The first one is the primary key's, or the main one.
                if place.is_empty() {
                    field(9).clone_into(place);
                }
            }
            _ => {}
        }
    }
    keys.retain(|(fingerprint, _)| !fingerprint.is_empty());
    keys
}

/// Reads the status lines of a signing run.
fn check_status(output: &Output) -> Result<(), SignerError> {
    let text = String::from_utf8_lossy(&output.stderr);
    let status: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("[GNUPG:] "))
        .map(|line| line.split(' ').collect())
        .collect();
    let created = status.iter().find(|words| words.first() == Some(&"SIG_CREATED"));
    if let (true, Some(words)) = (output.status.success(), created) {
        // SIG_CREATED <type> <public key algorithm> <hash algorithm> …
        return match words.get(3) {
            Some(&("8" | "9" | "10")) => Ok(()),
            hash => Err(SignerError::WeakHash {
                algorithm: (*hash.unwrap_or(&"unknown")).chars().take(20).collect(),
            }),
        };
    }
    Err(failure(&status).unwrap_or_else(|| SignerError::Gpg { message: complaint(&text) }))
}

/// Makes sense of gpg's failure codes: the low 16 bits are the reason.
fn failure(status: &[Vec<&str>]) -> Option<SignerError> {
    let word = |name: &str| status.iter().find(|words| words.first() == Some(&name));
    let code = word("FAILURE")
        .and_then(|words| words.get(2)?.parse::<u32>().ok())
        .map(|code| code & 0xffff);
    match code {
        Some(11 | 87) => Some(SignerError::BadPassphrase),
        Some(17) => Some(SignerError::NoSecretKey { keyid: "the configured key".into() }),
        Some(54) => Some(SignerError::Unusable),
        Some(62) => Some(SignerError::Timeout),
        Some(77) => Some(SignerError::NoAgent),
        Some(85) => Some(SignerError::NoPinentry),
        Some(99) => Some(SignerError::Cancelled),
        Some(112 | 130) => Some(SignerError::Card),
        _ => word("INV_SGNR").map(|_| SignerError::Unusable),
    }
}

/// What gpg said to people, on one line.
fn complaint(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('['))
        .collect();
    if lines.is_empty() {
        return "it gave no reason".into();
    }
    lines.join("; ").chars().take(MAX_COMPLAINT).collect()
}

fn same_directory(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        // Comparing components ignores a trailing slash.
        _ => one == other,
    }
}

/// The terminal a curses pinentry should use, unless the user has said so: gpg
/// cannot guess it because its stdin is a pipe.
#[cfg(unix)]
fn terminal_name() -> Option<String> {
    use std::os::fd::AsFd as _;

    if std::env::var_os("GPG_TTY").is_some() {
        return None;
    }
    let name = |descriptor: std::os::fd::BorrowedFd<'_>| {
        rustix::termios::ttyname(descriptor, Vec::new()).ok()?.into_string().ok()
    };
    name(std::io::stdin().as_fd())
        .or_else(|| name(std::io::stdout().as_fd()))
        .or_else(|| name(std::io::stderr().as_fd()))
}

#[cfg(not(unix))]
fn terminal_name() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "2466BA175C45F967CD20A06B09C0241F854718C7";

    fn listing(capabilities: &str, token: &str) -> String {
        format!(
            "tru::1:1:0:3:1:5\nsec:u:2048:1:09C0241F854718C7:1:::u:::{capabilities}:::{token}:::23::0:\n\
             fpr:::::::::{FINGERPRINT}:\ngrp:::::::::X:\nuid:u::::1::Y::t <t@example.net>:::::::::0:\n\
             ssb:u:2048:1:AAAA:1::::::s:::+:::23:\nfpr:::::::::0000000000000000000000000000000000000000:\n"
        )
    }

    #[test]
    fn the_primary_key_signs_when_it_can() {
        for (capabilities, token, user) in [
            ("scESC", "+", format!("{FINGERPRINT}!")),
            ("scESC", "D2760001240100000006", format!("{FINGERPRINT}!")),
            ("scESC", "#", FINGERPRINT.to_owned()),
            ("cSC", "+", FINGERPRINT.to_owned()),
        ] {
            let key = read_listing(&listing(capabilities, token)).unwrap();
            assert_eq!(key.primary.as_str(), FINGERPRINT);
            assert_eq!(key.user, user, "{capabilities} {token}");
        }
        for text in ["", "sec", "sec:u\nfpr:x", "fpr:::::::::x:"] {
            assert!(read_listing(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn keys_that_are_over_are_not_listed() {
        let other = "sec:e:2048:1:09C0241F854718C8:1:::u:::sc:::+:::23::0:\nfpr:::::::::AB:\n\
                     uid:e::::1::Y::old <o@example.net>:::::::::0:\n";
        let text = format!("{}{other}", listing("scESC", "+"));
        let expected = [(FINGERPRINT.to_owned(), "t <t@example.net>".to_owned())];
        assert_eq!(read_keys(&text), expected);
        assert!(read_keys("sec\nuid:u").is_empty());
    }

    #[test]
    fn failures_have_names() {
        let status = |line: &'static str| vec![line.split(' ').collect::<Vec<_>>()];
        for (line, name) in [
            ("FAILURE sign 67108875", "BadPassphrase"),
            ("FAILURE sign 83886179", "Cancelled"),
            ("FAILURE sign 67108949", "NoPinentry"),
            ("FAILURE sign 100663382", "None"),
            ("FAILURE sign", "None"),
            ("INV_SGNR 9 x", "Unusable"),
            ("FAILURE sign 100663408", "Card"),
        ] {
            let error = failure(&status(line));
            assert!(format!("{error:?}").contains(name), "{line}: {error:?}");
        }
    }
}

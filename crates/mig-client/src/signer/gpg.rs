//! The user's own `gpg`: agent, pinentry, smartcards and forwarded agents work
//! because it does the work. Data goes through a pipe and never to a file.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mig_runtime::Secret;
use mig_sign::oneline;
use mig_types::Fingerprint;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::card::{Card, CardState};
use super::listing::{Key, read_keys, read_listing};
use super::{Signer, SignerError};
use crate::config::ClientConfig;

/// Longest complaint of gpg that is passed on, in characters.
const MAX_COMPLAINT: usize = 2000;

/// How long a reader may take to say what is in it. Nobody is asked anything.
const READER_PATIENCE: Duration = Duration::from_secs(20);

/// Signs by running `gpg`.
pub struct GpgSigner {
    program: String,
    /// `--homedir`; `None` leaves the choice to gpg, whose agent then serves
    /// the user's other programs too.
    home: Option<PathBuf>,
    keyid: String,
    passphrase: Option<Secret<String>>,
    key: OnceCell<Key>,
    /// Whether the card has refused our passphrase: a second time would bring it
    /// nearer to being blocked, and tell nothing new.
    refused: AtomicBool,
    /// Whether a pinentry has drawn on the terminal since gpg was started.
    draws: AtomicBool,
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
            refused: AtomicBool::new(false),
            draws: AtomicBool::new(false),
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

    /// The card that the key is on, and where it is; `None` for a key that is on
    /// none. Asks nobody for a PIN.
    ///
    /// # Errors
    ///
    /// When gpg cannot be run or knows no such key.
    pub async fn card(&self) -> Result<Option<Card>, SignerError> {
        let Some(serial) = self.key().await?.card.clone() else { return Ok(None) };
        let state = self.card_state(&serial).await?;
        Ok(Some(Card { serial, state }))
    }

    async fn card_state(&self, serial: &str) -> Result<CardState, SignerError> {
        let status = self.run(&["--with-colons", "--card-status"], b"");
        let output = match tokio::time::timeout(READER_PATIENCE, status).await {
            Ok(output) => output?,
            Err(_) => return Err(SignerError::Card),
        };
        let listing = String::from_utf8_lossy(&output.stdout);
        let talk = String::from_utf8_lossy(&output.stderr);
        Ok(CardState::read(&listing, &talk, serial))
    }

    /// What a failure means for a key on this card. gpg's own word for it
    /// depends on who noticed: without the card it may be a pinentry that is
    /// missing, to ask for the card.
    async fn explain(&self, error: SignerError, serial: &str) -> SignerError {
        let is_wrong = matches!(error, SignerError::BadPassphrase);
        if is_wrong && self.passphrase.is_some() {
            self.refused.store(true, Ordering::Relaxed);
        }
        match error {
            SignerError::BadPassphrase
            | SignerError::NoPinentry
            | SignerError::Card
            | SignerError::CardAbsent { .. }
            | SignerError::Gpg { .. } => {}
            other => return other,
        }
        match self.card_state(serial).await {
            Ok(CardState::Absent) => SignerError::CardAbsent { serial: Some(serial.to_owned()) },
            Ok(CardState::Other { serial: found }) => {
                SignerError::OtherCard { serial: serial.to_owned(), found }
            }
            Ok(CardState::Unsupported) => SignerError::NoCards,
            Ok(CardState::Present { tries: Some(0) }) => SignerError::CardBlocked,
            Ok(CardState::Present { tries }) if is_wrong => SignerError::BadPin { left: tries },
            _ if is_wrong => SignerError::BadPin { left: None },
            // It has been put in since.
            _ => error,
        }
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
        self.draws.store(false, Ordering::Relaxed);
        let talk = child.stderr.take();
        let listen = async {
            let mut talk = BufReader::new(talk?);
            let mut heard = Vec::new();
            // What cannot be read any more has ended.
            while talk.read_until(b'\n', &mut heard).await.is_ok_and(|read| read > 0) {
                if draws_on_the_terminal(heard.split_inclusive(|byte| *byte == b'\n').next_back()) {
                    self.draws.store(true, Ordering::Relaxed);
                }
            }
            Some(heard)
        };
        // All at once: gpg may write before it has read everything.
        let ((), heard, output) = tokio::join!(write, listen, child.wait_with_output());
        let output = output.map_err(start)?;
        Ok(Output { stderr: heard.unwrap_or_default(), ..output })
    }
}

#[async_trait]
impl Signer for GpgSigner {
    async fn fingerprint(&self) -> Result<Fingerprint, SignerError> {
        Ok(self.key().await?.primary.clone())
    }

    async fn is_on_card(&self) -> bool {
        self.key().await.is_ok_and(|key| key.card.is_some())
    }

    fn has_terminal(&self) -> bool {
        self.draws.load(Ordering::Relaxed)
    }

    async fn sign(&self, data: &[u8]) -> Result<String, SignerError> {
        let key = self.key().await?;
        if self.refused.load(Ordering::Relaxed) {
            return Err(SignerError::BadPin { left: None });
        }
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
        if let Err(error) = check_status(&output) {
            return Err(match &key.card {
                Some(serial) => self.explain(error, serial).await,
                None => error,
            });
        }
        let line = oneline::from_binary(&output.stdout);
        oneline::to_binary(&line).map_err(SignerError::Output)?;
        Ok(line)
    }
}

/// Whether a line of status says that a pinentry for terminals was started.
fn draws_on_the_terminal(line: Option<&[u8]>) -> bool {
    let line = String::from_utf8_lossy(line.unwrap_or_default());
    // PINENTRY_LAUNCHED <pid>[:<extra>] <flavor> …
    let flavor = line.strip_prefix("[GNUPG:] PINENTRY_LAUNCHED ").and_then(|rest| {
        let flavor = rest.split_whitespace().nth(1)?;
        // A graphical one that found no screen says so: `gtk2:curses`.
        flavor.rsplit(':').next().map(str::to_owned)
    });
    flavor.is_some_and(|flavor| matches!(flavor.as_str(), "curses" | "tty"))
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

/// The system's `ENOTTY`, as GnuPG numbers it everywhere.
const NOT_A_TERMINAL: u32 = 0x8066;

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
        // The second is the system's: a pinentry for terminals found none.
        Some(85 | NOT_A_TERMINAL) => Some(SignerError::NoPinentry),
        Some(99) => Some(SignerError::Cancelled),
        // It failed, was reset, was taken out, is none.
        Some(108..=111) => Some(SignerError::Card),
        Some(112) => Some(SignerError::CardAbsent { serial: None }),
        Some(119) => Some(SignerError::NoCards),
        Some(130) => Some(SignerError::CardBlocked),
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

    #[test]
    fn a_pinentry_on_the_terminal_is_told_from_others() {
        for (line, draws) in [
            ("", false),
            ("[GNUPG:] PINENTRY_LAUNCHED 3   \n", false),
            ("[GNUPG:] PINENTRY_LAUNCHED 7 gnome3 1.2.1 :0 xterm -\n", false),
            ("[GNUPG:] PINENTRY_LAUNCHED 7 curses 1.2.1 - xterm - - 0/0 -\n", true),
            ("[GNUPG:] PINENTRY_LAUNCHED 7 gtk2:curses 1.2.1 - xterm -\n", true),
        ] {
            assert_eq!(draws_on_the_terminal(Some(line.as_bytes())), draws, "{line}");
        }
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
            ("FAILURE sign 100663408", "CardAbsent"),
            ("FAILURE sign 100663404", "Card"),
            ("FAILURE sign 100663426", "CardBlocked"),
            ("FAILURE sign 67108983", "NoCards"),
            ("FAILURE sign 83918950", "NoPinentry"),
        ] {
            let error = failure(&status(line));
            assert!(format!("{error:?}").contains(name), "{line}: {error:?}");
        }
    }
}

//! Configuration, key and API of one run.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mig_client::config::process_environment;
use mig_client::{ApiClient, ClientConfig, Retry, Signer, SignerError};
use mig_runtime::clock::{Clock, SystemClock};
use mig_types::{Fingerprint, duration};

use crate::failure::{Failure, code};
use crate::narrate::verbosity;
use crate::settings::{MOST_RETRIES, environment};

/// What a client needs to speak with a platform.
pub struct Session {
    /// Where the configuration was found.
    pub path: PathBuf,
    pub config: ClientConfig,
    pub clock: Arc<dyn Clock>,
    /// Of what is only read.
    retry: Retry,
}

impl Session {
    /// Reads the configuration: the file at `path`, else that of `context`,
    /// else the user's usual one. Warnings come back to be shown.
    ///
    /// # Errors
    ///
    /// [`Failure`] with the code for wrong usage.
    pub fn open(
        path: Option<&Path>,
        context: Option<&str>,
    ) -> Result<(Self, Vec<String>), Failure> {
        let path = locate(path, context).ok_or_else(|| {
            Failure::usage("there is no home directory to find .migrc in")
                .hint("name the configuration with -c")
        })?;
        if !path.exists() {
            let message = format!("no configuration at {}", path.display());
            let lines = "mig config init makes one, or write these lines: [api] url = \
                         \"https://…/api/v1/\" and [gpg] keyid = \"<your key's fingerprint>\"";
            return Err(Failure::usage(message).hint(lines));
        }
        let (config, warnings) = ClientConfig::load(&path, &environment)
            .map_err(|error| Failure::of(code::USAGE, &error))?;
        let (clock, retry) = (Arc::new(SystemClock), Retry::default());
        let mut session = Self { path, config, clock, retry };
        session.set_patience(connect_timeout()?, retries()?, false);
        Ok((session, warnings))
    }

    /// How patient to be with the network: the time a connection may take to be
    /// made, and how often what is only read is asked for again, which is told
    /// unless nobody wants to hear it. What is `None` stays as it was.
    pub fn set_patience(&mut self, connect: Option<Duration>, retries: Option<u32>, quiet: bool) {
        self.config.connect_timeout = connect.or(self.config.connect_timeout);
        self.retry.times = retries.unwrap_or(self.retry.times);
        if quiet {
            self.retry.tell = Retry::default().tell;
        } else {
            self.retry.tell = Arc::new(|text| {
                // A progress line may stand there.
                let over = if io::stderr().is_terminal() { "\r\u{1b}[K" } else { "" };
                // Nobody listens when it fails.
                let _ = writeln!(io::stderr().lock(), "{over}[notice] {text}");
            });
        }
    }

    /// Who signs for the user.
    ///
    /// # Errors
    ///
    /// When no key is configured, or the key file cannot be used.
    pub fn signer(&self) -> Result<Arc<dyn Signer>, Failure> {
        Ok(Arc::new(Patient(mig_client::signer::from_config(&self.config)?)))
    }

    /// A client of the API that calls itself `name`.
    ///
    /// # Errors
    ///
    /// When the CA file cannot be used.
    pub fn api(&self, name: &str, signer: Option<Arc<dyn Signer>>) -> Result<ApiClient, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        let api = ApiClient::new(&self.config, name, version, signer, Arc::clone(&self.clock))?;
        Ok(api.with_retry(self.retry.clone()).with_bodies(verbosity() > 1))
    }

    /// [`Session::api`] signing if there is a key; reading works with an API key
    /// alone, and against an API that is open.
    ///
    /// # Errors
    ///
    /// As [`Session::signer`] and [`Session::api`].
    pub fn api_with_any_key(&self, name: &str) -> Result<ApiClient, Failure> {
        let signer = match self.signer() {
            Ok(signer) => Some(signer),
            Err(_) if self.config.apikey.is_some() => None,
            Err(failure) => return Err(failure),
        };
        self.api(name, signer)
    }
}

/// `MIG_CONNECT_TIMEOUT`, or what `config.toml` says.
fn connect_timeout() -> Result<Option<Duration>, Failure> {
    let Some(text) = environment("MIG_CONNECT_TIMEOUT") else { return Ok(None) };
    let period = duration::parse_period(&text).ok().filter(|period| !period.is_zero());
    let message = format!("MIG_CONNECT_TIMEOUT must be a duration such as 10s, not {text:?}");
    period.map(Some).ok_or_else(|| Failure::usage(message))
}

/// `MIG_RETRY`, or what `config.toml` says.
fn retries() -> Result<Option<u32>, Failure> {
    let Some(text) = environment("MIG_RETRY") else { return Ok(None) };
    let times = text.parse().ok().filter(|times| *times <= MOST_RETRIES);
    let message = format!("MIG_RETRY must be a number up to {MOST_RETRIES}, not {text:?}");
    times.map(Some).ok_or_else(|| Failure::usage(message))
}

/// Where the configuration is, whether it exists or not.
pub fn locate(path: Option<&Path>, context: Option<&str>) -> Option<PathBuf> {
    match (path, context) {
        (Some(path), _) => Some(path.to_owned()),
        (None, Some(context)) => {
            let home = PathBuf::from(process_environment("HOME").filter(|home| !home.is_empty())?);
            Some(home.join(format!(".migrc-{context}")))
        }
        (None, None) => ClientConfig::default_path(&environment),
    }
}

/// Says what is waited for when a card takes its time. Keys elsewhere have a
/// pinentry, which says so itself, perhaps on this very terminal.
struct Patient(Arc<dyn Signer>);

/// Cards that want no touch are quicker.
const SOON: Duration = Duration::from_secs(2);

#[async_trait]
impl Signer for Patient {
    async fn fingerprint(&self) -> Result<Fingerprint, SignerError> {
        self.0.fingerprint().await
    }

    async fn is_on_card(&self) -> bool {
        self.0.is_on_card().await
    }

    fn has_terminal(&self) -> bool {
        self.0.has_terminal()
    }

    async fn sign(&self, data: &[u8]) -> Result<String, SignerError> {
        let mut signing = self.0.sign(data);
        if !io::stderr().is_terminal() || !self.0.is_on_card().await {
            return signing.await;
        }
        tokio::select! {
            signed = &mut signing => return signed,
            () = tokio::time::sleep(SOON) => {}
        }
        // A pinentry on this terminal says itself what it waits for.
        if !self.0.has_terminal() {
            // Nobody listens when it fails.
            let notice = "waiting for gpg (touch your key or enter the PIN)...";
            let _ = writeln!(io::stderr().lock(), "{notice}");
        }
        signing.await
    }
}

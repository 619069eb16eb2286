//! Configuration, key and API of one run.

use std::path::PathBuf;
use std::sync::Arc;

use mig_client::config::process_environment;
use mig_client::{ApiClient, ClientConfig, Signer};
use mig_runtime::clock::{Clock, SystemClock};

use crate::failure::{Failure, chain};
use crate::globals::Globals;
use crate::output::Output;

/// What a launch needs.
pub(crate) struct Session {
    pub(crate) config: ClientConfig,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Session {
    /// Reads the configuration the options name.
    pub(crate) fn open(globals: &Globals, output: &mut Output) -> Result<Self, Failure> {
        let path = path(globals).ok_or_else(|| {
            Failure::usage("there is no home directory to find .migrc in")
                .hint("name the configuration with -c")
        })?;
        if !path.exists() {
            let message = format!("no configuration at {}", path.display());
            let lines = "create it with these lines: [api] url = \"https://…/api/v1/\" and \
                         [gpg] keyid = \"<your key's fingerprint>\"";
            return Err(Failure::usage(message).hint(lines));
        }
        let (mut config, warnings) = ClientConfig::load(&path, &process_environment)
            .map_err(|error| Failure::usage(chain(&error)))?;
        for warning in warnings {
            output.say(&format!("[warning] {warning}"));
        }
        if let Some(key) = &globals.key {
            config.signing_key = Some(key.clone());
        }
        Ok(Self { config, clock: Arc::new(SystemClock) })
    }

    pub(crate) fn signer(&self) -> Result<Arc<dyn Signer>, Failure> {
        Ok(mig_client::signer::from_config(&self.config)?)
    }

    pub(crate) fn api(&self, signer: Option<Arc<dyn Signer>>) -> Result<ApiClient, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        Ok(ApiClient::new(&self.config, "cmd", version, signer, Arc::clone(&self.clock))?)
    }
}

fn path(globals: &Globals) -> Option<PathBuf> {
    if let Some(path) = &globals.config {
        return Some(path.clone());
    }
    match &globals.context {
        Some(context) => {
            let home = PathBuf::from(process_environment("HOME").filter(|home| !home.is_empty())?);
            Some(home.join(format!(".migrc-{context}")))
        }
        None => ClientConfig::default_path(&process_environment),
    }
}

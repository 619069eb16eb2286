//! The first configuration, asked for where there is none.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use mig_client::{ApiClient, ClientConfig, ClientError, GpgSigner};
use mig_module::text::printable;
use mig_runtime::clock::SystemClock;
use mig_types::Fingerprint;

use crate::ask::{ask, person};
use crate::failure::{Failure, code, of_client, sentence};
use crate::output::Output;
use crate::settings::environment;

/// What need not be asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answers<'a> {
    pub url: Option<&'a str>,
    pub keyid: Option<&'a str>,
    /// Directory of GnuPG; it is never asked for.
    pub home: Option<&'a str>,
}

/// Offers a person to write the configuration that is missing at `path`. Does
/// nothing where the file is, or nobody can be asked.
///
/// # Errors
///
/// [`Failure`] when the offer is turned down or what was answered cannot be
/// written.
pub async fn offer(path: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    let Some(path) = path.filter(|path| !path.exists()) else { return Ok(()) };
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Ok(());
    }
    let name = printable(&path.display().to_string());
    output.say(&format!("no configuration found at {name}"));
    let question = format!("generate a new configuration file at {name}? (Y/n)>");
    if !is_yes(&ask(&question, "mig config init", output).await?) {
        let failure = Failure::usage(format!("no configuration at {name}"));
        return Err(failure.hint("mig config init makes one"));
    }
    create(path, Answers::default(), output).await?;
    output.text("\n")
}

/// Writes a new configuration with the answers given, and those asked for.
///
/// # Errors
///
/// [`Failure`] when there is a file already, an answer is missing and nobody
/// can be asked, or the outcome would be refused by the clients.
pub async fn create(path: &Path, answers: Answers<'_>, output: &mut Output) -> Result<(), Failure> {
    let name = printable(&path.display().to_string());
    if path.exists() {
        let message = format!("{name} exists already");
        return Err(Failure::usage(message).hint("mig config show prints what it says"));
    }
    for (option, answer) in [("-url", answers.url), ("-keyid", answers.keyid)] {
        if answer.is_none() {
            person(option)?;
        }
    }
    // In the order of the original: the key first.
    let keyid = match answers.keyid {
        Some(keyid) => keyid.to_owned(),
        None => choose_key(answers.home, output).await?,
    };
    let keyid = keyid.parse::<Fingerprint>().map_or(keyid, |key| key.to_string());
    let text = match answers.url {
        Some(url) => text(url, &keyid, answers.home),
        None => ask_for_api(&keyid, answers.home, output).await?,
    };
    // Written only if it can be read.
    ClientConfig::parse(&text, &name, &environment)
        .map_err(|error| Failure::of(code::USAGE, &error))?;
    write(path, &text).map_err(|error| Failure::other(format!("cannot write {name}: {error}")))?;
    output.say(&format!("created configuration file at {name}; mig doctor tries it"));
    Ok(())
}

/// The file: nothing that the original's clients would refuse.
fn text(url: &str, keyid: &str, home: Option<&str>) -> String {
    let mut text = format!("[api]\n\turl = \"{url}\"\n[gpg]\n");
    if let Some(home) = home {
        text.extend(["\thome = \"", home, "\"\n"]);
    }
    text.extend(["\tkeyid = \"", keyid, "\"\n"]);
    text.push_str("[targets]\n\tmacro = allonline:status='online'\n");
    text
}

/// Asks for the address of an API until one answers there.
async fn ask_for_api(
    keyid: &str,
    home: Option<&str>,
    output: &mut Output,
) -> Result<String, Failure> {
    loop {
        let question = "URL of API? (e.g., https://mig.example.net/api/v1/)>";
        let url = ask(question, "-url", output).await?;
        let text = text(&url, keyid, home);
        let config = match ClientConfig::parse(&text, "the answer", &environment) {
            Ok((config, _)) => config,
            Err(error) => {
                output.say(&sentence(&error));
                continue;
            }
        };
        match reach(&config).await {
            Ok(()) => {
                output.say(&format!("an API answers at {}", config.url));
                return Ok(text);
            }
            Err(error) => {
                output.say(&format!("API connection failed: {}", printable(&of_client(&error))));
            }
        }
    }
}

async fn reach(config: &ClientConfig) -> Result<(), ClientError> {
    let version = env!("CARGO_PKG_VERSION");
    let api = ApiClient::new(config, "cmd", version, None, Arc::new(SystemClock))?;
    api.heartbeat().await.map(drop)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}

async fn choose_key(home: Option<&str>, output: &mut Output) -> Result<String, Failure> {
    let program = environment("MIG_GPG").unwrap_or_else(|| "gpg".to_owned());
    let keys = GpgSigner::secret_keys(&program, home.map(Into::into)).await?;
    if keys.is_empty() {
        return Err(Failure::usage("there is no secret key in the GnuPG key ring")
            .hint("gpg --quick-gen-key \"Your Name <you@example.net>\" rsa3072 sign 2y"));
    }
    for (fingerprint, user) in keys {
        let user = printable(&user);
        output.say(&format!("found key {user:?} with fingerprint {fingerprint:?}."));
        if is_yes(&ask("use this key? (Y/n)>", "-keyid", output).await?) {
            output.say(&format!("using key {fingerprint:?}"));
            return Ok(fingerprint);
        }
    }
    Err(Failure::usage("no key was chosen"))
}

/// What Enter means, too.
fn is_yes(answer: &str) -> bool {
    ["", "y", "Y"].contains(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let text = text("https://mig.example.net/api/v1", "A0", Some("/home/ada/.gnupg"));
        let none = |_: &str| None;
        let (config, warnings) = ClientConfig::parse(&text, "new", &none).unwrap();
        assert_eq!(config.url.as_str(), "https://mig.example.net/api/v1/");
        assert_eq!(config.gpg_home.as_deref(), Some(Path::new("/home/ada/.gnupg")));
        assert_eq!(config.macros.iter().count(), 1);
        assert!(warnings.iter().all(|warning| warning.contains("keyid")), "{warnings:?}");
    }
}

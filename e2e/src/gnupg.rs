//! A `GnuPG` home with keys nobody needs afterwards.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use mig_sign::oneline;
use mig_types::{Fingerprint, Timestamp};
use tempfile::TempDir;

use crate::card::{Card, Reader};

/// The real `gpg` in a home of its own. Dropping it stops the home's agent.
pub struct GnuPg {
    home: TempDir,
    /// The socket of a `pcscd` of ours.
    cards: Option<PathBuf>,
}

/// Where programs find the path of `pcscd`'s socket.
pub const CARDS: &str = "PCSCLITE_CSOCK_NAME";

/// The option that makes gpg believe it is `time`.
pub fn faked(time: Timestamp) -> String {
    format!("--faked-system-time={}!", time.unix())
}

impl GnuPg {
    /// `None` where `gpg` is not installed.
    pub fn new() -> anyhow::Result<Option<Self>> {
        // Not below TMPDIR: the path of the agent's socket must stay short.
        let home = tempfile::Builder::new()
            .prefix("mig-gpg-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in("/tmp")?;
        let gpg = Self { home, cards: None };
        let installed = gpg.command("gpg").arg("--version").output().is_ok();
        Ok(installed.then_some(gpg))
    }

    /// Has gpg look for cards in that reader and nowhere else.
    pub fn with_reader(mut self, reader: &Reader) -> anyhow::Result<Self> {
        std::fs::write(self.home().join("scdaemon.conf"), "disable-ccid\n")?;
        self.cards = Some(reader.socket().to_owned());
        Ok(self)
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    #[expect(clippy::disallowed_methods, reason = "test support starts the programs under test")]
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("GNUPGHOME", self.home()).env("LC_ALL", "C");
        if let Some(socket) = &self.cards {
            command.env(CARDS, socket);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs gpg, which answers no questions and uses no passphrase.
    pub fn output(&self, arguments: &[&str], input: &[u8]) -> anyhow::Result<Output> {
        let mut command = self.command("gpg");
        command.args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]);
        // The last one given counts.
        command.args(["--passphrase", ""]);
        let mut child = command.args(arguments).stdin(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A gpg that needs no input may be gone already.
            drop(stdin.write_all(input));
        }
        Ok(child.wait_with_output()?)
    }

    /// [`GnuPg::output`] that must succeed; what it printed.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> anyhow::Result<Vec<u8>> {
        let output = self.output(arguments, input)?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "gpg {arguments:?}: {complaint}");
        Ok(output.stdout)
    }

    fn text(&self, arguments: &[&str]) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.run(arguments, b"")?)?)
    }

    /// Makes a key `name <name@example.net>`; `options` come first.
    pub fn generate(
        &self,
        name: &str,
        [algorithm, usage, expire]: [&str; 3],
        options: &[&str],
    ) -> anyhow::Result<Fingerprint> {
        let id = format!("{name} <{name}@example.net>");
        let mut arguments = options.to_vec();
        arguments.extend(["--quick-generate-key", &id, algorithm, usage, expire]);
        self.run(&arguments, b"")?;
        self.key_of(&format!("{name}@example.net"))
    }

    /// The primary key of that address.
    pub fn key_of(&self, address: &str) -> anyhow::Result<Fingerprint> {
        let all = self.fingerprints(&format!("<{address}>"))?;
        all.into_iter().next().with_context(|| format!("gpg made no key of {address}"))
    }

    /// Adds a subkey and returns its fingerprint.
    pub fn add_subkey(
        &self,
        key: &Fingerprint,
        [algorithm, usage, expire]: [&str; 3],
        options: &[&str],
    ) -> anyhow::Result<Fingerprint> {
        let mut arguments = options.to_vec();
        arguments.extend(["--quick-add-key", key.as_str(), algorithm, usage, expire]);
        self.run(&arguments, b"")?;
        self.fingerprints(key.as_str())?.pop().context("gpg made no subkey")
    }

    /// Of the primary key and its subkeys, in that order.
    fn fingerprints(&self, key: &str) -> anyhow::Result<Vec<Fingerprint>> {
        // Twice: once is not enough for subkeys.
        let option = "--with-fingerprint";
        let list = self.text(&["--with-colons", option, option, "--list-keys", key])?;
        let fields = list.lines().filter(|line| line.starts_with("fpr:"));
        fields
            .map(|line| Ok(line.split(':').nth(9).context("fpr without fingerprint")?.parse()?))
            .collect()
    }

    /// The public key, armored.
    pub fn public(&self, key: &Fingerprint) -> anyhow::Result<String> {
        self.text(&["--armor", "--export", key.as_str()])
    }

    /// The secret key, armored and unprotected.
    pub fn secret(&self, key: &Fingerprint) -> anyhow::Result<String> {
        self.text(&["--armor", "--export-secret-keys", key.as_str()])
    }

    pub fn import(&self, armored: &str) -> anyhow::Result<()> {
        self.run(&["--import"], armored.as_bytes()).map(drop)
    }

    /// The revocation gpg prepared when it made the key.
    pub fn revocation(&self, key: &Fingerprint) -> anyhow::Result<String> {
        let file = self.home().join(format!("openpgp-revocs.d/{key}.rev"));
        // A colon keeps people from importing it by accident.
        Ok(std::fs::read_to_string(file)?.replace(":-----BEGIN", "-----BEGIN"))
    }

    /// Answers the questions of `--edit-key`.
    pub fn edit(&self, key: &Fingerprint, answers: &str) -> anyhow::Result<()> {
        let arguments = ["--command-fd", "0", "--edit-key", key.as_str()];
        self.run(&arguments, answers.as_bytes()).map(drop)
    }

    /// Moves a secret key to the card in the reader, which then has the only
    /// one: the primary key, or the subkey of that number.
    pub fn move_to_card(&self, key: &Fingerprint, subkey: Option<u8>) -> anyhow::Result<()> {
        let answers = match subkey {
            None => "keytocard\ny\n1\nsave\n".to_owned(),
            Some(number) => format!("key {number}\nkeytocard\n1\nsave\n"),
        };
        let options = ["--passphrase", Card::ADMIN_PIN, "--command-fd", "0"];
        self.run(&[&options[..], &["--edit-key", key.as_str()]].concat(), answers.as_bytes())?;
        Ok(())
    }

    /// Answers the questions of `--card-edit`; its pinentry is asked for PINs.
    pub fn edit_card(&self, answers: &str) -> anyhow::Result<()> {
        self.at_the_card("--card-edit", answers)
    }

    /// As [`GnuPg::edit_card`], of `--change-pin`.
    pub fn change_pin(&self, answers: &str) -> anyhow::Result<()> {
        self.at_the_card("--change-pin", answers)
    }

    fn at_the_card(&self, command: &str, answers: &str) -> anyhow::Result<()> {
        let options = ["--no-batch", "--no-tty", "--pinentry-mode", "ask", "--command-fd", "0"];
        self.run(&[&options[..], &[command]].concat(), answers.as_bytes()).map(drop)
    }

    /// Whether gpg sees a card in its reader.
    pub fn sees_a_card(&self) -> bool {
        self.output(&["--card-status"], b"").is_ok_and(|output| output.status.success())
    }

    /// Signs as `user` and returns the signature in one line; `options` come
    /// before the command, which is `--detach-sign`.
    pub fn sign(&self, data: &[u8], user: &str, options: &[&str]) -> anyhow::Result<String> {
        let mut arguments = options.to_vec();
        arguments.extend(["--detach-sign", "--output", "-", "--local-user", user]);
        Ok(oneline::from_binary(&self.run(&arguments, data)?))
    }

    /// Forgets what the home's agent has unlocked.
    pub fn lock(&self) {
        drop(self.command("gpgconf").args(["--kill", "gpg-agent"]).output());
    }
}

impl Drop for GnuPg {
    fn drop(&mut self) {
        self.lock();
    }
}

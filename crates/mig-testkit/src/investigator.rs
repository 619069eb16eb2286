//! Throw-away investigators with software keys.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mig_runtime::clock::{Clock as _, SystemClock};
use mig_sign::sign::SecretKey;
use mig_types::{AclInvestigator, Fingerprint};

/// A person with a key of no passphrase and a home directory with a `.migrc`.
pub struct TestInvestigator {
    pub name: String,
    pub key: SecretKey,
    home: PathBuf,
}

impl TestInvestigator {
    /// Makes the key and writes both halves below `directory`.
    pub fn create(name: &str, directory: &Path) -> anyhow::Result<Self> {
        let now = SystemClock.now() - std::time::Duration::from_hours(1);
        let key = SecretKey::generate_ed25519(&format!("{name} <{name}@example.net>"), now)?;
        Self::from_parts(name, directory, &key.public_armored()?, &key.to_armored()?)
    }

    /// Takes both halves, armored, as another program made them. The public
    /// one goes to agents as it is, whatever it says about the key.
    pub fn from_parts(
        name: &str,
        directory: &Path,
        public: &str,
        secret: &str,
    ) -> anyhow::Result<Self> {
        let key = SecretKey::from_armored(secret)?;
        let home = directory.join(format!("home-{name}"));
        fs::create_dir_all(&home)?;
        fs::write(home.join("secret.asc"), secret)?;
        fs::write(home.join("public.asc"), public)?;
        Ok(Self { name: name.to_owned(), key, home })
    }

    /// Writes the `.migrc` once the API's address is known.
    pub fn configure(&self, api: &str) -> anyhow::Result<()> {
        let migrc = format!(
            "[api]\n    url = \"{api}\"\n[gpg]\n    home = \"{}\"\n    keyid = \"{}\"\n\
             [targets]\n    macro = allonline:status='online'\n",
            self.home.display(),
            self.fingerprint()
        );
        fs::write(self.home.join(".migrc"), migrc).context("writing .migrc")
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn secret_key_file(&self) -> PathBuf {
        self.home.join("secret.asc")
    }

    pub fn public_key_file(&self) -> PathBuf {
        self.home.join("public.asc")
    }

    pub fn fingerprint(&self) -> &Fingerprint {
        self.key.fingerprint()
    }

    /// This person in an ACL.
    pub fn weighing(&self, weight: i64) -> (String, AclInvestigator) {
        (self.name.clone(), AclInvestigator { fingerprint: self.fingerprint().clone(), weight })
    }
}

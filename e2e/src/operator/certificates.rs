//! `tools/create_mig_ca.sh` and what it leaves.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::ensure;

use super::{script, succeed, tool};

/// Who gets a certificate.
const ROLES: [&str; 4] = ["rabbitmq", "scheduler", "worker", "agent"];

/// The directory in which the script ran.
pub struct Certificates(PathBuf);

impl Certificates {
    /// Runs the script twice: the second run must overwrite nothing.
    ///
    /// # Errors
    ///
    /// When a certificate or a mode is not as it must be.
    pub fn create(directory: &Path) -> anyhow::Result<Self> {
        let place = directory.join("certificates");
        fs::create_dir(&place)?;
        let create = || {
            script("tools/create_mig_ca.sh")
                .args(["--non-interactive", "localhost"])
                .current_dir(&place)
                .output()
        };
        ensure!(create()?.status.success(), "create_mig_ca.sh failed");
        let key = fs::read(place.join("agent.key"))?;
        ensure!(!create()?.status.success(), "a second run must not overwrite");
        ensure!(fs::read(place.join("agent.key"))? == key, "a key was overwritten");
        let certificates = Self(place);
        certificates.check()?;
        Ok(certificates)
    }

    /// What a run in `place` left, checked.
    ///
    /// # Errors
    ///
    /// When a certificate or a mode is not as it must be.
    pub fn left_in(place: &Path) -> anyhow::Result<Self> {
        let certificates = Self(place.to_owned());
        certificates.check()?;
        Ok(certificates)
    }

    fn check(&self) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        for role in ROLES {
            let mode = fs::metadata(self.file(&format!("{role}.key")))?.permissions().mode();
            ensure!(mode & 0o777 == 0o600, "{role}.key has mode {mode:o}");
            // A second opinion on the certificates.
            let mut command = tool("openssl");
            command.arg("verify").arg("-CAfile").arg(self.file("ca/ca.crt"));
            succeed(command.arg(self.file(&format!("{role}.crt"))))?;
        }
        Ok(())
    }

    /// The names a certificate is good for, as OpenSSL prints them.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn names(&self, role: &str) -> anyhow::Result<String> {
        let mut command = tool("openssl");
        command.args(["x509", "-noout", "-ext", "subjectAltName", "-in"]);
        let said = succeed(command.arg(self.file(&format!("{role}.crt"))))?;
        Ok(said.lines().nth(1).unwrap_or_default().trim().to_owned())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

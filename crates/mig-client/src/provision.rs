//! Manifests and loaders: what keeps agents current.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mig_archive::ArchiveError;
use mig_sign::canonical;
use mig_types::manifest::ManifestStatus;
use mig_types::{Loader, LoaderId, Manifest, ManifestId, ManifestRecord, wire};
use reqwest::StatusCode;

use crate::api::{ApiClient, ClientError};
use crate::calls::first;
use crate::signer::{Signer, SignerError};

/// Most of a new manifest that the original's API reads, form encoding
/// included.
const MAX_MANIFEST: usize = 20_971_520;

/// Why a manifest was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    #[error("the manifest's archive cannot be read")]
    Archive(#[source] ArchiveError),
    #[error("the manifest's archive holds no file")]
    Empty,
    #[error("the manifest was not signed")]
    Signer(#[source] SignerError),
}

/// The content of a new manifest, from the bytes of a tar.gz file.
///
/// # Errors
///
/// [`ManifestError`] when it is no such archive, or an empty one.
pub fn content(archive: &[u8]) -> Result<String, ManifestError> {
    let content = STANDARD.encode(archive);
    match mig_archive::entries(&content).map_err(ManifestError::Archive)? {
        Some(_) => Ok(content),
        None => Err(ManifestError::Empty),
    }
}

/// The bytes of a manifest's archive.
///
/// # Errors
///
/// When the content is not what an API should store.
pub fn archive(record: &ManifestRecord) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(&record.content)
}

/// The document a loader gets, and investigators sign.
///
/// # Errors
///
/// [`ManifestError::Archive`] when the archive cannot be read.
pub fn document(record: &ManifestRecord) -> Result<Manifest, ManifestError> {
    let entries = mig_archive::entries(&record.content).map_err(ManifestError::Archive)?;
    Ok(Manifest { entries, signatures: record.signatures.clone(), ..Manifest::default() })
}

/// Signs what a manifest installs: the signature in one line.
///
/// # Errors
///
/// [`ManifestError`].
pub async fn sign(record: &ManifestRecord, signer: &dyn Signer) -> Result<String, ManifestError> {
    let data = canonical::manifest_document(&document(record)?);
    signer.sign(&data).await.map_err(ManifestError::Signer)
}

impl ApiClient {
    /// A manifest with its content and signatures.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; see [`ClientError::is_not_found`].
    pub async fn manifest(&self, id: ManifestId) -> Result<ManifestRecord, ClientError> {
        first(self.get("manifest", &[("manifestid", &id.to_string())]).await?)
    }

    /// Stores a manifest as staged. The API does not tell its id.
    ///
    /// # Errors
    ///
    /// [`ClientError::RequestTooLarge`] before anything is sent, and the API's
    /// own reasons.
    pub async fn create_manifest(&self, manifest: &ManifestRecord) -> Result<(), ClientError> {
        let json = wire::to_string(manifest).map_err(ClientError::Encode)?;
        let form = [("manifest", json.as_str())];
        let created = StatusCode::CREATED;
        self.post_up_to(MAX_MANIFEST, "manifest/new/", &form, created).await.map(drop)
    }

    /// Adds the caller's signature to a manifest.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn sign_manifest(&self, id: ManifestId, signature: &str) -> Result<(), ClientError> {
        let id = id.to_string();
        let form = [("manifestid", id.as_str()), ("signature", signature)];
        self.post("manifest/sign/", &form, StatusCode::OK).await.map(drop)
    }

    /// Stages a manifest anew, which drops its signatures, or disables it for
    /// good.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn set_manifest_status(
        &self,
        id: ManifestId,
        status: ManifestStatus,
    ) -> Result<(), ClientError> {
        let id = id.to_string();
        let form = [("manifestid", id.as_str()), ("status", status.as_str())];
        self.post("manifest/status/", &form, StatusCode::OK).await.map(drop)
    }

    /// Enabled loaders a manifest is for.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; the original answers 404 when there are none.
    pub async fn manifest_loaders(&self, id: ManifestId) -> Result<Vec<Loader>, ClientError> {
        let answer = self.get("manifest/loaders/", &[("manifestid", &id.to_string())]).await?;
        answer.named("loader").map_err(ClientError::Answer)
    }

    /// A loader's entry, without its key.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; see [`ClientError::is_not_found`].
    pub async fn loader(&self, id: LoaderId) -> Result<Loader, ClientError> {
        first(self.get("loader", &[("loaderid", &id.to_string())]).await?)
    }

    /// Creates a loader's entry; prefix and key in the answer are those in
    /// force, whoever drew them.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn create_loader(&self, new: &Loader) -> Result<Loader, ClientError> {
        let json = wire::to_string(new).map_err(ClientError::Encode)?;
        let form = [("loader", json.as_str())];
        let answer = self.post("loader/new/", &form, StatusCode::CREATED).await?;
        Ok(with_secrets(first(answer), new))
    }

    /// Enables or disables a loader.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn enable_loader(&self, id: LoaderId, enabled: bool) -> Result<(), ClientError> {
        let id = id.to_string();
        let status = if enabled { "enabled" } else { "disabled" };
        let form = [("loaderid", id.as_str()), ("status", status)];
        self.post("loader/status/", &form, StatusCode::OK).await.map(drop)
    }

    /// Sets the condition a loader's report must satisfy; empty removes it.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn expect_of_loader(&self, id: LoaderId, condition: &str) -> Result<(), ClientError> {
        let id = id.to_string();
        let form = [("loaderid", id.as_str()), ("expectenv", condition)];
        self.post("loader/expect/", &form, StatusCode::OK).await.map(drop)
    }

    /// Replaces a loader's key by `offered`, or by one the API draws; the
    /// answer has the key in force.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn replace_loader_key(&self, offered: &Loader) -> Result<Loader, ClientError> {
        let id = offered.id.to_string();
        let form = [("loaderid", id.as_str()), ("loaderkey", offered.key.as_str())];
        let answer = self.post("loader/key/", &form, StatusCode::OK).await?;
        Ok(with_secrets(first(answer), offered))
    }
}

/// APIs of 2016 keep what the client drew and do not repeat it.
fn with_secrets(answer: Result<Loader, ClientError>, offered: &Loader) -> Loader {
    match answer {
        Ok(stored) if !stored.key.is_empty() => stored,
        Ok(stored) => Loader { prefix: offered.prefix.clone(), key: offered.key.clone(), ..stored },
        Err(_) => offered.clone(),
    }
}

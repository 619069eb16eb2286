//! Manifests at rest.

use async_trait::async_trait;
use mig_types::{InvestigatorId, ManifestId, ManifestStatus, Timestamp};

use crate::db::{Row, Sql, Tx};
use crate::model::{ManifestRow, NewManifest, Page, Search, SignOutcome, StoreError};
use crate::store::SqlStore;
use crate::traits::ManifestStore;

type Result<T, E = StoreError> = std::result::Result<T, E>;

#[async_trait]
impl ManifestStore for SqlStore {
    async fn insert_manifest(&self, new: &NewManifest, now: Timestamp) -> Result<ManifestId> {
        let mut tx = self.db.begin().await?;
        let sql = tx
            .sql("insert into manifests (name, content, timestamp, status, target) values (")
            .text(&new.name)
            .push(", ")
            .text(&new.content)
            .push(", ")
            .time(now)
            .push(", ")
            .text(ManifestStatus::Staged.as_str())
            .push(", ")
            .text(&new.target)
            .push(") returning cast(id as bigint) as id");
        let rows = tx.fetch(sql).await?;
        let Some(row) = rows.first() else {
            return Err(StoreError::failed(sqlx::Error::RowNotFound));
        };
        let id = row.id("id", ManifestId::new)?;
        tx.commit().await?;
        Ok(id)
    }

    async fn manifest(&self, id: ManifestId) -> Result<Option<ManifestRow>> {
        let sql = self.manifests().push(" where m.id = ").int(id.as_i64());
        Ok(self.read_manifests(sql).await?.pop())
    }

    async fn manifest_content(&self, id: ManifestId) -> Result<Option<String>> {
        let sql = self.db.sql("select content from manifests where id = ").int(id.as_i64());
        self.db.fetch_optional(sql).await?.map(|row| row.text("content")).transpose()
    }

    async fn manifest_signatures(&self, id: ManifestId) -> Result<Vec<(InvestigatorId, String)>> {
        let sql = self
            .db
            .sql("select cast(investigatorid as bigint) as investigatorid, pgpsignature ")
            .push("from manifestsig where manifestid = ")
            .int(id.as_i64())
            .push(" order by investigatorid");
        let mut signatures = Vec::new();
        for row in self.db.fetch(sql).await? {
            let signer = row.id("investigatorid", InvestigatorId::new)?;
            signatures.push((signer, row.text("pgpsignature")?));
        }
        Ok(signatures)
    }

    async fn sign_manifest(
        &self,
        id: ManifestId,
        signer: InvestigatorId,
        signature: &str,
        required: u32,
    ) -> Result<SignOutcome> {
        let mut tx = self.db.begin().await?;
        match locked_status(&mut tx, id).await? {
            None => return Ok(SignOutcome::Unknown),
            Some(ManifestStatus::Disabled) => return Ok(SignOutcome::Disabled),
            Some(_) => {}
        }
        let sql = tx
            .sql("insert into manifestsig (manifestid, investigatorid, pgpsignature) values (")
            .int(id.as_i64())
            .push(", ")
            .int(signer.as_i64())
            .push(", ")
            .text(signature)
            .push(")");
        let what = format!("signature of manifest {id} by investigator {signer}");
        tx.execute(sql).await.map_err(|error| error.about(what))?;
        let sql = tx.sql("select count(*) as signatures from manifestsig where manifestid = ");
        let count = match tx.fetch_optional(sql.int(id.as_i64())).await? {
            Some(row) => row.count("signatures")?,
            None => 0,
        };
        let enough = count >= u64::from(required);
        let status = if enough { ManifestStatus::Active } else { ManifestStatus::Staged };
        set_status(&mut tx, id, status).await?;
        tx.commit().await?;
        Ok(SignOutcome::Stored(status))
    }

    async fn change_manifest(
        &self,
        id: ManifestId,
        status: ManifestStatus,
    ) -> Result<Option<ManifestStatus>> {
        let mut tx = self.db.begin().await?;
        let Some(before) = locked_status(&mut tx, id).await? else { return Ok(None) };
        // Its signatures stay too: they say what was once installed.
        if before == ManifestStatus::Disabled {
            return Ok(Some(before));
        }
        if status == ManifestStatus::Staged {
            let sql = tx.sql("delete from manifestsig where manifestid = ").int(id.as_i64());
            tx.execute(sql).await?;
        }
        set_status(&mut tx, id, status).await?;
        tx.commit().await?;
        Ok(Some(status))
    }

    async fn active_manifests(&self, limit: u32) -> Result<Vec<ManifestRow>> {
        let sql = self
            .manifests()
            .push(" where m.status = 'active' order by m.timestamp desc, m.id desc limit ")
            .int(i64::from(limit));
        self.read_manifests(sql).await
    }

    async fn search_manifests(&self, search: &Search, page: Page) -> Result<Vec<ManifestRow>> {
        self.read_manifests(crate::search::manifests(self.manifests(), search, page)).await
    }
}

impl SqlStore {
    fn manifests(&self) -> Sql {
        self.db
            .sql("select cast(m.id as bigint) as id, m.name, m.timestamp, m.status, m.target ")
            .push("from manifests m")
    }

    async fn read_manifests(&self, sql: Sql) -> Result<Vec<ManifestRow>> {
        self.db.fetch(sql).await?.iter().map(manifest).collect()
    }
}

async fn locked_status(tx: &mut Tx, id: ManifestId) -> Result<Option<ManifestStatus>> {
    let sql = tx.sql("select m.status from manifests m where m.id = ").int(id.as_i64()).locked();
    tx.fetch_optional(sql).await?.as_ref().map(status).transpose()
}

async fn set_status(tx: &mut Tx, id: ManifestId, status: ManifestStatus) -> Result<()> {
    let sql = tx.sql("update manifests set status = ").text(status.as_str());
    tx.execute(sql.push(" where id = ").int(id.as_i64())).await.map(drop)
}

/// A word nobody defined must not be installed.
fn status(row: &Row) -> Result<ManifestStatus> {
    Ok(ManifestStatus::parse(&row.text("status")?).unwrap_or(ManifestStatus::Disabled))
}

fn manifest(row: &Row) -> Result<ManifestRow> {
    Ok(ManifestRow {
        id: row.id("id", ManifestId::new)?,
        name: row.text("name")?,
        timestamp: row.time("timestamp")?,
        status: status(row)?,
        target: row.text("target")?,
    })
}

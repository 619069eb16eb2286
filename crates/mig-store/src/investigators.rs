//! Investigators at rest.

use async_trait::async_trait;
use mig_types::investigator::SCHEDULER_NAME;
use mig_types::{Fingerprint, InvestigatorId, InvestigatorStatus, Permissions, Timestamp};

use crate::assemble::{INVESTIGATOR_COLUMNS, investigator};
use crate::db::{Lock, Sql, Tx};
use crate::model::{
    ApiKeyRow, InvestigatorChange, InvestigatorRow, NewInvestigator, Page, Search, StoreError,
    StoreEvent,
};
use crate::store::SqlStore;
use crate::traits::InvestigatorStore;

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What an administrator needs: to see investigators, and to change them.
const ADMIN: Permissions = Permissions::INVESTIGATOR.with(Permissions::INVESTIGATOR_UPDATE);

#[async_trait]
impl InvestigatorStore for SqlStore {
    async fn insert_investigator(
        &self,
        new: &NewInvestigator,
        now: Timestamp,
    ) -> Result<InvestigatorRow> {
        let mut tx = self.db.begin().await?;
        let row = insert(&mut tx, new, now).await?;
        tx.tell(StoreEvent::InvestigatorsChanged);
        tx.commit().await?;
        Ok(row)
    }

    async fn investigator(&self, id: InvestigatorId) -> Result<Option<InvestigatorRow>> {
        let sql = self.investigators().push(" where i.id = ").int(id.as_i64());
        Ok(self.read_investigators(sql).await?.pop())
    }

    async fn investigator_by_fingerprint(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Option<InvestigatorRow>> {
        let sql = self.investigators().push(" where i.pgpfingerprint = ");
        Ok(self.read_investigators(sql.text(fingerprint.as_str())).await?.pop())
    }

    async fn active_investigators(&self) -> Result<Vec<InvestigatorRow>> {
        let sql = self
            .investigators()
            .push(" where i.status = 'active' and i.publickey is not null order by i.id");
        let rows = self.read_investigators(sql).await?;
        Ok(rows.into_iter().filter(|row| row.public_key.is_some()).collect())
    }

    async fn change_investigator(
        &self,
        id: InvestigatorId,
        change: &InvestigatorChange,
        now: Timestamp,
    ) -> Result<Option<InvestigatorRow>> {
        let mut tx = self.db.begin().await?;
        tx.lock(Lock::Investigators).await?;
        let Some(before) = one(&mut tx, id).await? else { return Ok(None) };
        let after = InvestigatorRow {
            status: change.status.unwrap_or(before.status),
            permissions: change.permissions.unwrap_or(before.permissions),
            ..before.clone()
        };
        if is_admin(&before) && !is_admin(&after) && !other_admin(&mut tx, id).await? {
            return Err(StoreError::LastAdmin);
        }
        let mut sql = tx
            .sql("update investigators set lastmodified = ")
            .time(now)
            .push(", status = ")
            .text(after.status.as_str())
            .push(", permissions = ")
            .int(i64::from(after.permissions.bits()));
        if let Some(key) = &change.api_key {
            let (hash, salt) = key.clone().unzip();
            sql = sql.push(", apikey = ").bytes(hash).push(", apisalt = ").bytes(salt);
        }
        tx.execute(sql.push(" where id = ").int(id.as_i64())).await?;
        let changed = one(&mut tx, id).await?;
        tx.tell(StoreEvent::InvestigatorsChanged);
        tx.commit().await?;
        Ok(changed)
    }

    async fn search_investigators(
        &self,
        search: &Search,
        page: Page,
    ) -> Result<Vec<InvestigatorRow>> {
        let agents = self.fitting_agents(search).await?;
        if agents.is_none() {
            return Ok(Vec::new());
        }
        let sql = crate::search::investigators(self.investigators(), search, &agents, page);
        self.read_investigators(sql).await
    }

    async fn api_keys(&self) -> Result<Vec<ApiKeyRow>> {
        let sql = self
            .db
            .sql("select cast(id as bigint) as id, apikey, apisalt from investigators ")
            .push("where status = 'active' and apikey is not null and apisalt is not null ")
            .push("order by id");
        let mut keys = Vec::new();
        for row in self.db.fetch(sql).await? {
            keys.push(ApiKeyRow {
                investigator: row.id("id", InvestigatorId::new)?,
                hash: row.bytes("apikey")?.unwrap_or_default(),
                salt: row.bytes("apisalt")?.unwrap_or_default(),
            });
        }
        Ok(keys)
    }

    async fn scheduler_identity(
        &self,
        new: &NewInvestigator,
        now: Timestamp,
    ) -> Result<(InvestigatorRow, String)> {
        let mut tx = self.db.begin().await?;
        // Two schedulers that start on an empty database must not make two.
        tx.lock(Lock::Investigators).await?;
        let sql = select(&tx, ", i.privatekey")
            .push(" where i.status = 'active' and i.privatekey is not null and i.name = ")
            .text(SCHEDULER_NAME)
            .push(" order by i.id limit 1");
        if let Some(row) = tx.fetch_optional(sql).await? {
            let key = row.bytes("privatekey")?.unwrap_or_default();
            return Ok((investigator(&row)?, String::from_utf8_lossy(&key).into_owned()));
        }
        let Some(key) = new.private_key.clone() else {
            return Err(StoreError::Refused { what: "identity without a private key".into() });
        };
        let named = NewInvestigator { name: SCHEDULER_NAME.to_owned(), ..new.clone() };
        let row = insert(&mut tx, &named, now).await?;
        tx.tell(StoreEvent::InvestigatorsChanged);
        tx.commit().await?;
        Ok((row, key))
    }
}

impl SqlStore {
    fn investigators(&self) -> Sql {
        self.db.sql("select ").push(INVESTIGATOR_COLUMNS).push(" from investigators i")
    }

    async fn read_investigators(&self, sql: Sql) -> Result<Vec<InvestigatorRow>> {
        self.db.fetch(sql).await?.iter().map(investigator).collect()
    }
}

fn select(tx: &Tx, more: &'static str) -> Sql {
    tx.sql("select ").push(INVESTIGATOR_COLUMNS).push(more).push(" from investigators i")
}

async fn one(tx: &mut Tx, id: InvestigatorId) -> Result<Option<InvestigatorRow>> {
    let sql = select(tx, "").push(" where i.id = ").int(id.as_i64());
    tx.fetch_optional(sql).await?.as_ref().map(investigator).transpose()
}

async fn insert(tx: &mut Tx, new: &NewInvestigator, now: Timestamp) -> Result<InvestigatorRow> {
    let bytes = |text: &Option<String>| text.as_ref().map(|text| text.clone().into_bytes());
    // The API's login may not even write the column.
    let private = bytes(&new.private_key);
    let column = if private.is_some() { ", privatekey" } else { "" };
    let mut sql = tx
        .sql("insert into investigators (name, pgpfingerprint, publickey, status, createdat, ")
        .push("lastmodified, permissions")
        .push(column)
        .push(") values (")
        .text(&new.name)
        .push(", ")
        .bind(crate::db::Bind::Text(
            new.fingerprint.as_ref().map(|print| print.as_str().to_owned()),
        ))
        .push(", ")
        .bytes(bytes(&new.public_key))
        .push(", ")
        .text(InvestigatorStatus::Active.as_str())
        .push(", ")
        .time(now)
        .push(", ")
        .time(now)
        .push(", ")
        .int(i64::from(new.permissions.bits()));
    if private.is_some() {
        sql = sql.push(", ").bytes(private);
    }
    let name = match &new.fingerprint {
        Some(print) => format!("investigator with key {print}"),
        None => format!("investigator {}", new.name),
    };
    let rows = tx
        .fetch(sql.push(") returning cast(id as bigint) as id"))
        .await
        .map_err(|error| error.about(name))?;
    let id = match rows.first() {
        Some(row) => row.id("id", InvestigatorId::new)?,
        None => return Err(StoreError::failed(sqlx::Error::RowNotFound)),
    };
    Ok(InvestigatorRow {
        id,
        name: new.name.clone(),
        fingerprint: new.fingerprint.clone(),
        public_key: new.public_key.clone(),
        status: InvestigatorStatus::Active,
        created_at: now.truncate_micros(),
        last_modified: now.truncate_micros(),
        permissions: new.permissions,
        has_api_key: false,
    })
}

fn is_admin(row: &InvestigatorRow) -> bool {
    row.status == InvestigatorStatus::Active && row.permissions.contains(ADMIN)
}

async fn other_admin(tx: &mut Tx, than: InvestigatorId) -> Result<bool> {
    let bits = i64::from(ADMIN.bits());
    let sql = tx
        .sql("select cast(id as bigint) as id from investigators where status = 'active' ")
        .push("and permissions & ")
        .int(bits)
        .push(" = ")
        .int(bits)
        .push(" and id <> ")
        .int(than.as_i64())
        .push(" limit 1");
    Ok(tx.fetch_optional(sql).await?.is_some())
}

//! Loaders at rest.

use async_trait::async_trait;
use mig_types::{Loader, LoaderId, LoaderTarget, Timestamp};

use crate::actions::to_json;
use crate::db::{Bind, Row, Sql};
use crate::model::{LoaderReport, LoaderRow, LoaderSecret, NewLoader, Page, Search, StoreError};
use crate::results::{clean_tags, clean_text, clean_value};
use crate::store::SqlStore;
use crate::targets;
use crate::targets::Plan;
use crate::traits::LoaderStore;

type Result<T, E = StoreError> = std::result::Result<T, E>;

#[async_trait]
impl LoaderStore for SqlStore {
    async fn insert_loader(&self, new: &NewLoader, now: Timestamp) -> Result<Loader> {
        let mut tx = self.db.begin().await?;
        let sql = tx
            .sql("insert into loaders (loadername, keyprefix, loaderkey, salt, lastseen, enabled, ")
            .push("expectenv) values (")
            .text(&new.name)
            .push(", ")
            .text(&new.prefix)
            .push(", ")
            .bytes(Some(new.secret.hash.clone()))
            .push(", ")
            .bytes(Some(new.secret.salt.clone()))
            .push(", ")
            .time(now)
            .push(", ")
            .bind(Bind::Bool(false))
            .push(", ")
            .bind(optional(&new.expectenv))
            .push(") returning cast(id as bigint) as id");
        let rows = tx
            .fetch(sql)
            .await
            .map_err(|error| error.about(format!("loader {} or its prefix", new.name)))?;
        let Some(row) = rows.first() else {
            return Err(StoreError::failed(sqlx::Error::RowNotFound));
        };
        let id = row.id("id", LoaderId::new)?;
        tx.commit().await?;
        Ok(Loader {
            id,
            name: new.name.clone(),
            prefix: new.prefix.clone(),
            lastseen: now.truncate_micros(),
            expectenv: new.expectenv.clone(),
            ..Loader::default()
        })
    }

    async fn loader(&self, id: LoaderId) -> Result<Option<Loader>> {
        let sql = self.loaders("").push(" where l.id = ").int(id.as_i64());
        Ok(self.read_loaders(sql).await?.pop())
    }

    async fn loader_by_prefix(&self, prefix: &str) -> Result<Option<LoaderRow>> {
        let sql = self
            .loaders(", l.loaderkey, l.salt")
            .push(" where l.enabled = ")
            .bind(Bind::Bool(true))
            .push(" and l.keyprefix = ")
            .text(prefix);
        let Some(row) = self.db.fetch_optional(sql).await? else { return Ok(None) };
        Ok(Some(LoaderRow {
            loader: loader(&row)?,
            secret: LoaderSecret {
                hash: row.bytes("loaderkey")?.unwrap_or_default(),
                salt: row.bytes("salt")?.unwrap_or_default(),
            },
        }))
    }

    async fn enable_loader(&self, id: LoaderId, enabled: bool) -> Result<bool> {
        let sql = self.db.sql("update loaders set enabled = ").bind(Bind::Bool(enabled));
        self.update(sql, id).await
    }

    async fn expect_of_loader(&self, id: LoaderId, expectenv: &str) -> Result<bool> {
        let sql = self.db.sql("update loaders set expectenv = ").bind(optional(expectenv));
        self.update(sql, id).await
    }

    async fn rekey_loader(&self, id: LoaderId, secret: &LoaderSecret) -> Result<Option<Loader>> {
        let sql = self
            .db
            .sql("update loaders set loaderkey = ")
            .bytes(Some(secret.hash.clone()))
            .push(", salt = ")
            .bytes(Some(secret.salt.clone()));
        if self.update(sql, id).await? { self.loader(id).await } else { Ok(None) }
    }

    async fn report_loader(
        &self,
        id: LoaderId,
        report: &LoaderReport,
        now: Timestamp,
    ) -> Result<()> {
        let mut environment =
            serde_json::to_value(&report.environment).map_err(StoreError::failed)?;
        clean_value(&mut environment);
        let mut tags = report.tags.clone();
        clean_tags(&mut tags);
        let (mut name, mut queueloc) = (report.name.clone(), report.queueloc.clone());
        clean_text(&mut name);
        clean_text(&mut queueloc);
        let what = format!("a loader at '{queueloc}'");
        let sql = self
            .db
            .sql("update loaders set name = ")
            .text(name)
            .push(", env = ")
            .json(to_json(&environment)?)
            .push(", tags = ")
            .json(to_json(&tags)?)
            .push(", queueloc = ")
            .bind(optional(&queueloc))
            .push(", lastseen = ")
            .time(now);
        self.update(sql, id).await.map(drop).map_err(|error| error.about(what))
    }

    async fn loader_fits(
        &self,
        id: LoaderId,
        target: &LoaderTarget,
        now: Timestamp,
    ) -> Result<bool> {
        let sql = self
            .db
            .sql("select cast(loaders.id as bigint) as id from loaders where loaders.id = ")
            .int(id.as_i64())
            .push(" and (");
        let sql = targets::loader_condition(sql, target, now)?.push(")").once();
        Ok(!self.db.fetch_target(sql, self.read_role, Plan::Any).await?.is_empty())
    }

    async fn loaders_by_target(
        &self,
        target: &LoaderTarget,
        now: Timestamp,
    ) -> Result<Vec<Loader>> {
        // The role that evaluates the condition may read few columns, so the
        // rows are read afterwards.
        let sql = self.db.sql("select cast(loaders.id as bigint) as id from loaders where (");
        let sql = targets::loader_condition(sql, target, now)?.push(")").once();
        let mut ids = Vec::new();
        for row in self.db.fetch_target(sql, self.read_role, Plan::Any).await? {
            ids.push(row.int("id")?);
        }
        let sql = self
            .loaders("")
            .push(" where l.enabled = ")
            .bind(Bind::Bool(true))
            .push(" and l.id")
            .among(ids)
            .push(" order by l.loadername");
        self.read_loaders(sql).await
    }

    async fn search_loaders(&self, search: &Search, page: Page) -> Result<Vec<Loader>> {
        self.read_loaders(crate::search::loaders(self.loaders(""), search, page)).await
    }
}

impl SqlStore {
    fn loaders(&self, more: &'static str) -> Sql {
        self.db
            .sql("select cast(l.id as bigint) as id, l.loadername, l.keyprefix, l.name, ")
            .push("l.lastseen, cast(case when l.enabled then 1 else 0 end as bigint) as enabled, ")
            .push("l.expectenv")
            .push(more)
            .push(" from loaders l")
    }

    async fn read_loaders(&self, sql: Sql) -> Result<Vec<Loader>> {
        self.db.fetch(sql).await?.iter().map(loader).collect()
    }

    /// Completes an update of one entry; whether there was one.
    async fn update(&self, sql: Sql, id: LoaderId) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let changed = tx.execute(sql.push(" where id = ").int(id.as_i64())).await?;
        tx.commit().await?;
        Ok(changed > 0)
    }
}

/// Empty is null: the columns are unique or optional.
fn optional(text: &str) -> Bind {
    Bind::Text((!text.is_empty()).then(|| text.to_owned()))
}

fn loader(row: &Row) -> Result<Loader> {
    Ok(Loader {
        id: row.id("id", LoaderId::new)?,
        name: row.text("loadername")?,
        prefix: row.text("keyprefix")?,
        key: String::new(),
        agentname: row.text("name")?,
        lastseen: row.time("lastseen")?,
        enabled: row.int("enabled")? != 0,
        expectenv: row.text("expectenv")?,
    })
}

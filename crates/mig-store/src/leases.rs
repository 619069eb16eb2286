//! Jobs that one of several schedulers does for all.

use std::time::Duration;

use async_trait::async_trait;
use mig_types::Timestamp;

use crate::model::{Job, Owner, Sign, StoreError};
use crate::store::SqlStore;
use crate::traits::LeaseStore;

type Result<T, E = StoreError> = std::result::Result<T, E>;

#[async_trait]
impl LeaseStore for SqlStore {
    async fn lease(
        &self,
        job: Job,
        owner: &Owner,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let sql = tx
            .sql("insert into mig_leases (job, owner, leased_until) values (")
            .text(job.as_str())
            .push(", ")
            .text(&owner.0)
            .push(", ")
            .time(now + lease)
            .push(") on conflict (job) do update set owner = excluded.owner, ")
            .push("leased_until = excluded.leased_until where mig_leases.leased_until <= ")
            .time(now)
            .push(" or mig_leases.owner = excluded.owner");
        let taken = tx.execute(sql).await? > 0;
        tx.commit().await?;
        Ok(taken)
    }

    async fn release(&self, owner: &Owner) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let sql = tx.sql("delete from mig_leases where owner = ").text(&owner.0);
        tx.execute(sql).await?;
        tx.commit().await
    }

    async fn tell(&self, sign: Sign, until: Timestamp) -> Result<()> {
        let mut tx = self.db.begin().await?;
        // Nobody's, so that a scheduler that stops does not take back what
        // another one tells.
        let sql = tx
            .sql("insert into mig_leases (job, owner, leased_until) values (")
            .text(sign.as_str())
            .push(", '', ")
            .time(until)
            .push(") on conflict (job) do update set leased_until = excluded.leased_until ")
            .push("where mig_leases.leased_until < excluded.leased_until");
        tx.execute(sql).await?;
        tx.commit().await
    }

    async fn told(&self, sign: Sign) -> Result<Option<Timestamp>> {
        let sql =
            self.db.sql("select leased_until from mig_leases where job = ").text(sign.as_str());
        let row = self.db.fetch_optional(sql).await?;
        row.map(|row| row.time("leased_until")).transpose()
    }
}

//! What the filters of a search let pass among neighbouring objects.

use crate::db::Sql;
use crate::model::{Search, StoreError};
use crate::search::{has_action, has_agent, has_investigator, own_action, own_agent, signed_by};
use crate::store::SqlStore;

/// Which objects of a neighbouring aggregate fit the filters on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fit {
    /// No filter.
    Any,
    /// These, at most [`FEW`] of them.
    Ids(Vec<i64>),
    /// Too many to list: filter while reading.
    Many,
}

/// What the filters on actions, with their signers, and on agents let pass.
/// Known before the statement is planned, so that nothing has to be guessed
/// about patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) actions: Fit,
    pub(crate) agents: Fit,
}

/// Most ids a [`Fit`] lists.
pub(crate) const FEW: usize = 1000;

impl Fit {
    /// Whether nothing at all can be found.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::Ids(ids) if ids.is_empty())
    }
}

impl SqlStore {
    /// Actions that the filters on actions and on their signers let pass.
    pub(crate) async fn fitting_actions(&self, search: &Search) -> Result<Fit, StoreError> {
        if !has_action(search) && !has_investigator(search) {
            return Ok(Fit::Any);
        }
        let sql = self.db.sql("select cast(a.id as bigint) as id from actions a where true");
        self.fit(signed_by(own_action(sql, search), search)).await
    }

    /// Agents that the filters on agents let pass.
    pub(crate) async fn fitting_agents(&self, search: &Search) -> Result<Fit, StoreError> {
        if !has_agent(search) {
            return Ok(Fit::Any);
        }
        let sql = self.db.sql("select cast(g.id as bigint) as id from agents g where true");
        self.fit(own_agent(sql, search)).await
    }

    async fn fit(&self, sql: Sql) -> Result<Fit, StoreError> {
        // Any combination of filters is another statement.
        let sql = sql.push(" limit ").int(i64::try_from(FEW + 1).unwrap_or(i64::MAX)).once();
        let rows = self.db.fetch(sql).await?;
        if rows.len() > FEW {
            return Ok(Fit::Many);
        }
        rows.iter().map(|row| row.int("id")).collect::<Result<_, _>>().map(Fit::Ids)
    }
}

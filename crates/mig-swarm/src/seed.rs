//! Fills a database with the past of a large platform.
//!
//! Rows are written by the database itself, whole tables at a time. Everything
//! but the times, which end now, follows from the seed.

use mig_types::Timestamp;
use sqlx::{Connection as _, Executor as _, PgConnection};

/// What each script makes, in their order.
const SCRIPTS: [(&str, &str); 4] = [
    ("agents", include_str!("seed/agents.sql")),
    ("people", include_str!("seed/people.sql")),
    ("actions", include_str!("seed/actions.sql")),
    ("commands", include_str!("seed/commands.sql")),
];
const BEGIN: &str = include_str!("seed/begin.sql");
/// A table is filled faster without its indexes and references.
const UNBIND: &str = include_str!("seed/unbind.sql");
const BIND: &str = include_str!("seed/bind.sql");

/// How much of a past.
#[derive(Debug, Clone, Copy)]
pub struct Past {
    pub commands: u64,
    /// Endpoints; each has a living agent's row and three of former ones.
    pub agents: u64,
    pub actions: u64,
    pub seed: u64,
    /// Whether the database may hold rows already.
    pub add: bool,
}

/// Why a database was not filled; it is unchanged then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    #[error("{actions} actions for {agents} agents make at most {most} commands, not {commands}")]
    TooMany { commands: u64, actions: u64, agents: u64, most: u64 },
    #[error("a past needs at least one agent and one action")]
    Nothing,
    #[error("the database holds agents, actions or commands already")]
    NotEmpty,
    #[error("cannot connect to the database")]
    Connect(#[source] sqlx::Error),
    #[error("cannot write {what}")]
    Write {
        what: &'static str,
        #[source]
        source: sqlx::Error,
    },
}

/// Fills a migrated PostgreSQL database, as the owner of its tables, and
/// gathers statistics about it.
///
/// # Errors
///
/// [`SeedError`] when nothing was written.
pub async fn seed(url: &str, past: &Past, now: Timestamp) -> Result<(), SeedError> {
    let sizes = past.sizes()?;
    let mut connection = PgConnection::connect(url).await.map_err(SeedError::Connect)?;
    let outcome = fill(&mut connection, past, &sizes, now).await;
    // What matters was told by the outcome.
    drop(connection.close().await);
    outcome
}

async fn fill(
    connection: &mut PgConnection,
    past: &Past,
    sizes: &[i64],
    now: Timestamp,
) -> Result<(), SeedError> {
    let failed = |what| move |source| SeedError::Write { what, source };
    let mut tx = connection.begin().await.map_err(failed("anything"))?;
    let used: bool = sqlx::query_scalar(
        "select exists (select from agents) or exists (select from actions) \
         or exists (select from commands)",
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(failed("anything"))?;
    if used && !past.add {
        return Err(SeedError::NotEmpty);
    }
    tx.execute(sqlx::raw_sql(BEGIN)).await.map_err(failed("the plan"))?;
    sqlx::query("insert into seed_input values ($1, $2, $3, interval '360 days')")
        // Salts are small numbers added to it.
        .bind(i64::from(u32::try_from(past.seed % 1_000_000).unwrap_or_default()) * 1000)
        .bind(now.datetime())
        .bind(i64::try_from(past.agents).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await
        .map_err(failed("the plan"))?;
    sqlx::query(
        "insert into seed_action select n - 1, size, sum(size) over (order by n) - size \
         from unnest($1) with ordinality as planned (size, n)",
    )
    .bind(sizes)
    .execute(&mut *tx)
    .await
    .map_err(failed("the plan"))?;
    for (what, script) in SCRIPTS {
        if what == "commands" {
            tx.execute(sqlx::raw_sql(UNBIND)).await.map_err(failed("indexes"))?;
        }
        tx.execute(sqlx::raw_sql(script)).await.map_err(failed(what))?;
    }
    tx.execute(sqlx::raw_sql(BIND)).await.map_err(failed("indexes"))?;
    tx.commit().await.map_err(failed("anything"))?;
    // Also tells which pages everybody sees, as the server does by itself soon.
    connection.execute("vacuum analyze").await.map_err(failed("statistics"))?;
    Ok(())
}

impl Past {
    /// How many commands each action had, in the order of time: most actions
    /// ask a few agents, some ask all of them, and a few asked nobody.
    ///
    /// # Errors
    ///
    /// When that many commands are not possible.
    fn sizes(&self) -> Result<Vec<i64>, SeedError> {
        let Self { commands, agents, actions, .. } = *self;
        if agents == 0 || actions == 0 {
            return Err(SeedError::Nothing);
        }
        let weights: Vec<u64> = (0..actions).map(|number| weight(number, actions)).collect();
        let asking = weights.iter().filter(|weight| **weight > 0).count() as u64;
        let most = asking.saturating_mul(agents);
        if commands > most {
            return Err(SeedError::TooMany { commands, actions, agents, most });
        }
        let total: u64 = weights.iter().sum();
        let mut left = commands;
        let mut sizes: Vec<u64> = Vec::with_capacity(weights.len());
        for weight in &weights {
            let share = u128::from(commands) * u128::from(*weight) / u128::from(total.max(1));
            let size = u64::try_from(share).unwrap_or(u64::MAX).min(agents).min(left);
            left -= size;
            sizes.push(size);
        }
        // What rounding and the number of agents left over, where there is room.
        for (size, weight) in sizes.iter_mut().zip(&weights).rev() {
            if *weight > 0 {
                let more = (agents - *size).min(left);
                *size += more;
                left -= more;
            }
        }
        Ok(sizes.into_iter().map(|size| i64::try_from(size).unwrap_or(i64::MAX)).collect())
    }
}

/// How large an action is beside the others.
const fn weight(number: u64, actions: u64) -> u64 {
    match number % 10 {
        // The youngest one asks.
        _ if number + 1 == actions => 400,
        // Invalid: nobody asked.
        4 if number % 50 == 4 => 0,
        0..4 => 1,
        4..7 => 20,
        7..9 => 100,
        _ => 400,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(commands: u64, agents: u64, actions: u64) -> Past {
        Past { commands, agents, actions, seed: 1, add: false }
    }

    #[test]
    fn refuses_more_commands_than_actions_can_have() {
        assert!(matches!(past(1, 0, 1).sizes(), Err(SeedError::Nothing)));
        assert!(matches!(past(1, 1, 0).sizes(), Err(SeedError::Nothing)));
        let refused = past(21, 10, 2).sizes();
        assert!(matches!(refused, Err(SeedError::TooMany { most: 20, .. })), "{refused:?}");
    }

    proptest::proptest! {
        #[test]
        fn all_commands_are_shared_out_and_no_action_asks_an_agent_twice(
            commands in 0u64..100_000, agents in 1u64..5000, actions in 1u64..3000,
        ) {
            let Ok(sizes) = past(commands, agents, actions).sizes() else { return Ok(()) };
            proptest::prop_assert_eq!(sizes.len() as u64, actions);
            proptest::prop_assert_eq!(sizes.iter().sum::<i64>(), i64::try_from(commands).unwrap());
            let agents = i64::try_from(agents).unwrap();
            proptest::prop_assert!(sizes.iter().all(|size| (0..=agents).contains(size)));
        }
    }
}

//! Brings a database to the schema this program needs.

use crate::db::{Db, Lock, Tx};
use crate::model::StoreError;
use crate::target_sql::Dialect;

/// A numbered step; never changed once released.
struct Migration {
    name: &'static str,
    text: &'static str,
}

macro_rules! migration {
    ($folder:literal, $name:literal) => {
        Migration {
            name: $name,
            text: include_str!(concat!("../migrations/", $folder, "/", $name, ".sql")),
        }
    };
}

/// Version `n` is reached by the `n`-th step.
const POSTGRES: &[Migration] = &[
    migration!("postgres", "0001_original"),
    migration!("postgres", "0002_delivery"),
    migration!("postgres", "0003_grants"),
    migration!("postgres", "0004_duplicates"),
    migration!("postgres", "0005_pages"),
    migration!("postgres", "0006_heartbeats"),
    migration!("postgres", "0007_room"),
    migration!("postgres", "0008_outbox"),
    migration!("postgres", "0009_names"),
    migration!("postgres", "0010_presence"),
    migration!("postgres", "0011_hours"),
    migration!("postgres", "0012_found"),
];

const SQLITE: &[Migration] = &[
    migration!("sqlite", "0001_original"),
    migration!("sqlite", "0002_delivery"),
    migration!("sqlite", "0003_duplicates"),
    migration!("sqlite", "0004_pages"),
    migration!("sqlite", "0005_outbox"),
    migration!("sqlite", "0006_found"),
];

const SCHEMA_TABLE: &str = "create table if not exists mig_schema \
     (version bigint not null primary key, name text not null)";

fn steps(dialect: Dialect) -> &'static [Migration] {
    match dialect {
        Dialect::Postgres => POSTGRES,
        Dialect::Sqlite => SQLITE,
    }
}

fn wanted(dialect: Dialect) -> i64 {
    i64::try_from(steps(dialect).len()).unwrap_or(i64::MAX)
}

/// Applies what is missing, in one transaction: all of it or nothing. An empty
/// database, one of an earlier version, and one made by MIG of 2016 or 2019
/// all end with the same schema.
pub(crate) async fn migrate(db: &Db) -> Result<(), StoreError> {
    let wanted = wanted(db.dialect());
    let mut tx = db.begin().await?;
    tx.lock(Lock::Schema).await?;
    tx.script(SCHEMA_TABLE).await?;
    let found = version(&mut tx).await?;
    if found > wanted {
        return Err(StoreError::Schema { found, wanted });
    }
    for (number, step) in (1..).zip(steps(db.dialect())) {
        if number > found {
            tx.script(step.text).await?;
            let sql = tx.sql("insert into mig_schema (version, name) values (");
            tx.execute(sql.int(number).push(", ").text(step.name).push(")")).await?;
        }
    }
    tx.commit().await
}

async fn version(tx: &mut Tx) -> Result<i64, StoreError> {
    let sql = tx.sql("select coalesce(max(version), 0) as version from mig_schema");
    match tx.fetch_optional(sql).await? {
        Some(row) => row.int("version"),
        None => Ok(0),
    }
}

/// Refuses a schema that is older or newer than this program.
pub(crate) async fn check(db: &Db) -> Result<(), StoreError> {
    let wanted = wanted(db.dialect());
    let sql = db.sql("select count(*) as tables from pg_tables where tablename = 'mig_schema'");
    let known = match db.fetch_optional(sql).await? {
        Some(row) => row.int("tables")? > 0,
        None => false,
    };
    if !known {
        return Err(StoreError::Schema { found: 0, wanted });
    }
    let mut tx = db.begin().await?;
    let found = version(&mut tx).await?;
    if found == wanted { Ok(()) } else { Err(StoreError::Schema { found, wanted }) }
}

/// The whole PostgreSQL schema as one script, for operators who load it by
/// hand: afterwards the database is at the version this program needs.
pub fn postgres_schema() -> String {
    let mut text = String::from(
        "-- Schema of the MIG database. Made from the migrations of mig-store; load it\n\
         -- with psql as a superuser into a database that is empty or made by MIG.\n\n\
         do $roles$\nbegin\n    \
         if not exists (select from pg_roles where rolname = 'migreadonly') then\n        \
         create role migreadonly nologin;\n    end if;\nend\n$roles$;\n\n",
    );
    text.push_str(SCHEMA_TABLE);
    text.push_str(";\n");
    for (number, step) in (1..).zip(POSTGRES) {
        let number: i64 = number;
        text.push('\n');
        text.push_str(step.text);
        let insert = format!(
            "\ninsert into mig_schema (version, name) values ({number}, '{}')\n    \
             on conflict do nothing;\n",
            step.name
        );
        text.push_str(&insert);
    }
    text.push_str(
        "\ndo $members$\ndeclare\n    member text;\nbegin\n    \
         for member in select rolname from pg_roles where rolname in ('migapi', 'migscheduler')\n    \
         loop\n        execute format('grant migreadonly to %I', member);\n    end loop;\n\
         end\n$members$;\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_without_gaps() {
        for steps in [POSTGRES, SQLITE] {
            for (number, step) in (1..).zip(steps) {
                let number: i32 = number;
                assert!(step.name.starts_with(&format!("{number:04}_")), "{}", step.name);
            }
        }
    }

    #[test]
    fn the_operators_schema_is_made_from_the_migrations() {
        let committed = include_str!("../../../database/schema.sql");
        assert!(committed == postgres_schema(), "regenerate database/schema.sql");
    }
}

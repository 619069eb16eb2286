//! `database/schema.sql`, as the operator's script loads it, against what the
//! programs make of an empty database: compared as databases.

use std::fs;

use anyhow::ensure;
use mig_e2e::operator::{create_local, program, scratch, succeed};
use mig_e2e::sql::Psql;
use mig_testservices::Postgres;

/// What a database is made of, each as lines that name it.
const CATALOGUE: &[(&str, usize, &str)] = &[
    (
        "columns",
        90,
        "select table_name, column_name, ordinal_position, data_type, \
         character_maximum_length, numeric_precision, is_nullable, column_default \
         from information_schema.columns where table_schema = 'public' order by 1, 3",
    ),
    (
        "indexes",
        30,
        "select tablename, indexname, indexdef from pg_indexes where schemaname = 'public' \
         order by 1, 2",
    ),
    (
        "constraints",
        25,
        "select conrelid::regclass, conname, contype, pg_get_constraintdef(oid) \
         from pg_constraint where connamespace = 'public'::regnamespace order by 1::text, 2",
    ),
    (
        "relations",
        16,
        "select relname, relkind, pg_get_userbyid(relowner) from pg_class \
         where relnamespace = 'public'::regnamespace and relkind in ('r', 'S', 'v', 'm', 'p') \
         order by 1",
    ),
    (
        "sequences",
        3,
        "select sequencename, data_type, start_value, increment_by, max_value, cycle \
         from pg_sequences where schemaname = 'public' order by 1",
    ),
    (
        "functions, types and triggers",
        0,
        "select proname::text from pg_proc where pronamespace = 'public'::regnamespace \
         union all select typname from pg_type t where typnamespace = 'public'::regnamespace \
         and typtype in ('d', 'e', 'r') union all select tgname from pg_trigger \
         where not tgisinternal order by 1",
    ),
    (
        "grants on tables and sequences",
        60,
        "select relname, coalesce(nullif(a.grantee, 0)::regrole::text, 'public'), \
         a.privilege_type, a.is_grantable from pg_class, aclexplode(relacl) a \
         where relnamespace = 'public'::regnamespace and a.grantee <> relowner \
         order by 1, 2, 3",
    ),
    (
        "grants on columns",
        40,
        "select attrelid::regclass, attname, coalesce(nullif(a.grantee, 0)::regrole::text, \
         'public'), a.privilege_type from pg_attribute, aclexplode(attacl) a \
         where attrelid in (select oid from pg_class \
         where relnamespace = 'public'::regnamespace) order by 1::text, 2, 3, 4",
    ),
    ("steps taken", 4, "select version, name from mig_schema order by 1"),
];

/// Roles are the server's, not the database's.
const ROLES: &str = "select rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, \
    (select string_agg(m.roleid::regrole::text, ',' order by 1) from pg_auth_members m \
    where m.member = r.oid) from pg_roles r where rolname like 'mig%' order by 1";

#[test]
fn the_operators_schema_and_the_programs_make_the_same_database() -> anyhow::Result<()> {
    let directory = scratch("mig-schema-")?;
    let by_script = Postgres::start(&directory.path().join("script"))?;
    create_local(&by_script)?;

    // By hand: roles and an empty database, as the owner of which the program
    // comes. Grants to roles are the migrations', membership is not.
    let by_program = Postgres::start(&directory.path().join("program"))?;
    let superuser = Psql::superuser(&by_program);
    superuser.ask(
        "create role migadmin login; create role migapi login; create role migscheduler login; \
         create role migreadonly nologin; grant migreadonly to migapi, migscheduler",
    )?;
    superuser.ask("create database mig owner migadmin")?;
    let config = directory.path().join("admin.cfg");
    fs::write(
        &config,
        format!(
            "[postgres]\nhost = 127.0.0.1\nport = {}\nuser = migadmin\npassword = unused\n",
            by_program.port()
        ),
    )?;
    let migrate = || {
        succeed(program("mig-scheduler", directory.path())?.arg("-migrate").arg("-c").arg(&config))
    };
    migrate()?;

    let [script, program] =
        [&by_script, &by_program].map(|server| Psql::new(server, "postgres", "mig"));
    let compare = || -> anyhow::Result<()> {
        for (what, least, query) in CATALOGUE {
            let (wanted, found) = (script.ask(query)?, program.ask(query)?);
            ensure!(wanted.lines().count() >= *least, "few {what}: {wanted}");
            assert_eq!(wanted, found, "{what}");
        }
        assert_eq!(script.ask(ROLES)?, program.ask(ROLES)?, "roles");
        Ok(())
    };
    compare()?;

    // Loading it again, by either way, changes nothing.
    migrate()?;
    compare()?;
    let schema = fs::read_to_string(mig_e2e::operator::repository().join("database/schema.sql"))?;
    script.ask(&schema)?;
    compare()
}

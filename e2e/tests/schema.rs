//! `database/schema.sql`, as the operator's script loads it, against what the
//! programs make of an empty database: compared as databases.

use std::fs;

use anyhow::ensure;
use mig_e2e::operator::{create_local, program, repository, scratch, script, succeed, word_after};
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

/// Fails on the first difference between two databases.
fn compare(wanted: &Psql, found: &Psql) -> anyhow::Result<()> {
    for (what, least, query) in CATALOGUE {
        let (wanted, found) = (wanted.ask(query)?, found.ask(query)?);
        ensure!(wanted.lines().count() >= *least, "few {what}: {wanted}");
        assert_eq!(wanted, found, "{what}");
    }
    Ok(())
}

fn mig(server: &Postgres) -> Psql {
    Psql::new(server, "postgres", "mig")
}

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
        let mut command = program("mig-scheduler", directory.path())?;
        succeed(command.arg("-migrate").arg("-c").arg(&config))
    };
    migrate()?;
    let [script, program] = [&by_script, &by_program].map(mig);
    compare(&script, &program)?;
    assert_eq!(script.ask(ROLES)?, program.ask(ROLES)?, "roles");

    // Loading it again, by either way, changes nothing.
    migrate()?;
    compare(&script, &program)?;
    let schema = fs::read_to_string(repository().join("database/schema.sql"))?;
    script.ask(&schema)?;
    compare(&script, &program)?;
    assert_eq!(script.ask(ROLES)?, program.ask(ROLES)?, "roles");
    Ok(())
}

/// A hosted database: no superuser, only an owner who may make roles.
#[test]
fn the_script_for_a_remote_database_makes_the_same_one() -> anyhow::Result<()> {
    let directory = scratch("mig-remote-")?;
    let local = Postgres::start(&directory.path().join("local"))?;
    create_local(&local)?;
    let remote = Postgres::start(&directory.path().join("remote"))?;
    let superuser = Psql::superuser(&remote);
    superuser.ask("create role migadmin login createrole")?;
    superuser.ask("create database mig owner migadmin")?;
    let create = |arguments: &[&str]| {
        let mut command = script("database/createremotedb.sh");
        command.args(arguments).env("PGHOST", "127.0.0.1").env("PGPASS", "unused");
        command.env("PGPORT", remote.port().to_string());
        for name in ["PGUSER", "PGDATABASE", "PGPASSWORD"] {
            command.env_remove(name);
        }
        command
    };
    ensure!(create(&["8"]).output()?.status.code() == Some(2), "short passwords are refused");
    let said = succeed(&mut create(&["40"]))?;
    for role in ["migscheduler", "migapi"] {
        let password = word_after(&said, &format!("  {role} "))?;
        ensure!(password.len() == 40, "{said}");
    }
    compare(&mig(&local), &mig(&remote))?;
    // Only the owner was there before, and is what it was.
    let others = format!("select * from ({ROLES}) r where rolname <> 'migadmin'");
    let [wanted, found] = [&local, &remote].map(|server| mig(server).ask(&others));
    assert_eq!(wanted?, found?, "roles");
    let again = succeed(&mut create(&[]))?;
    ensure!(again.contains("already; nothing was changed."), "{again}");
    Ok(())
}

#!/usr/bin/env bash
# Creates the users and the schema of MIG in a database that exists on another
# machine, such as a hosted one. Set the variables below, here or in the
# environment. PGUSER owns the database and may create roles.
#
#   createremotedb.sh [length of the passwords, 32]
: "${PGDATABASE:=mig}"
: "${PGUSER:=migadmin}"
: "${PGPASS:=}"
: "${PGHOST:=}"
: "${PGPORT:=5432}"

set -euo pipefail
export PGDATABASE PGUSER PGHOST PGPORT
schema="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/schema.sql"

fail() {
    echo "ERROR: $* failed." >&2
    exit 123
}

length=${1:-32}
[[ $length =~ ^[0-9]+$ && $length -ge 16 && $length -le 128 ]] || {
    echo "usage: createremotedb.sh [length of the passwords, 16 to 128]" >&2
    exit 2
}
[ -n "$PGHOST" ] || { echo "hint: set PGHOST, at the top of this file or in the environment" >&2; fail "finding the server"; }
[ -r "$schema" ] || fail "reading $schema"
command -v psql >/dev/null || { echo "hint: install the package postgresql-client" >&2; fail "finding psql"; }
# Not in a file and on no command line; nobody's .pgpass is touched.
if [ -n "$PGPASS" ]; then export PGPASSWORD=$PGPASS; fi
export -n PGPASS

run_psql() { psql --no-psqlrc --no-password --quiet --tuples-only --no-align -v ON_ERROR_STOP=1; }

random_password() {
    local characters
    characters=$(head -c 4096 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9_-')
    printf '%s' "${characters:0:length}"
}

found=$(run_psql <<<"select rolname from pg_roles where rolname in ('migapi', 'migscheduler') order by 1;") ||
    fail "asking the server"
if [ -n "$found" ]; then
    echo "There is a user $(echo "$found" | paste -sd, | sed 's/,/, /g') already; nothing was changed."
    exit 0
fi
scheduler=$(random_password)
api=$(random_password)
{
    echo 'begin;'
    echo "create role migscheduler login nosuperuser nocreatedb nocreaterole password '$scheduler';"
    echo "create role migapi login nosuperuser nocreatedb nocreaterole password '$api';"
    cat "$schema"
    echo 'commit;'
} | PGOPTIONS="-c client_min_messages=warning" run_psql >/dev/null || fail "creating users and schema"
echo "created users:"
echo "  migscheduler $scheduler"
echo "  migapi $api"

#!/usr/bin/env bash
# Creates the MIG database in the PostgreSQL of this machine: the login roles
# migadmin, migapi and migscheduler, the group role migreadonly, the database
# mig, and its schema. Run it once, as root or with sudo.
#
#   createlocaldb.sh [password]
#
# Every role gets a random password of 32 characters, or the one given.
# With PGHOST or PGPORT set, that server is used, as PGUSER (postgres).
# A run that fails takes back what it made. Exit status 123 then.
set -euo pipefail

database=mig
logins=(migadmin migapi migscheduler)
schema="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/schema.sql"

fail() {
    echo "ERROR: $* failed." >&2
    exit 123
}

case "${1-}" in
-h | --help)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
[ $# -le 1 ] || { echo "usage: createlocaldb.sh [password]" >&2; exit 2; }
[ -r "$schema" ] || fail "reading $schema"
command -v psql >/dev/null || { echo "hint: install the package postgresql-client" >&2; fail "finding psql"; }

# Not `sudo psql` with a file name: the account postgres may not be able to
# read this directory, so everything goes through standard input.
run_psql() {
    local arguments=(--no-psqlrc --no-password --quiet --tuples-only --no-align -v ON_ERROR_STOP=1)
    if [ -n "${PGHOST-}${PGPORT-}" ]; then
        psql "${arguments[@]}" --username "${PGUSER:-postgres}" "$@"
    elif [ "$(id -un)" = postgres ]; then
        psql "${arguments[@]}" "$@"
    elif command -v sudo >/dev/null; then
        (cd / && sudo -u postgres psql "${arguments[@]}" "$@")
    elif [ "$(id -u)" = 0 ]; then
        (cd / && runuser -u postgres -- psql "${arguments[@]}" "$@")
    else
        echo "hint: run this as root" >&2
        return 1
    fi
}

ask() { run_psql --dbname postgres <<<"$1"; }

random_password() {
    local characters
    characters=$(head -c 4096 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9_-')
    printf '%s' "${characters:0:32}"
}

found=$(ask "select 'database $database' from pg_database where datname = '$database'
    union all select 'role ' || rolname from pg_roles
    where rolname in ('migadmin', 'migapi', 'migscheduler') order by 1;") || fail "asking PostgreSQL"
if [ -n "$found" ]; then
    echo "There is a $(echo "$found" | paste -sd, | sed 's/,/, /g') already; nothing was changed."
    [ "$(echo "$found" | wc -l)" = 4 ] || {
        echo "hint: drop what a run by hand left behind, then start again" >&2
        exit 123
    }
    exit 0
fi

undo() {
    ask "drop database if exists $database;" || true
    ask "drop role if exists migadmin; drop role if exists migapi; drop role if exists migscheduler;" || true
}
trap undo ERR
trap '[ $? = 0 ] || undo' EXIT

statements="begin; set local log_statement = 'none'; set local log_min_error_statement = 'panic';"
report=
for login in "${logins[@]}"; do
    password=${1-$(random_password)}
    # A quote is doubled; a backslash stands for itself in '…'.
    quoted=${password//\'/\'\'}
    statements+="create role $login login nosuperuser nocreatedb nocreaterole inherit password '$quoted';"
    report+="Created user $login with password '$password'"$'\n'
done
ask "$statements commit;" >/dev/null || fail "creating the users"
ask "create database $database owner migadmin encoding 'UTF8' template template0;" || fail "creating the database"
{
    echo 'begin;'
    cat "$schema"
    # The owner can bring the schema up to date later without a superuser.
    cat <<'SQL'
do $owner$
declare
    thing record;
begin
    for thing in
        select format('%I', relname) as name, case relkind when 'S' then 'sequence' else 'table' end as kind
        from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'S')
    loop
        execute format('alter %s %s owner to migadmin', thing.kind, thing.name);
    end loop;
end
$owner$;
revoke create on schema public from public;
SQL
    echo "revoke all on database $database from public;"
    echo "grant connect on database $database to migapi, migscheduler;"
    echo 'commit;'
} | PGOPTIONS="-c client_min_messages=warning" run_psql --dbname "$database" >/dev/null || fail "loading the schema"

trap - ERR EXIT
printf '%s' "$report"
echo "MIG Database created successfully."

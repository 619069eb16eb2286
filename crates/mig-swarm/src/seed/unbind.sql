-- Remembers and drops what makes each row of `commands` expensive.

set local maintenance_work_mem = '256MB';

create temporary table seed_index as
    select indexname, indexdef from pg_indexes
    where schemaname = current_schema and tablename = 'commands'
        and indexname not in (select conname from pg_constraint);

create temporary table seed_reference as
    select conname, pg_get_constraintdef(oid) as definition from pg_constraint
    where conrelid = 'commands'::regclass and contype = 'f';

do $unbind$
declare
    one record;
begin
    for one in select indexname from seed_index loop
        execute format('drop index %I', one.indexname);
    end loop;
    for one in select conname from seed_reference loop
        execute format('alter table commands drop constraint %I', one.conname);
    end loop;
end
$unbind$;

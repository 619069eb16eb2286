-- Brings back what `unbind.sql` dropped, and drops what it remembered.

do $bind$
declare
    one record;
begin
    for one in select indexdef from seed_index loop
        execute one.indexdef;
    end loop;
    for one in select conname, definition from seed_reference loop
        execute format('alter table commands add constraint %I %s', one.conname, one.definition);
    end loop;
end
$bind$;

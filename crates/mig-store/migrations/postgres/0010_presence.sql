-- The API reads there whether a scheduler works and reaches the relay.

do $grants$
begin
    if exists (select from pg_roles where rolname = 'migapi') then
        grant select on mig_leases to migapi;
    end if;
end
$grants$;

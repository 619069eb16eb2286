-- When an agent was heard of before its last heartbeat: two agents that share
-- an endpoint alternate, one that merely started again does not. And the jobs
-- that one of several schedulers does for all.

alter table agents add column if not exists heardbefore timestamp with time zone;

create table if not exists mig_leases (
    job character varying(64) not null primary key,
    owner text not null,
    leased_until timestamp with time zone not null
);

do $grants$
begin
    if exists (select from pg_roles where rolname = 'migscheduler') then
        grant select, insert, update, delete on mig_leases to migscheduler;
        grant delete on agents_stats to migscheduler;
    end if;
end
$grants$;

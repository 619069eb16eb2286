-- What waits for the relay, in a narrow table of its own: claiming and marking
-- wrote every index of commands. `until` is the end of the action's validity.

create table if not exists mig_outbox (
    commandid bigint not null primary key,
    until timestamp with time zone not null,
    owner text,
    lease timestamp with time zone
) with (fillfactor = 50);

insert into mig_outbox (commandid, until, owner, lease)
select c.id, a.expireafter, c.publish_owner, c.publish_lease
from commands c join actions a on a.id = c.actionid
where c.status = 'sent' and c.published_at is null and c.queueloc is not null
    and not exists (select 1 from mig_schema where version = 8)
on conflict do nothing;

drop index if exists commands_unpublished_idx;
alter table commands drop column if exists published_at;
alter table commands drop column if exists publish_owner;
alter table commands drop column if exists publish_lease;
alter table commands reset (fillfactor);

-- One index counts the commands of an action and reads its results in order.
create index if not exists commands_progress_idx on commands (actionid, finish_seq, status);
drop index if exists commands_actionid_status_idx;
drop index if exists commands_finished_idx;

do $grants$
begin
    if exists (select from pg_roles where rolname = 'migscheduler') then
        grant select, insert, update, delete on mig_outbox to migscheduler;
    end if;
    if exists (select from pg_roles where rolname = 'migreadonly') then
        grant select on mig_outbox to migreadonly;
    end if;
end
$grants$;

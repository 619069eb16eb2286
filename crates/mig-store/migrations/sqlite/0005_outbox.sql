-- What waits for the relay, in a narrow table of its own: claiming and marking
-- wrote every index of commands. `until` is the end of the action's validity.

create table mig_outbox (
    commandid integer not null primary key,
    until text not null,
    owner text,
    lease text
);

insert into mig_outbox (commandid, until, owner, lease)
select c.id, a.expireafter, c.publish_owner, c.publish_lease
from commands c join actions a on a.id = c.actionid
where c.status = 'sent' and c.published_at is null and c.queueloc is not null;

drop index commands_unpublished_idx;
alter table commands drop column published_at;
alter table commands drop column publish_owner;
alter table commands drop column publish_lease;

-- One index counts the commands of an action and reads its results in order.
create index commands_progress_idx on commands (actionid, finish_seq, status);
drop index commands_actionid_status_idx;
drop index commands_finished_idx;

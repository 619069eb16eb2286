-- Leases, publication and the order of results: what makes every pass of the
-- scheduler repeatable.

alter table actions add column owner text;
alter table actions add column lease_until text;
alter table actions add column reason text;
alter table commands add column queueloc text;
alter table commands add column published_at text;
alter table commands add column publish_owner text;
alter table commands add column publish_lease text;
alter table commands add column finish_seq integer;

update commands set finish_seq = numbered.seq
from (
    select id, row_number() over (partition by actionid order by finishtime, id) as seq
    from commands where status <> 'sent'
) as numbered
where commands.id = numbered.id and commands.finish_seq is null;

update agents set status = 'offline'
where id in (
    select id from (
        select id, row_number() over (
            partition by queueloc, pid order by heartbeattime desc, id desc) as rank
        from agents where status <> 'offline'
    ) as live
    where rank > 1
);

create unique index agents_live_idx on agents (queueloc, pid) where status <> 'offline';
create unique index commands_once_idx
    on commands (actionid, agentid) where queueloc is not null;
create index commands_actionid_status_idx on commands (actionid, status);
create index commands_finished_idx on commands (actionid, finish_seq);
create index commands_starttime_idx on commands (starttime desc, id desc);
create index commands_sent_idx on commands (actionid) where status = 'sent';
create index commands_unpublished_idx
    on commands (id) where status = 'sent' and published_at is null and queueloc is not null;
create index actions_open_idx on actions (status, validfrom)
    where status in ('pending', 'scheduled', 'preparing', 'inflight');
create index actions_validfrom_idx on actions (validfrom desc);
create index actions_starttime_idx on actions (starttime desc);
create index agents_stats_timestamp_idx on agents_stats (timestamp desc);

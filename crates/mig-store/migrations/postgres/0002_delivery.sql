-- Leases, publication and the order of results: what makes every pass of the
-- scheduler repeatable. Programs of 2016 and 2019 ignore these columns.

alter table actions add column if not exists owner text;
alter table actions add column if not exists lease_until timestamp with time zone;
alter table actions add column if not exists reason text;

-- `queueloc` is null in rows that an older scheduler wrote and published
-- itself; they are never published again.
alter table commands add column if not exists queueloc character varying(2048);
alter table commands add column if not exists published_at timestamp with time zone;
alter table commands add column if not exists publish_owner text;
alter table commands add column if not exists publish_lease timestamp with time zone;
alter table commands add column if not exists finish_seq bigint;

update commands set finish_seq = numbered.seq
from (
    select id, row_number() over (partition by actionid order by finishtime, id) as seq
    from commands where status <> 'sent'
) as numbered
where commands.id = numbered.id and commands.finish_seq is null;

-- Two first heartbeats at once made two rows; the one heard last stays.
update agents set status = 'offline'
where id in (
    select id from (
        select id, row_number() over (
            partition by queueloc, pid order by heartbeattime desc, id desc) as rank
        from agents where status <> 'offline'
    ) as live
    where rank > 1
);

create unique index if not exists agents_live_idx
    on agents (queueloc, pid) where status <> 'offline';
create index if not exists agents_targetable_idx
    on agents (queueloc) where status in ('online', 'idle');
-- Older databases hold doubled commands; only rows of ours are guarded.
create unique index if not exists commands_once_idx
    on commands (actionid, agentid) where queueloc is not null;
create index if not exists commands_actionid_status_idx on commands (actionid, status);
create index if not exists commands_finished_idx on commands (actionid, finish_seq);
create index if not exists commands_agentid_actionid_idx on commands (agentid, actionid);
create index if not exists commands_starttime_idx on commands (starttime desc, id desc);
create index if not exists commands_sent_idx on commands (actionid) where status = 'sent';
create index if not exists commands_unpublished_idx
    on commands (id) where status = 'sent' and published_at is null and queueloc is not null;
create index if not exists actions_open_idx on actions (status, validfrom)
    where status in ('pending', 'scheduled', 'preparing', 'inflight');
create index if not exists actions_validfrom_idx on actions (validfrom desc);
create index if not exists actions_starttime_idx on actions (starttime desc);
create index if not exists agents_stats_timestamp_idx on agents_stats (timestamp desc);

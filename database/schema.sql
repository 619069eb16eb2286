-- Schema of the MIG database. Made from the migrations of mig-store; load it
-- with psql as a superuser into a database that is empty or made by MIG.

do $roles$
begin
    if not exists (select from pg_roles where rolname = 'migreadonly') then
        create role migreadonly nologin;
    end if;
end
$roles$;

create table if not exists mig_schema (version bigint not null primary key, name text not null);

-- The tables of Mozilla InvestiGator as they have always been, with the columns
-- that databases of 2016 lack. Types stay: `json` is not `jsonb`, because
-- investigators' targets call json_array_elements on these columns.

create sequence if not exists investigators_id_seq;
create sequence if not exists manifests_id_seq;
create sequence if not exists loaders_id_seq;

create table if not exists actions (
    id numeric not null primary key,
    name character varying(2048) not null,
    target character varying(2048) not null,
    description json,
    threat json,
    operations json,
    validfrom timestamp with time zone not null,
    expireafter timestamp with time zone not null,
    starttime timestamp with time zone,
    finishtime timestamp with time zone,
    lastupdatetime timestamp with time zone,
    status character varying(256),
    syntaxversion integer,
    pgpsignatures character varying(4096) not null
);

create table if not exists agents (
    id numeric not null primary key,
    name character varying(2048) not null,
    queueloc character varying(2048) not null,
    mode character varying(2048) not null,
    version character varying(2048) not null,
    pid integer not null,
    starttime timestamp with time zone not null,
    destructiontime timestamp with time zone,
    heartbeattime timestamp with time zone not null,
    refreshtime timestamp with time zone not null,
    status character varying(255),
    environment json,
    tags json,
    loadername character varying(2048)
);
alter table agents add column if not exists loadername character varying(2048);

create table if not exists agents_stats (
    timestamp timestamp with time zone not null,
    online_agents numeric,
    online_agents_by_version json,
    online_endpoints numeric,
    idle_agents numeric,
    idle_agents_by_version json,
    idle_endpoints numeric,
    new_endpoints numeric,
    multi_agents_endpoints numeric,
    disappeared_endpoints numeric,
    flapping_endpoints numeric
);

create table if not exists commands (
    id numeric not null primary key,
    actionid numeric not null references actions (id),
    agentid numeric not null references agents (id),
    status character varying(255) not null,
    results json,
    starttime timestamp with time zone not null,
    finishtime timestamp with time zone
);

create table if not exists investigators (
    id numeric not null default nextval('investigators_id_seq') primary key,
    name character varying(1024) not null,
    pgpfingerprint character varying(128) unique,
    publickey bytea,
    privatekey bytea,
    status character varying(255) not null,
    createdat timestamp with time zone not null,
    lastmodified timestamp with time zone not null,
    permissions bigint not null default 0,
    apikey bytea,
    apisalt bytea
);
alter table investigators add column if not exists permissions bigint not null default 0;
alter table investigators add column if not exists apikey bytea;
alter table investigators add column if not exists apisalt bytea;

create table if not exists signatures (
    actionid numeric not null references actions (id),
    investigatorid numeric not null references investigators (id),
    pgpsignature character varying(4096) not null,
    unique (actionid, investigatorid)
);

create table if not exists manifests (
    id numeric not null default nextval('manifests_id_seq') primary key,
    name character varying(256) not null,
    content text not null,
    timestamp timestamp with time zone not null,
    status character varying(255) not null,
    target character varying(2048) not null
);

-- No reference to investigators: id 0 signs when authentication is off.
create table if not exists manifestsig (
    manifestid numeric not null references manifests (id),
    investigatorid numeric not null,
    pgpsignature character varying(4096) not null,
    unique (manifestid, investigatorid)
);

create table if not exists loaders (
    id numeric not null default nextval('loaders_id_seq') primary key,
    loadername character varying(256) not null unique,
    keyprefix character varying(256) not null unique,
    loaderkey bytea not null unique,
    salt bytea not null,
    name character varying(2048),
    env json,
    tags json,
    lastseen timestamp with time zone not null,
    enabled boolean not null default false,
    expectenv character varying(2048),
    queueloc character varying(2048) unique
);
alter table loaders add column if not exists queueloc character varying(2048) unique;

create table if not exists modules (
    id numeric not null primary key,
    name character varying(256) not null
);

create table if not exists agtmodreq (
    moduleid numeric not null references modules (id),
    agentid numeric not null references agents (id),
    minimumweight integer not null,
    unique (moduleid, agentid)
);

create table if not exists invagtmodperm (
    investigatorid numeric not null references investigators (id),
    agentid numeric not null references agents (id),
    moduleid numeric not null references modules (id),
    weight integer not null,
    unique (investigatorid, agentid, moduleid)
);

create index if not exists agents_heartbeattime_idx on agents (heartbeattime desc);
create index if not exists agents_starttime_idx on agents (starttime desc);
create index if not exists agents_queueloc_pid_idx on agents (queueloc, pid);
create index if not exists agents_status_idx on agents (status);
create index if not exists commands_agentid on commands (agentid desc);
create index if not exists commands_actionid on commands (actionid desc);
create index if not exists signatures_actionid_idx on signatures (actionid);
create index if not exists signatures_investigatorid_idx on signatures (investigatorid);
create index if not exists agtmodreq_moduleid_idx on agtmodreq (moduleid);
create index if not exists agtmodreq_agentid_idx on agtmodreq (agentid);
create index if not exists invagtmodperm_investigatorid_idx on invagtmodperm (investigatorid);
create index if not exists invagtmodperm_agentid_idx on invagtmodperm (agentid);
create index if not exists invagtmodperm_moduleid_idx on invagtmodperm (moduleid);

insert into mig_schema (version, name) values (1, '0001_original')
    on conflict do nothing;

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

insert into mig_schema (version, name) values (2, '0002_delivery')
    on conflict do nothing;

-- Rights of the roles, where they exist. `privatekey` is for the scheduler only.

do $grants$
begin
    if exists (select from pg_roles where rolname = 'migscheduler') then
        grant select on actions, agents, agents_stats, agtmodreq, commands, invagtmodperm,
            investigators, loaders, manifests, manifestsig, modules, signatures, mig_schema
            to migscheduler;
        grant insert, update on actions, commands, agents, agents_stats, signatures
            to migscheduler;
        grant insert on investigators to migscheduler;
        grant usage on investigators_id_seq to migscheduler;
    end if;
    if exists (select from pg_roles where rolname = 'migapi') then
        grant select on actions, agents, agents_stats, agtmodreq, commands, invagtmodperm,
            loaders, manifests, manifestsig, modules, signatures, mig_schema to migapi;
        grant select (id, name, pgpfingerprint, publickey, status, createdat, lastmodified,
            permissions, apikey, apisalt) on investigators to migapi;
        grant insert on agents, actions, signatures, manifests, manifestsig, loaders to migapi;
        grant update on agents to migapi;
        grant delete on manifestsig to migapi;
        grant insert (name, pgpfingerprint, publickey, status, createdat, lastmodified,
            permissions) on investigators to migapi;
        grant update (permissions, status, lastmodified, apikey, apisalt)
            on investigators to migapi;
        grant update (name, env, tags, loaderkey, salt, lastseen, enabled, expectenv, queueloc)
            on loaders to migapi;
        grant update (status) on manifests to migapi;
        grant usage on investigators_id_seq, manifests_id_seq, loaders_id_seq to migapi;
    end if;
    if exists (select from pg_roles where rolname = 'migreadonly') then
        grant select on actions, agents, agtmodreq, commands, invagtmodperm, modules, signatures
            to migreadonly;
        grant select (id, env, tags, expectenv, loadername, queueloc) on loaders to migreadonly;
        grant select (id, name, pgpfingerprint, publickey, status, createdat, lastmodified)
            on investigators to migreadonly;
    end if;
end
$grants$;

insert into mig_schema (version, name) values (3, '0003_grants')
    on conflict do nothing;

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

insert into mig_schema (version, name) values (4, '0004_duplicates')
    on conflict do nothing;

-- Pages of commands in the order of searches: of one action, of one agent, of
-- one status. The first two serve whatever the two dropped ones did.

create index if not exists commands_of_action_idx
    on commands (actionid, starttime desc, id desc);
create index if not exists commands_of_agent_idx
    on commands (agentid, starttime desc, id desc);
create index if not exists commands_of_status_idx
    on commands (lower(status), starttime desc, id desc);
drop index if exists commands_actionid;
drop index if exists commands_agentid;

insert into mig_schema (version, name) values (5, '0005_pages')
    on conflict do nothing;

-- A heartbeat changes nothing that an index holds, so that the new version of a
-- row stays on its page and no index is written. For lists by time of the last
-- heartbeat the table is read instead.

drop index if exists agents_heartbeattime_idx;
alter table agents set (fillfactor = 70);

insert into mig_schema (version, name) values (6, '0006_heartbeats')
    on conflict do nothing;

-- A command is claimed before it is published, which changes nothing that an
-- index holds: with room on its page, no index is written.

alter table commands set (fillfactor = 60);

insert into mig_schema (version, name) values (7, '0007_room')
    on conflict do nothing;

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

insert into mig_schema (version, name) values (8, '0008_outbox')
    on conflict do nothing;

-- Searches by agents' names, without a look at every row. A heartbeat does not
-- change the name, so that it still writes no index.
create index if not exists agents_name_idx on agents (lower(name) text_pattern_ops);

insert into mig_schema (version, name) values (9, '0009_names')
    on conflict do nothing;

-- The API reads there whether a scheduler works and reaches the relay.

do $grants$
begin
    if exists (select from pg_roles where rolname = 'migapi') then
        grant select on mig_leases to migapi;
    end if;
end
$grants$;

insert into mig_schema (version, name) values (10, '0010_presence')
    on conflict do nothing;

-- The hour of the last heartbeat, for lists by its time. It changes with one of
-- an hour's heartbeats only; the others still write no index.
alter table agents add column if not exists heardhour timestamp without time zone
    generated always as (date_trunc('hour', heartbeattime at time zone 'UTC')) stored;
create index if not exists agents_heardhour_idx on agents (heardhour desc);

insert into mig_schema (version, name) values (11, '0011_hours')
    on conflict do nothing;

-- Whether a result found something, noted when it is stored: 1 for one that did, 2 for
-- one that did not, 3 for both among its operations. Of older ones it is read from the
-- result.
alter table commands add column if not exists found smallint;

-- Fewer indexes to write for each command and each result. Most commands are in flight
-- or succeeded: pages of these are found by time.
create index if not exists commands_unusual_idx on commands (status, starttime desc, id desc)
    where status <> 'sent' and status <> 'success';
drop index if exists commands_of_status_idx;
drop index if exists commands_agentid_actionid_idx;

-- Pages of an agent's commands, and the actions it was asked for without a look at rows.
create index if not exists commands_by_agent_idx
    on commands (agentid, starttime desc, id desc) include (actionid);
drop index if exists commands_of_agent_idx;

insert into mig_schema (version, name) values (12, '0012_found')
    on conflict do nothing;

do $members$
declare
    member text;
begin
    for member in select rolname from pg_roles where rolname in ('migapi', 'migscheduler')
    loop
        execute format('grant migreadonly to %I', member);
    end loop;
end
$members$;

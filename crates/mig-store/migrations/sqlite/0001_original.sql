-- The tables of Mozilla InvestiGator. Times are texts of fixed width in UTC,
-- `YYYY-MM-DDTHH:MM:SS.ffffffZ`, so that they sort as texts; JSON is text.

create table actions (
    id integer primary key,
    name text not null,
    target text not null,
    description text,
    threat text,
    operations text,
    validfrom text not null,
    expireafter text not null,
    starttime text,
    finishtime text,
    lastupdatetime text,
    status text,
    syntaxversion integer,
    pgpsignatures text not null
);

create table agents (
    id integer primary key,
    name text not null,
    queueloc text not null,
    mode text not null,
    version text not null,
    pid integer not null,
    starttime text not null,
    destructiontime text,
    heartbeattime text not null,
    refreshtime text not null,
    status text,
    environment text,
    tags text,
    loadername text
);

create table agents_stats (
    timestamp text not null,
    online_agents integer,
    online_agents_by_version text,
    online_endpoints integer,
    idle_agents integer,
    idle_agents_by_version text,
    idle_endpoints integer,
    new_endpoints integer,
    multi_agents_endpoints integer,
    disappeared_endpoints integer,
    flapping_endpoints integer
);

create table commands (
    id integer primary key,
    actionid integer not null references actions (id),
    agentid integer not null references agents (id),
    status text not null,
    results text,
    starttime text not null,
    finishtime text
);

create table investigators (
    id integer primary key autoincrement,
    name text not null,
    pgpfingerprint text unique,
    publickey blob,
    privatekey blob,
    status text not null,
    createdat text not null,
    lastmodified text not null,
    permissions integer not null default 0,
    apikey blob,
    apisalt blob
);

create table signatures (
    actionid integer not null references actions (id),
    investigatorid integer not null references investigators (id),
    pgpsignature text not null,
    unique (actionid, investigatorid)
);

create table manifests (
    id integer primary key autoincrement,
    name text not null,
    content text not null,
    timestamp text not null,
    status text not null,
    target text not null
);

create table manifestsig (
    manifestid integer not null references manifests (id),
    investigatorid integer not null,
    pgpsignature text not null,
    unique (manifestid, investigatorid)
);

create table loaders (
    id integer primary key autoincrement,
    loadername text not null unique,
    keyprefix text not null unique,
    loaderkey blob not null unique,
    salt blob not null,
    name text,
    env text,
    tags text,
    lastseen text not null,
    enabled integer not null default 0,
    expectenv text,
    queueloc text unique
);

create index agents_heartbeattime_idx on agents (heartbeattime desc);
create index agents_starttime_idx on agents (starttime desc);
create index agents_queueloc_pid_idx on agents (queueloc, pid);
create index agents_status_idx on agents (status);
create index commands_agentid on commands (agentid);
create index commands_actionid on commands (actionid);
create index signatures_investigatorid_idx on signatures (investigatorid);

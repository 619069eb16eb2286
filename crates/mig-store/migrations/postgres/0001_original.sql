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

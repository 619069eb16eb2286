-- Investigators, loaders and manifests.

create temporary table seed_person (number bigint not null primary key, id numeric not null);

with named as (
    select n, (array['Alice', 'Bob', 'Chloe', 'Dmitri', 'Esra', 'Farid', 'Greta', 'Hugo', 'Ines',
        'Jonas'])[1 + n % 10] || ' ' || (array['Berg', 'Costa', 'Dufour'])[1 + n / 10] as name
    from generate_series(0, 29) as n
), made as (
    insert into investigators (name, pgpfingerprint, publickey, status, createdat, lastmodified,
        permissions)
    select name,
        upper(substr(encode(sha256(convert_to(
            format('%s %s %s', seed, n, (select count(*) from investigators)), 'utf8')), 'hex'),
            1, 40)),
        convert_to(E'-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n'
            || pg_temp.base64('key a' || n) || pg_temp.base64('key b' || n)
            || E'\n-----END PGP PUBLIC KEY BLOCK-----\n', 'utf8'),
        case when n % 9 = 8 then 'disabled' else 'active' end,
        now - span, now - pg_temp.pick(n, seed + 1, 300) * interval '1 day', 1048575
    from named, seed_input
    returning id
)
insert into seed_person select row_number() over (order by id) - 1, id from made;

insert into loaders (loadername, keyprefix, loaderkey, salt, name, env, tags, lastseen, enabled,
    expectenv, queueloc)
select 'loader-' || agents.id, substr(md5('prefix' || agents.id), 1, 8),
    sha256(convert_to('loader' || agents.id, 'utf8')),
    substring(sha256(convert_to('salt' || agents.id, 'utf8')) for 16),
    agents.name, agents.environment, agents.tags, agents.heartbeattime, true,
    'env#>>''{os}''=''linux''', agents.queueloc
from agents join seed_agent on seed_agent.id = agents.id, seed_input
where seed_agent.generation = 3 and seed_agent.endpoint % 10 = 0;

update agents set loadername = loaders.loadername
from loaders, seed_agent
where seed_agent.id = agents.id and seed_agent.generation = 3
    and loaders.queueloc = agents.queueloc;

with made as (
    insert into manifests (name, content, timestamp, status, target)
    select 'agent ' || n,
        (select string_agg(pg_temp.base64(n || ' ' || part), '') from generate_series(1, 100) as part),
        now - span * (39 - n) / 40, case when n > 35 then 'active' when n > 33 then 'staged'
        else 'disabled' end, 'env#>>''{os}''=''linux'''
    from generate_series(0, 39) as n, seed_input
    returning id
)
insert into manifestsig (manifestid, investigatorid, pgpsignature)
select made.id, seed_person.id, pg_temp.base64('manifest ' || made.id || ' ' || seed_person.id)
from made, seed_person where seed_person.number < 2;

insert into agents_stats (timestamp, online_agents, online_agents_by_version, online_endpoints,
    idle_agents, idle_agents_by_version, idle_endpoints, new_endpoints, multi_agents_endpoints,
    disappeared_endpoints, flapping_endpoints)
select now - span * (999 - n) / 1000, agents * 8 / 10,
    json_build_array(json_build_object('version', '20190913-0.9e7e4f5.prod',
        'count', agents * 8 / 10)),
    agents * 8 / 10, agents / 8, json_build_array(json_build_object('version',
    '20190913-0.9e7e4f5.prod', 'count', agents / 8)), agents / 8, agents / 100, agents / 500,
    agents / 20, agents / 300
from generate_series(0, 999) as n, seed_input;

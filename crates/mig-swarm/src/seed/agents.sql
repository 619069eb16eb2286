-- Endpoints with the history that heartbeats leave: an agent that came back
-- with another environment has a new row, and its old one is offline.

create temporary table seed_agent (
    generation bigint not null,
    endpoint bigint not null,
    id numeric not null,
    primary key (generation, endpoint)
);

insert into seed_agent
select generation, endpoint,
    greatest((select coalesce(max(id), 0) from agents), 28059836743696) + 1
        + generation * agents + endpoint
from seed_input, generate_series(0, 3) as generation,
    generate_series(0, agents - 1) as endpoint;

insert into agents (id, name, queueloc, mode, version, pid, starttime, destructiontime,
    heartbeattime, refreshtime, status, environment, tags)
select id, name, os || '.' || name || '.' || lpad(to_hex(pg_temp.pick(id::bigint - generation * agents,
        seed + 9, 4503599627370496)), 13, '0'),
    'daemon', version, 300 + pg_temp.pick(id::bigint, seed + 10, 60000), begun,
    '9998-01-11 11:11:11+00',
    case status when 'online' then now - heard * interval '1 millisecond'
        when 'idle' then now - interval '10 minutes' - heard * interval '10 milliseconds'
        when 'destroyed' then now - heard * interval '1 second'
        else least(begun + span / 4, now) - heard * interval '1 second' end,
    begun, status,
    json_build_object('init', case os when 'linux' then 'systemd' when 'darwin' then 'launchd'
            else 'scm' end,
        'ident', ident, 'os', os, 'arch', 'amd64', 'isproxied', endpoint % 5 = 0,
        'proxy', case when endpoint % 5 = 0 then 'proxy.example.net:3128' end,
        'addresses', json_build_array(
            format('10.%s.%s.%s/16', endpoint / 65536 % 256, endpoint / 256 % 256, endpoint % 256),
            format('fe80::f816:3eff:fe%s:%s/64', to_hex(16 + endpoint % 200), to_hex(endpoint))),
        'publicip', format('192.0.2.%s', endpoint % 250),
        'aws', json_build_object('instanceid', 'i-' || lpad(to_hex(endpoint), 17, '0'),
            'localipv4', format('10.%s.%s.%s', endpoint / 65536 % 256, endpoint / 256 % 256,
            endpoint % 256), 'amiid', 'ami-0abcdef', 'instancetype', 'm5.large'),
        'modules', array['file', 'netstat', 'memory', 'pkg', 'ping', 'timedrift', 'agentdestroy']),
    json_build_object('operator', pg_temp.one_of(endpoint, seed + 13,
            array['it', 'opsec', 'releng', 'webops']),
        'site', pg_temp.one_of(endpoint, seed + 14, array['scl3', 'phx1', 'mdc1', 'ber1', 'tpe1']))
from (
    select a.*, seed, now, span, agents,
        pg_temp.one_of(endpoint, seed + 2, array['linux', 'linux', 'linux', 'linux', 'linux',
            'linux', 'linux', 'windows', 'windows', 'darwin']) as os,
        pg_temp.one_of(endpoint, seed + 3, array['web', 'db', 'build', 'mail', 'desk', 'cache'])
            || endpoint || '.' || pg_temp.one_of(endpoint, seed + 4, array['corp', 'prod', 'stage'])
            || '.example.net' as name,
        pg_temp.one_of(endpoint, seed + 5, array['Debian 12 bookworm', 'Ubuntu 22.04 jammy',
            'CentOS 7', 'Red Hat Enterprise Linux 9', 'Windows 10 22H2']) as ident,
        pg_temp.one_of(endpoint + generation, seed + 6, array['20181115-0.828dd39.prod',
            '20190304-0.77e86b4.prod', '20190913-0.9e7e4f5.prod', '20190913-0.9e7e4f5.prod'])
            as version,
        now - span + span * generation / 4
            + pg_temp.pick(endpoint * 4 + generation, seed + 7, 72) * interval '1 hour' as begun,
        pg_temp.pick(a.id::bigint, seed + 8, 300000) as heard,
        -- Of a hundred: one destroyed, five gone, eight idle, the others online.
        case when generation < 3 then 'offline' else coalesce((array['destroyed', 'offline', 'offline',
            'offline', 'offline', 'offline', 'idle', 'idle', 'idle', 'idle', 'idle', 'idle', 'idle',
            'idle'])[1 + endpoint % 100], 'online') end as status
    from seed_agent a, seed_input
) as drawn
order by id;

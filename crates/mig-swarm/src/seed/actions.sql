-- Actions with their signatures: what investigators ask, over and over.

create temporary table seed_known_action as
select number, size, before, first_id + number as id, asked,
    1 + pg_temp.pick(number, seed + 20, 8) as kind,
    -- Nobody was there to ask, or the youngest is still running.
    case when size = 0 then 'invalid' when number = last then 'inflight' else 'completed' end
        as status,
    -- Which of the endpoints' rows was alive then.
    number * 4 / (last + 1) as generation,
    pg_temp.pick(number, seed + 21, 1000000) as shift,
    case pg_temp.pick(number, seed + 22, 4) when 0 then 60 when 1 then 5 else 1 end as hits
from (
    select seed_action.*, seed,
        greatest((select coalesce(max(id), 0) from actions), 28059836000000) + 1 as first_id,
        max(number) over () as last,
        now - interval '2 minutes' - span * (max(number) over () - number)
            / (max(number) over () + 1) as asked
    from seed_action, seed_input
) as planned;

insert into actions (id, name, target, description, threat, operations, validfrom, expireafter,
    starttime, finishtime, lastupdatetime, status, syntaxversion, pgpsignatures)
select id,
    (array['file -path /etc -name ^passwd$ -content ^root', 'Where is libssl 1.0?',
        'netstat -cp 6667', 'ntp drift of servers', 'IOC: dropper of campaign ',
        'sshd_config permits root', 'pkg -name openssl', 'memory of java for beacon '])[kind]
        || case when kind in (5, 8) then number else number % 40 end,
    case when size < 20 then format('name LIKE ''%%%s.prod.example.net''', number)
        when kind % 2 = 0 then 'status=''online'' AND environment->>''os''=''linux'''
        else 'tags->>''operator''=''it'' AND mode=''daemon''' end,
    json_build_object('author', 'Alice Berg', 'email', 'alice@example.net',
        'url', format('https://wiki.example.net/ir/%s', number), 'revision', 1 + number % 3),
    json_build_object('ref', format('IR-2026-%s', number), 'level',
        (array['info', 'low', 'medium', 'high'])[1 + number % 4], 'family',
        (array['compliance', 'malware', 'backdoor', 'hygiene', 'vulnerability'])[1 + number % 5],
        'type', 'system'),
    case
        when kind in (3, 4) then json_build_array(json_build_object('module',
            (array['netstat', 'timedrift'])[kind - 2], 'parameters',
            case kind when 3 then json_build_object('connectedip', array['203.0.113.0/24',
                format('198.51.100.%s', number % 250)], 'listeningport', array['6667', '31337'],
                'neighbourmac', array['^8c:70:5a:c8'], 'searchprocess', true)
                else json_build_object('drift', '5m') end))
        when kind = 7 then json_build_array(json_build_object('module', 'pkg', 'parameters',
            json_build_object('pkgmatch', json_build_object('matches', array['^openssl$',
                '^libssl[0-9.]+$']), 'vermatch', '1\.0\.[01]')))
        else json_build_array(json_build_object('module', 'file', 'parameters',
            json_build_object('searches', (
                select json_object_agg('s' || s, json_build_object(
                    'description', 'traces left behind, part ' || s,
                    'paths', array['/etc', '/usr/local', '/home', '/var/lib/' || number],
                    'names', array['^passwd$', '\.so\.1\.0', format('^\.x%s$', number)],
                    'contents', array['^root', format('beacon-%s', number)],
                    'sha256', array[encode(sha256(convert_to(number || ' ' || s, 'utf8')), 'hex')],
                    'options', json_build_object('matchall', true, 'macroal', false,
                        'maxdepth', 10, 'matchlimit', 1000, 'maxerrors', 30, 'mismatch', null)))
                from generate_series(1, 1 + number % 3) as s)))) end,
    asked - interval '1 minute', asked + interval '1 hour',
    case status when 'invalid' then '0011-01-11 11:11:11+00' else asked end,
    case status when 'inflight' then '9998-01-11 11:11:11+00' else asked + interval '5 minutes' end,
    case status when 'inflight' then asked + interval '1 minute'
        else asked + interval '5 minutes' end,
    status, 2,
    (select json_agg(pg_temp.base64(id || ' ' || s)) from generate_series(0, number % 2) as s)::text
from seed_known_action, seed_input
order by number;

insert into signatures (actionid, investigatorid, pgpsignature)
select action.id, person.id, pg_temp.base64(action.id || ' ' || s)
from seed_known_action as action
cross join seed_input
cross join lateral generate_series(0, action.number % 2) as s
join seed_person as person
    on person.number = pg_temp.pick(action.number, seed_input.seed + 23, 15) + s * 15;

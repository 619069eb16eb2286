-- Commands with their results: most found nothing, some found something, and a
-- few failed in the usual ways.

insert into commands (id, actionid, agentid, status, results, starttime, finishtime, queueloc,
    finish_seq, found)
select
    first_id + n, actionid, agentid, status,
    case
        when status in ('sent', 'expired', 'cancelled') then
            '[{"foundanything":false,"success":false,"elements":null,"statistics":null,"errors":null}]'
        when status in ('failed', 'timeout') then format(
            '[{"foundanything":false,"success":false,"elements":null,"statistics":null,"errors":["module %s ended after %s.%ss without an answer"]}]',
            (array['file', 'file', 'netstat', 'timedrift', 'file', 'file', 'pkg', 'file'])[kind],
            chance % 300, n % 1000)
        when kind = 3 then format(
            '[{"foundanything":%s,"success":true,"elements":{"connectedip":{"203.0.113.0/24":[%s],"198.51.100.%s":[]},"listeningport":{"6667":[],"31337":[]},"neighbourmac":{"^8c:70:5a:c8":[]}},"statistics":{"duration":"%s.%sms","totalhits":%s},"errors":null}]',
            found::text, case when found then format(
                '{"localaddr":"10.0.%s.%s","localport":%s,"remoteaddr":"203.0.113.%s","remoteport":443,"namespace":"net:[4026531992]"}',
                n % 256, chance % 256, 32768 + n % 20000, n % 250) else '' end,
            n % 250, chance % 90, n % 1000, found::integer)
        when kind = 4 then format(
            '[{"foundanything":%s,"success":true,"elements":{"hascheckeddrift":true,"iswithindriftrange":%s,"drifts":["Local time is ahead of time1.example.net by %s.%sms"],"localtime":"%s"},"statistics":{"exectime":"%s.%sms","ntpstats":[{"host":"time1.example.net","time":"%s","latency":"%s.%sms","drift":"%s.%sms","reachable":true}]},"errors":null}]',
            found::text, found::text, chance % 500, n % 1000, begun, chance % 900, n % 1000, begun,
            chance % 40, n % 1000, chance % 500, n % 1000)
        when kind = 7 then format(
            '[{"foundanything":%s,"success":true,"elements":{"matches":[%s]},"statistics":{"exectime":"%s.%sms"},"errors":null}]',
            found::text, case when found then format(
                '{"name":"openssl","version":"1.0.%s-%s","type":"dpkg","arch":"amd64"},{"name":"libssl1.0.0","version":"1.0.%s-%s","type":"dpkg","arch":"amd64"}',
                n % 3, chance % 30, n % 3, chance % 30) else '' end,
            100 + chance % 900, n % 1000)
        else format(
            '[{"foundanything":%s,"success":true,"elements":{"s1":[%s]},"statistics":{"exectime":"%s.%sms","filescount":%s,"openfailed":%s,"totalhits":%s},"errors":["ERROR: followSymLink() -\u003e lstat /etc/modules-%s: no such file or directory"]}]',
            found::text, case when found then format(
                '{"file":"/etc/passwd","fileinfo":{"lastmodified":"2026-01-%s 06:58:30.%s +0000 UTC","mode":"-rw-r--r--","size":%s},"search":{"contents":["^root"],"names":["^passwd$"],"options":{"macroal":false,"matchall":true,"matchlimit":0,"maxdepth":0,"maxerrors":0,"mismatch":null},"paths":["/etc"]}},{"file":"/home/%s/.x","fileinfo":{"lastmodified":"2026-02-%s 11:12:13.%s +0000 UTC","mode":"-rwxr-xr-x","size":%s},"search":{"contents":["beacon"],"names":["^.x$"],"options":{"macroal":false,"matchall":true,"matchlimit":0,"maxdepth":0,"maxerrors":0,"mismatch":null},"paths":["/home"]}}',
                10 + n % 18, chance, 1000 + chance % 900, n % 5000, 10 + n % 18, chance,
                n % 100000) else '' end,
            100 + chance % 5000, n % 1000, 1000 + chance % 90000, n % 7, found::integer, n % 100)
    end::json,
    begun,
    case status when 'sent' then '9998-01-11 11:11:11+00' when 'expired' then
        begun + interval '1 hour' else begun + chance % 60000 * interval '1 millisecond' end,
    queueloc, case when status <> 'sent' then 1 + i end,
    case when status not in ('sent', 'expired') then
        case when found and status = 'success' then 1 else 2 end end
from (
    select action.before + i as n, i, action.id as actionid, seed_agent.id as agentid,
        agents.queueloc, action.kind, first_id, chance,
        action.asked + chance % 1000 * interval '1 microsecond' as begun,
        case
            when action.status = 'inflight' and chance % 3 = 0 then 'sent'
            when chance % 100 < 88 then 'success'
            else (array['failed', 'failed', 'failed', 'failed', 'timeout', 'timeout', 'timeout',
                'cancelled', 'cancelled', 'expired', 'expired', 'expired'])[chance % 100 - 87]
        end as status,
        chance / 100 % 100 < action.hits as found
    from seed_known_action as action
    cross join seed_input
    cross join (select greatest((select coalesce(max(id), 0) from commands), 28059837000000) + 1
        as first_id) as bounds
    cross join lateral generate_series(0, action.size - 1) as i
    cross join lateral (select pg_temp.pick(action.before + i, seed + 30, 1000000) as chance)
        as drawn
    join seed_agent on seed_agent.generation = action.generation
        and seed_agent.endpoint = (action.shift + i) % seed_input.agents
    join agents on agents.id = seed_agent.id
) as planned
order by n;

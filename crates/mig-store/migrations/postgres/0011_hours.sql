-- The hour of the last heartbeat, for lists by its time. It changes with one of
-- an hour's heartbeats only; the others still write no index.
alter table agents add column if not exists heardhour timestamp without time zone
    generated always as (date_trunc('hour', heartbeattime at time zone 'UTC')) stored;
create index if not exists agents_heardhour_idx on agents (heardhour desc);

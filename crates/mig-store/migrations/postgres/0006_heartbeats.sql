-- A heartbeat changes nothing that an index holds, so that the new version of a
-- row stays on its page and no index is written. For lists by time of the last
-- heartbeat the table is read instead.

drop index if exists agents_heartbeattime_idx;
alter table agents set (fillfactor = 70);

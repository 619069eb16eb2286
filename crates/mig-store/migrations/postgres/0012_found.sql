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

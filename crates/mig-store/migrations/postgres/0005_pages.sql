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

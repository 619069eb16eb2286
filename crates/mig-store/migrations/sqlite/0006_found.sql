-- Whether a result found something, noted when it is stored: 1 for one that did, 2 for
-- one that did not, 3 for both among its operations. Of older ones it is read from the
-- result.
alter table commands add column found integer;

create index commands_status_idx on commands (status, starttime desc, id desc);
drop index commands_of_status_idx;

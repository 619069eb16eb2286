-- Searches by agents' names, without a look at every row. A heartbeat does not
-- change the name, so that it still writes no index.
create index if not exists agents_name_idx on agents (lower(name) text_pattern_ops);

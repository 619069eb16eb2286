-- A command is claimed before it is published, which changes nothing that an
-- index holds: with room on its page, no index is written.

alter table commands set (fillfactor = 60);

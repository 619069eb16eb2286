-- When an agent was heard of before its last heartbeat: two agents that share
-- an endpoint alternate, one that merely started again does not. And the jobs
-- that one of several schedulers does for all.

alter table agents add column heardbefore text;

create table mig_leases (
    job text not null primary key,
    owner text not null,
    leased_until text not null
);

-- Rights of the roles, where they exist. `privatekey` is for the scheduler only.

do $grants$
begin
    if exists (select from pg_roles where rolname = 'migscheduler') then
        grant select on actions, agents, agents_stats, agtmodreq, commands, invagtmodperm,
            investigators, loaders, manifests, manifestsig, modules, signatures, mig_schema
            to migscheduler;
        grant insert, update on actions, commands, agents, agents_stats, signatures
            to migscheduler;
        grant insert on investigators to migscheduler;
        grant usage on investigators_id_seq to migscheduler;
    end if;
    if exists (select from pg_roles where rolname = 'migapi') then
        grant select on actions, agents, agents_stats, agtmodreq, commands, invagtmodperm,
            loaders, manifests, manifestsig, modules, signatures, mig_schema to migapi;
        grant select (id, name, pgpfingerprint, publickey, status, createdat, lastmodified,
            permissions, apikey, apisalt) on investigators to migapi;
        grant insert on agents, actions, signatures, manifests, manifestsig, loaders to migapi;
        grant update on agents to migapi;
        grant delete on manifestsig to migapi;
        grant insert (name, pgpfingerprint, publickey, status, createdat, lastmodified,
            permissions) on investigators to migapi;
        grant update (permissions, status, lastmodified, apikey, apisalt)
            on investigators to migapi;
        grant update (name, env, tags, loaderkey, salt, lastseen, enabled, expectenv, queueloc)
            on loaders to migapi;
        grant update (status) on manifests to migapi;
        grant usage on investigators_id_seq, manifests_id_seq, loaders_id_seq to migapi;
    end if;
    if exists (select from pg_roles where rolname = 'migreadonly') then
        grant select on actions, agents, agtmodreq, commands, invagtmodperm, modules, signatures
            to migreadonly;
        grant select (id, env, tags, expectenv, loadername, queueloc) on loaders to migreadonly;
        grant select (id, name, pgpfingerprint, publickey, status, createdat, lastmodified)
            on investigators to migreadonly;
    end if;
end
$grants$;

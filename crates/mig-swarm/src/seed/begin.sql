-- What the other scripts share; gone with the session.

-- The one row of what was asked for.
create temporary table seed_input (
    seed bigint not null,
    now timestamp with time zone not null,
    agents bigint not null,
    span interval not null
);

-- One row for each action, in the order of time: how many commands, and how
-- many commands there are before it.
create temporary table seed_action (
    number bigint not null primary key,
    size bigint not null,
    before bigint not null
);

-- Repeatable chance: a number below `choices` for thing `n`; a `salt` for each
-- purpose.
create function pg_temp.pick(n bigint, salt bigint, choices bigint) returns bigint
    language sql immutable parallel safe
    as $$ select (hashint8extended(n, salt) & 9223372036854775807) % choices $$;

create function pg_temp.one_of(n bigint, salt bigint, choices text[]) returns text
    language sql immutable parallel safe
    as $$ select choices[1 + pg_temp.pick(n, salt, cardinality(choices))] $$;

-- Something like a signature: 600 characters of base64.
create function pg_temp.base64(text text) returns text
    language sql immutable parallel safe
    as $$
        select string_agg(replace(encode(sha512(convert_to(text || part, 'utf8')), 'base64'),
            E'\n', ''), '')
        from generate_series(1, 7) as part
    $$;

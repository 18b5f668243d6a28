-- Accord's own memory, beside the library's tables and never inside them.

-- One row a pipeline. Its lock (`for no key update`) orders all writers of the pipeline's tables, and its
-- position is handed out under that lock, so the order of positions is the order of commits, without gaps.
create table accord.pipeline (
    id          smallint generated always as identity primary key,
    name        text not null unique,
    tables      text[] not null,
    position    bigint not null default 0,
    gap_since   timestamptz,
    gap_reasons text[] not null default '{}'
) with (fillfactor = 10);

-- Each contract document that ever judged a change.
create table accord.contract (
    id            integer generated always as identity primary key,
    name          text not null,
    version       text not null,
    hash          text not null unique,
    source        text not null,
    first_used_at timestamptz not null default now()
);

-- Every outcome, in commit order. `changes` holds, by column, [from, to] for what was set and [value] for
-- what was confirmed.
create table accord.ledger (
    pipeline   smallint not null,
    position   bigint not null,
    at         timestamptz not null,
    key        text collate "C",
    op         text,
    outcome    text not null,
    origin     text not null,
    contract   integer not null,
    changes    jsonb,
    event_id   text,
    quarantine bigint,
    primary key (pipeline, position)
);
create index ledger_key on accord.ledger (pipeline, key, position);

-- Original bytes, once, without credentials.
create table accord.body (
    hash        bytea primary key,
    bytes       bytea not null,
    headers     jsonb not null,
    received_at timestamptz not null
);

-- What could not be applied, with all that is needed to judge it again.
create table accord.quarantine (
    id         bigint generated always as identity primary key,
    pipeline   smallint not null references accord.pipeline,
    position   bigint not null,
    at         timestamptz not null,
    key        text,
    reason     text not null,
    violations jsonb not null,
    contract   integer not null references accord.contract,
    origin     text not null,
    event_id   text,
    body       bytea not null references accord.body,
    pointer    text not null,
    row        jsonb,
    state      text not null default 'open'
        check (state in ('open', 'released', 'superseded', 'discarded', 'purged'))
);
create index quarantine_open on accord.quarantine (pipeline, id) where state = 'open';
create index quarantine_body on accord.quarantine (body);

-- Event ids seen within the retention window, with the outcome that a repeat is answered with.
create table accord.event_id (
    pipeline smallint not null,
    event_id text not null,
    outcome  jsonb not null,
    at       timestamptz not null,
    primary key (pipeline, event_id)
);
create index event_id_at on accord.event_id using brin (at);

-- The secret path segment of each pipeline's webhook. The newest one that is not retired is registered; a
-- retired one is still accepted until it expires.
create table accord.webhook_token (
    id         bigint generated always as identity primary key,
    pipeline   smallint not null references accord.pipeline,
    token      text not null unique,
    created_at timestamptz not null default now(),
    retired_at timestamptz
);

-- What is known about the sender of a pipeline's webhooks, shared by replicas and read by `accord status`.
create table accord.registration (
    pipeline         smallint primary key references accord.pipeline,
    registered_since timestamptz,
    last_success_at  timestamptz,
    last_error_at    timestamptz,
    last_error       text,
    last_webhook_at  timestamptz,
    unauthorized     bigint not null default 0
);

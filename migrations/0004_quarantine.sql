-- What became of a quarantine entry, and how it is found among many.

alter table accord.quarantine
    alter column body drop not null,
    -- The payload that an operator put beside the original one.
    add column edit            bytea references accord.body,
    add column attempts        integer not null default 0,
    add column attempted_at    timestamptz,
    -- Set where waiting may heal the reason.
    add column next_attempt_at timestamptz,
    -- Why the newest attempt was refused; the original reasons stay in `violations`.
    add column last_violations jsonb,
    -- Columns of a released entry that newer data had settled.
    add column left_over       jsonb,
    add column closed_at       timestamptz,
    add column closed_by       text,
    add column closed_reason   text,
    -- The place in the ledger of what closed it.
    add column closed_position bigint;

-- The rules that an entry breaks, where the planner keeps statistics of them.
create function accord.rules(violations jsonb) returns text[] language sql immutable
    as $$ select coalesce(array_agg(v ->> 'rule'), '{}') from jsonb_array_elements(violations) v $$;
alter table accord.quarantine
    add column rules text[] not null generated always as (accord.rules(violations)) stored;

-- A page is read in order of ids, for each pipeline and state apart, whatever it is filtered by.
create index quarantine_page on accord.quarantine (pipeline, state, id);
create index quarantine_reason on accord.quarantine (pipeline, state, reason, id);
create index quarantine_key on accord.quarantine (pipeline, key, id);
create index quarantine_at on accord.quarantine (pipeline, at);
create index quarantine_rules on accord.quarantine using gin (rules);
drop index accord.quarantine_open;
create index quarantine_open on accord.quarantine (pipeline, position) where state = 'open';
create index quarantine_edit on accord.quarantine (edit) where edit is not null;
create index quarantine_due on accord.quarantine (pipeline, next_attempt_at)
    where state = 'open' and next_attempt_at is not null;

update accord.quarantine set next_attempt_at = now()
where state = 'open' and reason in ('foreignKey', 'incomplete', 'timeout');

-- Replays of many entries: a resource with progress.
create table accord.replay (
    id           bigint generated always as identity primary key,
    filter       jsonb not null,
    requested_by text not null,
    requested_at timestamptz not null default now(),
    -- A worker that is silent for a while has died.
    seen_at      timestamptz not null default now(),
    finished_at  timestamptz,
    state        text not null default 'running'
        check (state in ('running', 'done', 'failed', 'aborted')),
    reason       text,
    total        bigint not null,
    released     bigint not null default 0,
    superseded   bigint not null default 0,
    refused      bigint not null default 0
);
